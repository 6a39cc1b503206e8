/* lower.h - internal: from verified ops to launches. Fusion patterns are data of the executor; what no pattern takes
 * runs as a launch of its own op. */
#ifndef RZ_LOWER_H
#define RZ_LOWER_H
#include "backend.h"
#include "memory.h"

#define RZ_LAUNCH_OPS 12

typedef struct rz_lowering rz_lowering;

/* Indices (0-based, ascending) of the ops one launch covers. */
typedef struct rz_launch {
    uint32_t pattern; /* 0 = single op, else 1 + index of the pattern */
    uint32_t n_ops;
    uint32_t ops[RZ_LAUNCH_OPS];
} rz_launch;

typedef struct rz_pattern {
    const char *name;
    uint32_t class_mask; /* bit c: may be used in row class c */
    /* Looks at op `anchor` (not taken yet); writes the ops of the fusion and returns how many, 0 = no match. The
     * matcher checks only shape and meaning; rz_lower checks that the fusion is legal:
     * every value defined inside is either used only inside and neither OUTPUT nor WATCHED (then it has no memory), or
     * is memory that no op outside the launch needs before its last op; no op is taken twice; KV order is kept. */
    uint32_t (*match)(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]);
} rz_pattern;

/* The result for one row class. Values without memory have offset RZ_NO_MEMORY. */
#define RZ_NO_MEMORY UINT64_MAX
struct rz_lowering {
    const rz_plan_ir *ir;
    const rz_plan_options *options;
    uint32_t row_class, rows_max; /* the most token rows a step of this class has */
    uint32_t n_launches;
    rz_launch *launches;     /* [n_ops at most], in order */
    uint64_t *value_offset;  /* [n_values] into the arena; aliasing decided from lifetimes */
    uint64_t arena_bytes;
    uint32_t *value_uses;    /* [n_values] number of uses */
    uint32_t *value_def;     /* [n_values] index of the defining op */
    uint32_t experts_per_token; /* k of Tk rows, 0 = none */
};

/* Lowers a verified plan for one row class of at most rows_max token rows: takes patterns in table order at each
 * anchor, assigns memory, writes *out (its arrays come from rz_alloc with the account). */
int32_t rz_lower(const rz_plan_ir *ir, const rz_plan_options *options, const rz_pattern *patterns, uint32_t n_patterns,
                 uint32_t row_class, uint32_t rows_max, rz_account *account, rz_lowering *out);
void rz_lowering_free(rz_lowering *l);

#endif
