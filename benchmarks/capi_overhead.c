/* Times single calls of zoo_detector_score.
 *
 * usage: capi_overhead ENGINE FRAMES COUNT CALLS
 * FRAMES: COUNT raw frames. Prints the seconds of each call, a line each, after as many
 * calls to warm up. */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "zoo_detector.h"

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int stop(const char *why)
{
    fprintf(stderr, "%s\n", why);
    return 2;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return stop("four arguments are due");
    size_t count = strtoul(argv[3], NULL, 10), calls = strtoul(argv[4], NULL, 10);
    zoo_detector detector;
    uint32_t height, width;
    double threshold;
    if (zoo_detector_open(argv[1], 1, &detector) != ZOO_OK ||
        zoo_detector_format(detector, &height, &width, &threshold) != ZOO_OK)
        return stop(zoo_last_error());
    size_t bytes = count * height * width * 3;
    uint8_t *frames = malloc(bytes);
    float *logit = malloc(count * sizeof *logit), *fake = malloc(count * sizeof *fake);
    double *seconds = malloc(calls * sizeof *seconds);
    FILE *file = fopen(argv[2], "rb");
    if (frames == NULL || logit == NULL || fake == NULL || seconds == NULL || file == NULL ||
        fread(frames, 1, bytes, file) != bytes)
        return stop("the frames could not be read");
    fclose(file);
    for (size_t i = 0; i < 2 * calls; i++) {
        double start = now();
        zoo_status status = zoo_detector_score(detector, frames, bytes, count, logit, fake);
        seconds[i % calls] = now() - start;
        if (status != ZOO_OK)
            return stop(zoo_last_error());
    }
    for (size_t i = 0; i < calls; i++)
        printf("%.9f\n", seconds[i]);
    zoo_detector_close(detector);
    free(seconds);
    free(fake);
    free(logit);
    free(frames);
    return 0;
}
