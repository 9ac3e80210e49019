/* Every way in which the C functions can fail, from plain C, and the ways back.
 *
 * usage: errors ENGINE HEIGHT WIDTH DAMAGED MISSING
 * DAMAGED is a file that is no engine, MISSING one that is not there. The answer is the
 * exit code; each failed check is a line. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zoo_detector.h"

static int failures = 0;

#define CHECK(condition)                                                         \
    do {                                                                         \
        if (!(condition)) {                                                      \
            failures++;                                                          \
            printf("line %d: %s; last error: %s\n", __LINE__, #condition,        \
                   zoo_last_error());                                            \
        }                                                                        \
    } while (0)

/* The call fails with that code, and the thread's text says that word. */
#define CHECK_FAILS(call, status, word)                                          \
    do {                                                                         \
        zoo_status got = (call);                                                 \
        if (got != (status) || strstr(zoo_last_error(), word) == NULL) {         \
            failures++;                                                          \
            printf("line %d: %s gave %s, not %s with '%s': %s\n", __LINE__,      \
                   #call, zoo_status_name(got), zoo_status_name(status), word,   \
                   zoo_last_error());                                            \
        }                                                                        \
    } while (0)

static void *in_another_thread(void *seen)
{
    /* This thread has not failed yet, whatever the others did. */
    CHECK(strcmp(zoo_last_error(), "") == 0);
    CHECK_FAILS(zoo_detector_close(4711), ZOO_E_DETECTOR, "4711");
    *(int *)seen = 1;
    return NULL;
}

static void before_the_start(void)
{
    CHECK(zoo_abi_version() == ZOO_ABI_VERSION);
    CHECK(strcmp(zoo_last_error(), "") == 0);
    CHECK(strcmp(zoo_status_name(ZOO_E_FRAMES), "ZOO_E_FRAMES") == 0);
    CHECK(strcmp(zoo_status_name((zoo_status)99), "unknown") == 0);
}

static void opening(const char *engine, const char *damaged, const char *missing)
{
    zoo_detector detector = 7;
    CHECK_FAILS(zoo_detector_open(NULL, 0, &detector), ZOO_E_ARGUMENT, "engine");
    CHECK(detector == 0);
    CHECK_FAILS(zoo_detector_open(engine, 0, NULL), ZOO_E_ARGUMENT, "detector");
    detector = 7;
    CHECK_FAILS(zoo_detector_open(missing, 0, &detector), ZOO_E_ENGINE, missing);
    CHECK(detector == 0);
    CHECK_FAILS(zoo_detector_open(damaged, 0, &detector), ZOO_E_ENGINE, damaged);
    CHECK_FAILS(zoo_detector_open("", 0, &detector), ZOO_E_ENGINE, "directory");
    CHECK_FAILS(zoo_detector_open("no\xff" "utf8.onnx", 0, &detector), ZOO_E_ENGINE, "exist");
    CHECK_FAILS(zoo_detector_open_on(NULL, "auto", 0, 0, &detector), ZOO_E_ARGUMENT, "engine");
    CHECK_FAILS(zoo_detector_open_on(engine, "auto", 0, 0, NULL), ZOO_E_ARGUMENT, "detector");
    detector = 7;
    CHECK_FAILS(zoo_detector_open_on(engine, "opencl", 0, 0, &detector), ZOO_E_ENGINE,
                "cannot be run by 'opencl'");
    CHECK(detector == 0);
    CHECK_FAILS(zoo_detector_open_on(engine, "tensorrt", 0, 0, &detector), ZOO_E_ENGINE,
                "a .onnx is run by onnxruntime");
    CHECK(zoo_detector_open_on(engine, "onnxruntime", 9, 1, &detector) == ZOO_OK);
    CHECK(zoo_detector_close(detector) == ZOO_OK);
    CHECK(zoo_detector_open_on(engine, NULL, 0, 0, &detector) == ZOO_OK);
    CHECK(zoo_detector_close(detector) == ZOO_OK);

    /* A text longer than the buffer for it is cut, between two characters. */
    char path[4096] = "";
    for (size_t i = 0; i + 2 < sizeof path; i += 2)
        memcpy(path + i, "\xc3\xa4", 3);
    CHECK(zoo_detector_open(path, 0, &detector) == ZOO_E_ENGINE ||
          zoo_detector_open(path, 0, &detector) == ZOO_E_INTERNAL);
    size_t size = strlen(zoo_last_error());
    CHECK(size > 1000 && size < 2048);
}

