/* driver.h - internal: the part of the CUDA driver API that is used, found in libcuda.so.1 at run time. Nothing of a
 * toolkit is needed to load or to run the library. Types and numbers are the driver's own (cuda.h, 64-bit). */
#ifndef RZ_CUDA_DRIVER_H
#define RZ_CUDA_DRIVER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RZ_CUDA_DRIVER_NEEDED 580u /* series that runs code of CUDA 13.0 */
#define RZ_CUDA_VERSION_NEEDED 13000

typedef int rz_cu_result; /* 0 = success */
typedef uint64_t rz_cu_ptr;

typedef enum rz_cu_attribute {
    RZ_CU_MAX_SHARED_OPTIN = 97,
    RZ_CU_SM_COUNT = 16,
    RZ_CU_CC_MAJOR = 75,
    RZ_CU_CC_MINOR = 76,
} rz_cu_attribute;

#define RZ_CU_FUNC_MAX_DYNAMIC_SHARED 8
#define RZ_CU_STREAM_NON_BLOCKING 1u
#define RZ_CU_LAUNCH_CLUSTER 4u
#define RZ_CU_LAUNCH_PROGRAMMATIC 6u

typedef struct rz_cu_launch_attribute {
    uint32_t id;
    uint32_t pad;
    union {
        uint8_t bytes[64];
        uint32_t cluster[3];
        int32_t programmatic;
    } value;
} rz_cu_launch_attribute;

typedef struct rz_cu_launch_config {
    uint32_t grid[3], block[3];
    uint32_t shared_bytes;
    void *stream;
    rz_cu_launch_attribute *attributes;
    uint32_t n_attributes;
} rz_cu_launch_config;

/* X(field, symbol, parameters) */
#define RZ_CU_FUNCTIONS(X)                                                                                            \
    X(init, "cuInit", (uint32_t))                                                                                     \
    X(driver_version, "cuDriverGetVersion", (int *))                                                                  \
    X(error_name, "cuGetErrorName", (rz_cu_result, const char **))                                                    \
    X(error_text, "cuGetErrorString", (rz_cu_result, const char **))                                                  \
    X(device_count, "cuDeviceGetCount", (int *))                                                                      \
    X(device_get, "cuDeviceGet", (int *, int))                                                                        \
    X(device_name, "cuDeviceGetName", (char *, int, int))                                                             \
    X(device_attribute, "cuDeviceGetAttribute", (int *, int, int))                                                    \
    X(device_memory, "cuDeviceTotalMem_v2", (size_t *, int))                                                          \
    X(context_create, "cuCtxCreate_v2", (void **, uint32_t, int))                                                     \
    X(context_destroy, "cuCtxDestroy_v2", (void *))                                                                   \
    X(context_push, "cuCtxPushCurrent_v2", (void *))                                                                  \
    X(context_pop, "cuCtxPopCurrent_v2", (void **))                                                                   \
    X(memory_info, "cuMemGetInfo_v2", (size_t *, size_t *))                                                           \
    X(alloc, "cuMemAlloc_v2", (rz_cu_ptr *, size_t))                                                                  \
    X(release, "cuMemFree_v2", (rz_cu_ptr))                                                                           \
    X(host_alloc, "cuMemAllocHost_v2", (void **, size_t))                                                             \
    X(host_release, "cuMemFreeHost", (void *))                                                                        \
    X(to_device, "cuMemcpyHtoD_v2", (rz_cu_ptr, const void *, size_t))                                                \
    X(to_host, "cuMemcpyDtoH_v2", (void *, rz_cu_ptr, size_t))                                                        \
    X(to_device_async, "cuMemcpyHtoDAsync_v2", (rz_cu_ptr, const void *, size_t, void *))                             \
    X(to_host_async, "cuMemcpyDtoHAsync_v2", (void *, rz_cu_ptr, size_t, void *))                                     \
    X(copy_async, "cuMemcpyDtoDAsync_v2", (rz_cu_ptr, rz_cu_ptr, size_t, void *))                                     \
    X(set_async, "cuMemsetD8Async", (rz_cu_ptr, uint8_t, size_t, void *))                                             \
    X(module_load, "cuModuleLoadData", (void **, const void *))                                                       \
    X(module_unload, "cuModuleUnload", (void *))                                                                      \
    X(module_function, "cuModuleGetFunction", (void **, void *, const char *))                                        \
    X(function_set, "cuFuncSetAttribute", (void *, int, int))                                                         \
    X(launch, "cuLaunchKernelEx", (const rz_cu_launch_config *, void *, void **, void **))                            \
    X(stream_create, "cuStreamCreate", (void **, uint32_t))                                                           \
    X(stream_destroy, "cuStreamDestroy_v2", (void *))                                                                 \
    X(stream_wait, "cuStreamSynchronize", (void *))                                                                   \
    X(event_create, "cuEventCreate", (void **, uint32_t))                                                             \
    X(event_destroy, "cuEventDestroy_v2", (void *))                                                                   \
    X(event_record, "cuEventRecord", (void *, void *))                                                                \
    X(event_wait, "cuEventSynchronize", (void *))                                                                     \
    X(event_elapsed, "cuEventElapsedTime", (float *, void *, void *))                                                 \
    X(capture_begin, "cuStreamBeginCapture_v2", (void *, int))                                                        \
    X(capture_end, "cuStreamEndCapture", (void *, void **))                                                           \
    X(graph_instantiate, "cuGraphInstantiateWithFlags", (void **, void *, unsigned long long))                        \
    X(graph_upload, "cuGraphUpload", (void *, void *))                                                                \
    X(graph_launch, "cuGraphLaunch", (void *, void *))                                                                \
    X(graph_exec_destroy, "cuGraphExecDestroy", (void *))                                                             \
    X(graph_destroy, "cuGraphDestroy", (void *))                                                                      \
    X(tensor_map_tiled, "cuTensorMapEncodeTiled",                                                                     \
      (void *, int, uint32_t, void *, const uint64_t *, const uint64_t *, const uint32_t *, const uint32_t *, int,     \
       int, int, int))

typedef struct rz_cu {
#define RZ_CU_FIELD(field, symbol, parameters) rz_cu_result(*field) parameters;
    RZ_CU_FUNCTIONS(RZ_CU_FIELD)
#undef RZ_CU_FIELD
} rz_cu;

/* The functions of this machine's driver, found and initialized once; NULL when it has none that can be used. *why,
 * when not NULL, then gets the reason and what to do about it, a string that lives on. */
const rz_cu *rz_cu_load(const char **why);

/* "CUDA_ERROR_OUT_OF_MEMORY (2): out of memory" into text[cap]. */
void rz_cu_error_text(const rz_cu *cu, rz_cu_result result, char *text, size_t cap);

#endif
