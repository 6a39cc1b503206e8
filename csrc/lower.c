/* lower.c - from verified ops to launches: fusions where they are legal, and memory from lifetimes. */
#include "lower.h"
#include "dtype.h"
#include "error.h"
#include "op_rules.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ALIGN_BYTES 64u
#define MAX_ARENA_BYTES ((uint64_t)1 << 48)

/* What is needed only while lowering; same allocation, behind the result. */
typedef struct work {
    uint8_t *taken;        /* [n_ops] by a launch */
    rz_launch *ending;     /* [n_ops] the launch whose last op this is; n_ops 0 = none */
    uint32_t *last_launch; /* [n_values] the last launch that uses it; of pinned values UINT32_MAX */
    struct gap {
        uint64_t offset, bytes;
    } *gaps; /* [n_values + 1] free parts of the arena, by offset, never adjacent */
    uint32_t n_gaps;
} work;

/* ---- facts about values ----------------------------------------------------------------------------------------- */

static void note_values(rz_lowering *l) {
    const rz_plan_ir *ir = l->ir;
    for (uint32_t v = 0; v < ir->header->n_values; v++) {
        l->value_user[v] = RZ_NO_OP;
        l->value_pinned[v] = ir->values[v].flags != 0; /* OUTPUT, WATCHED */
        l->value_offset[v] = RZ_NO_MEMORY;
    }
    for (uint32_t i = 0; i < l->options->n_watched; i++) l->value_pinned[l->options->watched[i] - 1] = 1;
    for (uint32_t i = 0; i < ir->header->n_ops; i++) {
        const rz_op *op = &ir->ops[i];
        for (int k = 0; k < 4; k++) {
            if (!op->in[k]) continue;
            if (l->value_uses[op->in[k] - 1]++ == 0) l->value_user[op->in[k] - 1] = i;
        }
        for (int k = 0; k < 2; k++) {
            if (op->out[k]) l->value_def[op->out[k] - 1] = i;
        }
        if (op->code == RZ_OP_MOE_ROUTE) l->experts_per_token = op->n[0];
    }
}

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

uint64_t rz_lowering_rows(const rz_lowering *l, uint32_t rows) {
    switch (rows) {
    case RZ_ROWS_R: return least(l->options->max_rows ? l->options->max_rows : l->options->max_outs, l->rows_max);
    case RZ_ROWS_S: return least(l->options->max_seqs, l->rows_max);
    case RZ_ROWS_TK: return (uint64_t)l->rows_max * l->experts_per_token;
    default: return l->rows_max;
    }
}

/* ---- fusion ----------------------------------------------------------------------------------------------------- */

static bool contains(const rz_launch *launch, uint32_t op) {
    for (uint32_t i = 0; i < launch->n_ops; i++) {
        if (launch->ops[i] == op) return true;
    }
    return false;
}

/* How often the ops of a launch use a value. */
static uint32_t uses_inside(const rz_lowering *l, const rz_launch *launch, uint32_t value) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < launch->n_ops; i++) {
        for (int k = 0; k < 4; k++) n += l->ir->ops[launch->ops[i]].in[k] == value;
    }
    return n;
}

static bool depends(const rz_op *later, const rz_op *op) {
    for (int k = 0; k < 4; k++) {
        if (later->in[k] && (later->in[k] == op->out[0] || later->in[k] == op->out[1])) return true;
    }
    return op->code == RZ_OP_KV_WRITE && later->code == RZ_OP_ATTENTION && later->n[6] == 0 &&
           later->n[0] == op->n[0] && later->n[1] == op->n[1];
}

/* The rules of lower.h: the ops of the launch move down to where its last one stands. */
static bool is_legal(const rz_lowering *l, const work *w, const rz_launch *launch) {
    const uint32_t last = launch->ops[launch->n_ops - 1];
    for (uint32_t i = 0; i < launch->n_ops; i++) {
        const uint32_t at = launch->ops[i];
        const rz_op *op = &l->ir->ops[at];
        if (w->taken[at]) return false;
        if (at == last) break;
        for (int k = 0; k < 2; k++) {
            if (op->out[k] && l->value_pinned[op->out[k] - 1]) return false;
        }
        for (uint32_t between = at + 1; between < last; between++) {
            if (depends(&l->ir->ops[between], op) && !contains(launch, between)) return false;
        }
    }
    return true;
}

