/* cpu_kernels_test.c - the kernels of the CPU executor, each instruction set that runs here, against doubles: layouts,
 * products (straight and by panels, which must agree bit for bit), work on rows. Attention: cpu_attention_test.c. */
#include "cpu_fixture.h"
#include "sample.h"

#define MAX_ROWS 13u

static void test_layouts(void) {
    for (size_t d = 0; d < sizeof all_dtypes / sizeof all_dtypes[0]; d++) {
        for (uint32_t use = 1; use <= 8; use *= 2) {
            const uint32_t block = rz_dtype_find(all_dtypes[d])->block_size, cols = block == 1 ? 37 : 3 * block;
            const uint32_t rows = use == RZ_USE_VECTOR ? 1 : 37, experts = use == RZ_USE_MOE ? 3 : 1;
            fixture f = fixture_open(all_dtypes[d], use, rows, cols, experts);
            float *back = malloc((size_t)rows * experts * cols * sizeof(float));
            rz_cpu_weight_read(NULL, &f.t, 0, rows * experts, back);
            CHECK(memcmp(back, f.rows, (size_t)rows * experts * cols * sizeof(float)) == 0);
            free(back);
            fixture_close(&f);
        }
    }
}

/* Rows of activations in int8, and what their numbers are then. */
static rz_x8 open_x8(const rz_cpu_kernels *k, const float *x, uint32_t n_rows, uint32_t cols, float *used) {
    const size_t blocks = cols / 32;
    rz_xblock *q = aligned_alloc(64, n_rows * blocks * sizeof(rz_xblock));
    rz_xhigh *high = malloc(n_rows * rz_x_highs(cols) * sizeof(rz_xhigh));
    uint32_t *n_high = malloc(n_rows * sizeof(uint32_t));
    uint8_t *n_high_in = malloc((size_t)n_rows * rz_n_parts((uint32_t)blocks));
    for (uint32_t r = 0; r < n_rows; r++) {
        const float *from = x + (size_t)r * cols;
        double *to = malloc(cols * sizeof(double)), square = 0;
        rz_xhigh *mine = high + r * rz_x_highs(cols);
        n_high[r] = k->rows->to_int8(from, cols, q + r, n_rows, mine, n_high_in + r);
        CHECK(n_high[r] <= rz_x_highs(cols));
        for (uint32_t i = 0; i < cols; i++) {
            const rz_xblock *b = &q[(size_t)(i / 32) * n_rows + r];
            CHECK(b->q[i % 32] >= -RZ_X_TOP && b->q[i % 32] <= RZ_X_TOP);
            to[i] = b->q[i % 32] * (double)b->scale;
            square += (double)from[i] * from[i] / cols;
        }
        for (uint32_t e = 0; e < n_high[r]; e++) {
            CHECK(e == 0 || mine[e - 1].line < mine[e].line);
            for (uint32_t i = 0; i < 4; i++) to[4 * mine[e].line + i] += mine[e].high[i] * (double)mine[e].scale;
        }
        for (uint32_t b = 0; b < blocks; b++) { /* as near as the largest number that is no outlier allows */
            double rest = 0, top = 0;
            for (uint32_t i = 32 * b; i < 32 * b + 32; i++) {
                const double a = fabs((double)from[i]);
                top = fmax(top, a);
                if (a <= RZ_OUTLIER_OVER_RMS * sqrt(square) * 1.0001) rest = fmax(rest, a);
            }
            const double step = fmax(rest / RZ_X_TOP, top / 16192) * 1.0001;
            for (uint32_t i = 32 * b; i < 32 * b + 32; i++) CHECK_NEAR(to[i], from[i], 0.501 * step);
        }
        for (uint32_t i = 0; i < cols; i++) used[(size_t)r * cols + i] = (float)to[i];
        free(to);
    }
    return (rz_x8){.blocks = q,
                   .n_rows = n_rows,
                   .high = high,
                   .high_stride = rz_x_highs(cols),
                   .n_high = n_high,
                   .n_high_in = n_high_in};
}

