/* fake_backend.h - an executor of a few lines, for tests of the core: weights are kept as in the file, a step's logits
 * name the token after the input token. The id FAKE_NAN makes logits that are not numbers. What a program saw is
 * written down for the test to look at. */
#ifndef RZ_TEST_FAKE_BACKEND_H
#define RZ_TEST_FAKE_BACKEND_H
#include "backend.h"
#include "error.h"
#include "os.h"
#include "sample.h"
#include "test_hooks.h"
#include <math.h>
#include <string.h>

#define FAKE_NAN 7
#define FAKE_VOCAB 80u
#define FAKE_LOG 4096u

typedef struct fake_engine {
    rz_account *account;
} fake_engine;

typedef struct fake_program {
    const rz_plan_ir *ir;
    float *logits; /* [max_rows][vocab] */
    void *scratch;
} fake_program;

/* Shared by all fakes. */
static atomic_uint fake_forwards;
static atomic_uint fake_forward_us; /* how long one takes */
static atomic_bool fake_fails;      /* forwards fail with DEVICE */
static atomic_bool fake_store_fails, fake_read_fails; /* weights, with DEVICE_LOST */
static atomic_int fake_log[FAKE_LOG]; /* first input token of each forward */
static atomic_uint fake_bad_tokens;

static int32_t fake_engine_open(const rz_engine_options *options, rz_account *account, void **engine) {
    (void)options;
    fake_engine *e = rz_alloc(account, RZ_MEMORY_OTHER, sizeof *e, "fake engine");
    if (e == NULL) return RZ_E_OOM_HOST;
    e->account = account;
    *engine = e;
    return RZ_OK;
}

static void fake_engine_close(void *engine) { rz_free(engine); }

static void fake_engine_info(void *engine, rz_engine_info *out) {
    (void)engine;
    out->n_threads = 1;
    memcpy(out->name, "fake", sizeof "fake");
}

static int32_t fake_engine_measure(void *engine, uint32_t what, double *gb_s) {
    (void)engine;
    *gb_s = 10 + what;
    return RZ_OK;
}

static int32_t fake_weight_bytes(void *engine, const rz_weight *spec, uint64_t *bytes) {
    (void)engine;
    *bytes = spec->bytes;
    return RZ_OK;
}

static uint32_t fake_weight_row_unit(void *engine, const rz_weight *spec) {
    (void)engine;
    (void)spec;
    return 16;
}

static int32_t fake_weight_store(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, const uint8_t *src) {
    (void)engine;
    if (atomic_load(&fake_store_fails)) return (int32_t)rz_fail(RZ_E_DEVICE_LOST, "fake: storing weights");
    const uint64_t row_bytes = t->spec.bytes / t->spec.n_experts / t->spec.rows;
    memcpy(t->data + row * row_bytes, src, n_rows * row_bytes);
    return RZ_OK;
}

/* F32 only. */
static int32_t fake_weight_read(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, float *out) {
    (void)engine;
    if (atomic_load(&fake_read_fails)) return (int32_t)rz_fail(RZ_E_DEVICE_LOST, "fake: reading weights");
    memcpy(out, t->data + row * (uint64_t)t->spec.cols * 4, n_rows * (uint64_t)t->spec.cols * 4);
    return RZ_OK;
}

static int32_t fake_page_bytes(void *engine, const rz_cache_group *group, uint64_t *bytes) {
    (void)engine;
    if (group->k_dtype != 0 || group->v_dtype != 0) return rz_fail(RZ_E_UNSUPPORTED, "fake: KV dtype");
    *bytes = (uint64_t)group->n_layers * group->page_tokens * (group->k_cols + group->v_cols) * 4;
    return RZ_OK;
}

static void fake_program_close(void *program) {
    fake_program *p = program;
    rz_free(p->logits);
    rz_free(p->scratch);
    rz_free(p);
}

