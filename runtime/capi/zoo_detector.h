/* zoo_detector.h: deepfake-zoo's Detector for C programs.
 *
 * The library carries a Python interpreter inside; the calling program sees none of it.
 * The first call of any function but zoo_abi_version, zoo_status_name and
 * zoo_last_error starts the interpreter (some tenths of a second), from whichever thread
 * that call comes. A start that failed is not tried again.
 *
 * Threads: every function may be called from any thread, also several at once on one
 * detector. The interpreter's lock is not held while the engine runs. Threads that did
 * not come from Python need no preparation. A host that runs Python itself must not hold
 * the interpreter's lock in these calls. After the first call a process must not fork and
 * go on using the library in the child.
 *
 * Ownership: every buffer belongs to the caller, is only used during the call and is
 * never kept. (zoo_detector_score_device says what differs there.) What the library holds
 * for a detector is freed by zoo_detector_close. The interpreter stays until the process
 * ends.
 *
 * Environment: the library finds the interpreter and the packages that it was built with.
 * ZOO_PYTHONPATH, folders separated by ':', goes in front of the places where modules are
 * looked for. PYTHONPATH, PYTHONHOME and their like are ignored: they are about the
 * user's Python, not about this one.
 */
#ifndef ZOO_DETECTOR_H
#define ZOO_DETECTOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rises when a function or a code changes its meaning; compare with zoo_abi_version(). */
#define ZOO_ABI_VERSION 1

#if defined(__GNUC__)
#define ZOO_API __attribute__((visibility("default")))
#else
#define ZOO_API
#endif

/* An opened engine. 0 is none. Never used again after it was closed. */
typedef uint64_t zoo_detector;

/* What every function that can fail returns. */
typedef enum zoo_status {
    ZOO_OK = 0,
    ZOO_E_ARGUMENT = 1,    /* a pointer is NULL that must not be */
    ZOO_E_START = 2,       /* Python or one of its packages could not be loaded */
    ZOO_E_DETECTOR = 3,    /* no such detector: never opened, or closed */
    ZOO_E_ENGINE = 4,      /* the engine file, its sidecar or the machine does not fit */
    ZOO_E_FRAMES = 5,      /* the frames do not fit the engine: count or size in bytes */
    ZOO_E_BUFFER = 6,      /* the buffer for the answer is too small */
    ZOO_E_UNSUPPORTED = 7, /* what runs this engine cannot do this: it is on no GPU */
    ZOO_E_INTERNAL = 8     /* a bug, or out of memory; the text holds the traceback */
} zoo_status;

/* ZOO_ABI_VERSION as it was when the library was built. Cannot fail. */
ZOO_API uint32_t zoo_abi_version(void);

/* A code's name, "ZOO_E_FRAMES"; "unknown" for a number that is no code. Static. */
ZOO_API const char *zoo_status_name(zoo_status status);

/* What went wrong in this thread's last call that failed: UTF-8, one to three lines (what,
 * why, what to do), cut at 2047 bytes; "" if none has failed. Never NULL. The text belongs
 * to the library, to this thread only, and changes with this thread's next failing call. */
ZOO_API const char *zoo_last_error(void);

/* Open an engine: a .onnx on the CPU, a .plan on the first GPU.
 *
 * engine    path of a .onnx or .plan that `zoo export` made, UTF-8; its sidecar beside it
 * threads   CPU threads of one call; 0 leaves the choice to the engine
 * detector  receives the detector; 0 on failure
 *
 * ZOO_E_ARGUMENT, ZOO_E_START, ZOO_E_ENGINE */
ZOO_API zoo_status zoo_detector_open(const char *engine, uint32_t threads,
                                     zoo_detector *detector);

/* Open an engine where you say; what cannot run there is refused, nothing else is tried.
 *
 * engine    as for zoo_detector_open
 * backend   what runs it: "onnxruntime" (the CPU), "onnxruntime-cuda" or
 *           "onnxruntime-tensorrt" for a .onnx, "tensorrt" for a .plan; NULL or "auto":
 *           as zoo_detector_open
 * device    index of the GPU, as CUDA counts; means nothing on the CPU
 * threads   as for zoo_detector_open; means nothing on a GPU
 * detector  receives the detector; 0 on failure
 *
 * ZOO_E_ARGUMENT, ZOO_E_START, ZOO_E_ENGINE */
ZOO_API zoo_status zoo_detector_open_on(const char *engine, const char *backend,
                                        uint32_t device, uint32_t threads,
                                        zoo_detector *detector);

/* What a program needs to make frames and to read scores.
 *
 * height, width  of a frame, in pixels; a frame is height * width * 3 bytes
 * threshold      the verdict is "fake" where fake >= threshold, compared as doubles
 *
 * ZOO_E_ARGUMENT, ZOO_E_START, ZOO_E_DETECTOR */
ZOO_API zoo_status zoo_detector_format(zoo_detector detector, uint32_t *height,
                                       uint32_t *width, double *threshold);

/* All that is known of the engine, as JSON: the sidecar (network, weights, preprocessing,
 * certificate), and under "runs_on" what runs it.
 *
 * buffer  receives the text, UTF-8 with a final zero; NULL to ask for its size only
 * size    of buffer, in bytes
 * needed  receives the text's size in bytes, the final zero included
 *
 * A buffer that is too small is left as it was: ZOO_E_BUFFER, and `needed` is set.
 * ZOO_E_ARGUMENT (needed is NULL), ZOO_E_START, ZOO_E_DETECTOR, ZOO_E_BUFFER */
ZOO_API zoo_status zoo_detector_info(zoo_detector detector, char *buffer, size_t size,
                                     size_t *needed);

/* Score a batch of frames in host memory.
 *
 * frames  uint8 [count, height, width, 3], RGB, rows without padding
 * bytes   of `frames`: count * height * width * 3; anything else is refused
 * count   of frames, at least 1; a batch larger than the engine takes is split
 * logit   receives `count` floats: log-odds of fake
 * fake    receives `count` floats: P(fake), 0..1; NaN where the engine gives no number
 *
 * On failure logit and fake are left as they were.
 * ZOO_E_ARGUMENT, ZOO_E_START, ZOO_E_DETECTOR, ZOO_E_FRAMES, ZOO_E_ENGINE */
ZOO_API zoo_status zoo_detector_score(zoo_detector detector, const uint8_t *frames,
                                      size_t bytes, size_t count, float *logit,
                                      float *fake);

/* Score a batch of frames that lie in the memory of the detector's GPU.
 *
 * frames, logit, fake  as for zoo_detector_score, all in device memory
 * stream               a cudaStream_t; NULL is CUDA's default stream
 *
 * The work is ordered on the stream and not waited for: the three arrays must live until
 * the stream has passed it. Nothing goes through the host. Frames and results whose address
 * is no multiple of 256 are copied on the GPU; cudaMalloc gives such addresses.
 * ZOO_E_UNSUPPORTED where the engine does not run on a GPU; else as zoo_detector_score */
ZOO_API zoo_status zoo_detector_score_device(zoo_detector detector, const void *frames,
                                             size_t bytes, size_t count, void *stream,
                                             float *logit, float *fake);

/* Free a detector. Waits for calls on it that run in other threads; later calls answer
 * ZOO_E_DETECTOR, a second close too.
 * ZOO_E_START, ZOO_E_DETECTOR */
ZOO_API zoo_status zoo_detector_close(zoo_detector detector);

#ifdef __cplusplus
}
#endif

#endif
