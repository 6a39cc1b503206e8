/* lower_test.c - lowering: launches and their order, what makes a fusion illegal, memory that is never shared by two
 * values that live at once. */
#include "error.h"
#include "lower.h"
#include "op_rules.h"
#include "plan.h"
#include "plan_builder.h"
#include "test.h"

static rz_plan_ir ir;
static rz_lowering l;
static rz_plan_options options;

static void read_plan(builder *b) {
    uint32_t n = 0;
    uint8_t *bytes = plan_bytes(b, &n);
    rz_plan_free(&ir);
    CHECK(rz_plan_read(bytes, n, NULL, &ir) == RZ_OK);
    free(bytes);
    options = (rz_plan_options){.size = sizeof options, .max_tokens = 32, .max_seqs = 3, .max_outs = 10, .max_rows = 7};
}

static int32_t lower(const rz_pattern *patterns, uint32_t n, uint32_t row_class) {
    rz_lowering_free(&l);
    return rz_lower(&ir, &options, patterns, n, row_class, 32, NULL, &l);
}

/* ---- invariants, judged from the launches alone ----------------------------------------------------------------- */

static uint64_t bytes_of(uint32_t id) {
    const rz_value *v = &ir.values[id - 1];
    const uint64_t rows[] = {32, 7, 3, 64}; /* T, R, S, Tk with k = 2 */
    return rows[v->rows] * v->cols * 4;
}

static bool is_kept(uint32_t id) {
    bool kept = ir.values[id - 1].flags != 0;
    for (uint32_t i = 0; i < options.n_watched; i++) kept = kept || options.watched[i] == id;
    return kept;
}

/* Launch in which an op runs. */
static uint32_t launch_of(uint32_t op) {
    for (uint32_t i = 0; i < l.n_launches; i++) {
        for (uint32_t k = 0; k < l.launches[i].n_ops; k++) {
            if (l.launches[i].ops[k] == op) return i;
        }
    }
    return UINT32_MAX;
}

/* First and last launch in which a value's memory must be its own. */
static void life_of(uint32_t id, uint32_t *first, uint32_t *last) {
    *first = *last = 0;
    for (uint32_t i = 0; i < ir.header->n_ops; i++) {
        const rz_op *op = &ir.ops[i];
        if (op->out[0] == id || op->out[1] == id) *first = launch_of(i);
        if (op->out[0] == id || op->out[1] == id) *last = *last > *first ? *last : *first;
        for (int k = 0; k < 4; k++) {
            if (op->in[k] == id && launch_of(i) > *last) *last = launch_of(i);
        }
    }
    if (is_kept(id)) *last = UINT32_MAX;
}

static void check_order(void) {
    uint32_t n_ops = 0;
    for (uint32_t i = 0; i < l.n_launches; i++) n_ops += l.launches[i].n_ops;
    CHECK(n_ops == ir.header->n_ops);
    for (uint32_t i = 0; i < ir.header->n_ops; i++) {
        CHECK(launch_of(i) != UINT32_MAX);
        for (uint32_t j = i + 1; j < ir.header->n_ops; j++) {
            const rz_op *a = &ir.ops[i], *b = &ir.ops[j];
            bool needs = a->code == RZ_OP_KV_WRITE && b->code == RZ_OP_ATTENTION && a->n[1] == b->n[1] && b->n[6] == 0;
            for (int k = 0; k < 4; k++) needs = needs || (b->in[k] && (b->in[k] == a->out[0] || b->in[k] == a->out[1]));
            if (needs) CHECK(launch_of(i) <= launch_of(j));
        }
    }
}

