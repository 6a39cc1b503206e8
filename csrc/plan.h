/* plan.h - internal: from the bytes of a plan (realizar.h, rz_plan_header) to a verified rz_plan_ir.
 *
 * What rz_plan_read accepts is safe to lower and to run: every rule of op.h and realizar.h was checked, so executors
 * look at nothing again. Statuses are positive, with the message set. */
#ifndef RZ_PLAN_H
#define RZ_PLAN_H
#include "backend.h"

/* Limits, so that no product of sizes overflows. */
#define RZ_MAX_PLAN_WEIGHTS (1u << 20)
#define RZ_MAX_PLAN_CONSTANTS 4096u
#define RZ_MAX_PLAN_VALUES (1u << 20)
#define RZ_MAX_PLAN_OPS 65536u
#define RZ_MAX_COLS (1u << 24) /* of a value or weight; rows of a weight, vocab_size too */
#define RZ_MAX_EXPERTS 4096u
#define RZ_MAX_EXPERTS_PER_TOKEN 1024u
#define RZ_MAX_HEADS 4096u
#define RZ_MAX_HEAD_COLS 8192u
#define RZ_MAX_LAYERS 1024u /* of the model, and of a cache group */
#define RZ_MAX_GROUPS 8u

/* Verifies n bytes and fills *out, whose pointers lead into one copy owned by it. When it fails nothing is kept.
 * TRUNCATED, MAGIC, LIMIT: the buffer. Of a weight, value, constant or op: TYPE (dtype, use), SHAPE, LIMIT, DUPLICATE
 * (defined or written twice), KEY_MISSING (an operand absent or not defined yet), ARG (everything else). */
rz_status rz_plan_read(const uint8_t *bytes, uint32_t n, rz_account *account, rz_plan_ir *out);
void rz_plan_free(rz_plan_ir *ir); /* zeroes *ir; fine on a zeroed one */

/* The plan's weight table against the weights it is to run over: dtype, use, rows, cols, n_experts. */
rz_status rz_plan_match(const rz_plan_ir *ir, const rz_tensor *tensors, uint32_t n_tensors);

/* Checks options for a plan and copies them to *out with defaults filled in (max_rows). */
rz_status rz_plan_options_read(const rz_plan_ir *ir, const rz_plan_options *options, rz_plan_options *out);

/* One row of a weight table; `where` begins the message ("plan", "rz_weights_open"). Known dtype, use bits that go
 * together, sizes in range and of whole blocks, bytes that equal them, unused fields 0. Not file and offset. */
rz_status rz_weight_check(const char *where, const rz_weight *w, uint32_t id);

#endif
