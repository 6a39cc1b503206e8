/* cpu_program_test.c - the CPU executor against the reference executor, op by op and model by model, on every
 * instruction set that runs here; and what must not change a bit: fusion, threads, chunks, neighbours. */
#define FIXTURE_PAGES 40u
#define FIXTURE_TOKENS_MAX 160u
#include "program_fixture.h"
#include "cpu/isa.h"

#define VOCAB 80u /* as in build_zoo */
#define PARTS_MAX 4u

static const uint32_t all_isas[] = {RZ_ISA_BASE, RZ_ISA_AVX2, RZ_ISA_AVX512, RZ_ISA_DOTPROD, RZ_ISA_I8MM};
static const uint32_t all_dtypes[] = {RZ_F32,  RZ_F16,  RZ_BF16, RZ_Q4_0, RZ_Q4_1, RZ_Q5_0,   RZ_Q5_1,  RZ_Q8_0,
                                      RZ_Q2_K, RZ_Q3_K, RZ_Q4_K, RZ_Q5_K, RZ_Q6_K, RZ_IQ4_NL, RZ_IQ4_XS};
#define N_DTYPES (sizeof all_dtypes / sizeof all_dtypes[0])
static int32_t tokens[2600];

static rz_plan_options options_of(uint32_t flags) {
    return (rz_plan_options){.size = sizeof(rz_plan_options),
                             .flags = flags,
                             .max_tokens = FIXTURE_TOKENS_MAX,
                             .max_seqs = PARTS_MAX,
                             .max_outs = FIXTURE_TOKENS_MAX};
}

/* Squared error over squared reference. */
static double error_of(const float *got, const float *want, size_t n) {
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        size += (double)want[i] * want[i];
    }
    return size > 0 ? error / size : error;
}

/* Runs a plan's steps on an executor and reads `value` after the last: [rows of it][cols], from malloc. */
static float *run(const rz_backend *backend, builder *b, uint32_t flags, uint32_t kv_dtype, uint32_t value,
                  const part *steps[], const uint32_t n_parts[], uint32_t n_steps, size_t *n) {
    fixture f;
    random_state = 88172645463325252u; /* the same weights each time */
    float *out = NULL;
    if (fixture_open(&f, backend, b)) {
        if (f.ir.n_groups) fixture_cache(&f, kv_dtype);
        const rz_plan_options options = options_of(flags);
        fixture_program(&f, &options);
        for (uint32_t s = 0; s < n_steps; s++) CHECK(fixture_step(&f, steps[s], n_parts[s]) == RZ_OK);
        uint32_t rows = 0;
        for (uint32_t i = 0; i < n_parts[n_steps - 1]; i++) rows += steps[n_steps - 1][i].n_new;
        if (f.ir.values[value - 1].rows == RZ_ROWS_TK) rows *= 2;
        if (f.ir.values[value - 1].rows == RZ_ROWS_S) rows = n_parts[n_steps - 1];
        *n = (size_t)rows * f.ir.values[value - 1].cols;
        out = malloc(*n * sizeof *out);
        CHECK(f.backend->value_read(f.program, value, 0, rows, out) == RZ_OK);
    }
    fixture_close(&f);
    return out;
}

/* One step of 3 sequences; the last op's first result on both executors. */
static void check_op(builder *b, double threshold, uint32_t rows_a, uint32_t rows_b) {
    const part parts[] = {{0, rows_a, tokens, 1}, {0, 1, tokens + 50, 5}, {0, rows_b, tokens + 60, 9}};
    const part *steps[] = {parts};
    const uint32_t n_parts[] = {3}, value = b->ops[b->header.n_ops - 1].out[0];
    b->values[value - 1].flags = RZ_VALUE_OUTPUT;
    size_t n = 0, m = 0;
    float *want = run(&rz_backend_ref, b, 0, RZ_F32, value, steps, n_parts, 1, &n);
    float *got = run(&rz_backend_cpu, b, 0, RZ_F32, value, steps, n_parts, 1, &m);
    CHECK(n == m);
    const double error = error_of(got, want, n);
    if (!(error <= threshold)) {
        fprintf(stderr, "op %u, weight type %u: error %g\n", b->ops[b->header.n_ops - 1].code,
                b->header.n_weights ? b->weights[b->header.n_weights - 1].dtype : 0, error);
    }
    CHECK(error <= threshold);
    free(want), free(got);
}

