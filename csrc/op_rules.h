/* op_rules.h - internal: the rules of op.h as a table, and the check of one op against them. */
#ifndef RZ_OP_RULES_H
#define RZ_OP_RULES_H
#include "plan.h"

/* Name of an op for listings and messages, NULL when the code is unknown. */
const char *rz_op_name(uint32_t code);
/* "T", "R", "S", "Tk". */
const char *rz_rows_name(uint32_t rows);

/* What the checks of a plan's ops know so far. Zeroed but for ir and defined_by at the start. */
typedef struct rz_op_checker {
    rz_plan_ir *ir;                                     /* groups and logits_value are filled in on the way */
    uint32_t *defined_by;                               /* [n_values] 1 + index of the op, 0 = not yet */
    uint32_t experts_per_token;                         /* k of all MoE ops, 0 = none yet */
    uint32_t written[RZ_MAX_GROUPS][RZ_MAX_LAYERS / 32]; /* bit: this layer of the group has its kvWrite */
    bool sees_all[RZ_MAX_GROUPS];                       /* some attention over the group has no window */
} rz_op_checker;

/* Checks op `index`, whose predecessors were checked, and takes note of what it defines. */
rz_status rz_op_check(rz_op_checker *c, uint32_t index);

#endif
