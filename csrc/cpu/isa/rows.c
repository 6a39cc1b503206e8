/* rows.c - work on single rows of activations: norms, quantizing, activations, RoPE. A row's result depends on nothing
 * but the row. */
#include "../kernels.h"
#include "simd.h"
#include <math.h>

/* Runs BODY for columns i of 16 at a time; the last ones through load_part and store_part. LOAD(p) is p's 16. */
#define EACH_16(n, BODY)                                                                                             \
    do {                                                                                                             \
        uint32_t i = 0;                                                                                              \
        for (; i + 16 <= (n); i += 16) {                                                                             \
            BODY(load_f, store_f);                                                                                   \
        }                                                                                                            \
        if (i < (n)) {                                                                                               \
            const uint32_t left = (n) - i;                                                                           \
            BODY(LOAD_LEFT, STORE_LEFT);                                                                             \
        }                                                                                                            \
    } while (0)
#define LOAD_LEFT(p) load_part(p, left)
#define STORE_LEFT(p, v) store_part(p, v, left)

static void rms_norm(const float *x, const float *w, uint32_t n, float eps, float *y) {
    f32v a = splat(0), b = splat(0);
    uint32_t k = 0;
    for (; k + 32 <= n; k += 32) {
        const f32v u = load_f(x + k), v = load_f(x + k + 16);
        a = fma_f(u, u, a);
        b = fma_f(v, v, b);
    }
    for (; k < n; k += 16) {
        const f32v u = n - k < 16 ? load_part(x + k, n - k) : load_f(x + k);
        a = fma_f(u, u, a);
    }
    const float r = 1.0f / sqrtf(sum_f(a + b) / (float)n + eps);
    if (w) {
#define BODY(LOAD, STORE) STORE(y + i, LOAD(x + i) * r * LOAD(w + i))
        EACH_16(n, BODY);
#undef BODY
    } else {
#define BODY(LOAD, STORE) STORE(y + i, LOAD(x + i) * r)
        EACH_16(n, BODY);
#undef BODY
    }
}

static void layer_norm(const float *x, const float *w, const float *b, uint32_t n, float eps, float *y) {
    f32v sum = splat(0), squares = splat(0);
#define BODY(LOAD, STORE) sum += LOAD(x + i)
    EACH_16(n, BODY);
#undef BODY
    const float mean = sum_f(sum) / (float)n;
    uint32_t k = 0;
    for (; k + 16 <= n; k += 16) {
        const f32v v = load_f(x + k) - mean;
        squares = fma_f(v, v, squares);
    }
    float rest = 0;
    for (; k < n; k++) rest += (x[k] - mean) * (x[k] - mean);
    const float r = 1.0f / sqrtf((sum_f(squares) + rest) / (float)n + eps);
    if (b) {
#define BODY(LOAD, STORE) STORE(y + i, (LOAD(x + i) - mean) * r * LOAD(w + i) + LOAD(b + i))
        EACH_16(n, BODY);
#undef BODY
    } else {
#define BODY(LOAD, STORE) STORE(y + i, (LOAD(x + i) - mean) * r * LOAD(w + i))
        EACH_16(n, BODY);
#undef BODY
    }
}

typedef int8_t i8x16 __attribute__((ext_vector_type(16)));
typedef int8_t i8x32 __attribute__((ext_vector_type(32)));
typedef i8x32 i8x32_u __attribute__((aligned(1), may_alias));

/* 16 numbers as integers. Adding 1.5 * 2^23 rounds to the nearest, ties to even: the low bits. */
AI i32v round_i(f32v x) { return (i32v)(x + 12582912.0f) - 0x4b400000; }

/* Two halves as bytes. */
AI i8x32 bytes_of(i32v a, i32v b) {
    i8x32 q;
    q.lo = __builtin_convertvector(a, i8x16);
    q.hi = __builtin_convertvector(b, i8x16);
    return q;
}

/* Minus the sums of the first and the second 16. */
AI void less_of(i8x32 q, int32_t less[2]) {
#if defined(__AVX512VNNI__)
    /* q + 128 as u8 times -1, less 4 times -128 a lane */
    __m256i s = _mm256_dpbusd_epi32(_mm256_set1_epi32(512), (__m256i)(q ^ (int8_t)-128), _mm256_set1_epi8(-1));
    s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4e));
    s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0xb1));
    less[0] = _mm256_cvtsi256_si32(s);
    less[1] = _mm_cvtsi128_si32(_mm256_extracti128_si256(s, 1));
