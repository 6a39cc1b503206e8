/* batch.h - internal: from the bytes of a batch (realizar.h, rz_batch_header) to a rz_batch that executors trust. */
#ifndef RZ_BATCH_H
#define RZ_BATCH_H
#include "engine.h"

/* What a step of a plan may hold, from its options. */
typedef struct rz_batch_limits {
    uint32_t n_seqs, n_tokens, n_outs, n_rows, n_copies, n_bias, n_tops;
} rz_batch_limits;

rz_batch_limits rz_batch_limits_of(const rz_plan_options *options);

/* Bytes of one ticket's arrays (the batch, masks, results), and their places in such memory, aligned to 64. */
uint64_t rz_ticket_bytes(const rz_plan_options *options, uint32_t vocab_size);
void rz_ticket_place(rz_ticket *ticket, const rz_plan_options *options, uint32_t vocab_size, uint8_t *memory);

/* Copies the buffer into the ticket and checks the copy (the caller's memory may change at any time). Takes the
 * cache's stamps: one caller at a time for a plan, and for a cache. On failure only the ticket has changed.
 * MAGIC, TRUNCATED: the buffer's own sizes. LIMIT: more than the plan or cache has room for. UNSUPPORTED: a field of
 * something not built yet. SHAPE: plan and cache don't go together. ARG: everything else. */
rz_status rz_batch_read(rz_ticket *ticket, const uint8_t *bytes, uint32_t n);

/* Whether a plan can run over a cache. */
rz_status rz_batch_match(const rz_plan *plan, const rz_cache *cache);

#endif
