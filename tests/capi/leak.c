/* Opens, scores and closes; with "leak" as a further argument it forgets memory of its own,
 * which shows that the leak check sees such a thing among the suppressed ones.
 *
 * usage: leak ENGINE HEIGHT WIDTH ROUNDS [leak] */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zoo_detector.h"

/* Kilobytes of memory that this process holds. */
static long resident(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL) {
        if (fscanf(file, "%*s %ld", &pages) != 1)
            pages = 0;
        fclose(file);
    }
    return pages * 4;
}

static void *forget(size_t bytes)
{
    void *volatile memory = malloc(bytes);
    memset(memory, 1, bytes);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    size_t frame = (size_t)atoi(argv[2]) * (size_t)atoi(argv[3]) * 3;
    int rounds = atoi(argv[4]);
    uint8_t *frames = calloc(1, frame);
    long early = 0;
    for (int i = 0; i < rounds; i++) {
        zoo_detector detector;
        float logit, fake;
        if (zoo_detector_open(argv[1], 1, &detector) != ZOO_OK ||
            zoo_detector_score(detector, frames, frame, 1, &logit, &fake) != ZOO_OK ||
            zoo_detector_close(detector) != ZOO_OK) {
            printf("%s\n", zoo_last_error());
            return 2;
        }
        if (i == rounds / 2)
            early = resident();
    }
    free(frames);
    printf("grown in the second half: %ld KiB\n", resident() - early);
    if (argc > 5 && strcmp(argv[5], "leak") == 0)
        forget(12345);
    return 0;
}
