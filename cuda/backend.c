/* backend.c - the CUDA executor: engine, memory, launches, and the table that the core calls. */
#include "cuda.h"
#include <stdio.h>
#include <string.h>

/* ---- errors ---------------------------------------------------------------------------------------------------- */

/* Errors after which a context is of no use any more. */
static bool is_sticky(rz_cu_result r) {
    return r == 4 || r == 214 || r == 219 || r == 220 || r == 226 || r == 700 || r == 702 || r == 709 || r == 710 ||
           (r >= 714 && r <= 719) || r == 721 || r == 999;
}

rz_status rzc_check(rzc_engine *e, rz_cu_result result, const char *what) {
    if (result == 0) return RZ_OK;
    char text[200];
    rz_cu_error_text(e->cu, result, text, sizeof text);
    if (result == 2) return rz_fail(RZ_E_OOM_DEVICE, "cuda:%d: %s: %s", e->device, what, text);
    if (!is_sticky(result)) return rz_fail(RZ_E_DEVICE, "cuda:%d: %s: %s", e->device, what, text);
    rz_fail(RZ_E_DEVICE_LOST,
            "cuda:%d: %s: %s; the engine is lost. Where no new one opens, only a new process can use the GPU",
            e->device, what, text);
    rz_mutex_lock(&e->lock);
    if (!atomic_load(&e->lost)) memcpy(e->message, rz_fail_message(), sizeof e->message);
    atomic_store(&e->lost, true);
    rz_mutex_unlock(&e->lock);
    return RZ_E_DEVICE_LOST;
}

rz_status rzc_enter(rzc_engine *e) {
    if (atomic_load(&e->lost)) {
        rz_fail_set(e->message);
        return RZ_E_DEVICE_LOST;
    }
    const rz_status status = rzc_check(e, e->cu->context_push(e->context), "cuCtxPushCurrent");
    if (status == RZ_OK) rzc_fault(e);
    return status;
}

