/* isa.c - finds out what this processor and its system can do. The compiler's own helper for this needs a run-time
 * library that a shared object does not have. */
#if defined(__linux__)
#define _DEFAULT_SOURCE
#endif
#include "isa.h"
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#define DECLARE(isa)                                                                                                 \
    extern const rz_cpu_few rz_cpu_few_##isa;                                                                        \
    extern const rz_cpu_int8 rz_cpu_int8_##isa;                                                                      \
    extern const rz_cpu_float rz_cpu_float_##isa;                                                                    \
    extern const rz_cpu_rows rz_cpu_rows_##isa;                                                                      \
    extern const rz_cpu_attention rz_cpu_attention_##isa;
#define KERNELS(id, isa)                                                                                             \
    {                                                                                                                \
        id, #isa, &rz_cpu_few_##isa, &rz_cpu_int8_##isa, NULL, &rz_cpu_float_##isa, NULL, &rz_cpu_rows_##isa,        \
            &rz_cpu_attention_##isa, NULL                                                                            \
    }

DECLARE(base)
#if defined(__x86_64__)
DECLARE(avx2)
DECLARE(avx512)
extern const rz_cpu_panels rz_cpu_pairs_avx512;
extern const rz_cpu_bf16 rz_cpu_bf16_avx512;
extern const rz_cpu_run_f16 rz_cpu_attention_bf16_avx512;
#elif defined(__aarch64__)
DECLARE(dotprod)
DECLARE(i8mm)
#endif

/* Weakest first. */
static const rz_cpu_kernels tables[] = {
    KERNELS(RZ_ISA_BASE, base),
#if defined(__x86_64__)
    KERNELS(RZ_ISA_AVX2, avx2),
    KERNELS(RZ_ISA_AVX512, avx512),
#elif defined(__aarch64__)
    KERNELS(RZ_ISA_DOTPROD, dotprod),
    KERNELS(RZ_ISA_I8MM, i8mm),
#endif
};
#define N_TABLES (sizeof tables / sizeof tables[0])

#if defined(__x86_64__)
/* AVX-512 with what only some processors have, or are fast at: [is_amd][has_bf16]. */
#define AVX512(pairs, bf16, run_f16)                                                                                 \
    {                                                                                                                \
        RZ_ISA_AVX512, "avx512", &rz_cpu_few_avx512, &rz_cpu_int8_avx512, pairs, &rz_cpu_float_avx512, bf16,         \
            &rz_cpu_rows_avx512, &rz_cpu_attention_avx512, run_f16                                                   \
    }
#define BOTH(pairs)                                                                                                  \
    {                                                                                                                \
        AVX512(pairs, NULL, NULL), AVX512(pairs, &rz_cpu_bf16_avx512, &rz_cpu_attention_bf16_avx512)                 \
    }
static const rz_cpu_kernels avx512[2][2] = {BOTH(NULL), BOTH(&rz_cpu_pairs_avx512)};

static bool is_amd(void) {
    uint32_t a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx && c == signature_AMD_ecx && d == signature_AMD_edx;
}

static bool has_bf16(void) {
    uint32_t a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5) != 0;
}
#endif

#if defined(__x86_64__)
/* Register state that the system saves on a switch of threads. */
static uint32_t saved_state(void) {
    uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool runs_here(uint32_t isa) {
    const uint32_t basic = 1u << 12 | 1u << 27 | 1u << 28 | 1u << 29; /* FMA, OSXSAVE, AVX, F16C */
    const uint32_t wide = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  /* AVX-512 F, DQ, BW, VL */
    uint32_t a = 0, b = 0, c = 0, d = 0;
    if (isa == RZ_ISA_BASE) return true;
    if (!__get_cpuid_count(1, 0, &a, &b, &c, &d) || (c & basic) != basic) return false;
    const uint32_t state = saved_state();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const bool avx2 = (b & 1u << 5) != 0 && (state & 0x06) == 0x06;
    if (isa == RZ_ISA_AVX2) return avx2;
    return isa == RZ_ISA_AVX512 && avx2 && (b & wide) == wide && (c & 1u << 11) != 0 && (state & 0xe6) == 0xe6;
}
#elif defined(__aarch64__) && defined(__linux__)
static bool runs_here(uint32_t isa) {
    const bool dotprod = (getauxval(AT_HWCAP) & 1ul << 20) != 0; /* ASIMDDP */
    const bool i8mm = (getauxval(AT_HWCAP2) & 1ul << 13) != 0;
    return isa == RZ_ISA_BASE || (isa == RZ_ISA_DOTPROD && dotprod) || (isa == RZ_ISA_I8MM && dotprod && i8mm);
}
#elif defined(__aarch64__) && defined(__APPLE__)
static bool has(const char *feature) {
    int32_t value = 0;
    size_t bytes = sizeof value;
    return sysctlbyname(feature, &value, &bytes, NULL, 0) == 0 && value == 1;
}

static bool runs_here(uint32_t isa) {
    const bool dotprod = has("hw.optional.arm.FEAT_DotProd"), i8mm = has("hw.optional.arm.FEAT_I8MM");
    return isa == RZ_ISA_BASE || (isa == RZ_ISA_DOTPROD && dotprod) || (isa == RZ_ISA_I8MM && dotprod && i8mm);
}
#else
static bool runs_here(uint32_t isa) {
    return isa == RZ_ISA_BASE;
}
#endif

bool rz_cpu_isa_usable(uint32_t isa) {
    for (size_t i = 0; i < N_TABLES; i++) {
        if (tables[i].isa == isa) return runs_here(isa);
    }
    return false;
}

const rz_cpu_kernels *rz_cpu_kernels_for(uint32_t isa_max) {
    uint32_t highest = isa_max == RZ_ISA_AUTO ? UINT32_MAX : isa_max;
    if (highest != UINT32_MAX && highest > tables[N_TABLES - 1].isa) highest = RZ_ISA_BASE;
    const rz_cpu_kernels *best = &tables[0];
    for (size_t i = 1; i < N_TABLES; i++) {
        if (tables[i].isa <= highest && runs_here(tables[i].isa)) best = &tables[i];
    }
#if defined(__x86_64__)
    if (best->isa == RZ_ISA_AVX512) best = &avx512[is_amd()][has_bf16()];
#endif
    return best;
}
