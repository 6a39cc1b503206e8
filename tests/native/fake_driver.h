/* fake_driver.h - a CUDA driver without a GPU: device memory is the host's, kernels do nothing, and any call can be
 * made to fail. It counts what is open. The executor's host half runs over it: memory, order, errors, not numbers. */
#ifndef RZ_TEST_FAKE_DRIVER_H
#define RZ_TEST_FAKE_DRIVER_H
#include "driver.h"
#include "test_hooks.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FAKE_ILLEGAL_ADDRESS 700
#define FAKE_LAUNCH_FAILED 719

static struct {
    /* What it says of the machine. */
    int version, n_devices, cc_major, init_result;
    size_t total_bytes;
    bool no_native, no_ptx; /* code that it refuses: that of a test is the word "stub" for both, so by order */
    /* What is open. */
    atomic_size_t used_bytes;
    atomic_int n_contexts, n_streams, n_events, n_modules, n_pinned, n_graphs, n_loads, depth;
    /* Failures: the fail_at-th call from now, with fail_with; a context that is lost. */
    atomic_int n_calls, fail_at, fail_with, lost, pending;
    bool stays_lost; /* as drivers have it: the whole process has lost the GPU */
} fake_gpu;

/* As it is before a test. */
static inline void fake_gpu_reset(void) {
    memset(&fake_gpu, 0, sizeof fake_gpu);
    fake_gpu.version = 13000, fake_gpu.n_devices = 1, fake_gpu.cc_major = 9;
    fake_gpu.total_bytes = (size_t)1 << 30;
}

/* The result of a call that touches a context. */
static inline rz_cu_result fake_call(void) {
    if (atomic_load(&fake_gpu.lost) != 0) return atomic_load(&fake_gpu.lost);
    const int n = atomic_fetch_add(&fake_gpu.n_calls, 1) + 1;
    return n == atomic_load(&fake_gpu.fail_at) ? atomic_load(&fake_gpu.fail_with) : 0;
}

#define FAKE_TRY                                                                                                      \
    do {                                                                                                              \
        const rz_cu_result r_ = fake_call();                                                                          \
        if (r_ != 0) return r_;                                                                                       \
    } while (0)
/* A call that waits hears of what a kernel did. */
#define FAKE_WAIT                                                                                                     \
    do {                                                                                                              \
        if (atomic_load(&fake_gpu.pending) != 0) atomic_store(&fake_gpu.lost, atomic_load(&fake_gpu.pending));        \
        FAKE_TRY;                                                                                                     \
    } while (0)

static rz_cu_result fake_init(uint32_t flags) { return (void)flags, fake_gpu.init_result; }
static rz_cu_result fake_version(int *out) { return *out = fake_gpu.version, 0; }
static rz_cu_result fake_error_name(rz_cu_result r, const char **out) {
    return *out = r == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_FAKE", 0;
}
static rz_cu_result fake_error_text(rz_cu_result r, const char **out) { return (void)r, *out = "made up", 0; }
static rz_cu_result fake_count(int *out) { return *out = fake_gpu.n_devices, 0; }
static rz_cu_result fake_get(int *out, int i) { return *out = i, 0; }
static rz_cu_result fake_name(char *out, int n, int device) {
    (void)device;
    return strncpy(out, "fake GPU", (size_t)n), 0;
}
static rz_cu_result fake_attribute(int *out, int what, int device) {
    (void)device;
    *out = what == RZ_CU_CC_MAJOR ? fake_gpu.cc_major : what == RZ_CU_SM_COUNT ? 132
         : what == RZ_CU_MAX_SHARED_OPTIN ? 232448 : 0;
    return 0;
}
static rz_cu_result fake_total(size_t *out, int device) { return (void)device, *out = fake_gpu.total_bytes, 0; }

static void *fake_object(atomic_int *count) {
    atomic_fetch_add(count, 1);
    return malloc(16);
}
static rz_cu_result fake_drop(atomic_int *count, void *object) {
    atomic_fetch_sub(count, 1);
    free(object);
    return 0;
}

/* A new context works when the lost ones are gone, unless nothing does any more. */
static rz_cu_result fake_context_create(void **out, uint32_t flags, int device) {
    (void)flags, (void)device;
    if (atomic_load(&fake_gpu.n_contexts) == 0 && !fake_gpu.stays_lost) {
        atomic_store(&fake_gpu.lost, 0);
        atomic_store(&fake_gpu.pending, 0);
    }
    FAKE_TRY;
    atomic_fetch_add(&fake_gpu.depth, 1);
    return *out = fake_object(&fake_gpu.n_contexts), 0;
}
static rz_cu_result fake_context_destroy(void *context) { return fake_drop(&fake_gpu.n_contexts, context); }
static rz_cu_result fake_push(void *context) { return (void)context, atomic_fetch_add(&fake_gpu.depth, 1), 0; }
static rz_cu_result fake_pop(void **out) { return *out = NULL, atomic_fetch_sub(&fake_gpu.depth, 1), 0; }