#else
    less[0] = -__builtin_reduce_add(__builtin_convertvector(q.lo, i32v));
    less[1] = -__builtin_reduce_add(__builtin_convertvector(q.hi, i32v));
#endif
}

/* A block with outliers, those above `limit`: its scale is that of the others. Returns how many lines have some. */
static uint32_t with_outliers(f32v u, f32v v, float limit, float top, uint32_t first_line, rz_xblock *q,
                              rz_xhigh *high) {
    const f32v au = abs_f(u), av = abs_f(v);
    const f32v ru = au > limit ? splat(0) : au, rv = av > limit ? splat(0) : av;
    const float rest = largest_f(ru > rv ? ru : rv);
    const float a = rest * (1.0f / RZ_X_TOP), b = top * (1.0f / 16192); /* 16192 = 126.5 * 128 */
    const float scale = a > b ? a : b, inverse = 1.0f / scale;
    const i32v wu = round_i(u * inverse), wv = round_i(v * inverse);
    const i32v hu = au > limit ? (wu + 64) >> 7 : splat_i(0), hv = av > limit ? (wv + 64) >> 7 : splat_i(0);
    const i8x32 low = bytes_of(wu - hu * 128, wv - hv * 128), all = bytes_of(hu, hv);
    rz_xhigh line = {.scale = scale * 128.0f};
    uint32_t n = 0;
    int32_t sum = 0;
    int8_t bytes[32];
    *(i8x32_u *)bytes = all;
    *(i8x32_u *)q->q = low;
    for (uint32_t l = 0; l < 8; l++) {
        memcpy(line.high, bytes + 4 * l, 4);
        if (line.high[0] == 0 && line.high[1] == 0 && line.high[2] == 0 && line.high[3] == 0) continue;
        line.line = first_line + l;
        line.less = -(line.high[0] + line.high[1] + line.high[2] + line.high[3]);
        sum -= line.less;
        high[n++] = line;
    }
    q->scale = scale;
    less_of(low, q->less);
    q->sum = scale * (float)(128 * sum - (q->less[0] + q->less[1]));
    return n;
}

/* What products by pairs of lines have too much (pairs.c), in the first 24 columns: an even line's numbers, 128 larger,
 * times the odd one's, less 8 times the sum of all; and that for weights whose own offset is 8. */