/* The same by panels, in tiles like those of `direct`. */
static void multiply_panels(const rz_cpu_panels *k, const fixture *f, const rz_x8 *x, float *c) {
    const uint32_t layout = rz_cpu_layout_of(&f->t.spec), stripes = rz_cpu_stripes(f->t.spec.rows);
    const uint32_t blocks = f->t.spec.cols / 32, n_rows = (uint32_t)x->n_rows;
    const size_t stripe_bytes = rz_cpu_stripe_bytes(layout, f->t.spec.cols);
    rz_panel *panels = aligned_alloc(64, RZ_PANEL_BLOCKS * sizeof(rz_panel));
    memset(panels, 0, RZ_PANEL_BLOCKS * sizeof(rz_panel));
    float *sums = malloc((size_t)n_rows * 32 * sizeof(float));
    uint32_t *cursor = malloc(n_rows * sizeof(uint32_t));
    rz_panel_outliers outliers = {.c = sums, .cursor = cursor};
    const uint32_t part_blocks = rz_part_blocks(blocks);
    for (uint32_t t = 0; t < (stripes + 1) / 2; t++, c += 32 * (size_t)n_rows) {
        memset(sums, 0, (size_t)n_rows * 32 * sizeof(float));
        memset(cursor, 0, n_rows * sizeof(uint32_t));
        outliers.counts = x->n_high_in;
        for (uint32_t b = 0; b < blocks; b += part_blocks, outliers.counts += n_rows) {
            const uint32_t n = blocks - b < part_blocks ? blocks - b : part_blocks;
            for (uint32_t h = 0; h < 2 && 2 * t + h < stripes; h++)
                k->unpack[layout](f->t.data + (2 * t + h) * stripe_bytes, blocks, b, n, panels, h);
            const uint8_t *next[2] = {f->t.data, f->t.data};
            k->multiply[layout](panels, x, 0, n_rows, b, n, c, &outliers, next, 64);
        }
        for (uint32_t r = 0; r < n_rows; r++) {
            CHECK(cursor[r] == x->n_high[r]);
            for (uint32_t i = 0; i < 32 && cursor[r] > 0; i++) c[32 * r + i] += sums[32 * r + i];
        }
    }
    free(panels), free(sums), free(cursor);
}

/* BF16 weights times activations rounded to BF16, which `used` becomes; each row alone has the same bits. */
static void multiply_bf16(const rz_cpu_kernels *k, const fixture *f, const float *x, uint32_t n_rows, float *c,
                          float *used) {
    const uint32_t cols = f->t.spec.cols, stripes = rz_cpu_stripes(f->t.spec.rows);
    const size_t stride = rz_x_halves(cols), stripe_bytes = rz_cpu_stripe_bytes(RZ_LAYOUT_BF16, cols);
    uint16_t *halves = malloc(n_rows * stride * sizeof(uint16_t));
    for (uint32_t r = 0; r < n_rows; r++) {
        k->bf16->round(x + (size_t)r * cols, cols, halves + r * stride);
        for (uint32_t i = 0; i < cols; i++) {
            const uint32_t bits = (uint32_t)halves[r * stride + i] << 16;
            float *to = used + (size_t)r * cols + i;
            memcpy(to, &bits, 4);
            CHECK_NEAR(*to, x[(size_t)r * cols + i], fabsf(x[(size_t)r * cols + i]) * 0x1p-8);
        }
    }
    k->bf16->direct(f->t.data, stripe_bytes, stripes, halves, stride, n_rows, cols, c, 32 * (size_t)n_rows);
    float *one = malloc((stripes + 1) / 2 * 32 * sizeof(float));
    for (uint32_t r = 0; r < n_rows; r++) {
        k->bf16->direct(f->t.data, stripe_bytes, stripes, halves + r * stride, stride, 1, cols, one, 32);
        for (uint32_t t = 0; t < stripes; t++)
            CHECK(memcmp(one + 16 * t, c + t / 2 * 32 * n_rows + 32 * r + t % 2 * 16, 64) == 0);
    }
    free(halves), free(one);
}

