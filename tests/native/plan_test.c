/* plan_test.c - the verifier: two plans that use every op are read; one bad plan for every rule is refused with the
 * right status and a message that names the place; every single bit may flip. */
#include "error.h"
#include "plan.h"
#include "plan_builder.h"
#include "test.h"
#include <stddef.h>

static rz_plan_ir ir;

static rz_status read_plan(builder *b) {
    uint32_t n = 0;
    uint8_t *bytes = plan_bytes(b, &n);
    rz_plan_free(&ir);
    const rz_status status = rz_plan_read(bytes, n, NULL, &ir);
    memset(bytes, 0xA5, n); /* the ir owns its copy */
    free(bytes);
    return status;
}

static void test_good(void) {
    static builder b;
    build_llama(&b, RZ_Q8_0);
    CHECK(read_plan(&b) == RZ_OK);
    CHECK(memcmp(ir.header, &b.header, sizeof b.header) == 0);
    CHECK(memcmp(ir.weights, b.weights, b.header.n_weights * sizeof *b.weights) == 0);
    CHECK(memcmp(ir.constants, b.constants, b.header.n_constants * sizeof *b.constants) == 0);
    CHECK(memcmp(ir.numbers, b.numbers, b.header.n_numbers * sizeof *b.numbers) == 0);
    CHECK(memcmp(ir.values, b.values, b.header.n_values * sizeof *b.values) == 0);
    CHECK(memcmp(ir.ops, b.ops, b.header.n_ops * sizeof *b.ops) == 0);
    CHECK(ir.n_groups == 1 && ir.groups[0].n_layers == 2 && ir.groups[0].k_cols == 32 && ir.groups[0].v_cols == 32);
    CHECK(ir.logits_value == b.header.n_values && ir.groups[0].window_max == 0);
    for (uint32_t i = 0; i < b.header.n_ops; i++) {
        if (b.ops[i].code == RZ_OP_ATTENTION) b.ops[i].n[7] = 10 + b.ops[i].n[1];
    }
    CHECK(read_plan(&b) == RZ_OK && ir.groups[0].window_max == 11);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < b.header.n_ops; i++) seen |= 1u << b.ops[i].code;
    build_zoo(&b);
    CHECK(read_plan(&b) == RZ_OK && ir.n_groups == 0 && ir.logits_value == 0);
    for (uint32_t i = 0; i < b.header.n_ops; i++) seen |= 1u << b.ops[i].code;
#define CODE(name, code, text) | 1u << code
    CHECK(seen == (0 RZ_OPS(CODE))); /* the two plans have every op */
#undef CODE
}

/* ---- bad plans: one field of a good one changed ----------------------------------------------------------------- */

typedef enum place { HEADER, WEIGHT, CONSTANT, NUMBER, VALUE, OP } place;
typedef struct bad {
    rz_status status;
    const char *says[3]; /* parts of the message */
    bool zoo;            /* of build_zoo, else of build_llama */
    place place;
    uint32_t index; /* OP: the first op of this code */
    uint32_t offset, size;
    uint64_t bits;
    float number; /* of a float field, instead of bits */
    bool is_float;
} bad;

