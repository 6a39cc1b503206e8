/* attention.h - internal: attention.c queues attention. */
#ifndef RZ_CUDA_ATTENTION_H
#define RZ_CUDA_ATTENTION_H
#include "fusion.h"

/* Floats for the parts of divided rows, and words for their arrivals, of the largest attention of a plan. */
void rzc_attention_needs(const rzc_program *p, uint64_t *floats, uint64_t *words);

/* Queues an attention op. */
rz_status rzc_attend(rzc_program *p, const rz_op *op);
/* Queues RZC_PLACE. */
rz_status rzc_run_place(rzc_program *p, const rz_launch *launch);

/* Whether the step's cache can be used: UNSUPPORTED for Q8_0 with heads that are no multiple of 32 columns. */
rz_status rzc_kv_check(const rzc_program *p);

#endif