void rzc_leave(rzc_engine *e) {
    void *context = NULL;
    e->cu->context_pop(&context);
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

rz_status rzc_alloc(rzc_engine *e, rz_memory_kind kind, uint64_t bytes, const char *what, rz_cu_ptr *out) {
    *out = 0;
    size_t free_bytes = 0, all_bytes = 0;
    rz_status status = rzc_check(e, e->cu->memory_info(&free_bytes, &all_bytes), "cuMemGetInfo");
    if (status != RZ_OK) return status;
    if (bytes > free_bytes) {
        return rz_fail(RZ_E_OOM_DEVICE, "cuda:%d: %s: needs %llu bytes, %llu are free", e->device, what,
                       (unsigned long long)bytes, (unsigned long long)free_bytes);
    }
    if (!rz_account_take(e->account, kind, bytes, what)) return RZ_E_OOM_DEVICE;
    const size_t asked = bytes > 0 ? bytes : 256;
    const rz_cu_result result = e->cu->alloc(out, asked);
    if (result == 2) {
        status = rz_fail(RZ_E_OOM_DEVICE, "cuda:%d: %s: needs %llu bytes, %llu are free", e->device, what,
                         (unsigned long long)bytes, (unsigned long long)free_bytes);
    } else {
        status = rzc_check(e, result, what);
    }
    if (status == RZ_OK) status = rzc_check(e, e->cu->set_async(*out, 0, asked, e->stream), "cuMemsetD8Async");
    if (status == RZ_OK) status = rzc_check(e, e->cu->stream_wait(e->stream), what);
    if (status == RZ_OK) return RZ_OK;
    rzc_free(e, kind, bytes, *out);
    *out = 0;
    return status;
}

void rzc_free(rzc_engine *e, rz_memory_kind kind, uint64_t bytes, rz_cu_ptr memory) {
    if (memory != 0) e->cu->release(memory);
    rz_account_give(e->account, kind, bytes);
}

static int32_t memory_open(void *engine, rz_memory_kind kind, uint64_t bytes, const char *what, uint8_t **out) {
    rzc_engine *e = engine;
    rz_cu_ptr memory = 0;
    rz_status status = rzc_enter(e);
    if (status != RZ_OK) return status;
    status = rzc_alloc(e, kind, bytes, what, &memory);
    rzc_leave(e);
    *out = (uint8_t *)(uintptr_t)memory;
    return status;
}

/* Also of a lost engine: its context is still there until the engine is closed. */
static void memory_close(void *engine, rz_memory_kind kind, uint64_t bytes, uint8_t *memory) {
    rzc_engine *e = engine;
    const bool current = e->cu->context_push(e->context) == 0;
    rzc_free(e, kind, bytes, (uintptr_t)memory);
    if (current) rzc_leave(e);
}

static int32_t page_copy(void *engine, uint8_t *to, const uint8_t *from, uint64_t bytes) {
    rzc_engine *e = engine;
    rz_status status = rzc_enter(e);
    if (status != RZ_OK) return status;
    status = rzc_check(e, e->cu->copy_async((uintptr_t)to, (uintptr_t)from, bytes, e->stream), "copy of a page");
    rzc_leave(e);
    return status;
}

static int32_t page_write(void *engine, uint8_t *to, const uint8_t *from, uint64_t bytes) {
    rzc_engine *e = engine;
    rz_status status = rzc_enter(e);
    if (status != RZ_OK) return status;
    status = rzc_check(e, e->cu->to_device_async((uintptr_t)to, from, bytes, e->stream), "writing a page");
    if (status == RZ_OK) status = rzc_check(e, e->cu->stream_wait(e->stream), "writing a page");
    rzc_leave(e);
    return status;
}

static int32_t page_read(void *engine, uint8_t *to, const uint8_t *from, uint64_t bytes) {
    rzc_engine *e = engine;
    rz_status status = rzc_enter(e);
    if (status != RZ_OK) return status;
    status = rzc_check(e, e->cu->to_host_async(to, (uintptr_t)from, bytes, e->stream), "reading a page");
    if (status == RZ_OK) status = rzc_check(e, e->cu->stream_wait(e->stream), "reading a page");
    rzc_leave(e);
    return status;
}

/* ---- launches -------------------------------------------------------------------------------------------------- */

rz_status rzc_launch(rzc_engine *e, void *stream, uint32_t kernel, rzc_shape s, void *params) {
    rz_cu_launch_attribute attributes[2];
    uint32_t n = 0;
    const bool is_chained = s.chained && !(stream == e->stream && e->full_edge);
    if (stream == e->stream) e->full_edge = false;
    if (is_chained && e->cc_major >= 9) {
        attributes[n] = (rz_cu_launch_attribute){.id = RZ_CU_LAUNCH_PROGRAMMATIC};
        attributes[n++].value.programmatic = 1;
    }
    if (s.cluster > 1) {
        attributes[n] = (rz_cu_launch_attribute){.id = RZ_CU_LAUNCH_CLUSTER};
        attributes[n].value.cluster[0] = s.cluster;
        attributes[n].value.cluster[1] = attributes[n].value.cluster[2] = 1;
        n++;
    }
    const rz_cu_launch_config config = {
        .grid = {s.x, s.y > 0 ? s.y : 1, s.z > 0 ? s.z : 1},
        .block = {s.threads, 1, 1},
        .shared_bytes = s.shared_bytes,
        .stream = stream,
        .attributes = attributes,
        .n_attributes = n,
    };
    void *arguments[] = {params};
    return rzc_check(e, e->cu->launch(&config, e->kernels[kernel], arguments, NULL), "cuLaunchKernelEx");
}

/* ---- engine ---------------------------------------------------------------------------------------------------- */

static const char *const format_names[] = {
#define NAME(name) #name,
    RZC_FORMATS(NAME)
#undef NAME
};

static rz_status find_kernels(rzc_engine *e) {
    static const struct {
        rzc_module module;
        const char *name;
    } named[] = {
#define KERNEL(module, name) {RZC_M_##module, "rzc_" #name},
        RZC_KERNELS(KERNEL)
#undef KERNEL
    };
    for (uint32_t i = 0; i < RZC_N_KERNELS; i++) {
        char name[48];
        rzc_module module = RZC_M_matmul;
        if (i >= RZC_K_PRODUCT8) snprintf(name, sizeof name, "rzc_product8_%s", format_names[i - RZC_K_PRODUCT8]);
        else if (i >= RZC_K_PRODUCT1) snprintf(name, sizeof name, "rzc_product1_%s", format_names[i - RZC_K_PRODUCT1]);
        else snprintf(name, sizeof name, "%s", named[i].name), module = named[i].module;
        const rz_status status = rzc_check(e, e->cu->module_function(&e->kernels[i], e->modules[module], name), name);
        if (status != RZ_OK) return status;
    }
    const int shared = e->shared_max - 1024; /* what it has beside */
    for (uint32_t i = 0; i < RZC_N_KERNELS; i++) {
        const bool big = i >= RZC_K_gemv_q4k_1 && i <= RZC_K_prompt_wgmma_q8_128;
        if (i != RZC_K_attention_k && i != RZC_K_best_k && !big) continue;
        const rz_status status = rzc_check(
            e, e->cu->function_set(e->kernels[i], RZ_CU_FUNC_MAX_DYNAMIC_SHARED, shared), "shared memory of a kernel");
        if (status != RZ_OK) return status;
    }
    return RZ_OK;
}

static rz_status open_lanes(rzc_engine *e) {
    for (uint32_t i = 0; i < RZC_LANES; i++) {
        rzc_lane *lane = &e->lanes[i];
        rz_status status =
            rzc_check(e, e->cu->stream_create(&lane->stream, RZ_CU_STREAM_NON_BLOCKING), "cuStreamCreate");
        if (status == RZ_OK) status = rzc_alloc(e, RZ_MEMORY_OTHER, RZC_LANE_BYTES, "staging", &lane->device);
        if (status == RZ_OK) {
            status = rzc_check(e, e->cu->host_alloc((void **)&lane->pinned, RZC_LANE_BYTES), "pinned host memory");
        }
        if (status != RZ_OK) return status;
    }
    return RZ_OK;
}

static void unload(rzc_engine *e) {
    for (uint32_t i = 0; i < RZC_N_MODULES; i++) {
        if (e->modules[i] != NULL) e->cu->module_unload(e->modules[i]);
        e->modules[i] = NULL;
    }
}

static void close_device(rzc_engine *e) {
    if (e->context != NULL && e->cu->context_push(e->context) == 0) {
        for (uint32_t i = 0; i < RZC_LANES; i++) {
            if (e->lanes[i].pinned != NULL) e->cu->host_release(e->lanes[i].pinned);
            if (e->lanes[i].device != 0) rzc_free(e, RZ_MEMORY_OTHER, RZC_LANE_BYTES, e->lanes[i].device);
            if (e->lanes[i].stream != NULL) e->cu->stream_destroy(e->lanes[i].stream);
        }
        unload(e);
        if (e->stream != NULL) e->cu->stream_destroy(e->stream);
        rzc_leave(e);
    }
    if (e->context != NULL) e->cu->context_destroy(e->context);
}

#define NO_BINARY_FOR_GPU 209

/* UNSUPPORTED when this build has no code of this kind for this GPU. */
static rz_status load_modules(rzc_engine *e, bool portable) {
    for (uint32_t i = 0; i < RZC_N_MODULES; i++) {
        const void *code = rzc_fatbin((rzc_module)i, portable);
        const rz_cu_result result = code == NULL ? NO_BINARY_FOR_GPU : e->cu->module_load(&e->modules[i], code);
        if (result == NO_BINARY_FOR_GPU) {
            return rz_fail(RZ_E_UNSUPPORTED, "cuda:%d: this build (%s) has no %s for %s (compute capability %d.%d)",
                           e->device, RZ_CUDA_CODE, portable ? "PTX" : "code", e->name, e->cc_major, e->cc_minor);
        }
        const rz_status status = rzc_check(e, result, portable ? "compiling PTX" : "cuModuleLoadData");
        if (status != RZ_OK) return status;
    }
    return RZ_OK;
}

/* Machine code for this GPU; where there is none, or it is asked for, PTX: then this is a GPU of the oldest kind. */
static rz_status load_code(rzc_engine *e) {
    rz_status status = RZ_E_UNSUPPORTED;
    if (!e->portable) status = load_modules(e, false);
    if (status != RZ_E_UNSUPPORTED) return status;
    unload(e);
    status = load_modules(e, true);
    if (status != RZ_OK) return status;
    e->portable = true;
    e->cc_major = 8;
    e->cc_minor = 0;
    return RZ_OK;
}

static rz_status open_device(rzc_engine *e) {
    const rz_cu *cu = e->cu;
    int device = 0;
    size_t all_bytes = 0;
    rz_status status = rzc_check(e, cu->device_get(&device, e->device), "cuDeviceGet");
    if (status != RZ_OK) return status;
    cu->device_name(e->name, sizeof e->name, device);
    cu->device_memory(&all_bytes, device);
    cu->device_attribute(&e->n_sms, RZ_CU_SM_COUNT, device);
    cu->device_attribute(&e->cc_major, RZ_CU_CC_MAJOR, device);
    cu->device_attribute(&e->cc_minor, RZ_CU_CC_MINOR, device);
    cu->device_attribute(&e->shared_max, RZ_CU_MAX_SHARED_OPTIN, device);
    if (e->cc_major < 8) {
        return rz_fail(RZ_E_UNSUPPORTED, "cuda:%d: %s has compute capability %d.%d, at least 8.0 is needed", e->device,
                       e->name, e->cc_major, e->cc_minor);
    }
    status = rzc_check(e, cu->context_create(&e->context, 0, device), "cuCtxCreate");
    if (status == RZ_OK) status = load_code(e);
    if (status == RZ_OK) status = find_kernels(e);
    if (status == RZ_OK)
        status = rzc_check(e, cu->stream_create(&e->stream, RZ_CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    if (status == RZ_OK) status = open_lanes(e);
    if (e->context != NULL) rzc_leave(e);
    return status;
}

static void engine_close(void *engine) {
    rzc_engine *e = engine;
    close_device(e);
    rz_mutex_destroy(&e->lock);
    rz_cond_destroy(&e->lane_free);
    rz_free(e);
}

static int32_t engine_open(const rz_engine_options *options, rz_account *account, void **engine) {
    const char *why = NULL;
    const rz_cu *cu = rz_cu_load(&why);
    int n_devices = 0;
    if (cu == NULL) return rz_fail(RZ_E_DEVICE, "cuda: %s", why);
    cu->device_count(&n_devices);
    if (options->device[0] >= (uint32_t)n_devices) {
        return rz_fail(RZ_E_ARG, "rz_engine_open: cuda device %u, this machine has %d", options->device[0], n_devices);
    }
    rzc_engine *e = rz_alloc(account, RZ_MEMORY_OTHER, sizeof *e, "cuda engine");
    if (e == NULL) return RZ_E_OOM_HOST;
    e->cu = cu;
    e->account = account;
    e->device = (int)options->device[0];
    e->portable = options->isa_max == RZ_ISA_PTX;
    rz_mutex_init(&e->lock);
    rz_cond_init(&e->lane_free);
    const rz_status status = open_device(e);
    if (status == RZ_OK) *engine = e;
    else engine_close(e);
    return status;
}

static void engine_info(void *engine, rz_engine_info *out) {
    rzc_engine *e = engine;
    size_t free_bytes = 0, all_bytes = 0;
    if (rzc_enter(e) == RZ_OK) {
        e->cu->memory_info(&free_bytes, &all_bytes);
        rzc_leave(e);
    }
    out->n_threads = 0;
    out->isa = e->portable ? RZ_ISA_PTX : 0;
    out->device_free = free_bytes;
    out->device_total = all_bytes;
    memcpy(out->name, e->name, sizeof out->name);
}

#define MEASURE_BYTES ((uint64_t)2 << 30)

/* Median of 9 runs of one read or copy, timed by the device. */
static rz_status measure(rzc_engine *e, uint32_t what, rz_cu_ptr memory, void *begin, void *end, double *gb_s) {
    float times[9];
    const uint64_t half = MEASURE_BYTES / 2, n = MEASURE_BYTES / 16;
    rz_cu_ptr sink = memory;
    void *arguments[] = {&memory, (void *)&n, &sink};
    const rz_cu_launch_config config = {
        .grid = {(uint32_t)e->n_sms * 8, 1, 1}, .block = {256, 1, 1}, .stream = e->stream};
    for (uint32_t i = 0; i < 9; i++) {
        rz_cu_result r = e->cu->event_record(begin, e->stream);
        if (r == 0 && what == 0) r = e->cu->launch(&config, e->kernels[RZC_K_read_all], arguments, NULL);
        if (r == 0 && what == 1) r = e->cu->copy_async(memory, memory + half, half, e->stream);
        if (r == 0) r = e->cu->event_record(end, e->stream);
        if (r == 0) r = e->cu->event_wait(end);
        if (r == 0) r = e->cu->event_elapsed(&times[i], begin, end);
        if (r != 0) return rzc_check(e, r, "measuring");
        for (uint32_t k = i; k > 0 && times[k] < times[k - 1]; k--) {
            const float t = times[k];
            times[k] = times[k - 1];
            times[k - 1] = t;
        }
    }
    *gb_s = (double)(what == 0 ? MEASURE_BYTES : half) / ((double)times[4] * 1e6);
    return RZ_OK;
}

static int32_t engine_measure(void *engine, uint32_t what, double *gb_s) {
    rzc_engine *e = engine;
    rz_cu_ptr memory = 0;
    void *begin = NULL, *end = NULL;
    rz_status status = rzc_enter(e);
    if (status != RZ_OK) return status;
    status = rzc_alloc(e, RZ_MEMORY_OTHER, MEASURE_BYTES, "measuring", &memory);
    if (status == RZ_OK) {
        status = rzc_check(e, e->cu->event_create(&begin, 0), "cuEventCreate");
        if (status == RZ_OK) status = rzc_check(e, e->cu->event_create(&end, 0), "cuEventCreate");
        if (status == RZ_OK) status = measure(e, what, memory, begin, end, gb_s);
        if (begin != NULL) e->cu->event_destroy(begin);
        if (end != NULL) e->cu->event_destroy(end);
        rzc_free(e, RZ_MEMORY_OTHER, MEASURE_BYTES, memory);
    }
    rzc_leave(e);
    return status;
}

const char *rz_cuda_why_not(char name[80]) {
    const char *why = NULL;
    const rz_cu *cu = rz_cu_load(&why);
    if (cu == NULL) return why;
    static _Thread_local char text[160];
    int device = 0, major = 0, minor = 0;
    if (cu->device_get(&device, 0) != 0) return "the first GPU cannot be opened";
    cu->device_name(name, 80, device);
    cu->device_attribute(&major, RZ_CU_CC_MAJOR, device);
    cu->device_attribute(&minor, RZ_CU_CC_MINOR, device);
    if (major >= 8 && rzc_has_code(RZ_CUDA_CODE, major, minor)) return NULL;
    const char *what = major < 8 ? "the GPU is too old: it has compute capability %d.%d, at least 8.0 is needed"
                                 : "this build has no code for GPUs of compute capability %d.%d: one with PTX has";
    snprintf(text, sizeof text, what, major, minor);
    return text;
}

/* ---- pages ----------------------------------------------------------------------------------------------------- */

static rz_status row_bytes(uint32_t dtype, uint32_t cols, const char *what, uint64_t *bytes) {
    if (dtype == 0) return *bytes = (uint64_t)cols * 4, RZ_OK;
    if (dtype == 1 && cols % 2 == 0) return *bytes = (uint64_t)cols * 2, RZ_OK;
    if (dtype == 8 && cols % 32 == 0) return *bytes = (uint64_t)cols / 32 * 34, RZ_OK;
    return rz_fail(RZ_E_UNSUPPORTED, "cuda: cache of %u %s columns of type %u, expected F32 (0), F16 (1, even) or Q8_0 "
                   "(8, blocks of 32)", cols, what, dtype);
}

static int32_t page_bytes(void *engine, const rz_cache_group *group, uint64_t *bytes) {
    (void)engine;
    uint64_t k = 0, v = 0;
    rz_status status = row_bytes(group->k_dtype, group->k_cols, "key", &k);
    if (status == RZ_OK) status = row_bytes(group->v_dtype, group->v_cols, "value", &v);
    *bytes = (k + v) * group->page_tokens * group->n_layers;
    return status;
}

const rz_backend rz_backend_cuda = {
    .name = "cuda",
    .page_tokens = 64,
    .engine_open = engine_open,
    .engine_close = engine_close,
    .engine_info = engine_info,
    .engine_measure = engine_measure,
    .memory_open = memory_open,
    .memory_close = memory_close,
    .page_copy = page_copy,
    .page_write = page_write,
    .page_read = page_read,
    .weight_bytes = rzc_weight_bytes,
    .weight_row_unit = rzc_weight_row_unit,
    .weight_store = rzc_weight_store,
    .weight_read = rzc_weight_read,
    .page_bytes = page_bytes,
    .program_open = rzc_program_open,
    .program_close = rzc_program_close,
    .program_listing = rzc_program_listing,
    .program_profile = rzc_program_profile,
    .forward = rzc_forward,
    .value_read = rzc_value_read,
    .sample = rzc_sample,
};
