/* cuda_program_test.c - plans of every op on the CUDA executor's host half, over a driver whose kernels do nothing
 * (fake_driver.h), under UBSan: every launcher, fusion and size of a step, on GPUs of each kind. What kernels compute
 * is judged on a GPU: tests/cuda_test.ts, tests/native/replay.c. */
#include "fake_driver.h"
#include "program_fixture.h"

extern const rz_backend rz_backend_cuda; /* backend.h has it in builds for GPUs; unit tests always have its host half */

static const uint32_t dtypes[] = {RZ_F32, RZ_F16, RZ_BF16, RZ_Q4_0, RZ_Q5_1, RZ_Q8_0, RZ_Q2_K, RZ_Q4_K, RZ_Q6_K};
static int32_t tokens[FIXTURE_TOKENS_MAX];

/* One layer of 4 heads of 64 over 2, hidden 256: shapes that record products know. `normed`: heads, as Qwen3 has it. */
static void build_wide(builder *b, uint32_t dtype, bool normed) {
    begin_plan(b, 80, 256);
    double table[33];
    for (int i = 0; i < 33; i++) table[i] = i < 32 ? pow(10000, -i / 32.0) : 1;
    const uint32_t rope = add_constant(b, "rope", table, 33);
    uint32_t x = add_embed(b, dtype);
    b->layer = 0;
    const uint32_t n = add_norm(b, x);
    uint32_t q = add_matmul(b, n, add_matrix(b, 256, 256, dtype), 0);
    uint32_t k = add_matmul(b, n, add_matrix(b, 128, 256, dtype), 0);
    const uint32_t v = add_matmul(b, n, add_matrix(b, 128, 256, dtype), 0);
    if (normed) {
        q = add_like(b, RZ_OP_RMS_NORM, q, 0, add_vector(b, 64), 64, 1e-6f)->out[0];
        k = add_like(b, RZ_OP_RMS_NORM, k, 0, add_vector(b, 64), 64, 1e-6f)->out[0];
    }
    q = add_rope(b, q, 64, rope, 64);
    k = add_rope(b, k, 64, rope, 64);
    rz_op *write = add_op(b, RZ_OP_KV_WRITE);
    write->in[0] = k;
    write->in[1] = v;
    rz_op *attention = add_attention(b, q, 4, 2, 64);
    const uint32_t o = add_matmul(b, attention->out[0], add_matrix(b, 256, 256, dtype), 0);
    x = add_like(b, RZ_OP_ADD, x, o, 0, 0, 0)->out[0];
    const uint32_t m = add_norm(b, x);
    const uint32_t gate = add_matmul(b, m, add_matrix(b, 512, 256, dtype), 0);
    const uint32_t up = add_matmul(b, m, add_matrix(b, 512, 256, dtype), 0);
    const uint32_t act = add_like(b, RZ_OP_GLU, gate, up, 0, 0, 0)->out[0];
    x = add_like(b, RZ_OP_ADD, x, add_matmul(b, act, add_matrix(b, 256, 512, dtype), 0), 0, 0, 0)->out[0];
    b->layer = RZ_LAYER_NONE;
    add_logits(b, x, b->ops[0].w[0]);
}

static uint32_t output_of(const builder *b) {
    uint32_t id = 0;
    for (uint32_t i = 0; i < b->header.n_values; i++) {
        if (b->values[i].flags & RZ_VALUE_OUTPUT) id = i + 1;
    }
    return id;
}

/* Steps of many sizes: decodes, which are captured and come again, chunks, several sequences. */
static void run_plan(builder *b, uint32_t flags, uint32_t kv_dtype) {
    static const uint32_t sizes[][3] = {{1, 0, 0}, {1, 0, 0}, {1, 1, 1}, {5, 0, 0}, {8, 0, 0}, {9, 0, 0}, {40, 0, 0},
                                        {33, 1, 6}, {1, 1, 0}, {64, 0, 0}};
    fixture f;
    const rz_plan_options options = {
        .size = sizeof options, .flags = flags, .max_tokens = 64, .max_seqs = 4, .max_outs = 64};
    if (!fixture_open(&f, &rz_backend_cuda, b)) return fixture_close(&f);
    if (f.ir.n_groups > 0) fixture_cache(&f, kv_dtype);
    fixture_program(&f, &options);
    float *out = calloc(64 * 80, sizeof *out);
    for (uint32_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        part parts[3];
        uint32_t n = 0, rows = 0;
        for (; n < 3 && sizes[s][n] > 0; n++) {
            parts[n] = (part){.n_new = sizes[s][n], .tokens = tokens, .first_page = 1 + 2 * n};
            rows += parts[n].n_new;
        }
        const bool good = fixture_step(&f, parts, n) == RZ_OK;
        if (!good) fprintf(stderr, "%u rows, flags %u, cache %u: %s\n", rows, flags, kv_dtype, rz_fail_message());
        CHECK(good);
        const uint32_t id = output_of(b), of = b->values[id - 1].rows == RZ_ROWS_S ? n : rows;
        CHECK(f.backend->value_read(f.program, id, 0, of, out) == RZ_OK);
    }
    rz_brick bricks[64];
    if ((flags & RZ_PLAN_PROFILE) != 0) CHECK(f.backend->program_profile(f.program, bricks, 64) > 0);
    free(out);
    fixture_close(&f);
    CHECK(fake_gpu_is_clean());
}

int main(void) {
    static builder b;
    static const uint32_t flags[] = {0, RZ_PLAN_DETERMINISTIC, RZ_PLAN_NO_FUSION, RZ_PLAN_PROFILE};
    rz_test_driver_set(&fake_driver);
    for (int32_t i = 0; i < (int32_t)FIXTURE_TOKENS_MAX; i++) tokens[i] = i;
    for (int cc_major = 8; cc_major <= 10; cc_major++) {
        for (size_t k = 0; k < sizeof flags / sizeof flags[0]; k++) {
            fake_gpu_reset();
            fake_gpu.cc_major = cc_major;
            build_zoo(&b);
            run_plan(&b, flags[k], RZ_F32);
            for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
                static const uint32_t kv_dtypes[] = {RZ_F16, RZ_Q8_0, RZ_F32};
                build_wide(&b, dtypes[i], i % 2 == 0);
                run_plan(&b, flags[k], kv_dtypes[i % 3]);
                if (rz_dtype_find(dtypes[i])->block_size > 32) continue;
                build_llama(&b, dtypes[i]);
                run_plan(&b, flags[k], i % 2 == 0 ? RZ_F16 : RZ_F32); /* heads of 16 columns: no Q8_0 */
            }
        }
    }
    rz_test_driver_set(NULL);
    return TEST_RESULT("cuda_program_test");
}
