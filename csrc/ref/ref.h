/* ref.h - internal: the reference executor. Scalar, F32 values, F64 arithmetic: what an op is, not how it is fast.
 *
 * Weights stay in file layout and are dequantized row by row; VECTOR weights are F32. A result never depends on how
 * many rows are computed with it: every row is the same sequence of operations. */
#ifndef RZ_REF_H
#define RZ_REF_H
#include "lower.h"

#define REF_PAGE_TOKENS 16u

/* A plan ready to run. Owned by the engine's driver thread. */
typedef struct ref_program {
    const rz_plan_ir *ir;
    const rz_tensor *tensors;
    rz_plan_options options;
    rz_lowering lowering;
    uint8_t *arena;       /* all values */
    double *scratch;      /* of the op that runs: as much as the greediest needs */
    void *sample_scratch; /* of rz_sample_outs, NULL without logits */
    rz_brick *bricks;     /* [n_launches], NULL without RZ_PLAN_PROFILE */
} ref_program;

/* One op about to run. Operands are NULL where the op has none; value k is [rows of its symbol][cols]. */
typedef struct ref_call {
    const ref_program *program;
    const rz_step *step;
    const rz_op *op;
    const float *in[4];
    uint32_t in_cols[4];
    float *out[2];
    uint32_t out_cols[2];
    const rz_tensor *w[4];
    uint32_t rows; /* of in0, of out0 for ops without inputs */
} ref_call;

/* Computes one op; false: the step was cancelled. */
typedef bool ref_op(const ref_call *c);
ref_op ref_embed, ref_select_rows, ref_pool;                                             /* rows.c */
ref_op ref_rms_norm, ref_layer_norm;                                                     /* norm.c */
ref_op ref_matmul, ref_head_matmul, ref_logits, ref_moe_matmul;                          /* matmul.c */
ref_op ref_rope;                                                                         /* rope.c */
ref_op ref_kv_write, ref_attention;                                                      /* attention.c */
ref_op ref_glu, ref_unary, ref_add, ref_mul, ref_scale, ref_softcap, ref_all_reduce;     /* elementwise.c */
ref_op ref_moe_route, ref_moe_combine;                                                   /* moe.c */

#define REF_TILE_ROWS 32u /* rows of activations that a product takes at once */

/* Bytes of a page: for each layer the keys of its tokens, [page_tokens][k_cols], then their values. */
int32_t ref_page_bytes(void *engine, const rz_cache_group *group, uint64_t *bytes);

static inline bool ref_cancelled(const ref_call *c) {
    return atomic_load_explicit(c->step->cancel, memory_order_relaxed) != 0;
}

/* A VECTOR weight. */
static inline const float *ref_vector(const rz_tensor *w) { return (const float *)(const void *)w->data; }

/* Sum of a[i] * b[i], in eight interleaved partial sums so that the order is fixed and vectors can hold it. */
static inline double ref_dot(const double *a, const double *b, uint32_t n) {
    double sum[8] = {0};
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (int j = 0; j < 8; j++) sum[j] += a[i + j] * b[i + j];
    }
    for (; i < n; i++) sum[i % 8] += a[i] * b[i];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

#endif