/* Products by every way; got[row][32 * tile ...] is compared with rows of w times x in doubles. */
static void check_product(const rz_cpu_kernels *k, const fixture *f, const float *x, uint32_t n_rows, bool by_bf16) {
    const uint32_t layout = rz_cpu_layout_of(&f->t.spec), rows = f->t.spec.rows, cols = f->t.spec.cols;
    const uint32_t stripes = rz_cpu_stripes(rows), tiles = (stripes + 1) / 2;
    const size_t stripe_bytes = rz_cpu_stripe_bytes(layout, cols), tile_stride = 32 * n_rows;
    float *c = aligned_alloc(64, 2 * tiles * tile_stride * sizeof(float)), *by_panel = c + tiles * tile_stride;
    memset(c, 0, 2 * tiles * tile_stride * sizeof(float));
    float *used = malloc((size_t)n_rows * cols * sizeof(float)); /* the activations as the kernels see them */
    memcpy(used, x, (size_t)n_rows * cols * sizeof(float));
    if (layout < RZ_N_INT8) {
        const rz_x8 x8 = open_x8(k, x, n_rows, cols, used);
        k->few->direct[layout](f->t.data, stripe_bytes, stripes, &x8, 0, n_rows, cols / 32, c, tile_stride);
        for (const rz_cpu_panels *way = &k->int8->panels; way; way = way == k->pairs ? NULL : k->pairs) {
            if (!way->unpack[layout]) continue;
            memset(by_panel, 0, tiles * tile_stride * sizeof(float));
            multiply_panels(way, f, &x8, by_panel);
            for (uint32_t r = 0; r < n_rows; r++)
                for (uint32_t i = 0; i < rows; i++) {
                    const size_t at = i / 32 * tile_stride + 32 * r + i % 32;
                    CHECK(memcmp(c + at, by_panel + at, sizeof(float)) == 0);
                }
        }
        free((void *)x8.blocks), free((void *)x8.high), free((void *)x8.n_high),
            free((void *)x8.n_high_in);
    } else if (by_bf16) {
        multiply_bf16(k, f, x, n_rows, c, used);
    } else {
        k->floats->direct[layout - RZ_LAYOUT_F32](f->t.data, stripe_bytes, stripes, x, cols, n_rows, cols, c,
                                                  tile_stride);
    }
    float *got = malloc((size_t)n_rows * rows * sizeof(float));
    double *want = malloc((size_t)n_rows * rows * sizeof(double));
    for (uint32_t r = 0; r < n_rows; r++) {
        for (uint32_t i = 0; i < rows; i++) {
            double sum = 0;
            const float *w = f->rows + (size_t)i * cols;
            for (uint32_t j = 0; j < cols; j++) sum += (double)w[j] * used[(size_t)r * cols + j];
            want[(size_t)r * rows + i] = sum;
            got[(size_t)r * rows + i] = c[i / 32 * tile_stride + 32 * r + i % 32];
        }
    }
    CHECK_NEAR(error_of(got, want, (size_t)n_rows * rows), 0, 1e-11);
    free(got), free(want), free(used), free(c);
}

/* is_short: what an emulator can do in seconds. */
static void test_products(const rz_cpu_kernels *k, bool is_short) {
    float *x = malloc(MAX_ROWS * 768 * sizeof(float));
    for (size_t d = 0; d < sizeof all_dtypes / sizeof all_dtypes[0]; d++) {
        const uint32_t block = rz_dtype_find(all_dtypes[d])->block_size;
        const uint32_t cols = block == 1 ? 75 : block == 32 ? 608 : 768;
        fixture f = fixture_open(all_dtypes[d], RZ_USE_MATMUL, is_short ? 35 : 83, cols, 1);
        if (rz_cpu_layout_of(&f.t.spec) != RZ_LAYOUT_ROWS) {
            for (uint32_t n = is_short ? 2 : 1; n <= MAX_ROWS; n += is_short ? 5 : 1) {
                random_floats(x, (size_t)n * cols, n == 5 ? 1e5f : 1);
                /* outliers: few, many in a block, one that leaves the others no more than a step */
                for (uint32_t i = 0; i < n * cols; i += 1 + random_u32() % 90) x[i] *= 9;
                for (uint32_t i = 0; i < 32 && n % 3 == 1; i++) x[i + cols / 32 / 2 * 32] *= 5;
                if (n % 4 == 2) x[random_u32() % cols] = 3e4f;
                check_product(k, &f, x, n, false);
                if (k->bf16 && all_dtypes[d] == RZ_BF16) check_product(k, &f, x, n, true);
            }
        }
        fixture_close(&f);
    }
    free(x);
}

