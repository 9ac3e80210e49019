/* What stands between a C program and runtime/capi/embedded.py: starting the interpreter,
 * the thread's last error, and the checks that need no Python. build.py compiles this as
 * the source of a cffi module in embedding mode, behind two #define lines: ZOO_PYTHON, the
 * interpreter's path, and ZOO_PROJECT, the folder that holds the package runtime. */

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zoo_detector.h"

enum { ERROR_SIZE = 2048 };

/* No memory of the heap: an error text can neither leak nor fail for want of memory. */
static _Thread_local char last_error[ERROR_SIZE];

static pthread_once_t start_once = PTHREAD_ONCE_INIT;
static zoo_status start_status = ZOO_OK;
static char start_error[ERROR_SIZE];

/* The calls that embedded.py answers; cffi defines them behind this text. */
static int zoo_python_open(const char *, const char *, uint32_t, uint32_t, uint64_t *);
static int zoo_python_format(uint64_t, uint32_t *, uint32_t *, double *);
static int zoo_python_info(uint64_t, char *, size_t, size_t *);
static int zoo_python_score(uint64_t, const uint8_t *, size_t, size_t, float *, float *);
static int zoo_python_score_device(uint64_t, const void *, size_t, size_t, void *, float *,
                                   float *);
static int zoo_python_close(uint64_t);
static int cffi_start_python(void);

/* Copy a text, cut between two characters of UTF-8 where it is too long. */
static void copy_text(char *to, const char *from)
{
    size_t size = strlen(from);
    if (size >= ERROR_SIZE) {
        size = ERROR_SIZE - 1;
        while (size > 0 && ((unsigned char)from[size] & 0xC0) == 0x80)
            size--;
    }
    memcpy(to, from, size);
    to[size] = '\0';
}

/* Called by embedded.py in the thread whose call fails. */
static void zoo_set_error(const char *text)
{
    copy_text(last_error, text);
}

static zoo_status fail(zoo_status status, const char *text)
{
    zoo_set_error(text);
    return status;
}

/* ---- starting the interpreter ---- */

/* Called by the module's first lines where embedded.py cannot be imported. */
static void zoo_start_failed(const char *text)
{
    start_status = ZOO_E_START;
    copy_text(start_error, text);
}

static void start_failed_for(const char *doing, const char *why)
{
    char text[ERROR_SIZE];
    snprintf(text, sizeof text,
             "the Python inside libzoo_detector.so could not %s\n%s\n"
             "build the library again, or set ZOO_PYTHONPATH to where its packages are",
             doing, why != NULL ? why : "no reason was given");
    zoo_start_failed(text);
}

/* NumPy's and ONNX Runtime's extension modules look for Python's symbols among the global
 * ones. They are not there where a host loaded this library with RTLD_LOCAL, as plugins
 * are. */
static void make_libpython_global(void)
{
    Dl_info found;
    if (dladdr((void *)&Py_IsInitialized, &found) != 0 && found.dli_fname != NULL)
        dlopen(found.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_GLOBAL);
}

/* The interpreter of the environment that the library was built in, whatever the user's
 * PATH and PYTHON... variables say, and without a hand on the host's signals and locale. */
static int start_interpreter(void)
{
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1; /* paths are UTF-8 also where the host never called setlocale */
    PyStatus status = Py_PreInitialize(&before);
    if (!PyStatus_Exception(status)) {
        PyConfig config;
        PyConfig_InitIsolatedConfig(&config);
        /* From its path CPython finds pyvenv.cfg, and from there all the rest. */
        status = PyConfig_SetBytesString(&config, &config.program_name, ZOO_PYTHON);
        if (!PyStatus_Exception(status))
            status = Py_InitializeFromConfig(&config);
        PyConfig_Clear(&config);
    }
    if (PyStatus_Exception(status)) {
        start_failed_for("start as " ZOO_PYTHON, status.err_msg);
        return -1;
    }
    PyEval_SaveThread(); /* calls take the lock themselves, from whichever thread */
    return 0;
}

static void start_failed_by_exception(const char *doing)
{
    PyObject *kind, *value, *trace;
    PyErr_Fetch(&kind, &value, &trace);
    PyErr_NormalizeException(&kind, &value, &trace);
    PyObject *text = value != NULL ? PyObject_Str(value) : NULL;
    start_failed_for(doing, text != NULL ? PyUnicode_AsUTF8(text) : NULL);
    Py_XDECREF(text);
    Py_XDECREF(kind);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    PyErr_Clear();
}

static int insert_folder(Py_ssize_t place, const char *folder, size_t size)
{
    PyObject *path = PySys_GetObject("path"); /* borrowed */
    PyObject *name = PyUnicode_DecodeFSDefaultAndSize(folder, (Py_ssize_t)size);
    int failed = path == NULL || name == NULL || PyList_Insert(path, place, name) < 0;
    Py_XDECREF(name);
    return failed ? -1 : 0;
}