static rz_cu_result fake_memory(size_t *free_bytes, size_t *all) {
    FAKE_TRY;
    *free_bytes = fake_gpu.total_bytes - atomic_load(&fake_gpu.used_bytes), *all = fake_gpu.total_bytes;
    return 0;
}
static rz_cu_result fake_alloc(rz_cu_ptr *out, size_t n) {
    FAKE_TRY;
    if (atomic_load(&fake_gpu.used_bytes) + n > fake_gpu.total_bytes) return 2;
    uint8_t *memory = aligned_alloc(256, 256 + (n + 255) / 256 * 256);
    memcpy(memory, &n, sizeof n);
    atomic_fetch_add(&fake_gpu.used_bytes, n);
    return *out = (uintptr_t)memory + 256, 0;
}
/* Also in a lost context; then its own end frees it. */
static rz_cu_result fake_release(rz_cu_ptr p) {
    uint8_t *memory = (uint8_t *)(uintptr_t)(p - 256);
    size_t n = 0;
    memcpy(&n, memory, sizeof n);
    atomic_fetch_sub(&fake_gpu.used_bytes, n);
    free(memory);
    return atomic_load(&fake_gpu.lost);
}
static rz_cu_result fake_host_alloc(void **out, size_t n) {
    FAKE_TRY;
    atomic_fetch_add(&fake_gpu.n_pinned, 1);
    return *out = calloc(1, n > 0 ? n : 1), 0;
}
static rz_cu_result fake_host_release(void *memory) { return fake_drop(&fake_gpu.n_pinned, memory); }

static void *at(rz_cu_ptr p) { return (void *)(uintptr_t)p; }
static rz_cu_result fake_to_device(rz_cu_ptr to, const void *from, size_t n) {
    FAKE_WAIT;
    return memcpy(at(to), from, n), 0;
}
static rz_cu_result fake_to_host(void *to, rz_cu_ptr from, size_t n) {
    FAKE_WAIT;
    return memcpy(to, at(from), n), 0;
}
static rz_cu_result fake_to_device_async(rz_cu_ptr to, const void *from, size_t n, void *stream) {
    (void)stream;
    FAKE_TRY;
    return memcpy(at(to), from, n), 0;
}
static rz_cu_result fake_to_host_async(void *to, rz_cu_ptr from, size_t n, void *stream) {
    (void)stream;
    FAKE_TRY;
    return memcpy(to, at(from), n), 0;
}
static rz_cu_result fake_copy(rz_cu_ptr to, rz_cu_ptr from, size_t n, void *stream) {
    (void)stream;
    FAKE_TRY;
    return memmove(at(to), at(from), n), 0;
}
static rz_cu_result fake_set(rz_cu_ptr to, uint8_t byte, size_t n, void *stream) {
    (void)stream;
    FAKE_TRY;
    return memset(at(to), byte, n), 0;
}

static rz_cu_result fake_module_load(void **out, const void *code) {
    FAKE_TRY;
    const bool is_stub = memcmp(code, "stub", 4) == 0;
    const int n = is_stub ? atomic_fetch_add(&fake_gpu.n_loads, 1) : 0;
    if (is_stub && fake_gpu.no_native && n == 0) return 209;
    if (is_stub && fake_gpu.no_ptx && n > 0) return 209;
    return *out = fake_object(&fake_gpu.n_modules), 0;
}
static rz_cu_result fake_module_unload(void *module) { return fake_drop(&fake_gpu.n_modules, module); }

static char fake_trap, fake_stray, fake_kernel;
static rz_cu_result fake_function(void **out, void *module, const char *name) {
    (void)module;
    FAKE_TRY;
    return *out = strcmp(name, "trap") == 0 ? &fake_trap : strcmp(name, "stray") == 0 ? &fake_stray : &fake_kernel, 0;
}
static rz_cu_result fake_function_set(void *f, int what, int value) {
    (void)f, (void)what, (void)value;
    FAKE_TRY;
    return 0;
}
static rz_cu_result fake_launch(const rz_cu_launch_config *c, void *f, void **arguments, void **extra) {
    (void)c, (void)arguments, (void)extra;
    FAKE_TRY;
    if (f == &fake_trap) atomic_store(&fake_gpu.pending, FAKE_LAUNCH_FAILED);
    if (f == &fake_stray) atomic_store(&fake_gpu.pending, FAKE_ILLEGAL_ADDRESS);
    return 0;
}

