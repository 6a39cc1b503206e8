/* program.c - a plan made ready for a GPU: memory, lowering for few and for many rows; steps and reading. */
#include "attention.h"
#include "moe.h"
#include "prefill.h"
#include "op_rules.h"
#include "sample.h"
#include <math.h>
#include <string.h>

/* ---- memory ---------------------------------------------------------------------------------------------------- */

static uint64_t aligned(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

static uint32_t most(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* One table for each (constant, number of pairs), while there is room; RoPE ops beyond are not fused. */
static void find_angles(rzc_program *p) {
    for (uint32_t i = 0; i < p->ir->header->n_ops; i++) {
        const rz_op *op = &p->ir->ops[i];
        if (op->code != RZ_OP_ROPE) continue;
        uint32_t k = 0;
        while (k < p->n_angles && (p->angles[k].constant != op->n[3] || p->angles[k].n_pairs != op->n[1] / 2)) k++;
        if (k < p->n_angles || k == RZC_ANGLES) continue;
        p->angles[p->n_angles].constant = op->n[3];
        p->angles[p->n_angles++].n_pairs = op->n[1] / 2;
    }
}

rz_cu_ptr rzc_angles_of(const rzc_program *p, const rz_op *rope) {
    for (uint32_t k = 0; k < p->n_angles; k++) {
        if (p->angles[k].constant == rope->n[3] && p->angles[k].n_pairs == rope->n[1] / 2) return p->angles[k].at;
    }
    return 0;
}

/* Rows of a table of angles. */
static uint32_t angle_rows(const rzc_program *p) {
    const rz_lowering *l = &p->lowering[RZC_CLASSES - 1];
    for (uint32_t i = 0; i < l->n_launches; i++) {
        if (l->launches[i].pattern == RZC_PLACE + 1) return most(RZC_FEW_ROWS, p->options.max_tokens);
    }
    return RZC_FEW_ROWS;
}

/* Queries, keys and values of the greediest fusion, for few rows. */
static uint64_t heads_needs(const rzc_program *p) {
    uint64_t most_cols = 0;
    const rz_lowering *l = &p->lowering[0];
    for (uint32_t i = 0; i < l->n_launches; i++) {
        uint64_t cols = 0;
        rzc_fusion f;
        if (l->launches[i].pattern != RZC_HEADS + 1 || !rzc_match(l, RZC_HEADS, l->launches[i].ops[0], &f)) continue;
        for (uint32_t m = 0; m < 3; m++) cols += p->ir->values[p->ir->ops[f.mats[m]].out[0] - 1].cols;
        if (cols > most_cols) most_cols = cols;
    }
    return most_cols * RZC_FEW_ROWS * 4;
}

/* The batch: sections at fixed places, as large as the largest step; page tables behind them. */
static void place_batch(rzc_program *p, rz_cu_ptr base) {
    const rz_plan_options *o = &p->options;
    uint64_t at = 0;
#define SECTION(field, bytes) p->step_at.field = base + at, at += ((bytes) + 15ull) / 16 * 16
    SECTION(head, sizeof(rzc_head));
    SECTION(tokens, o->max_tokens * 4ull);
    SECTION(row_seq, o->max_tokens * 4ull);
    SECTION(row_position, o->max_tokens * 4ull);
    SECTION(seq_first_row, (o->max_seqs + 1ull) * 4);
    SECTION(seq_n_past, o->max_seqs * 4ull);
    SECTION(seq_pages, o->max_seqs * 4ull * RZC_GROUPS);
    SECTION(rows, most(o->max_rows, o->max_outs) * 4ull + 16);
#undef SECTION
    p->pages_at = at;
    p->batch_bytes = at + RZC_INLINE_PAGES * 4ull;
}

/* Gives every part its place; returns the bytes. With memory 0 it only counts. */
static uint64_t place_all(rzc_program *p) {
    uint64_t at = p->memory, floats = 0, words = 0, arena = 0;
    rzc_attention_needs(p, &floats, &words);
    for (uint32_t c = 0; c < RZC_CLASSES; c++) {
        if (p->lowering[c].arena_bytes > arena) arena = p->lowering[c].arena_bytes;
    }
    p->arena = at, at += aligned(arena);
    p->batch = at;
    place_batch(p, at);
    at += aligned(p->batch_bytes);
    p->numbers = at, at += aligned(p->ir->header->n_numbers * 8ull);
    p->parts = at, at += aligned(floats * 4);
    p->arrivals = at, at += aligned(words * 4);
    const uint64_t selected = rz_lowering_rows(&p->lowering[RZC_CLASSES - 1], RZ_ROWS_R);
    const uint64_t n_parts = most(RZC_ARGMAX_PARTS, rzc_best_parts(p));
    p->argmax_parts = at, at += aligned((selected * n_parts + RZC_FEW_ROWS * RZC_ARGMAX_MOST) * 16);
    p->argmax_arrivals = at, at += aligned(selected * 4);
    const uint64_t list_bytes = RZC_BEST * sizeof(uint64_t);
    p->best_parts = at, at += aligned(selected * rzc_best_parts(p) * list_bytes);
    p->staged = at, at += aligned(rzc_staged_bytes(p));
    p->heads = at, at += aligned(heads_needs(p));
    p->tiles = at, at += aligned(rzc_prefill_bytes(p));
    at = rzc_moe_place(p, at);
    rzc_prefill_shared(p, &floats, &words);
    p->tile_parts = at, at += aligned(floats * 4);
    p->tile_arrivals = at, at += aligned(words * 4);
    for (uint32_t k = 0; k < p->n_angles; k++) {
        p->angles[k].at = at, at += aligned((uint64_t)angle_rows(p) * p->angles[k].n_pairs * 8);
    }
    return at - p->memory;
}

static uint64_t pinned_needs(const rzc_program *p) {
    const uint64_t rows = rz_lowering_rows(&p->lowering[RZC_CLASSES - 1], RZ_ROWS_R);
    return aligned(p->batch_bytes) + aligned(p->ir->header->vocab_size * 4ull) + aligned(rows * 16) +
           rows * RZC_BEST * sizeof(uint64_t);
}

static rz_status take_memory(rzc_program *p) {
    rzc_engine *e = p->engine;
    rz_status status = rzc_enter(e);
    if (status != RZ_OK) return status;
    status = rzc_alloc(e, RZ_MEMORY_PLAN, p->device_bytes, "plan", &p->memory);
    if (status == RZ_OK) {
        place_all(p);
        status = rzc_check(e, e->cu->host_alloc((void **)&p->pinned, p->pinned_bytes), "pinned memory of a plan");
    }
    const uint64_t n = p->ir->header->n_numbers * 8ull;
    if (status == RZ_OK && n > 0) status = rzc_check(e, e->cu->to_device(p->numbers, p->ir->numbers, n), "constants");
    rzc_leave(e);
    if (status != RZ_OK) return status;
    p->logits_row = (float *)(void *)(p->pinned + aligned(p->batch_bytes));
    p->argmax_host = (float *)(void *)((uint8_t *)p->logits_row + aligned(p->ir->header->vocab_size * 4ull));
    const uint64_t rows = rz_lowering_rows(&p->lowering[RZC_CLASSES - 1], RZ_ROWS_R);
    p->best_host = (uint64_t *)(void *)((uint8_t *)p->argmax_host + aligned(rows * 16));
    if (p->ir->logits_value == 0) return RZ_OK;
    p->sample_scratch =
        rz_alloc(e->account, RZ_MEMORY_PLAN, rz_sample_scratch_bytes(p->ir->header->vocab_size), "sampler scratch");
    return p->sample_scratch != NULL ? RZ_OK : RZ_E_OOM_HOST;
}

void rzc_program_close(void *program) {
    rzc_program *p = program;
    rzc_engine *e = p->engine;
    const bool current = e->cu->context_push(e->context) == 0;
    for (uint32_t i = 0; i < 2 * (RZC_GRAPH_ROWS + 1); i++) {
        void *exec = p->graphs[i % 2][i / 2].exec;
        if (exec != NULL) e->cu->graph_exec_destroy(exec);
    }
    rzc_profile_close(p);
    if (p->pinned != NULL) e->cu->host_release(p->pinned);
    if (p->memory != 0) rzc_free(e, RZ_MEMORY_PLAN, p->device_bytes, p->memory);
    if (current) rzc_leave(e);
    for (uint32_t c = 0; c < RZC_CLASSES; c++) rz_lowering_free(&p->lowering[c]);
    rz_free(p->sample_scratch);
    rz_free(p);
}

static rz_status prepare(rzc_program *p, rz_plan_info *info) {
    const uint32_t max = p->options.max_tokens;
    const bool fuses = !rzc_is_fixed(p) && p->engine->cc_major >= 9;
    const uint32_t n_patterns = !fuses ? 0 : rzc_n_patterns - (p->engine->cc_major != 9); /* the last needs wgmma */
    find_angles(p);
    for (uint32_t c = 0; c < RZC_CLASSES; c++) {
        const uint32_t rows = c == 0 && max > RZC_FEW_ROWS ? RZC_FEW_ROWS : max;
        const rz_status status =
            (rz_status)rz_lower(p->ir, &p->options, rzc_patterns, n_patterns, c, rows,
                                p->engine->account, &p->lowering[c]);
        if (status != RZ_OK) return status;
        info->class_rows[c] = rows;
        info->n_launches[c] = p->lowering[c].n_launches;
    }
    info->n_classes = RZC_CLASSES;
    p->device_bytes = place_all(p);
    p->pinned_bytes = pinned_needs(p);
    info->scratch_bytes = p->device_bytes;
    if (p->tensors == NULL) return RZ_OK;
    const rz_status status = rzc_profile_open(p);
    return status == RZ_OK ? take_memory(p) : status;
}

int32_t rzc_program_open(void *engine, const rz_plan_ir *ir, const rz_tensor *tensors, const rz_plan_options *options,
                         rz_plan_info *info, void **program) {
    rzc_engine *e = engine;
    rzc_program *p = rz_alloc(e->account, RZ_MEMORY_PLAN, sizeof *p, "cuda program");
    if (p == NULL) return RZ_E_OOM_HOST;
    p->engine = e;
    p->ir = ir;
    p->tensors = tensors;
    p->options = *options;
    const rz_status status = prepare(p, info);
    if (status != RZ_OK || tensors == NULL) {
        rzc_program_close(p);
        return status;
    }
    *program = p;
    return RZ_OK;
}

uint32_t rzc_program_listing(void *program, uint32_t row_class, uint8_t *out, uint32_t cap) {
    return rz_lowering_listing(&((rzc_program *)program)->lowering[row_class < RZC_CLASSES ? row_class : 0], out, cap);
}

/* ---- the batch goes to the device ------------------------------------------------------------------------------ */

static uint32_t kv_row_bytes(uint32_t dtype, uint32_t cols) {
    return dtype == 8 ? cols / 32 * 34 : cols * (dtype == 1 ? 2u : 4u);
}

static void fill_groups(const rz_step *step, rzc_head *head) {
    if (step->cache == NULL) return;
    head->n_groups = step->cache->n_groups;
    for (uint32_t g = 0; g < head->n_groups; g++) {
        const rz_cache_mem *mem = &step->cache->groups[g];
        head->groups[g] = (rzc_group){
            .data = (uintptr_t)mem->data,
            .page_bytes = mem->page_bytes,
            .page_shift = (uint32_t)__builtin_ctz(mem->spec.page_tokens),
            .k_bytes = kv_row_bytes(mem->spec.k_dtype, mem->spec.k_cols),
            .v_bytes = kv_row_bytes(mem->spec.v_dtype, mem->spec.v_cols),
            .k_dtype = mem->spec.k_dtype,
            .v_dtype = mem->spec.v_dtype,
        };
    }
}

/* One row of each of up to RZC_GRAPH_ROWS sequences, all selected: every launch is the same from step to step, so it is
 * captured once. */
static bool is_repeated(const rzc_program *p) {
    return p->n_rows[RZ_ROWS_T] <= RZC_GRAPH_ROWS && p->n_rows[RZ_ROWS_T] == p->n_rows[RZ_ROWS_R] &&
           p->n_rows[RZ_ROWS_S] == p->n_rows[RZ_ROWS_T] && (p->options.flags & RZ_PLAN_PROFILE) == 0;
}

/* Bytes of the batch that a graph uploads: the fixed part and page tables of 2,048 entries. */
static uint64_t graph_bytes(const rzc_program *p) { return p->pages_at + 8192; }

/* An empty section may have no address. */
static void put(void *to, const void *from, uint64_t bytes) {
    if (bytes > 0) memcpy(to, from, bytes);
}

/* Copies the step's arrays into pinned memory, where the device's sections are, and queues the upload. */
static rz_status upload(rzc_program *p, const rz_step *step) {
    const rz_batch *b = step->batch;
    const rz_batch_header *h = b->header;
    rzc_engine *e = p->engine;
    const bool inlined = h->n_pages <= RZC_INLINE_PAGES;
    rzc_head *head = (rzc_head *)(void *)p->pinned;
#define AT(field) ((uint32_t *)(void *)(p->pinned + (p->step_at.field - p->batch)))
    memset(head, 0, sizeof *head);
    head->n_tokens = h->n_tokens, head->n_seqs = h->n_seqs, head->n_rows = b->n_rows;
    fill_groups(step, head);
    put(AT(tokens), b->tokens, h->n_tokens * 4ull);
    put(AT(row_seq), b->row_seq, h->n_tokens * 4ull);
    put(AT(row_position), b->row_position, h->n_tokens * 4ull);
    put(AT(seq_first_row), b->seq_first_row, (h->n_seqs + 1ull) * 4);
    put(AT(rows), b->rows, b->n_rows * 4ull);
    for (uint32_t s = 0; s < h->n_seqs; s++) {
        AT(seq_n_past)[s] = b->seqs[s].n_past;
        for (uint32_t g = 0; g < head->n_groups; g++) {
            AT(seq_pages)[s * RZC_GROUPS + g] = b->seq_group_pages[s * head->n_groups + g];
        }
    }
#undef AT
    uint64_t bytes = p->pages_at;
    head->pages = p->batch + p->pages_at;
    if (inlined) {
        put(p->pinned + p->pages_at, b->pages, h->n_pages * 4ull);
        bytes += h->n_pages * 4ull;
    } else if (step->cache != NULL) {
        head->pages = (uintptr_t)step->cache->tables;
        const rz_status status = rzc_check(
            e, e->cu->to_device_async(head->pages, b->pages, h->n_pages * 4ull, e->stream), "upload of page tables");
        if (status != RZ_OK) return status;
    }
    if (is_repeated(p) && inlined && bytes <= graph_bytes(p)) return RZ_OK; /* the graph uploads it */
    return rzc_check(e, e->cu->to_device_async(p->batch, p->pinned, bytes, e->stream), "upload of a batch");
}

/* ---- a step ---------------------------------------------------------------------------------------------------- */

static rz_status queue_angles(rzc_program *p) {
    for (uint32_t k = 0; k < p->n_angles && p->n_rows[RZ_ROWS_T] <= angle_rows(p); k++) {
        rzc_angles angles = {.step = p->step_at,
                             .frequency = p->numbers + p->ir->constants[p->angles[k].constant - 1].first * 8ull,
                             .out = p->angles[k].at, .n_rows = p->n_rows[RZ_ROWS_T], .n_pairs = p->angles[k].n_pairs};
        const rzc_shape shape = {.x = angles.n_rows, .threads = 64, .chained = true};
        const rz_status status = rzc_launch(p->engine, p->engine->stream, RZC_K_angles_k, shape, &angles);
        if (status != RZ_OK) return status;
    }
    return RZ_OK;
}

/* The start of a graph in one launch: the batch comes from pinned memory, angles and embeddings are made. */
static rz_status queue_begin(rzc_program *p) {
    const uint32_t n = p->n_rows[RZ_ROWS_T];
    const rz_op *op = &p->ir->ops[p->lowering[p->row_class].launches[0].ops[0]];
    rzc_begin a = {.host = (uintptr_t)p->pinned, .device = p->batch, .w = rzc_matrix_of(&p->tensors[op->w[0] - 1]),
                   .out = rzc_value(p, op->out[0]), .n_rows = n, .factor = op->f[0],
                   .tokens_at = (uint32_t)(p->step_at.tokens - p->batch),
                   .positions_at = (uint32_t)(p->step_at.row_position - p->batch)};
    uint32_t k = 0;
#define RUN(at, bytes) a.runs[k][0] = (uint32_t)((at) / 16), a.runs[k++][1] = (uint32_t)(((bytes) + 15) / 16)
    RUN(p->step_at.head - p->batch, sizeof(rzc_head));
    RUN(p->step_at.tokens - p->batch, n * 4);
    RUN(p->step_at.row_seq - p->batch, n * 4);
    RUN(p->step_at.row_position - p->batch, n * 4);
    RUN(p->step_at.seq_first_row - p->batch, (n + 1) * 4);
    RUN(p->step_at.seq_n_past - p->batch, n * 4);
    RUN(p->step_at.seq_pages - p->batch, n * 4 * RZC_GROUPS);
    RUN(p->step_at.rows - p->batch, n * 4);
    RUN(p->pages_at, graph_bytes(p) - p->pages_at);
#undef RUN
    for (; a.n_angles < p->n_angles && n <= angle_rows(p); a.n_angles++) {
        a.angles[a.n_angles].frequency =
            p->numbers + p->ir->constants[p->angles[a.n_angles].constant - 1].first * 8ull;
        a.angles[a.n_angles].out = p->angles[a.n_angles].at;
        a.angles[a.n_angles].n_pairs = p->angles[a.n_angles].n_pairs;
    }
    const rzc_shape shape = {.x = 2 + 2 * n, .threads = 256};
    const rz_status status = rzc_launch(p->engine, p->engine->stream, RZC_K_begin_k, shape, &a);
    p->engine->full_edge = true;
    p->begun = status == RZ_OK;
    return status;
}

static bool begins_with_embedding(const rzc_program *p) {
    const rz_lowering *l = &p->lowering[p->row_class];
    return l->n_launches > 0 && l->launches[0].pattern == 0 && p->ir->ops[l->launches[0].ops[0]].code == RZ_OP_EMBED;
}

static rz_status run_all(rzc_program *p, const rz_step *step) {
    const rz_lowering *l = &p->lowering[p->row_class];
    const rz_status first = p->begun ? RZ_OK : queue_angles(p);
    if (first != RZ_OK) return first;
    p->placing.rope = NULL;
    rzc_profile_mark(p, 0);
    for (uint32_t i = p->begun ? 1 : 0; i < l->n_launches; i++) {
        if (atomic_load_explicit(step->cancel, memory_order_relaxed) != 0) {
            p->engine->cu->stream_wait(p->engine->stream);
            return rz_fail(RZ_E_CANCELLED, "step: cancelled in launch %u", i);
        }
        const rz_status status = rzc_run(p, &l->launches[i]);
        if (status != RZ_OK) return status;
        rzc_profile_mark(p, i + 1);
    }
    return RZ_OK;
}

/* What of the cache chooses kernels. */
static uint64_t cache_key(const rz_step *step) {
    uint64_t key = 1;
    for (uint32_t g = 0; step->cache != NULL && g < step->cache->n_groups; g++) {
        key = key * 31 + step->cache->groups[g].spec.k_dtype;
        key = key * 31 + step->cache->groups[g].spec.v_dtype;
    }
    return key;
}

/* Everything of a repeated step, into the stream that is being captured. */
static rz_status queue_repeated(rzc_program *p, const rz_step *step, bool best) {
    rzc_engine *e = p->engine;
    rz_status status = RZ_OK;
    if (begins_with_embedding(p)) {
        status = queue_begin(p);
    } else {
        status = rzc_check(e, e->cu->to_device_async(p->batch, p->pinned, graph_bytes(p), e->stream),
                           "upload of a batch");
    }
    if (status == RZ_OK) status = run_all(p, step);
    p->begun = false;
    e->full_edge = false;
    return status == RZ_OK && p->ir->logits_value != 0 ? rzc_queue_sampling(p, best) : status;
}

static rz_status capture(rzc_program *p, const rz_step *step, bool best, void **exec) {
    rzc_engine *e = p->engine;
    void *graph = NULL;
    rz_status status = rzc_check(e, e->cu->capture_begin(e->stream, 1), "cuStreamBeginCapture");
    if (status != RZ_OK) return status;
    status = queue_repeated(p, step, best);
    const rz_cu_result ended = e->cu->capture_end(e->stream, &graph);
    if (status == RZ_OK) status = rzc_check(e, ended, "cuStreamEndCapture");
    if (status == RZ_OK) status = rzc_check(e, e->cu->graph_instantiate(exec, graph, 0), "cuGraphInstantiate");
    if (graph != NULL) e->cu->graph_destroy(graph);
    return status;
}

static rz_status run_repeated(rzc_program *p, const rz_step *step) {
    rzc_engine *e = p->engine;
    const uint64_t key = cache_key(step);
    const bool best = p->ir->logits_value != 0 && rzc_wants_best(p, step);
    const uint32_t n = p->n_rows[RZ_ROWS_T];
    void **exec = &p->graphs[best][n].exec;
    if (*exec != NULL && p->graphs[best][n].key != key) {
        e->cu->graph_exec_destroy(*exec);
        *exec = NULL;
    }
    if (*exec == NULL) {
        const rz_status status = capture(p, step, best, exec);
        if (status != RZ_OK) return status;
        p->graphs[best][n].key = key;
    }
    p->sampling_queued = p->ir->logits_value != 0;
    return rzc_check(e, e->cu->graph_launch(*exec, e->stream), "cuGraphLaunch");
}

int32_t rzc_forward(void *program, const rz_step *step) {
    rzc_program *p = program;
    rzc_engine *e = p->engine;
    const rz_batch_header *h = step->batch->header;
    rz_status status = rzc_enter(e);
    if (status != RZ_OK) return status;
    p->step = step;
    p->tiles_value = 0;
    p->tiles_only = 0;
    p->sampling_queued = false;
    p->row_class = h->n_tokens <= RZC_FEW_ROWS ? 0 : 1;
    p->n_rows[RZ_ROWS_T] = h->n_tokens;
    p->n_rows[RZ_ROWS_R] = step->batch->n_rows;
    p->n_rows[RZ_ROWS_S] = h->n_seqs;
    p->n_rows[RZ_ROWS_TK] = h->n_tokens * p->lowering[0].experts_per_token;
    status = rzc_kv_check(p);
    if (status == RZ_OK) status = upload(p, step);
    if (status == RZ_OK) status = is_repeated(p) ? run_repeated(p, step) : run_all(p, step);
    const bool samples = h->n_outs > 0 && p->ir->logits_value != 0; /* the core then calls rzc_sample, which waits */
    if (status == RZ_OK && (!samples || p->events != NULL)) {
        status = rzc_check(e, e->cu->stream_wait(e->stream), "step");
        if (status == RZ_OK) rzc_profile_add(p);
    }
    rzc_leave(e);
    return status;
}

int32_t rzc_value_read(void *program, uint32_t value_id, uint32_t row, uint32_t n_rows, float *out) {
    rzc_program *p = program;
    rzc_engine *e = p->engine;
    const rz_value *value = &p->ir->values[value_id - 1];
    if (!p->lowering[p->row_class].value_pinned[value_id - 1]) {
        return (int32_t)rz_fail(RZ_E_ARG, "value %u is neither OUTPUT nor WATCHED", value_id);
    }
    const uint64_t row_bytes = value->cols * 4ull;
    rz_status status = rzc_enter(e);
    if (status != RZ_OK) return status;
    status = rzc_check(e, e->cu->to_host(out, rzc_value(p, value_id) + row * row_bytes, n_rows * row_bytes),
                       "reading a value");
    rzc_leave(e);
    if (status == RZ_OK && value->dtype != 0) { /* I32 */
        for (uint64_t i = 0; i < (uint64_t)n_rows * value->cols; i++) {
            int32_t id;
            memcpy(&id, &out[i], sizeof id);
            out[i] = (float)id;
        }
    }
    return status;
}
