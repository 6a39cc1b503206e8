/* simd.h - internal to csrc/cpu/isa: sixteen lanes, written once for every instruction set.
 *
 * A vector is 64 bytes everywhere: one zmm, two ymm, or four xmm or NEON registers; the compiler splits it. What it
 * cannot guess (fused multiply-add, F16, dot products of bytes) is spelled out here for each instruction set. The
 * files of this folder are compiled once per instruction set, with RZ_ISA its name; all that is
 * here is static, so that no copy made for a newer CPU can be linked into code for an older one. */
#ifndef RZ_CPU_SIMD_H
#define RZ_CPU_SIMD_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define RZ_CPU_PASTE2(a, b) a##_##b
#define RZ_CPU_PASTE(a, b) RZ_CPU_PASTE2(a, b)
/* The exported name of a table: RZ_CPU_TABLE(rz_cpu_rows) is rz_cpu_rows_avx512 in that object. */
#define RZ_CPU_TABLE(name) RZ_CPU_PASTE(name, RZ_ISA)

#define AI static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")

typedef float f32v __attribute__((ext_vector_type(16)));
typedef int32_t i32v __attribute__((ext_vector_type(16)));
typedef uint32_t u32v __attribute__((ext_vector_type(16)));
typedef int16_t i16v __attribute__((ext_vector_type(32)));
typedef uint8_t u8v __attribute__((ext_vector_type(64)));
typedef int8_t i8v __attribute__((ext_vector_type(64)));

/* Unaligned views. */
typedef float f32v_u __attribute__((ext_vector_type(16), aligned(4), may_alias));
typedef i32v i32v_u __attribute__((aligned(4), may_alias));
typedef u8v u8v_u __attribute__((aligned(1), may_alias));

AI f32v load_f(const float *p) { return *(const f32v_u *)p; }
AI void store_f(float *p, f32v v) { *(f32v_u *)p = v; }
AI u8v load_b(const void *p) { return *(const u8v_u *)p; }
AI void store_b(void *p, u8v v) { *(u8v_u *)p = v; }
AI f32v splat(float x) { return (f32v)x; }
AI i32v splat_i(int32_t x) { return (i32v)x; }
AI f32v to_float(i32v v) { return __builtin_convertvector(v, f32v); }
AI f32v abs_f(f32v v) { return __builtin_elementwise_abs(v); }

/* The first n (1-16) of 16 floats, zeros behind. */
AI f32v load_part(const float *p, uint32_t n) {
    float all[16] = {0};
    memcpy(all, p, n * sizeof(float));
    return load_f(all);
}
AI void store_part(float *p, f32v v, uint32_t n) {
    float all[16];
    store_f(all, v);
    memcpy(p, all, n * sizeof(float));
}

/* a * b + c: rounded once where the instruction set can, else twice. */
AI f32v fma_f(f32v a, f32v b, f32v c) {
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_elementwise_fma(a, b, c);
#else
    return a * b + c;
#endif
}

/* The larger lane; b where a is NaN. */
AI f32v max_f(f32v a, f32v b) { return a > b ? a : b; }

AI float sum_f(f32v v) {
    typedef float f8 __attribute__((ext_vector_type(8)));
    typedef float f4 __attribute__((ext_vector_type(4)));
    const f8 a = v.lo + v.hi;
    const f4 b = a.lo + a.hi;
    return (b.x + b.z) + (b.y + b.w);
}
/* Not for NaNs. */
AI float largest_f(f32v v) {
    typedef float f8 __attribute__((ext_vector_type(8)));
    typedef float f4 __attribute__((ext_vector_type(4)));
    const f8 a = v.lo > v.hi ? v.lo : v.hi;
    const f4 b = a.lo > a.hi ? a.lo : a.hi;
    const float x = b.x > b.z ? b.x : b.z, y = b.y > b.w ? b.y : b.w;
    return x > y ? x : y;
}