static rz_cu_result fake_stream(void **out, uint32_t flags) {
    (void)flags;
    FAKE_TRY;
    return *out = fake_object(&fake_gpu.n_streams), 0;
}
static rz_cu_result fake_stream_destroy(void *s) { return fake_drop(&fake_gpu.n_streams, s); }
static rz_cu_result fake_stream_wait(void *s) {
    (void)s;
    FAKE_WAIT;
    return 0;
}
static rz_cu_result fake_event(void **out, uint32_t flags) {
    (void)flags;
    FAKE_TRY;
    return *out = fake_object(&fake_gpu.n_events), 0;
}
static rz_cu_result fake_event_destroy(void *e) { return fake_drop(&fake_gpu.n_events, e); }
static rz_cu_result fake_record(void *event, void *stream) {
    (void)event, (void)stream;
    FAKE_TRY;
    return 0;
}
static rz_cu_result fake_event_wait(void *event) { return fake_stream_wait(event); }
static rz_cu_result fake_elapsed(float *out, void *a, void *b) {
    (void)a, (void)b;
    FAKE_TRY;
    return *out = 1, 0;
}
static rz_cu_result fake_capture_begin(void *stream, int mode) {
    (void)mode;
    return fake_record(NULL, stream);
}
static rz_cu_result fake_capture_end(void *stream, void **graph) {
    (void)stream;
    *graph = NULL;
    FAKE_TRY;
    return *graph = fake_object(&fake_gpu.n_graphs), 0;
}
static rz_cu_result fake_instantiate(void **exec, void *graph, unsigned long long flags) {
    (void)graph, (void)flags;
    FAKE_TRY;
    return *exec = fake_object(&fake_gpu.n_graphs), 0;
}
static rz_cu_result fake_graph_use(void *exec, void *stream) {
    (void)exec;
    return fake_record(NULL, stream);
}
static rz_cu_result fake_graph_drop(void *graph) { return fake_drop(&fake_gpu.n_graphs, graph); }
static rz_cu_result fake_tensor_map(void *out, int type, uint32_t rank, void *memory, const uint64_t *sizes,
                                    const uint64_t *strides, const uint32_t *box, const uint32_t *steps, int a, int b,
                                    int c, int d) {
    (void)out, (void)type, (void)rank, (void)memory, (void)sizes, (void)strides, (void)box, (void)steps;
    (void)a, (void)b, (void)c, (void)d;
    FAKE_TRY;
    return 0;
}

static const rz_cu fake_driver = {
    .init = fake_init,
    .driver_version = fake_version,
    .error_name = fake_error_name,
    .error_text = fake_error_text,
    .device_count = fake_count,
    .device_get = fake_get,
    .device_name = fake_name,
    .device_attribute = fake_attribute,
    .device_memory = fake_total,
    .context_create = fake_context_create,
    .context_destroy = fake_context_destroy,
    .context_push = fake_push,
    .context_pop = fake_pop,
    .memory_info = fake_memory,
    .alloc = fake_alloc,
    .release = fake_release,
    .host_alloc = fake_host_alloc,
    .host_release = fake_host_release,
    .to_device = fake_to_device,
    .to_host = fake_to_host,
    .to_device_async = fake_to_device_async,
    .to_host_async = fake_to_host_async,
    .copy_async = fake_copy,
    .set_async = fake_set,
    .module_load = fake_module_load,
    .module_unload = fake_module_unload,
    .module_function = fake_function,
    .function_set = fake_function_set,
    .launch = fake_launch,
    .stream_create = fake_stream,
    .stream_destroy = fake_stream_destroy,
    .stream_wait = fake_stream_wait,
    .event_create = fake_event,
    .event_destroy = fake_event_destroy,
    .event_record = fake_record,
    .event_wait = fake_event_wait,
    .event_elapsed = fake_elapsed,
    .capture_begin = fake_capture_begin,
    .capture_end = fake_capture_end,
    .graph_instantiate = fake_instantiate,
    .graph_upload = fake_graph_use,
    .graph_launch = fake_graph_use,
    .graph_exec_destroy = fake_graph_drop,
    .graph_destroy = fake_graph_drop,
    .tensor_map_tiled = fake_tensor_map,
};

/* Nothing is open: contexts, memory, streams, ... Modules of a lost context go with it. */
static inline bool fake_gpu_is_clean(void) {
    return atomic_load(&fake_gpu.used_bytes) == 0 && fake_gpu.n_contexts == 0 && fake_gpu.n_streams == 0 &&
           fake_gpu.n_events == 0 && fake_gpu.n_pinned == 0 && fake_gpu.n_graphs == 0 && fake_gpu.depth == 0;
}

#endif
