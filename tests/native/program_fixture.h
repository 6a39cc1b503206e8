/* program_fixture.h - a plan running on an executor without the rest of the core: random weights, a cache, batches made
 * by hand. Works for any rz_backend whose memory is the host's. */
#ifndef RZ_TEST_PROGRAM_FIXTURE_H
#define RZ_TEST_PROGRAM_FIXTURE_H
#include "backend.h"
#include "error.h"
#include "plan.h"
#include "plan_builder.h"
#include "test.h"

/* A test may ask for more before it includes this. */
#if !defined(FIXTURE_PAGES)
#define FIXTURE_PAGES 12u
#define FIXTURE_TOKENS_MAX 64u
#endif

/* What engines are opened with. */
static uint32_t fixture_threads = 2, fixture_isa = RZ_ISA_AUTO;

typedef struct fixture {
    const rz_backend *backend;
    rz_account *account;
    void *engine, *program;
    rz_plan_ir ir;
    rz_plan_options options;
    rz_plan_info info;
    rz_tensor tensors[64];
    uint8_t *file[64]; /* each weight as in a file */
    rz_cache_view cache;
    atomic_uint cancel;
} fixture;

static uint64_t random_state = 88172645463325252u;

static inline uint32_t random_u32(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

static inline float random_float(void) { return (float)((int32_t)random_u32() / 2147483648.0); } /* -1 .. 1 */

static inline void put_f16(uint8_t *at, float x) {
    const uint16_t half = rz_f32_to_f16(x);
    memcpy(at, &half, 2);
}

/* Random weights of about -0.25 .. 0.25 in the file format of a type: scores of attention stay moderate. */
static inline void fill_blocks(uint32_t dtype, uint8_t *out, uint64_t bytes) {
    static const struct {
        uint32_t dtype, scale_at, min_at; /* of the F16 fields; 0xFF = none */
        float scale, min;
    } types[] = {
        {RZ_Q4_0, 0, 0xFF, 0.12f, 0},     {RZ_Q4_1, 0, 2, 0.13f, -1},      {RZ_Q5_0, 0, 0xFF, 0.06f, 0},
        {RZ_Q5_1, 0, 2, 0.065f, -1},      {RZ_Q8_0, 0, 0xFF, 0.008f, 0},   {RZ_Q2_K, 80, 82, 0.04f, 0.06f},
        {RZ_Q3_K, 108, 0xFF, 0.01f, 0},   {RZ_Q4_K, 0, 2, 0.003f, 0.02f},  {RZ_Q5_K, 0, 2, 0.0015f, 0.02f},
        {RZ_Q6_K, 208, 0xFF, 0.0003f, 0}, {RZ_IQ4_NL, 0, 0xFF, 0.008f, 0}, {RZ_IQ4_XS, 0, 0xFF, 0.0003f, 0},
    };
    const uint32_t block = rz_dtype_find(dtype)->block_bytes;
    for (uint64_t i = 0; i < bytes; i++) out[i] = (uint8_t)random_u32();
    for (uint64_t at = 0; at < bytes; at += block) {
        const float x = 0.25f * random_float(), spread = 0.25f + 0.1f * random_float();
        if (dtype == RZ_F32) memcpy(out + at, &x, 4);
        if (dtype == RZ_F16) put_f16(out + at, x);
        if (dtype == RZ_BF16) memcpy(out + at, (const uint8_t *)&x + 2, 2);
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
            if (types[i].dtype != dtype) continue;
            put_f16(out + at + types[i].scale_at, types[i].scale * spread);
            if (types[i].min_at != 0xFF) put_f16(out + at + types[i].min_at, types[i].min * spread);
        }
    }
}

/* Weight `id` as F32, from its file bytes: [rows * n_experts][cols], from malloc. */
static inline float *weight_f32(const fixture *f, uint32_t id) {
    const rz_weight *w = &f->tensors[id - 1].spec;
    const size_t rows = (size_t)w->rows * w->n_experts, row_bytes = w->bytes / rows;
    float *out = malloc(rows * w->cols * sizeof *out);
    for (size_t r = 0; r < rows; r++) {
        rz_dtype_find(w->dtype)->dequantize(f->file[id - 1] + r * row_bytes, w->cols, out + r * w->cols);
    }
    return out;
}

static inline void fixture_cache(fixture *f, uint32_t kv_dtype) {
    f->cache.n_groups = f->ir.n_groups;
    for (uint32_t g = 0; g < f->ir.n_groups; g++) {
        rz_cache_mem *mem = &f->cache.groups[g];
        mem->spec = (rz_cache_group){.n_layers = f->ir.groups[g].n_layers,
                                     .k_cols = f->ir.groups[g].k_cols,
                                     .v_cols = f->ir.groups[g].v_cols,
                                     .k_dtype = kv_dtype,
                                     .v_dtype = kv_dtype,
                                     .n_pages = FIXTURE_PAGES,
                                     .page_tokens = f->backend->page_tokens};
        CHECK(f->backend->page_bytes(f->engine, &mem->spec, &mem->page_bytes) == RZ_OK);
        rz_free(mem->data);
        mem->data = rz_alloc(f->account, RZ_MEMORY_CACHE, mem->page_bytes * FIXTURE_PAGES, "test pages");
        memset(mem->data, 0xFF, mem->page_bytes * FIXTURE_PAGES); /* NaNs: what was not written must not be read */
    }
}