/* Embeds tokens into `cols` columns; x is about 1. */
static uint32_t begin(builder *b, uint32_t cols) {
    begin_plan(b, VOCAB, cols);
    const uint32_t x = add_embed(b, RZ_F32);
    b->ops[0].f[0] = 4;
    return x;
}

#define EXACT 1e-11
#define INT8 1e-4 /* activations in 8 bits */
#define HALF 1e-5 /* activations in BF16 */

/* step: every step-th type. */
static void test_products(size_t step) {
    static builder b;
    for (size_t d = 0; d < N_DTYPES; d += step) {
        const uint32_t type = all_dtypes[d], block = rz_dtype_find(type)->block_size, cols = block == 1 ? 45 : 256;
        const bool is_exact = block == 1 || type == RZ_Q5_1 || type == RZ_Q2_K || type == RZ_IQ4_XS;
        const double threshold = type == RZ_BF16 ? HALF : is_exact ? EXACT : INT8;
        for (uint32_t rows = 1; rows <= 100; rows += rows == 1 ? 36 : 63) {
            add_matmul(&b, begin(&b, cols), add_matrix(&b, rows, cols, type), rows == 37 ? add_vector(&b, rows) : 0);
            check_op(&b, threshold, 2, 3);
            if (rows == 100) check_op(&b, threshold, 33, 4); /* panels */
        }
        rz_op *op = NULL;
        uint32_t x = begin(&b, 2 * cols);
        op = add_op(&b, RZ_OP_HEAD_MATMUL);
        *op = (rz_op){.code = RZ_OP_HEAD_MATMUL, .layer = RZ_LAYER_NONE, .in = {x}, .n = {2}};
        op->w[0] = add_matrix(&b, 2 * 27, cols, type);
        add_out(&b, op, RZ_ROWS_T, 54, RZ_F32);
        check_op(&b, threshold, 3, 5);
        x = begin(&b, cols);
        rz_op *select = add_op(&b, RZ_OP_SELECT_ROWS);
        select->in[0] = x;
        x = add_out(&b, select, RZ_ROWS_R, cols, RZ_F32);
        op = add_op(&b, RZ_OP_LOGITS);
        op->in[0] = x;
        op->w[0] = add_matrix(&b, VOCAB, cols, type);
        op->f[0] = 3, op->f[1] = 0.5f;
        add_out(&b, op, RZ_ROWS_R, VOCAB, RZ_F32);
        check_op(&b, threshold, 3, 5);
        /* The embedding of every type. */
        begin_plan(&b, VOCAB, block == 1 ? 33 : 256);
        add_embed(&b, type);
        check_op(&b, 0, 20, 3);
    }
}

static void test_rows(void) {
    static builder b;
    for (uint32_t cols = 6; cols <= 108; cols += 51) {
        add_norm(&b, begin(&b, cols));
        check_op(&b, EXACT, 2, 30);
        add_like(&b, RZ_OP_RMS_NORM, begin(&b, cols), 0, 0, cols / 3, 1e-6f);
        check_op(&b, EXACT, 2, 30);
        uint32_t x = begin(&b, cols);
        add_like(&b, RZ_OP_RMS_NORM, x, 0, add_vector(&b, cols), cols / 3, 1e-6f);
        check_op(&b, EXACT, 2, 30);
        for (int bias = 0; bias < 2; bias++) {
            x = begin(&b, cols);
            rz_op *norm = add_like(&b, RZ_OP_LAYER_NORM, x, 0, add_vector(&b, cols), 0, 1e-5f);
            if (bias) norm->w[1] = add_vector(&b, cols);
            check_op(&b, EXACT, 2, 30);
        }
        for (uint32_t kind = 0; kind < 7; kind++) {
            add_like(&b, RZ_OP_UNARY, begin(&b, cols), 0, 0, kind, 0);
            check_op(&b, 1e-10, 2, 3);
        }
        for (uint32_t kind = 0; kind < 4; kind++) {
            x = begin(&b, cols);
            const uint32_t y = add_like(&b, RZ_OP_SCALE, x, 0, 0, 0, -0.7f)->out[0];
            rz_op *glu = add_like(&b, RZ_OP_GLU, x, y, 0, kind, kind == 3 ? 1.7f : 0);
            glu->f[1] = kind == 3 ? 0.5f : 0;
            check_op(&b, 1e-10, 2, 3);
        }
        for (uint32_t code = RZ_OP_ADD; code <= RZ_OP_MUL; code++) {
            x = begin(&b, cols);
            add_like(&b, code, x, add_like(&b, RZ_OP_SCALE, x, 0, 0, 0, 3)->out[0], 0, 0, 0);
            check_op(&b, EXACT, 2, 130);
            x = begin(&b, cols);
            add_like(&b, code, x, 0, add_vector(&b, cols), 0, 0);
            check_op(&b, EXACT, 2, 3);
        }
        add_like(&b, RZ_OP_SOFTCAP, begin(&b, cols), 0, 0, 0, 0.3f);
        check_op(&b, EXACT, 2, 3);
        add_like(&b, RZ_OP_ALL_REDUCE, begin(&b, cols), 0, 0, 0, 0);
        check_op(&b, 0, 2, 3);
        for (uint32_t kind = 0; kind < 3; kind++) {
            rz_op *pool = add_op((x = begin(&b, cols), &b), RZ_OP_POOL);
            pool->in[0] = x;
            pool->n[0] = kind;
            add_out(&b, pool, RZ_ROWS_S, cols, RZ_F32);
            check_op(&b, EXACT, 7, 3);
        }
    }
    const double table[] = {1, 0.5, 0.25, 0.01, 1.25};
    for (uint32_t pairs = 0; pairs < 2; pairs++) {
        uint32_t x = begin(&b, 36);
        x = add_rope(&b, x, 12, add_constant(&b, "rope", table, 5), 8);
        b.ops[1].n[2] = pairs;
        check_op(&b, EXACT, 40, 3);
    }
}

