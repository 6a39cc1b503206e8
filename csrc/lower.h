/* lower.h - internal: from verified ops to launches. Fusion patterns are data of the executor; what no pattern takes
 * runs as a launch of its own op. */
#ifndef RZ_LOWER_H
#define RZ_LOWER_H
#include "backend.h"
#include "memory.h"

#define RZ_LAUNCH_OPS 12
#define RZ_LAUNCH_SPAN 256 /* from the first op of a fusion to its last */

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
    /* Looks at op `anchor` (not taken yet); writes the ops of the fusion, ascending and within RZ_LAUNCH_SPAN of each
     * other, and returns how many, 0 = no match. The matcher checks only shape and meaning; rz_lower checks that the
     * fusion is legal. The launch runs where its last op stands, so for every value defined inside
     *   - no op outside that stands before the last op uses it,
     *   - if it is OUTPUT or WATCHED, the last op defines it,
     * and a layer's kvWrite inside comes before every attention outside that reads it. No op is taken twice. A value
     * whose uses are all inside has no memory; every other one has, and the kernel must write it. */
    uint32_t (*match)(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]);
} rz_pattern;

/* The result for one row class. Values without memory have offset RZ_NO_MEMORY. */
#define RZ_NO_MEMORY UINT64_MAX
#define RZ_NO_OP UINT32_MAX
struct rz_lowering {
    const rz_plan_ir *ir;
    const rz_plan_options *options;
    const rz_pattern *patterns;
    uint32_t n_patterns;
    uint32_t row_class, rows_max; /* the most token rows a step of this class has */
    uint32_t n_launches;
    rz_launch *launches;     /* [n_ops at most], in order */
    uint64_t *value_offset;  /* [n_values] into the arena; aliasing decided from lifetimes */
    uint64_t arena_bytes;
    uint32_t *value_uses;    /* [n_values] number of uses */
    uint32_t *value_def;     /* [n_values] index of the defining op */
    uint32_t *value_user;    /* [n_values] index of the first op that uses it, RZ_NO_OP = none */
    uint8_t *value_pinned;   /* [n_values] 1 = OUTPUT or WATCHED: must be in memory after the step */
    uint32_t experts_per_token; /* k of Tk rows, 0 = none */
    size_t own_bytes;           /* of the allocation that holds these arrays */
};

/* Lowers a verified plan for one row class of at most rows_max token rows: takes patterns in table order at each
 * anchor (patterns_off, NO_FUSION), assigns memory, writes *out. One allocation with the account; ir, options and
 * patterns must outlive it. OOM_HOST; LIMIT: an arena of more than 2^48 bytes; INTERNAL: a matcher's nonsense. */
int32_t rz_lower(const rz_plan_ir *ir, const rz_plan_options *options, const rz_pattern *patterns, uint32_t n_patterns,
                 uint32_t row_class, uint32_t rows_max, rz_account *account, rz_lowering *out);
void rz_lowering_free(rz_lowering *l); /* zeroes *l; fine on a zeroed one */

/* For matchers: value `id` has one use, and nobody outside the fusion will miss it. */
static inline bool rz_value_private(const rz_lowering *l, uint32_t id) {
    return l->value_uses[id - 1] == 1 && !l->value_pinned[id - 1];
}

/* The most rows a value of this symbol has in this class. */
uint64_t rz_lowering_rows(const rz_lowering *l, uint32_t rows);

/* The lowering as text, a line a launch; returns the length, writes up to cap. */
uint32_t rz_lowering_listing(const rz_lowering *l, uint8_t *out, uint32_t cap);

#endif
