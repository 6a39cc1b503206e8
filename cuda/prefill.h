/* prefill.h - internal: many token rows. Products go to prefill_wgmma.cu (records, Hopper) or prefill_product.cu, with
 * activations converted once for all that read them. */
#ifndef RZ_CUDA_PREFILL_H
#define RZ_CUDA_PREFILL_H
#include "fusion.h"

/* Bytes for the activations of the widest product of the largest step, after the programs are lowered. */
uint64_t rzc_prefill_bytes(const rzc_program *p);
/* Floats for output tiles that blocks share, and words for their arrivals. */
void rzc_prefill_shared(const rzc_program *p, uint64_t *floats, uint64_t *words);

/* Whether a product goes this way: never in a deterministic plan. */
bool rzc_can_prefill(const rzc_program *p, const rzc_product *product);
/* Queues it. `x` is the id of the value that product->x is, 0 = unknown. */
rz_status rzc_prefill_product(rzc_program *p, const rzc_product *product, uint32_t x);
/* Queues a fusion of the class of many rows. */
rz_status rzc_prefill_fusion(rzc_program *p, const rz_launch *launch);

/* Queues a launch of an RMSNorm whose readers take tiles as one with their conversion; *done: whether it is one. */
rz_status rzc_norm_to_tiles(rzc_program *p, const rz_launch *launch, bool *done);

#endif