/* Router, experts and their sum; k = 2. */
static void test_experts(void) {
    static builder b;
    for (size_t d = 0; d < N_DTYPES; d++) {
        const uint32_t gating = (uint32_t)d % 3;
        const uint32_t cols = rz_dtype_find(all_dtypes[d])->block_size == 1 ? 40 : 256;
        const uint32_t x = begin(&b, cols), router = add_matmul(&b, x, add_matrix(&b, 5, cols, RZ_F32), 0);
        rz_op *route = add_op(&b, RZ_OP_MOE_ROUTE);
        route->in[0] = router;
        route->n[0] = 2, route->n[1] = gating, route->n[2] = gating != 1;
        route->f[0] = 1.5f;
        if (gating == 2) route->w[0] = add_vector(&b, 5);
        const uint32_t weights = add_out(&b, route, RZ_ROWS_TK, 1, RZ_F32);
        const uint32_t ids = add_out(&b, route, RZ_ROWS_TK, 1, RZ_I32);
        uint32_t y = x;
        for (int i = 0; i < 2; i++) { /* from [T] and from [Tk] */
            rz_op *op = add_op(&b, RZ_OP_MOE_MATMUL);
            op->in[0] = y;
            op->in[1] = ids;
            op->n[0] = 2;
            op->w[0] = add_weight(&b, RZ_USE_MOE, i ? 83 : cols, cols, 5, all_dtypes[d]);
            y = add_out(&b, op, RZ_ROWS_TK, i ? 83 : cols, RZ_F32);
        }
        rz_op *combine = add_op(&b, RZ_OP_MOE_COMBINE);
        combine->in[0] = y;
        combine->in[1] = weights;
        combine->n[0] = 2;
        add_out(&b, combine, RZ_ROWS_T, 83, RZ_F32);
        check_op(&b, 3 * INT8, 19, 3);
    }
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

typedef struct shape {
    uint32_t hidden, heads, key_heads, head_cols, feed_forward, window;
    bool has_bias, has_head_norm;
    float cap;
} shape;

/* A model of 2 layers; returns its logits' id. */
static uint32_t build_model(builder *b, uint32_t dtype, const shape *s) {
    double table[33];
    begin_plan(b, VOCAB, s->hidden);
    for (uint32_t i = 0; i < s->head_cols / 2; i++) table[i] = pow(1000, -2.0 * i / s->head_cols);
    table[s->head_cols / 2] = 1;
    const uint32_t rope = add_constant(b, "rope", table, s->head_cols / 2 + 1), d = s->head_cols;
    uint32_t x = add_embed(b, dtype);
    const uint32_t embedding = b->ops[0].w[0];
    for (uint32_t layer = 0; layer < 2; layer++) {
        b->layer = layer;
        const uint32_t n = add_norm(b, x), sizes[3] = {s->heads * d, s->key_heads * d, s->key_heads * d};
        uint32_t qkv[3];
        for (int i = 0; i < 3; i++) {
            const uint32_t w = add_matrix(b, sizes[i], s->hidden, dtype);
            qkv[i] = add_matmul(b, n, w, s->has_bias ? add_vector(b, sizes[i]) : 0);
        }
        for (int i = 0; i < 2; i++) {
            if (s->has_head_norm) qkv[i] = add_like(b, RZ_OP_RMS_NORM, qkv[i], 0, add_vector(b, d), d, 1e-6f)->out[0];
            qkv[i] = add_rope(b, qkv[i], d, rope, d);
        }
        rz_op *write = add_op(b, RZ_OP_KV_WRITE);
        write->in[0] = qkv[1];
        write->in[1] = qkv[2];
        write->n[1] = layer;
        rz_op *attention = add_attention(b, qkv[0], s->heads, s->key_heads, d);
        attention->n[1] = layer;
        attention->n[7] = s->window;
        attention->f[1] = s->cap;
        const uint32_t o = add_matmul(b, attention->out[0], add_matrix(b, s->hidden, s->heads * d, dtype), 0);
        x = add_like(b, RZ_OP_ADD, x, o, 0, 0, 0)->out[0];
        const uint32_t m = add_norm(b, x);
        const uint32_t gate = add_matmul(b, m, add_matrix(b, s->feed_forward, s->hidden, dtype), 0);
        const uint32_t up = add_matmul(b, m, add_matrix(b, s->feed_forward, s->hidden, dtype), 0);
        const uint32_t act = add_like(b, RZ_OP_GLU, gate, up, 0, 0, 0)->out[0];
        const uint32_t down = add_matmul(b, act, add_matrix(b, s->hidden, s->feed_forward, dtype), 0);
        x = add_like(b, RZ_OP_ADD, x, down, 0, 0, 0)->out[0];
    }
    b->layer = RZ_LAYER_NONE;
    return add_logits(b, x, embedding);
}

static const shape small = {.hidden = 64, .heads = 6, .key_heads = 2, .head_cols = 16, .feed_forward = 96};
static const shape wide = {.hidden = 64, .heads = 6, .key_heads = 2, .head_cols = 32, .feed_forward = 96};
static const shape blocks = {.hidden = 256, .heads = 4, .key_heads = 1, .head_cols = 64, .feed_forward = 256};
static const shape normed = {.hidden = 96,
                             .heads = 4,
                             .key_heads = 4,
                             .head_cols = 48,
                             .feed_forward = 160,
                             .window = 37,
                             .has_bias = true,
                             .has_head_norm = true,
                             .cap = 2};

/* A prompt in chunks beside a second sequence, then decodes: the last step's logits. */
static float *run_chat(const rz_backend *backend, builder *b, uint32_t flags, uint32_t kv_dtype, uint32_t logits,
                       size_t *n) {
    const part first[] = {{0, 41, tokens, 1}, {0, 3, tokens + 300, 20}};
    const part second[] = {{41, 40, tokens + 41, 1}, {3, 1, tokens + 303, 20}};
    const part third[] = {{81, 1, tokens + 81, 1}, {4, 2, tokens + 304, 20}};
    const part *steps[] = {first, second, third};
    const uint32_t n_parts[] = {2, 2, 2};
    return run(backend, b, flags, kv_dtype, logits, steps, n_parts, 3, n);
}

static void test_models(size_t step) {
    static builder b;
    for (size_t d = 0; d < N_DTYPES; d += step) {
        const bool is_wide = rz_dtype_find(all_dtypes[d])->block_size == 256;
        const shape *shapes[] = {is_wide ? &blocks : &small, is_wide ? &blocks : &normed};
        for (int i = 0; i < 2 - is_wide; i++) {
            const uint32_t logits = build_model(&b, all_dtypes[d], shapes[i]);
            size_t n = 0;
            float *want = run_chat(&rz_backend_ref, &b, 0, RZ_F32, logits, &n);
            float *fused = run_chat(&rz_backend_cpu, &b, 0, RZ_F32, logits, &n);
            float *plain = run_chat(&rz_backend_cpu, &b, RZ_PLAN_NO_FUSION, RZ_F32, logits, &n);
            float *half = run_chat(&rz_backend_cpu, &b, 0, RZ_F16, logits, &n);
            CHECK_NEAR(error_of(fused, want, n), 0, 5e-4);
            CHECK_NEAR(error_of(half, want, n), 0, 6e-4);
            CHECK(memcmp(fused, plain, n * sizeof *fused) == 0);
            static const uint32_t threads[] = {1, 3, 8};
            for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
                fixture_threads = threads[t];
                float *other = run_chat(&rz_backend_cpu, &b, 0, RZ_F32, logits, &n);
                CHECK(memcmp(fused, other, n * sizeof *fused) == 0);
                free(other);
            }
            fixture_threads = 2;
            free(want), free(fused), free(plain), free(half);
        }
    }
}