/* A block with NaN or infinity makes all its products NaN, and nothing else. */
static void test_not_finite(const rz_cpu_kernels *k) {
    float x[128];
    rz_xblock q[4];
    rz_xhigh high[16];
    uint8_t n_high_in;
    CHECK(rz_x_highs(128) <= 16);
    for (int inf = 0; inf < 2; inf++) {
        random_floats(x, 128, 1);
        x[70] = inf ? -INFINITY : NAN;
        CHECK(k->rows->to_int8(x, 128, q, 1, high, &n_high_in) == 0);
        for (int b = 0; b < 4; b++) CHECK(isnan(q[b].scale) == (b == 2) && isnan(q[b].sum) == (b == 2));
    }
    memset(x, 0, sizeof x);
    CHECK(k->rows->to_int8(x, 128, q, 1, high, &n_high_in) == 0);
    CHECK(q[0].scale == 0 && q[3].sum == 0 && q[1].q[5] == 0);
}

static double silu(double x) { return x / (1 + exp(-x)); }
static double gelu_tanh(double x) {
    return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}
static double gelu_erf(double x) { return 0.5 * x * (1 + erf(x * 0.7071067811865476)); }
static double unary_of(uint32_t kind, double x) {
    switch (kind) {
    case 0: return silu(x);
    case 1: return gelu_tanh(x);
    case 2: return gelu_erf(x);
    case 3: return x > 0 ? x : 0;
    case 4: return x > 0 ? x * x : 0;
    case 5: return 1 / (1 + exp(-x));
    default: return tanh(x);
    }
}

static void test_rows(const rz_cpu_kernels *k) {
    enum { N = 83 };
    float x[N], u[N], w[N], b[N], y[N];
    double want[N];
    for (int trial = 0; trial < 6; trial++) {
        const uint32_t n = trial < 3 ? N : (uint32_t)trial * 16 - 47;
        const float size = trial % 3 == 0 ? 1 : trial % 3 == 1 ? 30 : 0.01f;
        random_floats(x, n, size), random_floats(u, n, size), random_floats(w, n, 1), random_floats(b, n, 1);
        double mean = 0, square = 0, var = 0;
        for (uint32_t i = 0; i < n; i++) mean += x[i] / (double)n, square += x[i] * (double)x[i] / n;
        for (uint32_t i = 0; i < n; i++) var += (x[i] - mean) * (x[i] - mean) / n;
        for (uint32_t i = 0; i < n; i++) want[i] = x[i] / sqrt(square + 1e-5) * w[i];
        k->rows->rms_norm(x, w, n, 1e-5f, y);
        CHECK_NEAR(error_of(y, want, n), 0, 1e-12);
        for (uint32_t i = 0; i < n; i++) want[i] = x[i] / sqrt(square + 1e-5);
        k->rows->rms_norm(x, NULL, n, 1e-5f, y);
        CHECK_NEAR(error_of(y, want, n), 0, 1e-12);
        for (uint32_t i = 0; i < n; i++) want[i] = (x[i] - mean) / sqrt(var + 1e-5) * w[i] + b[i];
        k->rows->layer_norm(x, w, b, n, 1e-5f, y);
        CHECK_NEAR(error_of(y, want, n), 0, 1e-12);
        for (uint32_t kind = 0; kind < 7; kind++) {
            for (uint32_t i = 0; i < n; i++) want[i] = unary_of(kind, x[i]);
            k->rows->unary(kind, x, n, y);
            CHECK_NEAR(error_of(y, want, n), 0, kind == 2 ? 1e-10 : 1e-12);
        }
        for (uint32_t kind = 0; kind < 3; kind++) {
            for (uint32_t i = 0; i < n; i++) want[i] = unary_of(kind, x[i]) * u[i];
            k->rows->glu(kind, 0, 0, x, u, n, y);
            CHECK_NEAR(error_of(y, want, n), 0, kind == 2 ? 1e-10 : 1e-12);
        }
        for (uint32_t i = 0; i < n; i++) {
            const double g = x[i] < 7 ? x[i] : 7, v = u[i] < -7 ? -7 : u[i] > 7 ? 7 : u[i];
            want[i] = g / (1 + exp(-1.702 * g)) * (v + 1);
        }
        k->rows->glu(3, 1.702f, 7, x, u, n, y);
        CHECK_NEAR(error_of(y, want, n), 0, 1e-12);
        for (uint32_t i = 0; i < n; i++) want[i] = 30 * tanh(x[i] / 30.0);
        k->rows->softcap(x, 30, n, y);
        CHECK_NEAR(error_of(y, want, n), 0, 1e-12);
    }
    for (uint32_t i = 0; i < N; i++) x[i] = i == 40 ? NAN : (float)i;
    k->rows->unary(0, x, N, y);
    for (uint32_t i = 0; i < N; i++) CHECK(isnan(y[i]) == (i == 40));
}

