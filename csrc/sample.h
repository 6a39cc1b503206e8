/* sample.h - internal: from a row of logits to a token, for executors whose logits lie in host memory.
 *
 * What happens to a row, in this order:
 *   1. NaN or Inf anywhere: NONFINITE, nothing else.
 *   2. log-probabilities (of the token, the target, the top ones) are those of the model: softmax of the raw logits.
 *   3. repetition, then frequency and presence penalties, for the tokens at positions penalty_from .. the row's own.
 *      A token seen c times: x > 0 ? x / repetition : x * repetition, then - c * frequency - presence. Without a
 *      cache the history is this step's own tokens of the sequence.
 *   4. bias: added after the penalties, so that a bias means that many nats whatever was said before.
 *   5. mask: a forbidden token is -inf. If nothing is left: EMPTY_MASK.
 *   6. temperature 0: the largest, lowest id among equals; the filters below are not asked.
 *   7. filters, each on the probabilities that the one before left (renormalized, at temperature 1):
 *      top-k      the k largest, lowest ids among equals
 *      typical    those whose surprise -log p is nearest to the entropy, until their sum reaches typical_p
 *      top-p      the most probable, until their sum reaches top_p
 *      min-p      those with p >= min_p * the largest p
 *      The token that reaches a sum stays; equals count in order of ids; at least one token is left.
 *   8. temperature t: x / t. Last, as llama.cpp has it (the order of its default chain is this one): a filter then
 *      means the same at every temperature, and a hot sampler still draws from plausible tokens only. (vLLM and
 *      transformers divide first.)
 *   9. a draw by inversion, tokens in order of ids, with the number Philox4x32-10 gives for key (seed_lo, seed_hi)
 *      and counter draw_position: equal logits, seed and position give an equal token, whoever the neighbours are. */
#ifndef RZ_SAMPLE_H
#define RZ_SAMPLE_H
#include "backend.h"
#include "select.h"

/* Scratch for one row at a time (5 to 6 vocabularies of words); at least 8-byte aligned, any content. */
size_t rz_sample_scratch_bytes(uint32_t vocab);

/* Sum of e^(x[i] - max), x[n], max the largest: in blocks of 256, each as 8 sums of every 8th. An executor may have a
 * faster one with the same bits. */
typedef double rz_exp_sum_fn(const float *x, uint32_t n, float max);
rz_exp_sum_fn rz_exp_sum;

/* Samples out i of the step from logits[vocab], the row of that out (finite or not; may be NULL when the plan has no
 * logits: the result is then empty). Writes *result and tops[n_top of that out]. masks as in rz_step_sample.
 * Allocates nothing. Rows with scratches of their own may be sampled by several threads. */
void rz_sample_out(const float *logits, uint32_t vocab, const rz_step *step, uint32_t i, const uint32_t *masks,
                   rz_exp_sum_fn *exp_sum, void *scratch, rz_result_out *result, rz_result_top *tops);

/* What an executor found of a row that does not lie in host memory. */
typedef struct rz_best {
    const rz_ranked *items; /* [n] the largest logits, best first (lowest id among equals); all finite */
    uint32_t n;
    double log_total; /* log of the sum of the exponents of all logits of the row */
} rz_best;

/* Whether the n largest logits decide an out: no other token can be drawn or must be told. */
bool rz_sample_by_best(const rz_batch_out *out, uint32_t n);

/* rz_sample_out for an out that they decide: the same token. scratch as there. */
void rz_sample_best(const rz_best *best, uint32_t vocab, const rz_step *step, uint32_t i, void *scratch,
                    rz_result_out *result, rz_result_top *tops);

/* All outs of a step, in order: logits[n_rows][vocab], results[n_outs], tops [sum of the outs' n_top]. An out's tops
 * start at top_first = the sum of the n_top of the outs before it; results[i].n_top of them are written (fewer than
 * asked when the vocabulary is smaller, none for a NONFINITE row), the others are zero.
 * Returns RZ_OK, or RZ_E_CANCELLED when the step's flag was seen between two outs. */
int32_t rz_sample_outs(const float *logits, uint32_t vocab, const rz_step *step, const uint32_t *masks, void *scratch,
                       rz_result_out *results, rz_result_top *tops);

#endif