/* The user's folders, separated by ':', then the project's own, in front of sys.path. */
static int set_module_path(const char *user)
{
    Py_ssize_t place = 0;
    while (user != NULL && *user != '\0') {
        size_t size = strcspn(user, ":");
        if (size > 0 && insert_folder(place++, user, size) < 0)
            return -1;
        user += size + (user[size] == ':');
    }
    /* Empty where the project is installed like any package. */
    return ZOO_PROJECT[0] == '\0' ? 0 : insert_folder(place, ZOO_PROJECT, strlen(ZOO_PROJECT));
}

static void start(void)
{
    make_libpython_global();
    if (!Py_IsInitialized() && start_interpreter() < 0)
        return;
    PyGILState_STATE lock = PyGILState_Ensure();
    if (set_module_path(secure_getenv("ZOO_PYTHONPATH")) < 0)
        start_failed_by_exception("set where modules are looked for");
    /* cffi would only print that this is missing. */
    PyObject *backend = start_status == ZOO_OK ? PyImport_ImportModule("_cffi_backend") : NULL;
    if (start_status == ZOO_OK && backend == NULL)
        start_failed_by_exception("load the package cffi");
    Py_XDECREF(backend);
    PyGILState_Release(lock);
    if (start_status == ZOO_OK && cffi_start_python() < 0)
        start_failed_for("load its own module", "it printed why to stderr");
}

static zoo_status started(void)
{
    pthread_once(&start_once, start);
    return start_status == ZOO_OK ? ZOO_OK : fail(start_status, start_error);
}

/* ---- the functions of zoo_detector.h ---- */

uint32_t zoo_abi_version(void)
{
    return ZOO_ABI_VERSION;
}

const char *zoo_status_name(zoo_status status)
{
    switch (status) {
    case ZOO_OK: return "ZOO_OK";
    case ZOO_E_ARGUMENT: return "ZOO_E_ARGUMENT";
    case ZOO_E_START: return "ZOO_E_START";
    case ZOO_E_DETECTOR: return "ZOO_E_DETECTOR";
    case ZOO_E_ENGINE: return "ZOO_E_ENGINE";
    case ZOO_E_FRAMES: return "ZOO_E_FRAMES";
    case ZOO_E_BUFFER: return "ZOO_E_BUFFER";
    case ZOO_E_UNSUPPORTED: return "ZOO_E_UNSUPPORTED";
    case ZOO_E_INTERNAL: return "ZOO_E_INTERNAL";
    }
    return "unknown";
}

const char *zoo_last_error(void)
{
    return last_error;
}

zoo_status zoo_detector_open(const char *engine, uint32_t threads, zoo_detector *detector)
{
    return zoo_detector_open_on(engine, NULL, 0, threads, detector);
}

zoo_status zoo_detector_open_on(const char *engine, const char *backend, uint32_t device,
                                uint32_t threads, zoo_detector *detector)
{
    if (detector == NULL)
        return fail(ZOO_E_ARGUMENT, "zoo_detector_open: detector is NULL");
    *detector = 0;
    if (engine == NULL)
        return fail(ZOO_E_ARGUMENT, "zoo_detector_open: engine is NULL");
    if (backend == NULL)
        backend = "auto";
    zoo_status status = started();
    return status != ZOO_OK
               ? status
               : (zoo_status)zoo_python_open(engine, backend, device, threads, detector);
}

zoo_status zoo_detector_format(zoo_detector detector, uint32_t *height, uint32_t *width,
                               double *threshold)
{
    if (height == NULL || width == NULL || threshold == NULL)
        return fail(ZOO_E_ARGUMENT, "zoo_detector_format: height, width or threshold is NULL");
    zoo_status status = started();
    return status != ZOO_OK
               ? status
               : (zoo_status)zoo_python_format(detector, height, width, threshold);
}

zoo_status zoo_detector_info(zoo_detector detector, char *buffer, size_t size, size_t *needed)
{
    if (needed == NULL)
        return fail(ZOO_E_ARGUMENT, "zoo_detector_info: needed is NULL");
    zoo_status status = started();
    return status != ZOO_OK ? status
                            : (zoo_status)zoo_python_info(detector, buffer, size, needed);
}

zoo_status zoo_detector_score(zoo_detector detector, const uint8_t *frames, size_t bytes,
                              size_t count, float *logit, float *fake)
{
    if (frames == NULL || logit == NULL || fake == NULL)
        return fail(ZOO_E_ARGUMENT, "zoo_detector_score: frames, logit or fake is NULL");
    zoo_status status = started();
    return status != ZOO_OK
               ? status
               : (zoo_status)zoo_python_score(detector, frames, bytes, count, logit, fake);
}

zoo_status zoo_detector_score_device(zoo_detector detector, const void *frames, size_t bytes,
                                     size_t count, void *stream, float *logit, float *fake)
{
    if (frames == NULL || logit == NULL || fake == NULL)
        return fail(ZOO_E_ARGUMENT, "zoo_detector_score_device: frames, logit or fake is NULL");
    zoo_status status = started();
    return status != ZOO_OK ? status
                            : (zoo_status)zoo_python_score_device(
                                  detector, frames, bytes, count, stream, logit, fake);
}

zoo_status zoo_detector_close(zoo_detector detector)
{
    zoo_status status = started();
    return status != ZOO_OK ? status : (zoo_status)zoo_python_close(detector);
}
