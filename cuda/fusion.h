/* fusion.h - internal: what the CUDA executor fuses. A matcher describes a fusion; patterns.c shows its ops to the
 * lowering and gemv.c queues its kernels, both from the same description. */
#ifndef RZ_CUDA_FUSION_H
#define RZ_CUDA_FUSION_H
#include "cuda.h"

/* Indices of ops; RZ_NO_OP = none. */
typedef struct rzc_fusion {
    uint32_t norm;
    uint32_t n_mats, mats[3];
    uint32_t head_norm[3], rope[3], kv_write;
    uint32_t glu, add;
    uint32_t attention;
} rzc_fusion;

/* In the order of rzc_patterns; `anchor` is the first op. */
typedef enum rzc_pattern {
    RZC_HEADS,    /* norm + queries, keys, values [+ norm of heads] + RoPE + kvWrite */
    RZC_GLU,      /* norm + gate and up + silu glu */
    RZC_RESIDUAL, /* matmul + add */
    /* of many rows: prefill.c */
    RZC_MANY_GLU,     /* gate and up + silu or gelu glu */
    RZC_MANY_MATMULS, /* two or three matmuls of the same rows */
    RZC_PLACE,        /* [norm of heads +] RoPE of queries and keys + kvWrite + attention: attention.c */
    RZC_LOGITS,       /* few rows: norm + logits */
    RZC_EXPERTS,      /* all of a feed-forward part with experts, few rows: moe.c */
    RZC_MANY_EXPERTS, /* the same of many: Hopper only */
} rzc_pattern;
extern const rz_pattern rzc_patterns[];
extern const uint32_t rzc_n_patterns;
/* Writes the ops among `all` (RZ_NO_OP = none) ascending and returns how many; 0 = the anchor is not the first of them,
 * or they are too far apart for one launch. */
uint32_t rzc_in_order(const uint32_t *all, uint32_t n_all, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]);
bool rzc_match(const rz_lowering *l, rzc_pattern pattern, uint32_t anchor, rzc_fusion *f);

/* Formats that one record product can mix: 1 Q4_K and Q6_K, 2 Q8_0, 3 BF16, 4 any of integers, 5 F16; 0 = not a
 * record. The second: the family whose kernel takes both, 0 = none. */
uint32_t rzc_family_of(rzc_format format);
uint32_t rzc_family_join(uint32_t a, uint32_t b);

/* Queues a fusion. */
rz_status rzc_run_fusion(rzc_program *p, const rz_launch *launch);
/* Queues a record product y = W x (+ bias, factor, cap) of few rows; false when there is no kernel for it. */
bool rzc_can_gemv(const rzc_program *p, const rz_tensor *w, uint32_t n_rows);
rz_status rzc_product_few(rzc_program *p, const rzc_product *product);
/* Bytes that such products need for x of several rows. */
uint64_t rzc_staged_bytes(const rzc_program *p);

/* Any product, the best way there is. value: whose rows x is, 0 = unknown. */
rz_status rzc_product_any(rzc_program *p, const rz_tensor *w, const rzc_product *product, uint32_t value);

#endif
