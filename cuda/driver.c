/* driver.c - finds libcuda.so.1 and its functions. The library stays loaded: the driver has threads of its own. */
#include "driver.h"
#include "os.h"
#include "test_hooks.h"
#include <dlfcn.h>
#include <stdio.h>

static rz_mutex lock = RZ_MUTEX_INIT;
static rz_cu functions;
static bool tried, usable;
static char reason[256];

static bool find_all(void *library) {
#define FIND(field, symbol, parameters)                                                                               \
    *(void **)(&functions.field) = dlsym(library, symbol);                                                            \
    if (functions.field == NULL) {                                                                                    \
        snprintf(reason, sizeof reason, "the NVIDIA driver has no %s: install driver %u or newer", symbol,            \
                 RZ_CUDA_DRIVER_NEEDED);                                                                              \
        return false;                                                                                                 \
    }
    RZ_CU_FUNCTIONS(FIND)
#undef FIND
    return true;
}

/* Whether a driver is new enough, starts, and has a GPU. */
static bool start(const rz_cu *cu) {
    int version = 0, n_devices = 0;
    rz_cu_result result = cu->driver_version(&version);
    if (result == 0 && version < RZ_CUDA_VERSION_NEEDED) {
        snprintf(reason, sizeof reason, "the NVIDIA driver is for CUDA %d.%d, this build needs 13.0: install driver %u "
                 "or newer", version / 1000, version % 1000 / 10, RZ_CUDA_DRIVER_NEEDED);
        return false;
    }
    if (result == 0) result = cu->init(0);
    if (result == 0) result = cu->device_count(&n_devices);
    if (result == 0 && n_devices > 0) return true;
    char text[160];
    rz_cu_error_text(cu, result, text, sizeof text);
    if (result == 0) snprintf(reason, sizeof reason, "the NVIDIA driver sees no GPU");
    else snprintf(reason, sizeof reason, "the NVIDIA driver does not start: %s", text);
    return false;
}

static bool load(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        snprintf(reason, sizeof reason, "no NVIDIA driver: libcuda.so.1 was not found (install driver %u or newer)",
                 RZ_CUDA_DRIVER_NEEDED);
        return false;
    }
    return find_all(library) && start(&functions);
}

const rz_cu *rz_cu_load(const char **why) {
    rz_mutex_lock(&lock);
#if defined(RZ_TEST)
    const rz_cu *fake = rz_test_driver();
    if (fake != NULL) {
        const bool starts = start(fake);
        rz_mutex_unlock(&lock);
        if (!starts && why != NULL) *why = reason;
        return starts ? fake : NULL;
    }
#endif
    if (!tried) usable = load();
    tried = true;
    rz_mutex_unlock(&lock);
    if (!usable && why != NULL) *why = reason;
    return usable ? &functions : NULL;
}

void rz_cu_error_text(const rz_cu *cu, rz_cu_result result, char *text, size_t cap) {
    const char *name = NULL, *meaning = NULL;
    if (cu->error_name(result, &name) != 0 || name == NULL) name = "CUDA error";
    if (cu->error_text(result, &meaning) != 0 || meaning == NULL) meaning = "unknown";
    snprintf(text, cap, "%s (%d): %s", name, result, meaning);
}