static void scoring(zoo_detector detector, size_t frame)
{
    uint8_t *frames = calloc(20, frame);
    /* The sanitizer sees a write behind the last float. */
    float *logit = malloc(20 * sizeof *logit), *fake = malloc(20 * sizeof *fake);
    logit[0] = fake[0] = -7;
    CHECK_FAILS(zoo_detector_score(detector, NULL, frame, 1, logit, fake), ZOO_E_ARGUMENT, "NULL");
    CHECK_FAILS(zoo_detector_score(detector, frames, frame, 1, NULL, fake), ZOO_E_ARGUMENT, "NULL");
    CHECK_FAILS(zoo_detector_score(detector, frames, frame, 1, logit, NULL), ZOO_E_ARGUMENT, "NULL");
    CHECK_FAILS(zoo_detector_score(detector, frames, 0, 0, logit, fake), ZOO_E_FRAMES, "count = 0");
    CHECK_FAILS(zoo_detector_score(detector, frames, frame - 1, 1, logit, fake), ZOO_E_FRAMES,
                "bytes");
    CHECK_FAILS(zoo_detector_score(detector, frames, frame, 2, logit, fake), ZOO_E_FRAMES, "bytes");
    CHECK_FAILS(zoo_detector_score(detector, frames, frame + 1, 1, logit, fake), ZOO_E_FRAMES,
                "bytes");
    /* count * frame overflows a size_t and comes out as `frame` again. */
    CHECK_FAILS(zoo_detector_score(detector, frames, frame, (SIZE_MAX / frame) + 2, logit, fake),
                ZOO_E_FRAMES, "bytes");
    CHECK_FAILS(zoo_detector_score(0, frames, frame, 1, logit, fake), ZOO_E_DETECTOR, "0");
    CHECK(logit[0] == -7 && fake[0] == -7);

    CHECK(zoo_detector_score(detector, frames, frame, 1, logit, fake) == ZOO_OK);
    CHECK(fake[0] > 0 && fake[0] < 1);
    CHECK(zoo_detector_score(detector, frames, 20 * frame, 20, logit, fake) == ZOO_OK);
    CHECK(logit[19] == logit[0] && fake[19] == fake[0]);

    CHECK_FAILS(zoo_detector_score_device(detector, NULL, frame, 1, NULL, logit, fake),
                ZOO_E_ARGUMENT, "NULL");
    CHECK_FAILS(zoo_detector_score_device(detector, frames, frame, 1, NULL, logit, fake),
                ZOO_E_UNSUPPORTED, "CPU");
    CHECK_FAILS(zoo_detector_score_device(0, frames, frame, 1, NULL, logit, fake), ZOO_E_DETECTOR,
                "0");
    free(frames);
    free(logit);
    free(fake);
}

static void asking(zoo_detector detector, uint32_t height, uint32_t width)
{
    uint32_t h = 0, w = 0;
    double threshold = 0;
    CHECK(zoo_detector_format(detector, &h, &w, &threshold) == ZOO_OK);
    CHECK(h == height && w == width && threshold == 0.3);
    CHECK_FAILS(zoo_detector_format(detector, NULL, &w, &threshold), ZOO_E_ARGUMENT, "NULL");
    CHECK_FAILS(zoo_detector_format(detector, &h, NULL, &threshold), ZOO_E_ARGUMENT, "NULL");
    CHECK_FAILS(zoo_detector_format(detector, &h, &w, NULL), ZOO_E_ARGUMENT, "NULL");
    CHECK_FAILS(zoo_detector_format(99, &h, &w, &threshold), ZOO_E_DETECTOR, "99");

    size_t needed = 0, again = 0;
    CHECK_FAILS(zoo_detector_info(detector, NULL, 0, NULL), ZOO_E_ARGUMENT, "needed");
    CHECK_FAILS(zoo_detector_info(99, NULL, 0, &needed), ZOO_E_DETECTOR, "99");
    CHECK(zoo_detector_info(detector, NULL, 0, &needed) == ZOO_OK);
    CHECK(needed > 100);
    char *text = malloc(needed);
    memset(text, '?', needed);
    CHECK_FAILS(zoo_detector_info(detector, text, needed - 1, &again), ZOO_E_BUFFER, "bytes");
    CHECK(again == needed && text[0] == '?' && text[needed - 1] == '?');
    CHECK(zoo_detector_info(detector, text, needed, &again) == ZOO_OK);
    CHECK(again == needed && strlen(text) == needed - 1);
    CHECK(text[0] == '{' && text[needed - 2] == '}' && strstr(text, "\"network\"") != NULL);
    free(text);
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    uint32_t height = (uint32_t)atoi(argv[2]), width = (uint32_t)atoi(argv[3]);
    size_t frame = (size_t)height * width * 3;

    before_the_start();
    opening(argv[1], argv[4], argv[5]);

    zoo_detector detector = 0, other = 0;
    CHECK(zoo_detector_open(argv[1], 1, &detector) == ZOO_OK);
    CHECK(zoo_detector_open(argv[1], 0, &other) == ZOO_OK);
    CHECK(detector != 0 && other != 0 && detector != other);
    asking(detector, height, width);
    scoring(detector, frame);

    int seen = 0;
    pthread_t thread;
    CHECK_FAILS(zoo_detector_close(12), ZOO_E_DETECTOR, "12");
    CHECK(pthread_create(&thread, NULL, in_another_thread, &seen) == 0);
    pthread_join(thread, NULL);
    CHECK(seen == 1);
    CHECK(strstr(zoo_last_error(), "4711") == NULL);

    CHECK(zoo_detector_close(detector) == ZOO_OK);
    CHECK_FAILS(zoo_detector_close(detector), ZOO_E_DETECTOR, "closed");
    uint8_t *pixels = calloc(1, frame);
    float logit, fake;
    CHECK_FAILS(zoo_detector_score(detector, pixels, frame, 1, &logit, &fake), ZOO_E_DETECTOR,
                "closed");
    /* The other one lives. */
    CHECK(zoo_detector_score(other, pixels, frame, 1, &logit, &fake) == ZOO_OK);
    free(pixels);
    CHECK(zoo_detector_close(other) == ZOO_OK);
    printf("%d checks failed\n", failures);
    return failures != 0;
}