static void check_memory(void) {
    for (uint32_t a = 1; a <= ir.header->n_values; a++) {
        uint32_t a_first, a_last;
        life_of(a, &a_first, &a_last);
        const uint64_t at = l.value_offset[a - 1];
        if (at == RZ_NO_MEMORY) { /* inside one launch, and there is nobody else who would miss it */
            CHECK(a_first == a_last && l.launches[a_first].n_ops > 1 && !is_kept(a));
            continue;
        }
        CHECK(at % 64 == 0 && at + bytes_of(a) <= l.arena_bytes);
        for (uint32_t b = a + 1; b <= ir.header->n_values; b++) {
            uint32_t b_first, b_last;
            life_of(b, &b_first, &b_last);
            const uint64_t other = l.value_offset[b - 1];
            if (other == RZ_NO_MEMORY || a_first > b_last || b_first > a_last) continue;
            CHECK(at + bytes_of(a) <= other || other + bytes_of(b) <= at);
        }
    }
}

/* ---- patterns for the tests ------------------------------------------------------------------------------------- */

static uint32_t user_of(const rz_lowering *low, uint32_t op, uint32_t code) {
    const uint32_t value = low->ir->ops[op].out[0], user = value ? low->value_user[value - 1] : RZ_NO_OP;
    return user != RZ_NO_OP && low->ir->ops[user].code == code ? user : RZ_NO_OP;
}

/* gate and up matmul with their glu. */
static uint32_t match_glu(const rz_lowering *low, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    const rz_op *op = &low->ir->ops[anchor];
    if (op->code != RZ_OP_MATMUL || !rz_value_private(low, op->out[0])) return 0;
    const uint32_t glu = user_of(low, anchor, RZ_OP_GLU);
    if (glu == RZ_NO_OP) return 0;
    const uint32_t other = low->ir->ops[glu].in[low->ir->ops[glu].in[0] == op->out[0]];
    ops[0] = anchor;
    ops[1] = low->value_def[other - 1];
    ops[2] = glu;
    return 3;
}

/* A matmul and the add behind it. */
static uint32_t match_residual(const rz_lowering *low, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    if (low->ir->ops[anchor].code != RZ_OP_MATMUL || !rz_value_private(low, low->ir->ops[anchor].out[0])) return 0;
    ops[0] = anchor;
    ops[1] = user_of(low, anchor, RZ_OP_ADD);
    return ops[1] == RZ_NO_OP ? 0 : 2;
}

/* The projections of a layer up to its kvWrite: values that stay inside, and q, which does not. */
static uint32_t match_qkv(const rz_lowering *low, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    if (low->ir->ops[anchor].code != RZ_OP_RMS_NORM) return 0;
    for (uint32_t n = 0; n < 8 && anchor + n < low->ir->header->n_ops; n++) {
        ops[n] = anchor + n;
        if (low->ir->ops[anchor + n].code == RZ_OP_KV_WRITE) return n + 1;
    }
    return 0;
}

/* A norm with the kvWrite of its layer but not with what is between: never legal. */
static uint32_t match_hole(const rz_lowering *low, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    const uint32_t n = match_qkv(low, anchor, ops);
    if (n < 3) return 0;
    ops[1] = ops[n - 1];
    return 2;
}

/* kvWrite with an op behind the attention: the attention would read too early. */
static uint32_t match_late_write(const rz_lowering *low, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    if (low->ir->ops[anchor].code != RZ_OP_KV_WRITE) return 0;
    ops[0] = anchor;
    ops[1] = anchor + 2;
    return 2;
}

static uint32_t match_nonsense(const rz_lowering *low, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    (void)low;
    ops[0] = anchor;
    ops[1] = anchor;
    return 2;
}

static uint32_t match_beyond(const rz_lowering *low, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    ops[0] = anchor;
    ops[1] = low->ir->header->n_ops;
    return 2;
}

static const rz_pattern patterns[] = {{"glu", 3, match_glu}, {"residual", 3, match_residual}, {"qkv", 1, match_qkv}};

static uint32_t count(uint32_t pattern) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < l.n_launches; i++) n += l.launches[i].pattern == pattern;
    return n;
}

/* ---- tests ------------------------------------------------------------------------------------------------------ */