/* However a sequence of N tokens is cut into steps, and whoever is beside it, its last logits are the same bits. With
 * 5 threads contexts are attended to in parts. */
static void test_chunks(uint32_t n_tokens, uint32_t kv_dtype, uint32_t dtype, const shape *s) {
    static builder b;
    const uint32_t logits = build_model(&b, dtype, s);
    float *first = NULL;
    static const uint32_t cuts[][2] = {{150, 150}, {1, 1}, {97, 20}, {31, 33}}; /* first chunk, other chunks */
    for (int c = 0; c < 4; c++) {
        static part parts[2600][2];
        static const part *steps[2600];
        static uint32_t n_parts[2600];
        uint32_t n_steps = 0;
        fixture_threads = c == 1 ? 5 : 2;
        for (uint32_t at = 0; at < n_tokens; n_steps++) {
            uint32_t n = cuts[c][at ? 1 : 0];
            if (n > n_tokens - 1 - at) n = at < n_tokens - 1 ? n_tokens - 1 - at : 1; /* the last one alone */
            parts[n_steps][0] = (part){at, n, tokens + at, 1};
            parts[n_steps][1] = (part){n_steps % 50, 1, tokens + 7, 38};
            steps[n_steps] = parts[n_steps];
            n_parts[n_steps] = c < 2 || at + n == n_tokens ? 1 : 2;
            at += n;
        }
        size_t n = 0;
        float *got = run(&rz_backend_cpu, &b, 0, kv_dtype, logits, steps, n_parts, n_steps, &n);
        if (!first) first = got;
        CHECK(n == VOCAB && memcmp(first, got, n * sizeof *got) == 0);
        CHECK(isfinite(got[0]));
        if (got != first) free(got);
    }
    free(first);
    fixture_threads = 2;
}

