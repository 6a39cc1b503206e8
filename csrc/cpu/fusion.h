/* fusion.h - internal: what the CPU executor fuses. A matcher describes a fusion; patterns.c shows its ops to the
 * lowering and bind.c makes a product of it, both from the same description. */
#ifndef RZ_CPU_FUSION_H
#define RZ_CPU_FUSION_H
#include "cpu.h"

/* Indices of ops; RZ_NO_OP = none. */
typedef struct rz_cpu_fusion {
    uint32_t norm; /* of the input */
    uint32_t n_mats;
    uint32_t mats[RZ_PRODUCT_MATS];
    uint32_t head_norm[RZ_PRODUCT_MATS], rope[RZ_PRODUCT_MATS];
    uint32_t kv_write, keys_of, values_of; /* the op, and which of the mats its operands come from */
    uint32_t head_cols[RZ_PRODUCT_MATS];
    uint32_t glu, add;
} rz_cpu_fusion;

/* The patterns, in the order of rz_cpu_patterns; `anchor` is the first op. */
typedef enum rz_cpu_pattern {
    RZ_CPU_GLU,      /* [norm +] gate and up + glu */
    RZ_CPU_HEADS,    /* [norm +] 2-3 matmuls, each [+ norm of heads] [+ RoPE] [+ kvWrite] */
    RZ_CPU_NORM,     /* norm + matmul or logits */
    RZ_CPU_RESIDUAL, /* matmul + add */
} rz_cpu_pattern;
bool rz_cpu_match(const rz_lowering *l, rz_cpu_pattern pattern, uint32_t anchor, rz_cpu_fusion *f);

#endif