static int32_t fake_program_open(void *engine, const rz_plan_ir *ir, const rz_tensor *tensors,
                                 const rz_plan_options *options, rz_plan_info *info, void **program) {
    fake_engine *e = engine;
    const size_t logits_bytes = (size_t)options->max_rows * ir->header->vocab_size * 4;
    const size_t scratch_bytes = rz_sample_scratch_bytes(ir->header->vocab_size);
    info->scratch_bytes = sizeof(fake_program) + logits_bytes + scratch_bytes;
    info->n_classes = 1;
    info->class_rows[0] = options->max_tokens;
    info->n_launches[0] = 1;
    if (tensors == NULL) return RZ_OK;
    fake_program *p = rz_alloc(e->account, RZ_MEMORY_PLAN, sizeof *p, "fake program");
    if (p == NULL) return RZ_E_OOM_HOST;
    p->ir = ir;
    p->logits = rz_alloc(e->account, RZ_MEMORY_PLAN, logits_bytes, "fake logits");
    p->scratch = rz_alloc(e->account, RZ_MEMORY_PLAN, scratch_bytes, "fake scratch");
    if (p->logits == NULL || p->scratch == NULL) {
        fake_program_close(p);
        return RZ_E_OOM_HOST;
    }
    *program = p;
    return RZ_OK;
}

static uint32_t fake_program_listing(void *program, uint32_t row_class, uint8_t *out, uint32_t cap) {
    (void)program;
    (void)row_class;
    if (cap >= 4) memcpy(out, "fake", 4);
    return 4;
}

static uint32_t fake_program_profile(void *program, rz_brick *out, uint32_t cap_bricks) {
    (void)program;
    if (cap_bricks == 0) return 0;
    out[0] = (rz_brick){.code = RZ_OP_EMBED, .calls = 1};
    return 1;
}

static bool fake_pass_time(const rz_step *step) {
    const uint64_t until = rz_time_ns() + atomic_load(&fake_forward_us) * 1000ull;
    while (rz_time_ns() < until) {
        if (atomic_load(step->cancel) != 0) return false;
        rz_thread_yield();
    }
    return true;
}

static int32_t fake_forward(void *program, const rz_step *step) {
    fake_program *p = program;
    const rz_batch *b = step->batch;
    const uint32_t vocab = p->ir->header->vocab_size;
    atomic_store(&fake_log[atomic_fetch_add(&fake_forwards, 1) % FAKE_LOG], b->tokens[0]);
    if (atomic_load(&fake_fails)) return rz_fail(RZ_E_DEVICE, "fake: fails as asked");
    if (!fake_pass_time(step)) return rz_fail(RZ_E_CANCELLED, "fake: heard the flag");
    for (uint32_t i = 0; i < b->header->n_tokens; i++) {
        if (b->tokens[i] < 0 || (uint32_t)b->tokens[i] >= vocab) atomic_fetch_add(&fake_bad_tokens, 1);
    }
    for (uint32_t r = 0; r < b->n_rows; r++) {
        const uint32_t token = (uint32_t)b->tokens[b->rows[r]];
        float *row = p->logits + (size_t)r * vocab;
        for (uint32_t i = 0; i < vocab; i++) row[i] = token == FAKE_NAN ? NAN : i == (token + 1) % vocab ? 10 : 0;
    }
    return RZ_OK;
}

static int32_t fake_value_read(void *program, uint32_t value_id, uint32_t row, uint32_t n_rows, float *out) {
    fake_program *p = program;
    if (value_id != p->ir->logits_value) return rz_fail(RZ_E_INTERNAL, "fake: has only logits");
    const size_t vocab = p->ir->header->vocab_size;
    memcpy(out, p->logits + row * vocab, n_rows * vocab * 4);
    return RZ_OK;
}

static int32_t fake_sample(void *program, const rz_step *step, const uint32_t *masks, rz_result_out *results,
                           rz_result_top *tops) {
    fake_program *p = program;
    return rz_sample_outs(p->logits, p->ir->header->vocab_size, step, masks, p->scratch, results, tops);
}

static const rz_backend fake_backend = {
    .name = "fake",
    .page_tokens = 16,
    .engine_open = fake_engine_open,
    .engine_close = fake_engine_close,
    .engine_info = fake_engine_info,
    .engine_measure = fake_engine_measure,
    .weight_bytes = fake_weight_bytes,
    .weight_row_unit = fake_weight_row_unit,
    .weight_store = fake_weight_store,
    .weight_read = fake_weight_read,
    .page_bytes = fake_page_bytes,
    .program_open = fake_program_open,
    .program_close = fake_program_close,
    .program_listing = fake_program_listing,
    .program_profile = fake_program_profile,
    .forward = fake_forward,
    .value_read = fake_value_read,
    .sample = fake_sample,
};

#endif