/* A cache in Q8_0: near the reference with one in F32, the same fused and not, with any threads; and only for heads of
 * whole blocks. */
static void test_q8_cache(void) {
    static builder b;
    const shape normed_wide = {.hidden = 96, .heads = 4, .key_heads = 4, .head_cols = 64, .feed_forward = 160,
                               .window = 37, .has_bias = true, .has_head_norm = true, .cap = 2};
    const shape *shapes[] = {&wide, &blocks, &normed_wide};
    for (int i = 0; i < 3; i++) {
        const uint32_t logits = build_model(&b, RZ_F32, shapes[i]);
        size_t n = 0;
        float *want = run_chat(&rz_backend_ref, &b, 0, RZ_F32, logits, &n);
        float *fused = run_chat(&rz_backend_cpu, &b, 0, RZ_Q8_0, logits, &n);
        float *plain = run_chat(&rz_backend_cpu, &b, RZ_PLAN_NO_FUSION, RZ_Q8_0, logits, &n);
        fixture_threads = 5;
        float *many = run_chat(&rz_backend_cpu, &b, 0, RZ_Q8_0, logits, &n);
        fixture_threads = 2;
        CHECK_NEAR(error_of(fused, want, n), 0, 1e-4);
        CHECK(memcmp(fused, plain, n * sizeof *fused) == 0);
        CHECK(memcmp(fused, many, n * sizeof *fused) == 0);
        free(want), free(fused), free(plain), free(many);
    }
    build_model(&b, RZ_F32, &small); /* heads of 16 columns, two of them a block */
    fixture f;
    CHECK(fixture_open(&f, &rz_backend_cpu, &b));
    fixture_cache(&f, RZ_Q8_0);
    const rz_plan_options options = options_of(0);
    fixture_program(&f, &options);
    const part parts[] = {{0, 5, tokens, 1}};
    CHECK(fixture_step(&f, parts, 1) == RZ_E_UNSUPPORTED);
    CHECK(strstr(rz_fail_message(), "multiples of 32") != NULL);
    fixture_close(&f);
}