/* 16 IEEE halves. */
AI f32v load_half(const void *p) {
#if defined(__F16C__) || defined(__aarch64__)
    typedef _Float16 f16v __attribute__((ext_vector_type(16), aligned(2), may_alias));
    return __builtin_convertvector(*(const f16v *)p, f32v);
#else
    /* Exponent and mantissa moved into place are the value times 2^-112, subnormals too. */
    typedef uint16_t u16v __attribute__((ext_vector_type(16), aligned(2), may_alias));
    const u32v h = __builtin_convertvector(*(const u16v *)p, u32v);
    const u32v magnitude = (h & 0x7fffu) << 13;
    const u32v value = (u32v)((f32v)magnitude * 0x1p112f);
    return (f32v)((magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : value) | (h & 0x8000u) << 16);
#endif
}
AI void store_half(void *p, f32v v) {
#if defined(__F16C__) || defined(__aarch64__)
    typedef _Float16 f16v __attribute__((ext_vector_type(16), aligned(2), may_alias));
    *(f16v *)p = __builtin_convertvector(v, f16v);
#else
    typedef uint16_t u16v __attribute__((ext_vector_type(16), aligned(2), may_alias));
    const u32v bits = (u32v)v, sign = bits >> 16 & 0x8000u, a = bits & 0x7fffffffu;
    /* normal: rebias and round to nearest even; subnormal: let the adder round at 2^-24; huge, Inf, NaN: by hand */
    const u32v normal = (a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13;
    const u32v small = (u32v)((f32v)a + 0.5f) - 0x3f000000u;
    const u32v special = a > 0x7f800000u ? (u32v)0x7e00u : (u32v)0x7c00u;
    const u32v h = a >= 0x477ff000u ? special : a < 0x38800000u ? small : normal;
    *(u16v *)p = __builtin_convertvector(h | sign, u16v);
#endif
}

/* e^x: relative error about 1e-7, 0 below -87.3, e^88 above 88; NaN stays NaN. */
AI f32v exp_f(f32v x) {
    const f32v low = splat(-87.3f), high = splat(88.0f);
    f32v c = x < low ? low : x;
    c = c > high ? high : c;
    const f32v shifted = fma_f(c, splat(1.44269504f), splat(12582912.0f)), n = shifted - 12582912.0f;
    f32v r = fma_f(n, splat(-0.693359375f), c);
    r = fma_f(n, splat(2.12194440e-4f), r);
    f32v p = splat(1.0f / 5040);
    p = fma_f(p, r, splat(1.0f / 720));
    p = fma_f(p, r, splat(1.0f / 120));
    p = fma_f(p, r, splat(1.0f / 24));
    p = fma_f(p, r, splat(1.0f / 6));
    p = fma_f(p, r, splat(0.5f));
    p = fma_f(p, r, splat(1));
    p = fma_f(p, r, splat(1));
    const f32v power = (f32v)(((u32v)shifted + 127u) << 23); /* low bits of `shifted` are n */
    return x < low ? splat(0) : p * power;
}

AI f32v tanh_f(f32v x) {
    const f32v x2 = x * x, e = exp_f(x + x);
    f32v t = splat(62.0f / 2835);
    t = fma_f(t, x2, splat(-17.0f / 315));
    t = fma_f(t, x2, splat(2.0f / 15));
    t = fma_f(t, x2, splat(-1.0f / 3));
    t = fma_f(t * x2, x, x);
    return abs_f(x) < 0.3f ? t : 1.0f - 2.0f / (e + 1.0f);
}

/* Error function: absolute error 1.5e-7 (Abramowitz and Stegun, 7.1.26). */
AI f32v erf_f(f32v x) {
    const f32v a = abs_f(x), t = 1.0f / fma_f(a, splat(0.3275911f), splat(1));
    f32v p = splat(1.061405429f);
    p = fma_f(p, t, splat(-1.453152027f));
    p = fma_f(p, t, splat(1.421413741f));
    p = fma_f(p, t, splat(-0.284496736f));
    p = fma_f(p, t, splat(0.254829592f));
    const f32v y = 1.0f - p * t * exp_f(-a * a);
    return x < 0.0f ? -y : y;
}

/* ---- dot products of bytes: weights u8, activations s8, four columns at a time ----------------------------------- */

/* Sums of 16 rows on their way. `wide` is the sum; `narrow` (AVX2 only) holds 16-bit sums of pairs until they could
 * overflow. BITS says how large the weights are: 4, 5, 6 or 8. */
typedef struct dot_sum {
    i32v wide;
    i16v narrow;
} dot_sum;

/* 1: dot_line takes weights of 8 bits as signed (their top bit is flipped), so there is no offset to take off. */
#if defined(__AVX512VNNI__) || defined(__ARM_FEATURE_MATMUL_INT8)
#define RZ_CPU_SIGNED8 0
#else
#define RZ_CPU_SIGNED8 1
#endif

AI dot_sum dot_start(i32v start) { return (dot_sum){.wide = start, .narrow = (i16v)0}; }

/* Adds line `line` of a run: bytes [row * 4 + j] of w times x4[j]. */
AI void dot_line(dot_sum *s, u8v w, const int8_t *x4, const uint32_t line, const int BITS) {
    int32_t x;
    memcpy(&x, x4, 4);
    (void)line;
    (void)BITS;
#if defined(__AVX512VNNI__)
    s->wide = (i32v)_mm512_dpbusd_epi32((__m512i)s->wide, (__m512i)w, _mm512_set1_epi32(x));
#elif defined(__AVX2__)
    union {
        u8v v;
        __m256i y[2];
    } a = {.v = w};
    union {
        i16v v;
        __m256i y[2];
    } h = {.v = s->narrow};
    union {
        i32v v;
        __m256i y[2];
    } sum = {.v = s->wide};
    const __m256i xs = _mm256_set1_epi32(x), flip = _mm256_set1_epi8((char)0x80), ones = _mm256_set1_epi16(1);
    /* pairs fit 16 bits: 8 of 15 * 127 * 2, 4 of 31 * 127 * 2, 2 of 63 * 127 * 2, 1 of 128 * 127 * 2 */
    const uint32_t run = BITS == 4 ? 8 : BITS == 5 ? 4 : BITS == 6 ? 2 : 1;
    UNROLL for (int i = 0; i < 2; i++) {
        __m256i pairs;
        if (BITS == 8) {
            const __m256i q = _mm256_xor_si256(a.y[i], flip);
            pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(xs, q));
        } else {
            pairs = _mm256_maddubs_epi16(a.y[i], xs);
        }
        h.y[i] = line % run == 0 ? pairs : _mm256_add_epi16(h.y[i], pairs);
        /* opaque: else the compiler sums in another order, for which it keeps all lines in memory */
        __asm__("" : "+x"(h.y[i]));
        if (line % run == run - 1) sum.y[i] = _mm256_add_epi32(sum.y[i], _mm256_madd_epi16(h.y[i], ones));
    }
    s->narrow = h.v;
    s->wide = sum.v;
#elif defined(__ARM_FEATURE_DOTPROD)
    union {
        u8v v;
        uint8x16_t q[4];
    } a = {.v = w};
    union {
        i32v v;
        int32x4_t q[4];
    } sum = {.v = s->wide};
    const int8x16_t xs = vreinterpretq_s8_s32(vdupq_n_s32(x));
    UNROLL for (int i = 0; i < 4; i++) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
        sum.q[i] = vusdotq_s32(sum.q[i], a.q[i], xs);
#else
        const uint8x16_t q = BITS == 8 ? veorq_u8(a.q[i], vdupq_n_u8(0x80)) : a.q[i];
        sum.q[i] = vdotq_s32(sum.q[i], vreinterpretq_s8_u8(q), xs);
#endif
    }
    s->wide = sum.v;