AI void pairs_of(rz_xblock *q) {
#if defined(__AVX512VNNI__)
    static_assert(RZ_X_PAIRED == 6, "lines");
    const __m256i x = _mm256_loadu_si256((const __m256i *)q->q);
    const __m256i lines = _mm256_permutevar8x32_epi32(x, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
    const __m128i even = _mm_xor_si128(_mm256_castsi256_si128(lines), _mm_set1_epi8((char)-128));
    __m128i s = _mm_dpbusd_epi32(_mm_setzero_si128(), even, _mm256_extracti128_si256(lines, 1)); /* of 4 pairs */
    const __m128i last = _mm256_extracti128_si256(x, 1); /* lines 4 .. 7 */
    __m128i rest = _mm_dpbusd_epi32(_mm_setzero_si128(), _mm_set1_epi8(1), last);
    s = _mm_and_si128(s, _mm_setr_epi32(-1, -1, -1, 0));
    rest = _mm_and_si128(rest, _mm_setr_epi32(-1, -1, 0, 0));
    s = _mm_sub_epi32(s, _mm_slli_epi32(rest, 3));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    q->pairs[0] = -_mm_cvtsi128_si32(s) - 8 * q->less[0];
    q->pairs[1] = q->pairs[0] + 8 * q->less[2];
#else
    q->pairs[0] = q->pairs[1] = 0;
#endif
}

/* Columns k .. k + 31 of a row, x its first one. Returns how many entries of `high` it needs, as many as there is room
 * for eight of. */
AI uint32_t block_int8(const float *x, uint32_t k, float limit, bool has_room, rz_xblock *q, rz_xhigh *high) {
    const f32v u = load_f(x + k), v = load_f(x + k + 16);
    /* As integers NaN > infinity > all numbers, so the largest magnitude tells them too. */
    const u32v bits_u = (u32v)u & 0x7fffffffu, bits_v = (u32v)v & 0x7fffffffu;
    const uint32_t top_bits = __builtin_reduce_max(bits_u > bits_v ? bits_u : bits_v);
    float top;
    memcpy(&top, &top_bits, 4);
    const bool is_finite = top_bits < 0x7f800000u, is_zero = !(is_finite && top > 1e-30f);
    uint32_t n = 0;
    if (!is_zero && top > limit && has_room) {
        n = with_outliers(u, v, limit, top, k / 4, q, high);
    } else {
        const float inverse = is_zero ? 0.0f : RZ_X_TOP / top;
        const f32v su = is_finite ? u * inverse : splat(0), sv = is_finite ? v * inverse : splat(0);
        const i8x32 bytes = bytes_of(round_i(su), round_i(sv));
        q->scale = !is_finite ? NAN : is_zero ? 0.0f : top * (1.0f / RZ_X_TOP);
        *(i8x32_u *)q->q = bytes;
        less_of(bytes, q->less);
        q->sum = q->scale * -(float)(q->less[0] + q->less[1]);
    }
    q->less[2] = q->less[0] + q->less[1];
    pairs_of(q);
    return n;
}

static uint32_t to_int8(const float *x, uint32_t n, rz_xblock *q, size_t x_rows, rz_xhigh *high, uint8_t *high_in) {
    f32v a = splat(0), b = splat(0);
    for (uint32_t k = 0; k < n; k += 32) {
        a = fma_f(load_f(x + k), load_f(x + k), a);
        b = fma_f(load_f(x + k + 16), load_f(x + k + 16), b);
    }
    const float limit = RZ_OUTLIER_OVER_RMS * sqrtf(sum_f(a + b) / (float)n);
    const uint32_t room = (uint32_t)rz_x_highs(n), part_cols = 32 * rz_part_blocks(n / 32);
    uint32_t n_high = 0;
    for (uint32_t k = 0; k < n; high_in += x_rows) {
        const uint32_t end = n - k < part_cols ? n : k + part_cols, before = n_high;
        for (; k < end; k += 32, q += x_rows) n_high += block_int8(x, k, limit, n_high + 8 <= room, q, high + n_high);
        *high_in = (uint8_t)(n_high - before); /* 64 at most */
    }
    return n_high;
}

/* What is left of x after rounding, times 256. */
AI i32v part_of(f32v x, i32v whole) {
    i32v part = round_i((x - to_float(whole)) * 256.0f);
    part = part > 127 ? splat_i(127) : part;
    return part < -127 ? splat_i(-127) : part;
}

static void quantize(const float *x, uint32_t n, float over, rz_xq *q, rz_xlow *low, size_t q_rows) {
    f32v a = splat(0), b = splat(0);
    for (uint32_t k = 0; k < n; k += 32) {
        a = fma_f(load_f(x + k), load_f(x + k), a);
        b = fma_f(load_f(x + k + 16), load_f(x + k + 16), b);
    }
    const float fine = over * sqrtf(sum_f(a + b) / (float)n);
    for (uint32_t k = 0; k < n; k += 32, x += 32, q += q_rows, low += q_rows) {
        const f32v u = load_f(x), v = load_f(x + 16);
        /* As integers NaN > infinity > all numbers, so the largest magnitude tells them too. */
        const u32v bits_u = (u32v)u & 0x7fffffffu, bits_v = (u32v)v & 0x7fffffffu;
        const uint32_t top_bits = __builtin_reduce_max(bits_u > bits_v ? bits_u : bits_v);
        float top;
        memcpy(&top, &top_bits, 4);
        const bool is_finite = top_bits < 0x7f800000u, is_zero = !(is_finite && top > 1e-30f);
        const float inverse = is_zero ? 0.0f : 127.0f / top;
        q->is_fine = !is_zero && top > fine;
        q->scale = !is_finite ? NAN : is_zero ? 0.0f : top * (1.0f / 127.0f);
        const f32v su = is_finite ? u * inverse : splat(0), sv = is_finite ? v * inverse : splat(0);
        const i32v wu = round_i(su), wv = round_i(sv);
        const i8x32 bytes = bytes_of(wu, wv);
        i8x32 low_bytes = (i8x32)0;
        *(i8x32_u *)q->q = bytes;
        less_of(bytes, q->less);
        q->less_low[0] = q->less_low[1] = 0;
        if (q->is_fine) {
            low_bytes = bytes_of(part_of(su, wu), part_of(sv, wv));
            less_of(low_bytes, q->less_low);
        }
        *(i8x32_u *)low->q = low_bytes;
        q->less[2] = q->less[0] + q->less[1];
        q->sum = q->scale * (-(float)q->less[2] - (float)(q->less_low[0] + q->less_low[1]) * 0x1p-8f);
    }
}

AI f32v silu_f(f32v x) { return x / (1.0f + exp_f(-x)); }
AI f32v gelu_tanh_f(f32v x) {
    /* 0.5 x (1 + tanh u) = x / (1 + e^-2u) */
    const f32v u = x * fma_f(x * x, splat(0.044715f * 0.7978845608f), splat(0.7978845608f));
    return x / (1.0f + exp_f(-2.0f * u));
}
AI f32v gelu_erf_f(f32v x) { return 0.5f * x * (1.0f + erf_f(x * 0.70710678f)); }

static void glu(uint32_t kind, float alpha, float limit, const float *g, const float *u, uint32_t n, float *y) {
#define SILU(LOAD, STORE) STORE(y + i, silu_f(LOAD(g + i)) * LOAD(u + i))
#define GELU_TANH(LOAD, STORE) STORE(y + i, gelu_tanh_f(LOAD(g + i)) * LOAD(u + i))
#define GELU_ERF(LOAD, STORE) STORE(y + i, gelu_erf_f(LOAD(g + i)) * LOAD(u + i))
#define CLAMPED(LOAD, STORE)                                                                                         \
    f32v a = LOAD(g + i), b = LOAD(u + i);                                                                           \
    a = a > limit ? splat(limit) : a;                                                                                \
    b = b > limit ? splat(limit) : b < -limit ? splat(-limit) : b;                                                   \
    STORE(y + i, a / (1.0f + exp_f(-alpha * a)) * (b + 1.0f))
    switch (kind) {
    case 0: EACH_16(n, SILU); break;
    case 1: EACH_16(n, GELU_TANH); break;
    case 2: EACH_16(n, GELU_ERF); break;
    default: EACH_16(n, CLAMPED); break;
    }
}

static void unary(uint32_t kind, const float *x, uint32_t n, float *y) {
#define U_SILU(LOAD, STORE) STORE(y + i, silu_f(LOAD(x + i)))
#define U_GELU_TANH(LOAD, STORE) STORE(y + i, gelu_tanh_f(LOAD(x + i)))
#define U_GELU_ERF(LOAD, STORE) STORE(y + i, gelu_erf_f(LOAD(x + i)))
#define RELU(LOAD, STORE)                                                                                            \
    const f32v a = LOAD(x + i);                                                                                      \
    STORE(y + i, a < 0.0f ? splat(0) : a)
#define RELU2(LOAD, STORE)                                                                                           \
    const f32v a = LOAD(x + i);                                                                                      \
    STORE(y + i, a < 0.0f ? splat(0) : a * a)
#define SIGMOID(LOAD, STORE) STORE(y + i, 1.0f / (1.0f + exp_f(-LOAD(x + i))))
#define TANH(LOAD, STORE) STORE(y + i, tanh_f(LOAD(x + i)))
    switch (kind) {
    case 0: EACH_16(n, U_SILU); break;
    case 1: EACH_16(n, U_GELU_TANH); break;
    case 2: EACH_16(n, U_GELU_ERF); break;
    case 3: EACH_16(n, RELU); break;
    case 4: EACH_16(n, RELU2); break;
    case 5: EACH_16(n, SIGMOID); break;
    default: EACH_16(n, TANH); break;
    }
}

static void add(const float *a, const float *b, uint32_t n, float *y) {
#define BODY(LOAD, STORE) STORE(y + i, LOAD(a + i) + LOAD(b + i))
    EACH_16(n, BODY);
#undef BODY
}

static void mul(const float *a, const float *b, uint32_t n, float *y) {
#define BODY(LOAD, STORE) STORE(y + i, LOAD(a + i) * LOAD(b + i))
    EACH_16(n, BODY);
#undef BODY
}

static void scale(const float *x, float f, uint32_t n, float *y) {
#define BODY(LOAD, STORE) STORE(y + i, LOAD(x + i) * f)
    EACH_16(n, BODY);
#undef BODY
}

static void softcap(const float *x, float cap, uint32_t n, float *y) {
    const float inverse = 1.0f / cap;
#define BODY(LOAD, STORE) STORE(y + i, tanh_f(LOAD(x + i) * inverse) * cap)
    EACH_16(n, BODY);
#undef BODY
}

static void rope(const float *x, const float *cos, const float *sin, uint32_t n, uint32_t n_rot, uint32_t pairs,
                 float *y) {
    const uint32_t half = n_rot / 2;
    if (pairs) {
        typedef float f8 __attribute__((ext_vector_type(8)));
        uint32_t k = 0;
        for (; k + 8 <= half; k += 8) {
            f8 c, s;
            memcpy(&c, cos + k, 32);
            memcpy(&s, sin + k, 32);
            const f32v v = load_f(x + 2 * k);
            const f8 a = v.even, b = v.odd;
            f32v r;
            r.even = a * c - b * s;
            r.odd = a * s + b * c;
            store_f(y + 2 * k, r);
        }
        for (; k < half; k++) {
            const float a = x[2 * k], b = x[2 * k + 1];
            y[2 * k] = a * cos[k] - b * sin[k];
            y[2 * k + 1] = a * sin[k] + b * cos[k];
        }
    } else {
#define BODY(LOAD, STORE)                                                                                            \
    const f32v a = LOAD(x + i), b = LOAD(x + half + i), c = LOAD(cos + i), s = LOAD(sin + i);                        \
    STORE(y + i, a *c - b * s);                                                                                      \
    STORE(y + half + i, a *s + b * c)
        EACH_16(half, BODY);
#undef BODY
    }
    if (y != x && n_rot < n) memcpy(y + n_rot, x + n_rot, (n - n_rot) * sizeof(float));
}

/* rz_exp_f32 (exp_f32.h), number by number: no multiply-adds, so that every instruction set has its bits. */
AI f32v exp_plain(f32v x) {
    const f32v clamped = x > -87.0f ? x : -87.0f;
    const f32v shifted = clamped * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    const f32v r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
    f32v p = splat(1.0f / 5040.0f);
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const f32v power = (f32v)(((u32v)shifted + 127u) << 23);
    return x > -87.0f ? p * power : splat(0);
}

static double exp_sum(const float *x, uint32_t n, float max) {
    typedef double f64x8 __attribute__((ext_vector_type(8)));
    double total = 0;
    for (uint32_t first = 0; first < n; first += 256) {
        const uint32_t end = n - first < 256 ? n : first + 256;
        f64x8 lanes = 0;
        uint32_t i = first;
        for (; i + 16 <= end; i += 16) {
            const f32v e = exp_plain(load_f(x + i) - max);
            lanes += __builtin_convertvector(e.lo, f64x8);
            lanes += __builtin_convertvector(e.hi, f64x8);
        }
        if (i < end) {
            float e[16];
            store_f(e, exp_plain(load_part(x + i, end - i) - max));
            uint32_t k = 0;
            for (; i + k + 8 <= end; k += 8)
                for (uint32_t l = 0; l < 8; l++) lanes[l] += (double)e[k + l];
            for (; i + k < end; k++) lanes[0] += (double)e[k];
        }
        double sum = 0;
        for (uint32_t l = 0; l < 8; l++) sum += lanes[l];
        total += sum;
    }
    return total;
}

extern const rz_cpu_rows RZ_CPU_TABLE(rz_cpu_rows);
const rz_cpu_rows RZ_CPU_TABLE(rz_cpu_rows) = {
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .to_int8 = to_int8,
    .quantize = quantize,
    .glu = glu,
    .unary = unary,
    .add = add,
    .mul = mul,
    .scale = scale,
    .softcap = softcap,
    .rope = rope,
    .exp_sum = exp_sum,
};