static void test_failures(void) {
    static builder b;
    const uint32_t logits = build_model(&b, RZ_Q8_0, &small);
    fixture f;
    CHECK(fixture_open(&f, &rz_backend_cpu, &b));
    const rz_plan_options options = options_of(RZ_PLAN_PROFILE);
    fixture_program(&f, &options);
    const part parts[] = {{0, 50, tokens, 1}};
    atomic_store(&f.cancel, 1);
    CHECK(fixture_step(&f, parts, 1) == RZ_E_CANCELLED);
    atomic_store(&f.cancel, 0);
    CHECK(fixture_step(&f, parts, 1) == RZ_OK);
    rz_brick bricks[64];
    const uint32_t n = f.backend->program_profile(f.program, bricks, 64);
    CHECK(n == f.info.n_launches[0] && n < b.header.n_ops);
    for (uint32_t i = 0; i < n; i++) CHECK(bricks[i].calls >= 1 && bricks[i].code != 0);
    float row[VOCAB];
    CHECK(f.backend->value_read(f.program, 1, 0, 1, row) == RZ_E_ARG);
    /* NaN and infinity in a row: its logits say so, the other sequence's don't. */
    for (int inf = 0; inf < 2; inf++) {
        rz_tensor *embedding = &f.tensors[0];
        float values[64];
        f.backend->weight_read(f.engine, embedding, 5, 1, values);
        const uint16_t bad = inf ? 0x7c00 : 0x7e00; /* block scales of Q8_0 rows: the header of row 5's stripe */
        uint16_t saved;
        memcpy(&saved, embedding->data + 2 * 5, 2);
        memcpy(embedding->data + 2 * 5, &bad, 2);
        const int32_t odd[] = {9, 5, 9}, even[] = {9, 9, 9};
        const part two[] = {{0, 3, odd, 1}, {0, 3, even, 5}};
        float both[6 * VOCAB];
        fixture_read(&f, two, 2, logits, 6, both);
        for (uint32_t r = 0; r < 6; r++) {
            bool finite = true; /* token 5's own logit is bad everywhere: the embedding is the head too */
            for (uint32_t i = 0; i < VOCAB; i++) finite = finite && (i == 5 || isfinite(both[r * VOCAB + i]));
            CHECK(finite == (r == 0 || r > 2));
        }
        memcpy(embedding->data + 2 * 5, &saved, 2);
    }
    fixture_close(&f);
    const uint32_t types[][3] = {
        {RZ_Q8_0, RZ_F16, 64}, {RZ_F32, RZ_F16, 64}, {RZ_BF16, RZ_BF16, 64}, {RZ_Q8_0, RZ_Q8_0, 48}};
    for (int i = 0; i < 4; i++) {
        rz_cache_group group = {.n_layers = 1, .k_cols = types[i][2], .v_cols = 64, .page_tokens = 16};
        group.k_dtype = types[i][0];
        group.v_dtype = types[i][1];
        uint64_t bytes = 0;
        CHECK(rz_backend_cpu.page_bytes(NULL, &group, &bytes) == RZ_E_UNSUPPORTED);
    }
}

int main(void) {
    for (uint32_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) tokens[i] = (int32_t)(random_u32() % VOCAB);
    for (size_t i = 0; i < sizeof all_isas / sizeof all_isas[0]; i++) {
        if (!rz_cpu_isa_usable(all_isas[i])) continue;
        fixture_isa = all_isas[i];
        const bool is_best = rz_cpu_kernels_for(RZ_ISA_AUTO)->isa == all_isas[i];
        test_products(is_best ? 1 : 4);
        test_rows();
        if (is_best) test_experts();
        test_models(is_best ? 1 : 4);
        test_chunks(is_best ? 200 : 152, RZ_F32, RZ_Q4_1, &small);
        printf("cpu_program: isa %u, %d checks so far\n", all_isas[i], test_n_checks);
    }
    fixture_isa = RZ_ISA_AUTO;
    test_chunks(1300, RZ_F16, RZ_F16, &small);
    test_chunks(700, RZ_Q8_0, RZ_F16, &wide);
    test_q8_cache();
    test_failures();
    static builder zoo;
    build_zoo(&zoo);
    check_op(&zoo, EXACT, 20, 17);
    return TEST_RESULT("cpu_program");
}
