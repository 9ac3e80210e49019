/* What NVIDIA's Python bindings must find in libnvinfer, libnvinfer_plugin and libnvonnxparser
 * to be imported. It lets their API be read on a machine without TensorRT, and nothing else:
 * every factory gives a null pointer. One source makes all three libraries. */

#include <stddef.h>

#define EXPORT __attribute__((visibility("default")))

/* libnvinfer */
EXPORT void *createInferBuilder_INTERNAL(void *logger, int version) { return NULL; }
EXPORT void *createInferRefitter_INTERNAL(void *engine, void *logger, int version) { return NULL; }
EXPORT void *createInferRuntime_INTERNAL(void *logger, int version) { return NULL; }
EXPORT void *getBuilderPluginRegistry(int capability) { return NULL; }
EXPORT void *getPluginRegistry(void) { return NULL; }
EXPORT int getInferLibVersion(void) { return 0; }

/* libnvinfer_plugin */
EXPORT _Bool initLibNvInferPlugins(void *logger, const char *name_space) { return 0; }

/* libnvonnxparser */
EXPORT void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) { return NULL; }
EXPORT void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int version) {
    return NULL;
}
EXPORT int getNvOnnxParserVersion(void) { return 0; }