/* Opens everything but the program, for a plan of at most 64 weights. */
static inline bool fixture_open_bytes(fixture *f, const rz_backend *backend, const uint8_t *bytes, uint32_t n) {
    *f = (fixture){.backend = backend, .account = rz_account_open(0)};
    const rz_engine_options options = {.size = sizeof options, .n_devices = 1,
                                       .n_threads = fixture_threads, .isa_max = fixture_isa};
    bool good = backend->engine_open(&options, f->account, &f->engine) == RZ_OK;
    good = good && rz_plan_read(bytes, n, f->account, &f->ir) == RZ_OK;
    for (uint32_t i = 0; good && i < f->ir.header->n_weights; i++) {
        rz_tensor *t = &f->tensors[i];
        t->spec = f->ir.weights[i];
        good = backend->weight_bytes(f->engine, &t->spec, &t->layout_bytes) == RZ_OK;
        t->data = rz_alloc(f->account, RZ_MEMORY_WEIGHTS, t->layout_bytes, "test weight");
        f->file[i] = malloc(t->spec.bytes);
        fill_blocks(t->spec.dtype, f->file[i], t->spec.bytes);
        const uint64_t expert_bytes = t->spec.bytes / t->spec.n_experts;
        for (uint32_t e = 0; e < t->spec.n_experts; e++) {
            backend->weight_store(f->engine, t, e * t->spec.rows, t->spec.rows, f->file[i] + e * expert_bytes);
        }
    }
    if (!good) fprintf(stderr, "fixture: %s\n", rz_fail_message());
    CHECK(good);
    if (good) fixture_cache(f, RZ_F32);
    return good;
}

static inline bool fixture_open(fixture *f, const rz_backend *backend, builder *b) {
    uint32_t n = 0;
    uint8_t *bytes = plan_bytes(b, &n);
    const bool good = fixture_open_bytes(f, backend, bytes, n);
    free(bytes);
    return good;
}

static inline void fixture_program(fixture *f, const rz_plan_options *options) {
    if (f->program) f->backend->program_close(f->program);
    f->program = NULL;
    CHECK(rz_plan_options_read(&f->ir, options, &f->options) == RZ_OK);
    CHECK(f->backend->program_open(f->engine, &f->ir, f->tensors, &f->options, &f->info, &f->program) == RZ_OK);
}

static inline void fixture_close(fixture *f) {
    if (f->program) f->backend->program_close(f->program);
    for (uint32_t i = 0; i < 64; i++) {
        rz_free(f->tensors[i].data);
        free(f->file[i]);
    }
    for (uint32_t g = 0; g < 8; g++) rz_free(f->cache.groups[g].data);
    rz_plan_free(&f->ir);
    f->backend->engine_close(f->engine);
    CHECK(rz_account_used(f->account) == 0);
    rz_account_close(f->account);
}

/* One sequence's part of a step. */
typedef struct part {
    uint32_t n_past, n_new;
    const int32_t *tokens; /* [n_new] */
    uint32_t first_page;   /* its pages are first_page, first_page + 1, ... (every group) */
} part;

/* Runs a step that selects every row; the status of forward. */
static inline int32_t fixture_step(fixture *f, const part *parts, uint32_t n_parts) {
    rz_batch_header header = {.n_seqs = n_parts};
    rz_batch_seq seqs[8] = {0};
    rz_batch_out outs[FIXTURE_TOKENS_MAX] = {0};
    uint32_t pages[8 * 8 * FIXTURE_PAGES], group_pages[64], seq_first_row[9] = {0}, n_pages = 0;
    uint32_t row_seq[FIXTURE_TOKENS_MAX], row_position[FIXTURE_TOKENS_MAX], rows[FIXTURE_TOKENS_MAX];
    int32_t tokens[FIXTURE_TOKENS_MAX];
    uint32_t n = 0;
    for (uint32_t s = 0; s < n_parts; s++) {
        seqs[s] = (rz_batch_seq){.slot = s, .n_past = parts[s].n_past, .n_new = parts[s].n_new};
        for (uint32_t g = 0; g < f->ir.n_groups; g++) {
            const uint32_t page_tokens = f->cache.groups[g].spec.page_tokens;
            group_pages[s * f->ir.n_groups + g] = n_pages;
            for (uint32_t p = 0; p * page_tokens < parts[s].n_past + parts[s].n_new; p++) {
                pages[n_pages++] = parts[s].first_page + p;
            }
        }
        for (uint32_t i = 0; i < parts[s].n_new; i++, n++) {
            row_seq[n] = s;
            row_position[n] = parts[s].n_past + i;
            tokens[n] = parts[s].tokens[i];
            rows[n] = n;
            outs[n].row = n;
        }
        seq_first_row[s + 1] = n;
    }
    header.n_tokens = header.n_outs = n;
    const rz_batch batch = {.header = &header,
                            .seqs = seqs,
                            .pages = pages,
                            .outs = outs,
                            .tokens = tokens,
                            .row_seq = row_seq,
                            .row_position = row_position,
                            .seq_first_row = seq_first_row,
                            .seq_group_pages = group_pages,
                            .n_rows = n,
                            .rows = rows,
                            .out_row = rows};
    const rz_step step = {
        .batch = &batch, .cache = f->ir.n_groups ? &f->cache : NULL, .cancel = &f->cancel, .flags = f->options.flags};
    return f->backend->forward(f->program, &step);
}

/* Runs a step and reads a value's rows; CHECKs both. */
static inline void fixture_read(fixture *f, const part *parts, uint32_t n_parts, uint32_t value, uint32_t n_rows,
                                float *out) {
    CHECK(fixture_step(f, parts, n_parts) == RZ_OK);
    CHECK(f->backend->value_read(f->program, value, 0, n_rows, out) == RZ_OK);
}

#endif