static bool is_well_formed(const rz_lowering *l, const rz_launch *launch, uint32_t anchor) {
    if (launch->n_ops > RZ_LAUNCH_OPS || launch->ops[0] != anchor) return false;
    for (uint32_t i = 1; i < launch->n_ops; i++) {
        if (launch->ops[i] <= launch->ops[i - 1]) return false;
    }
    const uint32_t last = launch->ops[launch->n_ops - 1];
    return last < l->ir->header->n_ops && last - anchor <= RZ_LAUNCH_SPAN;
}

/* The launch that begins at `anchor`: the first legal fusion, else the op alone. */
static int32_t choose(const rz_lowering *l, const work *w, uint32_t anchor, rz_launch *launch) {
    const bool fuse = (l->options->flags & RZ_PLAN_NO_FUSION) == 0;
    for (uint32_t p = 0; fuse && p < l->n_patterns; p++) {
        const rz_pattern *pattern = &l->patterns[p];
        if ((pattern->class_mask >> l->row_class & 1u) == 0) continue;
        if (p < 64 && (l->options->patterns_off[p / 32] >> p % 32 & 1u)) continue;
        *launch = (rz_launch){.pattern = p + 1};
        launch->n_ops = pattern->match(l, anchor, launch->ops);
        if (launch->n_ops == 0) continue;
        if (!is_well_formed(l, launch, anchor)) {
            return (int32_t)rz_fail(RZ_E_INTERNAL, "lowering: pattern %s gave wrong ops at op %u", pattern->name,
                                    anchor);
        }
        if (is_legal(l, w, launch)) return RZ_OK;
    }
    *launch = (rz_launch){.n_ops = 1, .ops = {anchor}};
    return RZ_OK;
}