static void test_rope(const rz_cpu_kernels *k) {
    enum { N = 80, ROT = 44 };
    float x[N], y[N], cosines[ROT / 2], sines[ROT / 2];
    double want[N];
    random_floats(x, N, 1);
    for (int i = 0; i < ROT / 2; i++) cosines[i] = (float)cos(i * 0.3), sines[i] = (float)sin(i * 0.3);
    for (uint32_t pairs = 0; pairs < 2; pairs++) {
        for (int i = 0; i < N; i++) want[i] = x[i];
        for (int i = 0; i < ROT / 2; i++) {
            const int p = pairs ? 2 * i : i, q = pairs ? 2 * i + 1 : i + ROT / 2;
            want[p] = (double)x[p] * cosines[i] - (double)x[q] * sines[i];
            want[q] = (double)x[p] * sines[i] + (double)x[q] * cosines[i];
        }
        k->rows->rope(x, cosines, sines, N, ROT, pairs, y);
        CHECK_NEAR(error_of(y, want, N), 0, 1e-13);
    }
}

/* The sum of exponents has the bits of the sampler's own, whatever the length. */
static void test_exp_sum(const rz_cpu_kernels *k) {
    static const uint32_t lengths[] = {1, 7, 8, 15, 16, 17, 255, 256, 257, 264, 511, 1000, 3001};
    float x[3001];
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        float max = -INFINITY;
        for (uint32_t j = 0; j < lengths[i]; j++) {
            x[j] = j % 97 == 3 ? -INFINITY : 40.0f * random_normal();
            max = x[j] > max ? x[j] : max;
        }
        const double ours = k->rows->exp_sum(x, lengths[i], max), expected = rz_exp_sum(x, lengths[i], max);
        double exact = 0;
        for (uint32_t j = 0; j < lengths[i]; j++) exact += exp((double)x[j] - max);
        CHECK(memcmp(&ours, &expected, sizeof ours) == 0);
        CHECK_NEAR(ours, exact, 1e-6 * exact);
    }
}

/* `short`: fewer shapes, and only the best instruction sets. */
int main(int n_args, char **args) {
    const bool is_short = n_args > 1 && strcmp(args[1], "short") == 0;
    if (!is_short) test_layouts();
    uint32_t n_isas = 0;
    for (size_t i = 0; i < sizeof all_isas / sizeof all_isas[0]; i++) {
        if (!rz_cpu_isa_usable(all_isas[i]) || (is_short && all_isas[i] == RZ_ISA_BASE)) continue;
        const rz_cpu_kernels *k = rz_cpu_kernels_for(all_isas[i]);
        CHECK(k->isa == all_isas[i]);
        n_isas++;
        test_products(k, is_short);
        test_not_finite(k);
        test_rows(k);
        test_rope(k);
        test_exp_sum(k);
        printf("cpu_kernels: %s, %d checks so far\n", k->name, test_n_checks);
    }
    CHECK(n_isas >= 1);
    return TEST_RESULT("cpu_kernels");
}