#elif defined(__aarch64__)
    union {
        u8v v;
        uint8x16_t q[4];
    } a = {.v = w};
    union {
        i32v v;
        int32x4_t q[4];
    } sum = {.v = s->wide};
    const int8x8_t xs = vreinterpret_s8_s32(vdup_n_s32(x));
    UNROLL for (int i = 0; i < 4; i++) {
        const int8x16_t q = vreinterpretq_s8_u8(BITS == 8 ? veorq_u8(a.q[i], vdupq_n_u8(0x80)) : a.q[i]);
        const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(q), xs));
        const int32x4_t high = vpaddlq_s16(vmull_s8(vget_high_s8(q), xs));
        sum.q[i] = vaddq_s32(sum.q[i], vpaddq_s32(low, high));
    }
    s->wide = sum.v;
#elif defined(__SSE2__)
    union {
        u8v v;
        __m128i q[4];
    } a = {.v = w};
    union {
        i32v v;
        __m128i q[4];
    } sum = {.v = s->wide};
    /* to 16 bits: a byte above its own copy, shifted down with its sign */
    const __m128i x8 = _mm_set1_epi32(x), xs = _mm_srai_epi16(_mm_unpacklo_epi8(x8, x8), 8);
    UNROLL for (int i = 0; i < 4; i++) {
        const __m128i q = BITS == 8 ? _mm_xor_si128(a.q[i], _mm_set1_epi8((char)0x80)) : a.q[i];
        const __m128 low = (__m128)_mm_madd_epi16(_mm_srai_epi16(_mm_unpacklo_epi8(q, q), 8), xs);
        const __m128 high = (__m128)_mm_madd_epi16(_mm_srai_epi16(_mm_unpackhi_epi8(q, q), 8), xs);
        const __m128i even = (__m128i)_mm_shuffle_ps(low, high, 0x88), odd = (__m128i)_mm_shuffle_ps(low, high, 0xdd);
        sum.q[i] = _mm_add_epi32(sum.q[i], _mm_add_epi32(even, odd));
    }
    s->wide = sum.v;
#else
    uint8_t b[64];
    int32_t sum[16];
    store_b(b, BITS == 8 ? w ^ (u8v)0x80 : w);
    memcpy(sum, &s->wide, 64);
    for (uint32_t r = 0; r < 16; r++)
        for (uint32_t j = 0; j < 4; j++) sum[r] += (BITS == 8 ? (int8_t)b[4 * r + j] : b[4 * r + j]) * x4[j];
    memcpy(&s->wide, sum, 64);
#endif
}

#endif