static int32_t make_launches(rz_lowering *l, work *w) {
    const uint32_t n_ops = l->ir->header->n_ops;
    for (uint32_t anchor = 0; anchor < n_ops; anchor++) {
        if (w->taken[anchor]) continue;
        rz_launch launch;
        const int32_t status = choose(l, w, anchor, &launch);
        if (status) return status;
        for (uint32_t i = 0; i < launch.n_ops; i++) w->taken[launch.ops[i]] = 1;
        w->ending[launch.ops[launch.n_ops - 1]] = launch;
    }
    for (uint32_t i = 0; i < n_ops; i++) {
        if (w->ending[i].n_ops) l->launches[l->n_launches++] = w->ending[i];
    }
    return RZ_OK;
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

/* First gap that is large enough, else the end of the arena (with the gap that touches it). */
static uint64_t take(rz_lowering *l, work *w, uint64_t bytes) {
    for (uint32_t i = 0; i < w->n_gaps; i++) {
        struct gap *gap = &w->gaps[i];
        const bool at_end = gap->offset + gap->bytes == l->arena_bytes;
        if (gap->bytes < bytes && !at_end) continue;
        const uint64_t offset = gap->offset;
        if (gap->bytes > bytes) {
            gap->offset += bytes;
            gap->bytes -= bytes;
            return offset;
        }
        if (offset + bytes > l->arena_bytes) l->arena_bytes = offset + bytes;
        memmove(gap, gap + 1, (--w->n_gaps - i) * sizeof *gap);
        return offset;
    }
    l->arena_bytes += bytes;
    return l->arena_bytes - bytes;
}

static void give(work *w, uint64_t offset, uint64_t bytes) {
    uint32_t low = 0, high = w->n_gaps;
    while (low < high) { /* the first gap behind offset */
        const uint32_t middle = (low + high) / 2;
        if (w->gaps[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    struct gap *next = &w->gaps[low], *before = next - 1;
    const bool joins_before = low > 0 && before->offset + before->bytes == offset;
    const bool joins_next = low < w->n_gaps && offset + bytes == next->offset;
    if (joins_before && joins_next) {
        before->bytes += bytes + next->bytes;
        memmove(next, next + 1, (--w->n_gaps - low) * sizeof *next);
    } else if (joins_before) {
        before->bytes += bytes;
    } else if (joins_next) {
        next->offset -= bytes;
        next->bytes += bytes;
    } else {
        memmove(next + 1, next, (w->n_gaps++ - low) * sizeof *next);
        *next = (struct gap){offset, bytes};
    }
}

/* F32 and I32 alike; a multiple of ALIGN_BYTES, never 0. */
static uint64_t value_bytes(const rz_lowering *l, uint32_t id) {
    const rz_value *value = &l->ir->values[id - 1];
    const uint64_t bytes = rz_lowering_rows(l, value->rows) * value->cols * 4;
    return bytes ? (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES : ALIGN_BYTES;
}

/* Gives back a value's memory when this launch is its last; the same value may come again. */
static void free_if_over(rz_lowering *l, work *w, uint32_t launch, uint32_t id) {
    if (id == 0 || w->last_launch[id - 1] != launch || l->value_offset[id - 1] == RZ_NO_MEMORY) return;
    give(w, l->value_offset[id - 1], value_bytes(l, id));
    w->last_launch[id - 1] = UINT32_MAX; /* once */
}

/* Memory for what launch i defines, but for what stays inside. */
static int32_t place(rz_lowering *l, work *w, uint32_t i) {
    const rz_launch *launch = &l->launches[i];
    for (uint32_t k = 0; k < launch->n_ops * 2; k++) {
        const uint32_t id = l->ir->ops[launch->ops[k / 2]].out[k % 2];
        if (id == 0) continue;
        const uint32_t uses = l->value_uses[id - 1];
        const bool internal = uses && uses_inside(l, launch, id) == uses && !l->value_pinned[id - 1];
        if (internal) continue;
        l->value_offset[id - 1] = take(l, w, value_bytes(l, id));
        if (l->arena_bytes > MAX_ARENA_BYTES) {
            return (int32_t)rz_fail(RZ_E_LIMIT, "lowering: value %u needs an arena of more than 2^48 bytes", id);
        }
    }
    return RZ_OK;
}

/* Walks the launches: what one defines gets memory, then what nobody uses after it gives its memory back. So a launch
 * never writes where it reads. */
static int32_t assign_memory(rz_lowering *l, work *w) {
    for (uint32_t i = 0; i < l->n_launches; i++) {
        for (uint32_t k = 0; k < l->launches[i].n_ops; k++) {
            const rz_op *op = &l->ir->ops[l->launches[i].ops[k]];
            for (int j = 0; j < 2; j++) { /* a value that nobody uses ends where it begins */
                if (op->out[j] && w->last_launch[op->out[j] - 1] < i) w->last_launch[op->out[j] - 1] = i;
            }
            for (int j = 0; j < 4; j++) {
                if (op->in[j]) w->last_launch[op->in[j] - 1] = i;
            }
        }
    }
    for (uint32_t v = 0; v < l->ir->header->n_values; v++) {
        if (l->value_pinned[v]) w->last_launch[v] = UINT32_MAX;
    }
    for (uint32_t i = 0; i < l->n_launches; i++) {
        const int32_t status = place(l, w, i);
        if (status) return status;
        for (uint32_t k = 0; k < l->launches[i].n_ops; k++) {
            const rz_op *op = &l->ir->ops[l->launches[i].ops[k]];
            for (int j = 0; j < 4; j++) free_if_over(l, w, i, op->in[j]);
            for (int j = 0; j < 2; j++) free_if_over(l, w, i, op->out[j]);
        }
    }
    return RZ_OK;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

/* Carves the arrays out of one block; with block NULL only counts. Larger alignments first. */
static size_t carve(rz_lowering *l, work *w, uint8_t *block) {
    const size_t n_values = l->ir->header->n_values, n_ops = l->ir->header->n_ops;
    size_t at = 0;
#define CARVE(field, n)                                                                                                \
    do {                                                                                                               \
        if (block) field = (void *)(block + at);                                                                       \
        at += (n) * sizeof *field;                                                                                     \
    } while (0)
    CARVE(l->value_offset, n_values);
    CARVE(w->gaps, n_values + 1);
    CARVE(l->launches, n_ops);
    CARVE(w->ending, n_ops);
    CARVE(l->value_uses, n_values);
    CARVE(l->value_def, n_values);
    CARVE(l->value_user, n_values);
    CARVE(w->last_launch, n_values);
    CARVE(l->value_pinned, n_values);
    CARVE(w->taken, n_ops);
#undef CARVE
    return at;
}

int32_t rz_lower(const rz_plan_ir *ir, const rz_plan_options *options, const rz_pattern *patterns, uint32_t n_patterns,
                 uint32_t row_class, uint32_t rows_max, rz_account *account, rz_lowering *out) {
    *out = (rz_lowering){.ir = ir,
                         .options = options,
                         .patterns = patterns,
                         .n_patterns = n_patterns,
                         .row_class = row_class,
                         .rows_max = rows_max};
    work w = {0};
    out->own_bytes = carve(out, &w, NULL);
    uint8_t *block = rz_alloc(account, RZ_MEMORY_PLAN, out->own_bytes, "lowering");
    if (!block) return RZ_E_OOM_HOST;
    carve(out, &w, block);
    note_values(out);
    int32_t status = make_launches(out, &w);
    if (!status) status = assign_memory(out, &w);
    if (status) rz_lowering_free(out);
    return status;
}

void rz_lowering_free(rz_lowering *l) {
    rz_free(l->value_offset); /* the block begins with it */
    *l = (rz_lowering){0};
}

/* ---- listing ---------------------------------------------------------------------------------------------------- */

typedef struct text {
    uint8_t *out;
    uint32_t cap, n;
} text;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void put(text *t, const char *format, ...) {
    char piece[128];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    for (int i = 0; i < n && i < (int)sizeof piece - 1; i++, t->n++) {
        if (t->n < t->cap) t->out[t->n] = (uint8_t)piece[i];
    }
}

static void put_launch(text *t, const rz_lowering *l, uint32_t i) {
    const rz_launch *launch = &l->launches[i];
    const rz_op *first = &l->ir->ops[launch->ops[0]];
    char layer[16] = "-";
    if (first->layer != RZ_LAYER_NONE) snprintf(layer, sizeof layer, "%u", first->layer);
    put(t, "%5u %4s @%u  ", i, layer, launch->ops[0]);
    if (launch->pattern) put(t, "%s: ", l->patterns[launch->pattern - 1].name);
    for (uint32_t k = 0; k < launch->n_ops; k++) {
        put(t, "%s%s", k ? " " : "", rz_op_name(l->ir->ops[launch->ops[k]].code));
    }
    put(t, " (");
    const char *comma = "";
    for (uint32_t k = 0; k < launch->n_ops * 4; k++) {
        const uint32_t id = l->ir->ops[launch->ops[k / 4]].in[k % 4];
        if (!id || l->value_offset[id - 1] == RZ_NO_MEMORY || contains(launch, l->value_def[id - 1])) continue;
        put(t, "%sv%u", comma, id);
        comma = " ";
    }
    for (uint32_t k = 0; k < launch->n_ops * 4; k++) {
        const uint32_t id = l->ir->ops[launch->ops[k / 4]].w[k % 4];
        if (!id) continue;
        put(t, "%sw%u", comma, id);
        comma = " ";
    }
    put(t, ") ->");
    for (uint32_t k = 0; k < launch->n_ops * 2; k++) {
        const uint32_t id = l->ir->ops[launch->ops[k / 2]].out[k % 2];
        if (!id || l->value_offset[id - 1] == RZ_NO_MEMORY) continue;
        put(t, " v%u[%s %u]", id, rz_rows_name(l->ir->values[id - 1].rows), l->ir->values[id - 1].cols);
    }
    put(t, "\n");
}

uint32_t rz_lowering_listing(const rz_lowering *l, uint8_t *out, uint32_t cap) {
    text t = {.out = out, .cap = cap};
    put(&t, "class %u: up to %u rows, %u launches of %u ops, %llu bytes of values\n", l->row_class, l->rows_max,
        l->n_launches, l->ir->header->n_ops, (unsigned long long)l->arena_bytes);
    for (uint32_t i = 0; i < l->n_launches; i++) put_launch(&t, l, i);
    return t.n;
}