static void test_single(void) {
    static builder b;
    for (int zoo = 0; zoo < 2; zoo++) {
        if (zoo)
            build_zoo(&b);
        else
            build_llama(&b, RZ_F32);
        read_plan(&b);
        CHECK(lower(NULL, 0, 0) == RZ_OK && l.n_launches == ir.header->n_ops);
        CHECK(l.experts_per_token == (zoo ? 2 : 0));
        for (uint32_t i = 0; i < l.n_launches; i++) CHECK(l.launches[i].ops[0] == i && l.launches[i].pattern == 0);
        check_order();
        check_memory();
        uint64_t all = 0;
        for (uint32_t id = 1; id <= ir.header->n_values; id++) all += bytes_of(id);
        CHECK(l.arena_bytes < all / 2); /* memory is used again */
    }
}

static void test_fusion(void) {
    static builder b;
    build_llama(&b, RZ_F32);
    read_plan(&b);
    const uint32_t n_ops = ir.header->n_ops;
    CHECK(lower(patterns, 3, 0) == RZ_OK && count(1) == 2 && count(2) == 4 && count(3) == 2);
    CHECK(l.n_launches == n_ops - 2 * 2 - 4 * 1 - 2 * 6);
    check_order();
    check_memory();
    for (uint32_t id = 2; id <= 7; id++) { /* of the first layer's qkv only the turned q has memory */
        CHECK((l.value_offset[id - 1] == RZ_NO_MEMORY) == (id != 4));
    }
    uint8_t text[8192] = {0};
    CHECK(rz_lowering_listing(&l, text, sizeof text - 1) < sizeof text);
    CHECK(
        strstr((char *)text, "qkv: rmsNorm matmul rope matmul rope matmul kvWrite (v1 w2 w3 w4 w5 w6) -> v4[T 64]\n"));

    CHECK(lower(patterns, 3, 1) == RZ_OK && count(1) == 2 && count(3) == 0); /* class_mask */
    options.patterns_off[0] = 2;
    CHECK(lower(patterns, 3, 0) == RZ_OK && count(1) == 2 && count(2) == 0 && count(3) == 2);
    check_order();
    check_memory();
    options.patterns_off[0] = 0;
    options.flags = RZ_PLAN_NO_FUSION;
    CHECK(lower(patterns, 3, 0) == RZ_OK && l.n_launches == n_ops);
    options.flags = 0;

    options.n_watched = 1; /* inside a fusion: that one is off, in its layer only */
    options.watched[0] = 5;
    CHECK(lower(patterns, 3, 0) == RZ_OK && count(3) == 1 && count(1) == 2);
    check_memory();
    options.watched[0] = 10; /* the result of a fusion: fine */
    CHECK(lower(patterns, 3, 0) == RZ_OK && count(2) == 4 && l.value_offset[9] != RZ_NO_MEMORY);
    check_memory();
    options.watched[0] = 9; /* what a fusion would swallow */
    CHECK(lower(patterns, 3, 0) == RZ_OK && count(2) == 3 && l.value_offset[8] != RZ_NO_MEMORY);
    check_memory();
}

static void test_illegal(void) {
    static builder b;
    build_llama(&b, RZ_F32);
    read_plan(&b);
    const rz_pattern hole[] = {{"hole", 1, match_hole}}, late[] = {{"late", 1, match_late_write}};
    CHECK(lower(hole, 1, 0) == RZ_OK && count(1) == 0);
    CHECK(lower(late, 1, 0) == RZ_OK && count(1) == 0);
    check_order();
    const rz_pattern nonsense[] = {{"nonsense", 1, match_nonsense}}, beyond[] = {{"beyond", 1, match_beyond}};
    CHECK(lower(nonsense, 1, 0) == RZ_E_INTERNAL && strstr(rz_fail_message(), "nonsense") && l.launches == NULL);
    CHECK(lower(beyond, 1, 0) == RZ_E_INTERNAL);
    const rz_pattern glu_twice[] = {{"glu", 1, match_glu}, {"again", 1, match_glu}};
    CHECK(lower(glu_twice, 2, 0) == RZ_OK && count(1) == 2 && count(2) == 0); /* the first that fits */
}

int main(void) {
    test_single();
    test_fusion();
    test_illegal();
    rz_lowering_free(&l);
    rz_plan_free(&ir);
    return TEST_RESULT("lower");
}