#define FIELD(type, field) offsetof(type, field), sizeof((type){0}.field)
/* A bad op: status, plan, op, field, bits, the operand that the message names. */
#define BAD(status, zoo, code, field, bits, operand)                                                                   \
    {RZ_E_##status, {"op ", operand, NULL}, zoo, OP, RZ_OP_##code, FIELD(rz_op, field), bits, 0, false}
#define BAD_F(status, zoo, code, field, number, operand)                                                               \
    {RZ_E_##status, {"op ", operand, NULL}, zoo, OP, RZ_OP_##code, FIELD(rz_op, field), 0, number, true}
#define BAD_WEIGHT(status, id, field, bits, word)                                                                      \
    {RZ_E_##status, {"weight " #id ":", word, NULL}, false, WEIGHT, id - 1, FIELD(rz_weight, field), bits, 0, false}
#define BAD_VALUE(status, id, field, bits, word)                                                                       \
    {RZ_E_##status, {"value " #id, word, NULL}, false, VALUE, id - 1, FIELD(rz_value, field), bits, 0, false}
#define BAD_HEADER(status, field, bits, word)                                                                          \
    {RZ_E_##status, {"plan: ", word, NULL}, false, HEADER, 0, FIELD(rz_plan_header, field), bits, 0, false}
#define BAD_CONSTANT(field, bits, word)                                                                                \
    {RZ_E_ARG, {"constant 1", word, NULL}, false, CONSTANT, 0, FIELD(rz_constant, field), bits, 0, false}

/* In the Llama: value 1 embed, 2 norm, 3 q, 4 q turned, 5 k, 6 k turned, 7 v, 8 attention, 9 o, 10 sum, ... of layer 0;
 * weight 1 embedding, 2 norm, 3 q, 4 k, 5 v, 6 v's bias, 7 o, ... */
static const bad bads[] = {
    BAD_HEADER(MAGIC, magic, 0x32505A52u, "magic"),
    BAD_HEADER(LIMIT, n_weights, 1u << 21, "n_weights"),
    BAD_HEADER(LIMIT, n_constants, 5000, "n_constants"),
    BAD_HEADER(LIMIT, n_numbers, 1u << 25, "n_numbers"),
    BAD_HEADER(LIMIT, n_values, 1u << 21, "n_values"),
    BAD_HEADER(LIMIT, n_ops, 65537, "n_ops"),
    BAD_HEADER(LIMIT, n_ops, 0, "n_ops"),
    BAD_HEADER(LIMIT, vocab_size, 1u << 25, "vocab_size"),
    BAD_HEADER(LIMIT, hidden_size, 0, "hidden_size"),
    BAD_HEADER(LIMIT, hidden_size, 1u << 25, "hidden_size"),
    BAD_HEADER(ARG, reserved[6], 1, "reserved[6]"),
    BAD_HEADER(TRUNCATED, n_weights, 3, "bytes"),

    BAD_WEIGHT(TYPE, 3, dtype, 5, "dtype"),
    BAD_WEIGHT(TYPE, 3, dtype, RZ_I32, "dtype"),
    BAD_WEIGHT(SHAPE, 3, dtype, RZ_Q4_K, "block"),
    BAD_WEIGHT(SHAPE, 3, dtype, RZ_F16, "bytes"),
    BAD_WEIGHT(SHAPE, 3, bytes, 1, "bytes"),
    BAD_WEIGHT(TYPE, 3, use, 0, "use"),
    BAD_WEIGHT(TYPE, 3, use, 16, "use"),
    BAD_WEIGHT(TYPE, 3, use, RZ_USE_MATMUL | RZ_USE_VECTOR, "use"),
    BAD_WEIGHT(TYPE, 3, use, RZ_USE_MATMUL | RZ_USE_MOE, "use"),
    BAD_WEIGHT(SHAPE, 3, use, RZ_USE_VECTOR, "rows"),
    BAD_WEIGHT(LIMIT, 3, rows, 0, "sizes"),
    BAD_WEIGHT(LIMIT, 3, rows, (1u << 24) + 1, "sizes"),
    BAD_WEIGHT(LIMIT, 3, cols, 0, "sizes"),
    BAD_WEIGHT(LIMIT, 3, cols, (1u << 24) + 32, "sizes"),
    BAD_WEIGHT(LIMIT, 3, n_experts, 0, "experts"),
    BAD_WEIGHT(LIMIT, 3, n_experts, 2, "experts"),
    BAD_WEIGHT(UNSUPPORTED, 3, aux[1], 2, "auxiliary"),
    BAD_WEIGHT(UNSUPPORTED, 3, shard_axis, 1, "shard"),
    BAD_WEIGHT(UNSUPPORTED, 3, shard_n, 2, "shard"),
    BAD_WEIGHT(ARG, 3, reserved[4], 1, "reserved[4]"),

    BAD_CONSTANT(first, 1, "numbers"),
    BAD_CONSTANT(first, 0xFFFFFFFFu, "numbers"),
    BAD_CONSTANT(n, 0, "numbers"),
    BAD_CONSTANT(n, 10, "numbers"),
    BAD_CONSTANT(name[0], 0, "name"),
    BAD_CONSTANT(name[47], 'x', "name"),
    BAD_CONSTANT(reserved[1], 1, "reserved"),
    {RZ_E_ARG, {"number 3", "nan", NULL}, false, NUMBER, 3, 0, 8, 0x7FF8000000000000u, 0, false},
    {RZ_E_ARG, {"number 0", "inf", NULL}, false, NUMBER, 0, 0, 8, 0x7FF0000000000000u, 0, false},

    BAD_VALUE(ARG, 2, rows, 4, "rows"),
    BAD_VALUE(TYPE, 2, dtype, 1, "dtype"),
    BAD_VALUE(LIMIT, 2, cols, 0, "columns"),
    BAD_VALUE(LIMIT, 2, cols, (1u << 24) + 1, "columns"),
    BAD_VALUE(ARG, 2, flags, 4, "flags"),
    BAD_VALUE(ARG, 2, reserved, 1, "reserved"),
    BAD_VALUE(TYPE, 2, dtype, RZ_I32, "out0"),
    BAD_VALUE(SHAPE, 2, rows, RZ_ROWS_R, "out0"),
    BAD_VALUE(SHAPE, 2, cols, 63, "[T, 63], expected F32 [T, 64]"),

    /* every op: ids, flags, unused fields */
    BAD(UNSUPPORTED, false, RMS_NORM, code, 22, "22"),
    BAD(UNSUPPORTED, false, RMS_NORM, code, 0, "0"),
    BAD(ARG, false, RMS_NORM, flags, 1, "flags"),
    BAD(LIMIT, false, RMS_NORM, layer, 1024, "layer"),
    BAD(ARG, false, RMS_NORM, reserved[5], 1, "reserved[5]"),
    BAD(KEY_MISSING, false, MATMUL, in[0], 0, "(matmul, layer 0): in0"),
    BAD(ARG, false, MATMUL, in[0], 200, "in0"),
    BAD(ARG, false, MATMUL, in[0], 0xFFFFFFFFu, "in0"),
    BAD(KEY_MISSING, false, MATMUL, in[0], 9, "in0 (value 9) is not defined yet"),
    BAD(KEY_MISSING, false, MATMUL, in[0], 3, "in0 (value 3) is not defined yet"), /* its own result */
    BAD(ARG, false, MATMUL, in[1], 1, "in1"),
    BAD(ARG, false, MATMUL, in[3], 1, "in3"),
    BAD(KEY_MISSING, false, MATMUL, w[0], 0, "w0"),
    BAD(ARG, false, MATMUL, w[0], 64, "w0"),
    BAD(ARG, false, MATMUL, w[2], 1, "w2"),
    BAD(KEY_MISSING, false, MATMUL, out[0], 0, "out0"),
    BAD(ARG, false, MATMUL, out[0], 160, "out0"),
    BAD(DUPLICATE, false, MATMUL, out[0], 2, "out0 (value 2) was defined by op 1"),
    BAD(ARG, false, MATMUL, out[1], 9, "out1"),
    BAD(ARG, false, MATMUL, n[0], 1, "n0"),
    BAD(ARG, false, MATMUL, n[7], 1, "n7"),
    BAD_F(ARG, false, MATMUL, f[0], 1, "f0"),
    BAD_F(ARG, false, MATMUL, f[5], NAN, "f5"),
    BAD(ARG, false, KV_WRITE, out[0], 8, "out0"),

    BAD(TYPE, false, EMBED, w[0], 3, "w0 (weight 3) has use bits"),
    BAD_F(ARG, false, EMBED, f[0], 0, "f0"),
    BAD_F(ARG, false, EMBED, f[0], INFINITY, "f0"),
    BAD_F(ARG, false, RMS_NORM, f[0], 0, "f0"),
    BAD_F(ARG, false, RMS_NORM, f[0], -1e-5f, "f0"),
    BAD_F(ARG, false, RMS_NORM, f[0], NAN, "f0"),
    BAD(SHAPE, false, RMS_NORM, n[0], 7, "n0"),
    BAD(SHAPE, false, RMS_NORM, n[0], 128, "n0"),
    BAD(SHAPE, false, RMS_NORM, w[0], 6, "w0 (weight 6) has 32 columns"),
    BAD(TYPE, false, RMS_NORM, w[0], 3, "w0"),
    BAD(SHAPE, true, RMS_NORM, n[0], 32, "w0"),
    BAD(SHAPE, true, LAYER_NORM, w[0], 5, "w0 (weight 5) is 1 x 4, expected 1 x 64"),
    BAD(SHAPE, true, LAYER_NORM, w[1], 5, "w1"),
    BAD(KEY_MISSING, true, LAYER_NORM, w[0], 0, "w0"),
    BAD_F(ARG, true, LAYER_NORM, f[0], 0, "f0"),
    BAD(TYPE, false, MATMUL, w[0], 2, "w0"),
    BAD(SHAPE, false, MATMUL, w[0], 11, "w0"),  /* down: 96 columns */
    BAD(SHAPE, false, MATMUL, w[0], 4, "out0"), /* k: 32 rows */
    BAD(SHAPE, false, MATMUL, w[1], 6, "w1 (weight 6) is 1 x 32, expected 1 x 64"),
    BAD(TYPE, false, MATMUL, w[1], 3, "w1"),
    BAD(ARG, true, HEAD_MATMUL, n[0], 0, "n0"),
    BAD(ARG, true, HEAD_MATMUL, n[0], 4097, "n0"),
    BAD(SHAPE, true, HEAD_MATMUL, n[0], 2, "w0"),
    BAD(SHAPE, true, HEAD_MATMUL, n[0], 3, "in0"),
    BAD(SHAPE, false, ROPE, n[0], 24, "n0"),
    BAD(ARG, false, ROPE, n[0], 0, "n0"),
    BAD(ARG, false, ROPE, n[1], 0, "n1"),
    BAD(ARG, false, ROPE, n[1], 15, "n1"),
    BAD(ARG, false, ROPE, n[1], 18, "n1"),
    BAD(SHAPE, false, ROPE, n[1], 8, "n3 (constant 1) has 9 numbers, expected 5"),
    BAD(ARG, false, ROPE, n[2], 2, "n2"),
    BAD(ARG, false, ROPE, n[3], 0, "n3"),
    BAD(ARG, false, ROPE, n[3], 2, "n3"),
    BAD(ARG, false, KV_WRITE, n[0], 8, "n0"),
    BAD(ARG, false, KV_WRITE, n[1], 1024, "n1"),
    BAD(KEY_MISSING, false, KV_WRITE, n[1], 1, "(attention, layer 0): layer 0 of group 0 has no kvWrite"),
    BAD(SHAPE, false, KV_WRITE, in[0], 4, "n3 * n4, n3 * n5 are 32, 32, expected 64, 32"),
    BAD(KEY_MISSING, false, KV_WRITE, in[1], 0, "in1"),
    BAD(KEY_MISSING, false, ATTENTION, n[0], 1, "layer 0 of group 1"),
    BAD(KEY_MISSING, false, ATTENTION, n[1], 1, "layer 1 of group 0"),
    BAD(ARG, false, ATTENTION, n[0], 8, "n0"),
    BAD(ARG, false, ATTENTION, n[2], 0, "n2"),
    BAD(SHAPE, false, ATTENTION, n[2], 8, "in0"),
    BAD(ARG, false, ATTENTION, n[3], 0, "n3"),
    BAD(SHAPE, false, ATTENTION, n[3], 3, "n3"),
    BAD(SHAPE, false, ATTENTION, n[3], 4, "n3 * n4"),
    BAD(SHAPE, false, ATTENTION, n[4], 8, "in0"),
    BAD(SHAPE, false, ATTENTION, n[5], 32, "out0"),
    BAD(ARG, false, ATTENTION, n[6], 2, "n6"),
    BAD(KEY_MISSING, false, ATTENTION, n[6], 1, "in1"),
    BAD(ARG, false, ATTENTION, in[1], 6, "in1"),
    BAD(ARG, false, ATTENTION, in[2], 6, "in2"),
    BAD_F(ARG, false, ATTENTION, f[0], 0, "f0"),
    BAD_F(ARG, false, ATTENTION, f[1], -1, "f1"),
    BAD(SHAPE, false, ATTENTION, w[0], 6, "w0"),
    BAD(ARG, true, ATTENTION, n[7], 4, "n7"),
    BAD(ARG, true, ATTENTION, n[0], 1, "n0"),
    BAD(SHAPE, true, ATTENTION, in[1], 2, "in1"),
    BAD(SHAPE, true, ATTENTION, in[2], 2, "in2"),
    BAD(SHAPE, true, ATTENTION, w[0], 2, "w0"),
    BAD(ARG, false, GLU, n[0], 4, "n0"),
    BAD_F(ARG, false, GLU, f[0], 1, "f0"),
    BAD(ARG, false, GLU, n[0], 3, "f0"),
    BAD(SHAPE, false, GLU, in[1], 10, "in1 (value 10) is F32 [T, 64], expected F32 [T, 96]"),
    BAD_F(ARG, true, GLU, f[1], 0, "f1"),
    BAD(ARG, true, UNARY, n[0], 7, "n0"),
    BAD(KEY_MISSING, false, ADD, in[1], 0, "in1, w0"),
    BAD(ARG, false, ADD, w[0], 2, "in1, w0"),
    BAD(SHAPE, false, ADD, in[1], 7, "in1"),
    BAD(SHAPE, true, ADD, w[0], 5, "w0"),
    BAD(KEY_MISSING, true, MUL, w[0], 0, "in1, w0"),
    BAD_F(ARG, true, SCALE, f[0], INFINITY, "f0"),
    BAD_F(ARG, true, SOFTCAP, f[0], 0, "f0"),
    BAD_F(ARG, true, SOFTCAP, f[0], -2, "f0"),
    BAD(ARG, true, MOE_ROUTE, n[0], 0, "n0"),
    BAD(ARG, true, MOE_ROUTE, n[0], 5, "n0"),
    BAD(ARG, true, MOE_ROUTE, n[1], 3, "n1"),
    BAD(ARG, true, MOE_ROUTE, n[2], 2, "n2"),
    BAD_F(ARG, true, MOE_ROUTE, f[0], 0, "f0"),
    BAD(SHAPE, true, MOE_ROUTE, w[0], 2, "w0"),
    BAD(SHAPE, true, MOE_MATMUL, n[0], 3, "n0 (experts a token) is 3, expected 2"),
    BAD(TYPE, true, MOE_MATMUL, in[1], 13, "in1 (value 13) is F32 [Tk, 1], expected I32 [Tk, 1]"),
    BAD(TYPE, true, MOE_MATMUL, w[0], 9, "w0"),
    BAD(SHAPE, true, MOE_MATMUL, in[0], 13, "w0"),
    BAD(SHAPE, true, MOE_COMBINE, in[0], 2, "in0"),
    BAD(TYPE, true, MOE_COMBINE, in[1], 14, "in1"),
    BAD(SHAPE, true, MOE_COMBINE, n[0], 1, "n0"),
    BAD(SHAPE, false, SELECT_ROWS, in[0], 7, "out0"),
    BAD(ARG, true, POOL, n[0], 3, "n0"),
    BAD(SHAPE, false, LOGITS, in[0], 10, "in0"),
    BAD(SHAPE, false, LOGITS, w[0], 3, "w0"),
    BAD(TYPE, false, LOGITS, w[0], 2, "w0"),
    BAD(SHAPE, false, LOGITS, w[1], 2, "w1"),
    BAD_F(ARG, false, LOGITS, f[0], -1, "f0"),
    BAD_F(ARG, false, LOGITS, f[1], 0, "f1"),
};

static void put(builder *b, const bad *x) {
    uint8_t *at = NULL;
    uint32_t i = 0;
    switch (x->place) {
    case HEADER: at = (uint8_t *)&b->header; break;
    case WEIGHT: at = (uint8_t *)&b->weights[x->index]; break;
    case CONSTANT: at = (uint8_t *)&b->constants[x->index]; break;
    case NUMBER: at = (uint8_t *)&b->numbers[x->index]; break;
    case VALUE: at = (uint8_t *)&b->values[x->index]; break;
    case OP:
        while (b->ops[i].code != x->index) i++;
        at = (uint8_t *)&b->ops[i];
        break;
    }
    memcpy(at + x->offset, x->is_float ? (const void *)&x->number : (const void *)&x->bits, x->size);
}

static void test_bad(void) {
    static builder b;
    rz_plan_free(&ir);
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        const bad *x = &bads[i];
        if (x->zoo)
            build_zoo(&b);
        else
            build_llama(&b, RZ_Q8_0);
        uint32_t n = 0;
        uint8_t *bytes = plan_bytes(&b, &n);
        free(bytes);
        put(&b, x);
        const rz_plan_header header = b.header; /* the builder writes n_bytes; counts that lie must not move sections */
        if (x->place == HEADER) {
            if (x->zoo)
                build_zoo(&b);
            else
                build_llama(&b, RZ_Q8_0);
        }
        bytes = plan_bytes(&b, &n);
        if (x->place == HEADER) memcpy(bytes, &header, sizeof header);
        rz_fail(RZ_E_INTERNAL, "nothing");
        const rz_status status = rz_plan_read(bytes, n, NULL, &ir);
        bool said = status == x->status;
        for (int k = 0; k < 3 && x->says[k]; k++) said = said && strstr(rz_fail_message(), x->says[k]);
        if (!said) fprintf(stderr, "bad plan %zu: status %d, \"%s\"\n", i, (int)status, rz_fail_message());
        CHECK(said);
        CHECK(ir.header == NULL);
        free(bytes);
    }
}

/* What one changed field cannot do. */
static void test_bad_structure(void) {
    static builder b;
    rz_plan_free(&ir);
    uint32_t n = 0;
    build_llama(&b, RZ_F32);
    uint8_t *bytes = plan_bytes(&b, &n);
    CHECK(rz_plan_read(bytes, 0, NULL, &ir) == RZ_E_TRUNCATED && rz_plan_read(NULL, 0, NULL, &ir) == RZ_E_TRUNCATED);
    CHECK(rz_plan_read(bytes, 63, NULL, &ir) == RZ_E_TRUNCATED &&
          rz_plan_read(bytes, n - 1, NULL, &ir) == RZ_E_TRUNCATED);
    free(bytes);

    b.values[b.header.n_values++] = b.values[0]; /* a value that no op defines */
    CHECK(read_plan(&b) == RZ_E_KEY_MISSING && strstr(rz_fail_message(), "value"));

    build_llama(&b, RZ_F32); /* one layer written twice */
    for (uint32_t i = 0; i < b.header.n_ops; i++) {
        if (b.ops[i].code == RZ_OP_KV_WRITE) b.ops[i].n[1] = 0;
    }
    CHECK(read_plan(&b) == RZ_E_DUPLICATE && strstr(rz_fail_message(), "layer 0 of group 0"));

    build_llama(&b, RZ_F32); /* a second layer with other keys */
    for (uint32_t i = 0; i < b.header.n_ops; i++) {
        if (b.ops[i].code == RZ_OP_KV_WRITE && b.ops[i].n[1] == 1) b.ops[i].in[0] = 4;
    }
    CHECK(read_plan(&b) == RZ_E_SHAPE && strstr(rz_fail_message(), "in0, in1 have 64, 32 columns, expected 32, 32"));

    build_llama(&b, RZ_F32); /* layers 0 and 2, groups 0 and 2 */
    for (uint32_t i = 0; i < b.header.n_ops; i++) {
        rz_op *op = &b.ops[i];
        if ((op->code == RZ_OP_KV_WRITE || op->code == RZ_OP_ATTENTION) && op->n[1] == 1) op->n[1] = 2;
    }
    CHECK(read_plan(&b) == RZ_E_ARG && strstr(rz_fail_message(), "layer 1 of cache group 0"));
    for (uint32_t i = 0; i < b.header.n_ops; i++) {
        rz_op *op = &b.ops[i];
        if ((op->code == RZ_OP_KV_WRITE || op->code == RZ_OP_ATTENTION) && op->n[1] == 2) op->n[1] = 0, op->n[0] = 2;
    }
    CHECK(read_plan(&b) == RZ_E_ARG && strstr(rz_fail_message(), "cache group 1"));

    build_llama(&b, RZ_F32); /* attention before its kvWrite */
    for (uint32_t i = 0; i < b.header.n_ops; i++) {
        if (b.ops[i].code != RZ_OP_KV_WRITE) continue;
        const rz_op write = b.ops[i];
        b.ops[i] = b.ops[i + 1];
        b.ops[i + 1] = write;
        break;
    }
    CHECK(read_plan(&b) == RZ_E_KEY_MISSING && strstr(rz_fail_message(), "(attention, layer 0): layer 0 of group 0"));

    build_llama(&b, RZ_F32); /* two logits; logits that are no output */
    const rz_op last = b.ops[b.header.n_ops - 1];
    rz_op *second = add_op(&b, RZ_OP_LOGITS);
    *second = last;
    second->out[0] = 0;
    add_out(&b, second, RZ_ROWS_R, 80, RZ_F32);
    b.values[b.header.n_values - 1].flags = RZ_VALUE_OUTPUT;
    CHECK(read_plan(&b) == RZ_E_DUPLICATE && strstr(rz_fail_message(), "logits"));
    build_llama(&b, RZ_F32);
    b.values[b.header.n_values - 1].flags = 0;
    CHECK(read_plan(&b) == RZ_E_ARG && strstr(rz_fail_message(), "OUTPUT"));

    build_zoo(&b); /* experts: a matrix of another number of them */
    for (uint32_t i = 0; i < b.header.n_weights; i++) {
        if (b.weights[i].use != RZ_USE_MOE) continue;
        b.weights[i].n_experts = 3;
        b.weights[i].bytes = b.weights[i].bytes / 4 * 3;
        break;
    }
    CHECK(read_plan(&b) == RZ_E_SHAPE && strstr(rz_fail_message(), "has 3 experts, expected 4"));
}

/* No byte of a plan can do harm: whatever is accepted frees cleanly (UBSan and ASan watch). */
static void test_flips(void) {
    static builder b;
    for (int zoo = 0; zoo < 2; zoo++) {
        uint32_t n = 0, accepted = 0;
        if (zoo)
            build_zoo(&b);
        else
            build_llama(&b, RZ_Q4_0);
        uint8_t *bytes = plan_bytes(&b, &n);
        for (uint32_t bit = 0; bit < n * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            accepted += rz_plan_read(bytes, n, NULL, &ir) == RZ_OK;
            rz_plan_free(&ir);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        CHECK(accepted < n * 8); /* file numbers, offsets, factors and numbers may be anything */
        CHECK(rz_plan_read(bytes, n, NULL, &ir) == RZ_OK);
        rz_plan_free(&ir);
        free(bytes);
    }
}

static void test_match(void) {
    static builder b;
    build_llama(&b, RZ_Q8_0);
    CHECK(read_plan(&b) == RZ_OK);
    rz_tensor tensors[64] = {0};
    const uint32_t n = b.header.n_weights;
    for (uint32_t i = 0; i < n; i++) tensors[i].spec = b.weights[i];
    CHECK(rz_plan_match(&ir, tensors, n) == RZ_OK);
    tensors[2].spec.file = 3; /* may differ */
    tensors[2].spec.offset = 4096;
    CHECK(rz_plan_match(&ir, tensors, n) == RZ_OK);
    CHECK(rz_plan_match(&ir, tensors, n - 1) == RZ_E_SHAPE);
    uint32_t *const fields[] = {&tensors[4].spec.dtype, &tensors[4].spec.use, &tensors[4].spec.rows,
                                &tensors[4].spec.cols, &tensors[4].spec.n_experts};
    for (int i = 0; i < 5; i++) {
        *fields[i] += 1;
        CHECK(rz_plan_match(&ir, tensors, n) == (i < 2 ? RZ_E_TYPE : RZ_E_SHAPE) &&
              strstr(rz_fail_message(), "weight 5"));
        *fields[i] -= 1;
    }
}

static void test_options(void) {
    static builder b;
    build_llama(&b, RZ_F32);
    CHECK(read_plan(&b) == RZ_OK);
    const rz_plan_options good = {
        .size = sizeof good, .max_tokens = 8, .max_seqs = 2, .max_outs = 4, .n_watched = 1, .watched = {3}};
    rz_plan_options out;
    CHECK(rz_plan_options_read(&ir, &good, &out) == RZ_OK && out.max_rows == 4 && out.watched[0] == 3);
    const struct {
        uint32_t offset, value;
        const char *says;
    } wrong[] = {
        {offsetof(rz_plan_options, size), 64, "size"},
        {offsetof(rz_plan_options, flags), 8, "flags"},
        {offsetof(rz_plan_options, max_tokens), 0, "max_tokens"},
        {offsetof(rz_plan_options, max_tokens), 65537, "max_tokens"},
        {offsetof(rz_plan_options, max_seqs), 0, "max_seqs"},
        {offsetof(rz_plan_options, max_seqs), 4097, "max_seqs"},
        {offsetof(rz_plan_options, max_outs), 65537, "max_outs"},
        {offsetof(rz_plan_options, max_rows), 5, "max_rows"},
        {offsetof(rz_plan_options, n_watched), 17, "n_watched"},
        {offsetof(rz_plan_options, watched[0]), 0, "watched[0]"},
        {offsetof(rz_plan_options, watched[0]), 1000, "watched[0]"},
        {offsetof(rz_plan_options, watched[1]), 1, "watched[1]"},
        {offsetof(rz_plan_options, reserved[6]), 1, "reserved[6]"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        rz_plan_options o = good;
        memcpy((uint8_t *)&o + wrong[i].offset, &wrong[i].value, 4);
        CHECK(rz_plan_options_read(&ir, &o, &out) == RZ_E_ARG && strstr(rz_fail_message(), wrong[i].says));
    }
}

int main(void) {
    test_good();
    test_bad();
    test_bad_structure();
    test_flips();
    test_match();
    test_options();
    rz_plan_free(&ir);
    return TEST_RESULT("plan");
}
