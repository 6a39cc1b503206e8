/* moe.h - internal: mixture of experts: what is fused, and how its kernels are queued. */
#ifndef RZ_CUDA_MOE_H
#define RZ_CUDA_MOE_H
#include "fusion.h"

/* Indices of the ops of a feed-forward part with experts; add = RZ_NO_OP: no residual follows. */
typedef struct rzc_experts {
    uint32_t norm, router, route, gate, up, glu, down, combine, add;
} rzc_experts;

/* From norm to sum, when the kernels know all of it. */
bool rzc_match_experts(const rz_lowering *l, uint32_t anchor, rzc_experts *f);
uint32_t rzc_show_experts(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]);

/* Sets p->moe, from `at` on; returns the end. */
uint64_t rzc_moe_place(rzc_program *p, uint64_t at);
rz_status rzc_run_experts(rzc_program *p, const rz_launch *launch);

#endif
