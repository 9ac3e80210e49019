/* Loads the library as a host loads a plugin: at run time, its symbols for itself alone.
 *
 * usage: plugin LIBRARY ENGINE */

#include <dlfcn.h>
#include <stdio.h>

#include "zoo_detector.h"

int main(int argc, char **argv)
{
    void *library = argc == 3 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (library == NULL) {
        printf("%s\n", argc == 3 ? dlerror() : "two arguments are due");
        return 2;
    }
    zoo_status (*open)(const char *, uint32_t, zoo_detector *);
    const char *(*name)(zoo_status), *(*last_error)(void);
    *(void **)&open = dlsym(library, "zoo_detector_open");
    *(void **)&name = dlsym(library, "zoo_status_name");
    *(void **)&last_error = dlsym(library, "zoo_last_error");
    zoo_detector detector;
    zoo_status status = open(argv[2], 0, &detector);
    printf("%s\n%s", name(status), last_error());
    return status != ZOO_OK;
}
