/* library.c - rz_abi_version, rz_library_*: what this build is, what it can do here, what it holds. */
#include "backends.h"
#include "cpu/isa.h"
#include "handle.h"
#include "memory.h"
#include "os.h"
#include "queue.h"
#include "test_hooks.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define VERSION "0.1.0"

#if defined(__x86_64__)
#define ARCH "x86_64"
#elif defined(__aarch64__)
#define ARCH "aarch64"
#else
#define ARCH "other"
#endif
#if defined(_WIN32)
#define SYSTEM "windows"
#elif defined(__APPLE__)
#define SYSTEM "macos"
#else
#define SYSTEM "linux"
#endif

static_assert(sizeof(rz_stats) == 96);

rz_status rz_backend_find(uint32_t id, const rz_backend **out) {
    *out = NULL;
    switch (id) {
    case RZ_BACKEND_REF: *out = &rz_backend_ref; break;
    case RZ_BACKEND_CPU: *out = &rz_backend_cpu; break;
#if defined(RZ_TEST)
    case RZ_TEST_BACKEND: *out = rz_test_backend(); break;
#endif
    case RZ_BACKEND_CUDA:
#if defined(RZ_CUDA)
        *out = &rz_backend_cuda;
#endif
        break;
    default: return rz_fail(RZ_E_ARG, "rz_engine_open: backend %u, expected 0 (ref), 1 (cpu) or 2 (cuda)", id);
    }
    if (*out != NULL) return RZ_OK;
    return rz_fail(RZ_E_UNSUPPORTED, "rz_engine_open: backend %u is not in this build", id);
}

RZ_API uint32_t rz_abi_version(void) { return RZ_ABI_VERSION; }

RZ_API int32_t rz_library_stats(rz_stats *out, uint32_t cap) {
    if (out == NULL || cap < sizeof *out) {
        return -(int32_t)rz_fail(RZ_E_ARG, "rz_library_stats: cap is %u, expected %zu", cap, sizeof *out);
    }
    const rz_status status = rz_handle_process("rz_library_stats");
    if (status != RZ_OK) return -(int32_t)status;
    rz_stats stats = {.n_tickets = rz_queue_tickets(), .n_threads = rz_thread_count()};
    rz_handle_stats(&stats);
    rz_memory_stats(&stats);
    memcpy(out, &stats, sizeof stats);
    return sizeof stats;
}

/* ---- description ----------------------------------------------------------------------------------------------- */

#define TEXT_BYTES 2048u

typedef struct text {
    char bytes[TEXT_BYTES];
    uint32_t n;
} text;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void add(text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(t->bytes + t->n, TEXT_BYTES - t->n, format, args);
    va_end(args);
    if (n > 0) t->n += (uint32_t)n < TEXT_BYTES - t->n ? (uint32_t)n : TEXT_BYTES - t->n - 1;
}

/* The instruction sets this build has kernels for, weakest first. */
static void add_isas(text *t) {
    static const struct {
        uint32_t id;
        const char *name;
    } isas[] = {
        {RZ_ISA_BASE, "base"},
#if defined(__x86_64__)
        {RZ_ISA_AVX2, "avx2"},
        {RZ_ISA_AVX512, "avx512"},
#elif defined(__aarch64__)
        {RZ_ISA_DOTPROD, "dotprod"},
        {RZ_ISA_I8MM, "i8mm"},
#endif
    };
    const uint32_t n = sizeof isas / sizeof isas[0];
    for (uint32_t i = 0; i < n; i++) {
        add(t, "%s{\"id\":%u,\"name\":\"%s\",\"usable\":%s}", i > 0 ? "," : "", isas[i].id, isas[i].name,
            rz_cpu_isa_usable(isas[i].id) ? "true" : "false");
    }
}

/* Texts of the driver hold no quotes or backslashes worth keeping. */
static void add_cuda(text *t) {
    char name[80] = "";
#if defined(RZ_CUDA)
    const char *why = rz_cuda_why_not(name);
#else
    const char *why = "not in this build";
#endif
    add(t, "{\"name\":\"cuda\",\"usable\":%s", why == NULL ? "true" : "false");
#if defined(RZ_CUDA)
    add(t, ",\"code\":\"%s\"", RZ_CUDA_CODE);
#endif
    if (name[0] != 0) add(t, ",\"device\":\"%s\"", name);
    if (why != NULL) add(t, ",\"why\":\"%s\"", why);
    add(t, "}");
}

RZ_API int32_t rz_library_info(uint8_t *out, uint32_t cap) {
    text t = {.n = 0};
    uint64_t free_bytes = 0, total_bytes = 0;
    rz_os_memory(&free_bytes, &total_bytes);
    add(&t, "{\"version\":\"%s\",\"abi\":%u,\"target\":\"%s-%s\",\"compiler\":\"%s\"", VERSION, RZ_ABI_VERSION, ARCH,
        SYSTEM, __VERSION__);
#if defined(RZ_TEST)
    add(&t, ",\"test\":true");
#else
    add(&t, ",\"test\":false");
#endif
    add(&t, ",\"cores\":%u,\"memory_bytes\":%llu,\"memory_free_bytes\":%llu,\"isas\":[", rz_cpu_count(),
        (unsigned long long)total_bytes, (unsigned long long)free_bytes);
    add_isas(&t);
    add(&t, "],\"backends\":[{\"name\":\"ref\",\"usable\":true},{\"name\":\"cpu\",\"usable\":true},");
    add_cuda(&t);
    add(&t, "]}");
    if (t.n <= cap && out != NULL) memcpy(out, t.bytes, t.n);
    return (int32_t)t.n;
}
