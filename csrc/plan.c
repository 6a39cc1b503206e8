/* plan.c - the bytes of a plan: sections, weight table, constants, values; its ops are checked by op_rules.c. */
#include "plan.h"
#include "dtype.h"
#include "error.h"
#include "op_rules.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

#define PLAN_MAGIC 0x31505A52u /* 'RZP1' */
#define MAX_NUMBERS (1u << 24)

static_assert(sizeof(rz_plan_header) == 64 && sizeof(rz_weight) == 80 && sizeof(rz_constant) == 64);
static_assert(sizeof(rz_value) == 16 && sizeof(rz_op) == 128 && sizeof(rz_plan_options) == 128);

/* ---- weights ----------------------------------------------------------------------------------------------------- */

static rz_status check_weight_unused(const char *where, const rz_weight *w, uint32_t id) {
    const bool whole = w->shard_axis == 0 && w->shard_i == 0 && w->shard_n == 1;
    if (!whole) {
        return rz_fail(RZ_E_UNSUPPORTED, "%s: weight %u: shard is axis %u, %u of %u, expected 0, 0 of 1", where, id,
                       w->shard_axis, w->shard_i, w->shard_n);
    }
    if (w->aux[0] || w->aux[1]) {
        return rz_fail(RZ_E_UNSUPPORTED, "%s: weight %u: auxiliary weights are %u, %u, expected 0", where, id,
                       w->aux[0], w->aux[1]);
    }
    for (int i = 0; i < 5; i++) {
        if (w->reserved[i] == 0) continue;
        return rz_fail(RZ_E_ARG, "%s: weight %u: reserved[%d] is %u, expected 0", where, id, i, w->reserved[i]);
    }
    return RZ_OK;
}

rz_status rz_weight_check(const char *where, const rz_weight *w, uint32_t id) {
    const rz_dtype_row *dtype = rz_dtype_find(w->dtype);
    if (!dtype) return rz_fail(RZ_E_TYPE, "%s: weight %u: unknown dtype %u", where, id, w->dtype);
    const bool use_fits =
        w->use == RZ_USE_MOE || w->use == RZ_USE_VECTOR || (w->use && (w->use & ~(RZ_USE_ROWS | RZ_USE_MATMUL)) == 0);
    if (!use_fits) {
        return rz_fail(RZ_E_TYPE,
                       "%s: weight %u: use bits are %u, expected ROWS (1), MATMUL (2), both, MOE (4) or "
                       "VECTOR (8)",
                       where, id, w->use);
    }
    if (w->rows < 1 || w->rows > RZ_MAX_COLS || w->cols < 1 || w->cols > RZ_MAX_COLS) {
        return rz_fail(RZ_E_LIMIT, "%s: weight %u: %u x %u, expected sizes 1..%u", where, id, w->rows, w->cols,
                       RZ_MAX_COLS);
    }
    if (w->use == RZ_USE_VECTOR && w->rows != 1) {
        return rz_fail(RZ_E_SHAPE, "%s: weight %u: a VECTOR has %u rows, expected 1", where, id, w->rows);
    }
    if (w->cols % dtype->block_size) {
        return rz_fail(RZ_E_SHAPE, "%s: weight %u: %u columns, expected a multiple of %s's block of %u", where, id,
                       w->cols, dtype->name, dtype->block_size);
    }
    const uint32_t experts_max = w->use == RZ_USE_MOE ? RZ_MAX_EXPERTS : 1;
    if (w->n_experts < 1 || w->n_experts > experts_max) {
        return rz_fail(RZ_E_LIMIT, "%s: weight %u: %u experts, expected 1..%u", where, id, w->n_experts, experts_max);
    }
    const uint64_t row_bytes = (uint64_t)w->cols / dtype->block_size * dtype->block_bytes;
    const uint64_t bytes = row_bytes * w->rows * w->n_experts; /* < 2^26 * 2^24 * 2^12 */
    if (w->bytes != bytes) {
        return rz_fail(RZ_E_SHAPE, "%s: weight %u: %" PRIu64 " bytes, expected %" PRIu64 " for %u x %u x %u %s", where,
                       id, w->bytes, bytes, w->n_experts, w->rows, w->cols, dtype->name);
    }
    return check_weight_unused(where, w, id);
}

rz_status rz_plan_match(const rz_plan_ir *ir, const rz_tensor *tensors, uint32_t n_tensors) {
    if (ir->header->n_weights != n_tensors) {
        return rz_fail(RZ_E_SHAPE, "plan: %u weights, but %u are open", ir->header->n_weights, n_tensors);
    }
    for (uint32_t i = 0; i < n_tensors; i++) {
        const rz_weight *p = &ir->weights[i], *w = &tensors[i].spec;
        if (p->dtype != w->dtype || p->use != w->use) {
            return rz_fail(RZ_E_TYPE, "plan: weight %u: dtype %u, use %u, but the open one has dtype %u, use %u", i + 1,
                           p->dtype, p->use, w->dtype, w->use);
        }
        if (p->rows != w->rows || p->cols != w->cols || p->n_experts != w->n_experts) {
            return rz_fail(RZ_E_SHAPE, "plan: weight %u: %u x %u x %u, but the open one is %u x %u x %u", i + 1,
                           p->n_experts, p->rows, p->cols, w->n_experts, w->rows, w->cols);
        }
    }
    return RZ_OK;
}

/* ---- sections ---------------------------------------------------------------------------------------------------- */

static rz_status check_count(const char *what, uint32_t got, uint32_t min, uint32_t max) {
    if (got >= min && got <= max) return RZ_OK;
    return rz_fail(RZ_E_LIMIT, "plan: %s is %u, expected %u..%u", what, got, min, max);
}

/* The header, wherever the buffer lies. */
static rz_status check_header(const uint8_t *bytes, uint32_t n, rz_plan_header *h) {
    if (n < sizeof *h) return rz_fail(RZ_E_TRUNCATED, "plan: %u bytes, expected at least %zu", n, sizeof *h);
    memcpy(h, bytes, sizeof *h);
    if (h->magic != PLAN_MAGIC)
        return rz_fail(RZ_E_MAGIC, "plan: magic is 0x%08x, expected 0x%08x ('RZP1')", h->magic, PLAN_MAGIC);
    if (h->n_bytes != n) return rz_fail(RZ_E_TRUNCATED, "plan: header says %u bytes, got %u", h->n_bytes, n);
    rz_status status = check_count("n_weights", h->n_weights, 0, RZ_MAX_PLAN_WEIGHTS);
    if (!status) status = check_count("n_constants", h->n_constants, 0, RZ_MAX_PLAN_CONSTANTS);
    if (!status) status = check_count("n_numbers", h->n_numbers, 0, MAX_NUMBERS);
    if (!status) status = check_count("n_values", h->n_values, 0, RZ_MAX_PLAN_VALUES);
    if (!status) status = check_count("n_ops", h->n_ops, 1, RZ_MAX_PLAN_OPS);
    if (!status) status = check_count("vocab_size", h->vocab_size, 0, RZ_MAX_COLS);
    if (!status) status = check_count("hidden_size", h->hidden_size, 1, RZ_MAX_COLS);
    if (status) return status;
    for (int i = 0; i < 7; i++) {
        if (h->reserved[i]) return rz_fail(RZ_E_ARG, "plan: reserved[%d] is %u, expected 0", i, h->reserved[i]);
    }
    const uint64_t expected = sizeof *h + (uint64_t)h->n_weights * sizeof(rz_weight) +
                              (uint64_t)h->n_constants * sizeof(rz_constant) + (uint64_t)h->n_numbers * sizeof(double) +
                              (uint64_t)h->n_values * sizeof(rz_value) + (uint64_t)h->n_ops * sizeof(rz_op);
    if (expected != n)
        return rz_fail(RZ_E_TRUNCATED, "plan: %u bytes, expected %" PRIu64 " for its counts", n, expected);
    return RZ_OK;
}

/* Points into the owned copy. The sections' sizes are multiples of 8, so every one is aligned. */
static void point(rz_plan_ir *ir, const uint8_t *at) {
    const rz_plan_header *h = (const rz_plan_header *)(const void *)at;
    ir->header = h;
    ir->weights = (const rz_weight *)(const void *)(at += sizeof *h);
    ir->constants = (const rz_constant *)(const void *)(at += h->n_weights * sizeof(rz_weight));
    ir->numbers = (const double *)(const void *)(at += h->n_constants * sizeof(rz_constant));
    ir->values = (const rz_value *)(const void *)(at += h->n_numbers * sizeof(double));
    ir->ops = (const rz_op *)(const void *)(at + h->n_values * sizeof(rz_value));
}

static bool name_fits(const uint8_t *name, size_t n) {
    bool ended = false;
    for (size_t i = 0; i < n; i++) {
        if (ended && name[i]) return false;
        ended = name[i] == 0;
    }
    return name[0] != 0;
}

static rz_status check_constants(const rz_plan_ir *ir) {
    for (uint32_t i = 0; i < ir->header->n_constants; i++) {
        const rz_constant *c = &ir->constants[i];
        if (c->n < 1 || c->first > ir->header->n_numbers || c->n > ir->header->n_numbers - c->first) {
            return rz_fail(RZ_E_ARG, "plan: constant %u: numbers %u + %u, expected a range within %u", i + 1, c->first,
                           c->n, ir->header->n_numbers);
        }
        if (!name_fits(c->name, sizeof c->name)) {
            return rz_fail(RZ_E_ARG, "plan: constant %u: expected a name of 1..48 bytes, NUL padded", i + 1);
        }
        if (c->reserved[0] || c->reserved[1]) {
            return rz_fail(RZ_E_ARG, "plan: constant %u: reserved fields are not 0", i + 1);
        }
    }
    for (uint32_t i = 0; i < ir->header->n_numbers; i++) {
        if (!isfinite(ir->numbers[i]))
            return rz_fail(RZ_E_ARG, "plan: number %u is %g, expected a finite one", i, ir->numbers[i]);
    }
    return RZ_OK;
}

static rz_status check_values(const rz_plan_ir *ir) {
    for (uint32_t i = 0; i < ir->header->n_values; i++) {
        const rz_value *v = &ir->values[i];
        if (v->rows > RZ_ROWS_TK)
            return rz_fail(RZ_E_ARG, "plan: value %u: rows are %u, expected 0..3", i + 1, v->rows);
        if (v->dtype != RZ_F32 && v->dtype != RZ_I32) {
            return rz_fail(RZ_E_TYPE, "plan: value %u: dtype is %u, expected 0 (F32) or 26 (I32)", i + 1, v->dtype);
        }
        if (v->cols < 1 || v->cols > RZ_MAX_COLS) {
            return rz_fail(RZ_E_LIMIT, "plan: value %u: %u columns, expected 1..%u", i + 1, v->cols, RZ_MAX_COLS);
        }
        if (v->flags & ~(RZ_VALUE_OUTPUT | RZ_VALUE_WATCHED)) {
            return rz_fail(RZ_E_ARG, "plan: value %u: unknown flags 0x%x", i + 1, v->flags);
        }
        if (v->reserved) return rz_fail(RZ_E_ARG, "plan: value %u: reserved is %u, expected 0", i + 1, v->reserved);
    }
    return RZ_OK;
}

/* Cache groups have no gaps: every group up to the highest, and every layer of it, is written. */
static rz_status check_groups(const rz_op_checker *c, rz_plan_ir *ir) {
    for (uint32_t g = 0; g < ir->n_groups; g++) {
        if (ir->groups[g].n_layers == 0) {
            return rz_fail(RZ_E_ARG, "plan: cache group %u is not used, but group %u is", g, ir->n_groups - 1);
        }
        for (uint32_t layer = 0; layer < ir->groups[g].n_layers; layer++) {
            if (c->written[g][layer / 32] >> layer % 32 & 1u) continue;
            return rz_fail(RZ_E_ARG, "plan: layer %u of cache group %u is never written, but layer %u is", layer, g,
                           ir->groups[g].n_layers - 1);
        }
        if (c->sees_all[g]) ir->groups[g].window_max = 0;
    }
    return RZ_OK;
}

static rz_status check_ops(rz_plan_ir *ir, rz_account *account) {
    const uint32_t n_values = ir->header->n_values;
    rz_op_checker c = {.ir = ir};
    c.defined_by = rz_alloc(account, RZ_MEMORY_PLAN, (size_t)n_values * 4, "plan check");
    if (!c.defined_by) return RZ_E_OOM_HOST;
    rz_status status = RZ_OK;
    for (uint32_t i = 0; i < ir->header->n_ops && !status; i++) status = rz_op_check(&c, i);
    for (uint32_t i = 0; i < n_values && !status; i++) {
        if (!c.defined_by[i]) status = rz_fail(RZ_E_KEY_MISSING, "plan: value %u is defined by no op", i + 1);
    }
    rz_free(c.defined_by);
    return status ? status : check_groups(&c, ir);
}

rz_status rz_plan_read(const uint8_t *bytes, uint32_t n, rz_account *account, rz_plan_ir *out) {
    *out = (rz_plan_ir){0};
    rz_plan_header header;
    rz_status status = check_header(bytes, n, &header);
    if (status) return status;
    uint8_t *copy = rz_alloc(account, RZ_MEMORY_PLAN, n, "plan");
    if (!copy) return RZ_E_OOM_HOST;
    memcpy(copy, bytes, n);
    memcpy(copy, &header, sizeof header); /* what was checked, even if another thread writes to the caller's buffer */
    point(out, copy);
    for (uint32_t i = 0; i < header.n_weights && !status; i++)
        status = rz_weight_check("plan", &out->weights[i], i + 1);
    if (!status) status = check_constants(out);
    if (!status) status = check_values(out);
    if (!status) status = check_ops(out, account);
    if (status) rz_plan_free(out);
    return status;
}

void rz_plan_free(rz_plan_ir *ir) {
    rz_free((void *)(uintptr_t)ir->header);
    *ir = (rz_plan_ir){0};
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

static rz_status check_option(const char *what, uint32_t got, uint32_t min, uint32_t max) {
    if (got >= min && got <= max) return RZ_OK;
    return rz_fail(RZ_E_ARG, "plan options: %s is %u, expected %u..%u", what, got, min, max);
}

rz_status rz_plan_options_read(const rz_plan_ir *ir, const rz_plan_options *options, rz_plan_options *out) {
    const rz_plan_options o = *options;
    const uint32_t flags = RZ_PLAN_DETERMINISTIC | RZ_PLAN_PROFILE | RZ_PLAN_NO_FUSION;
    rz_status status = check_option("size", o.size, sizeof o, sizeof o);
    if (!status && (o.flags & ~flags)) status = rz_fail(RZ_E_ARG, "plan options: unknown flags 0x%x", o.flags & ~flags);
    if (!status) status = check_option("max_tokens", o.max_tokens, 1, 65536);
    if (!status) status = check_option("max_seqs", o.max_seqs, 1, 4096);
    if (!status) status = check_option("max_outs", o.max_outs, 0, 65536);
    if (!status) status = check_option("max_rows", o.max_rows, 0, o.max_outs);
    if (!status) status = check_option("n_watched", o.n_watched, 0, 16);
    for (uint32_t i = 0; i < 16 && !status; i++) {
        const bool used = i < o.n_watched;
        if (used && (o.watched[i] < 1 || o.watched[i] > ir->header->n_values)) {
            status = rz_fail(RZ_E_ARG, "plan options: watched[%u] is %u, expected a value id 1..%u", i, o.watched[i],
                             ir->header->n_values);
        } else if (!used && o.watched[i]) {
            status = rz_fail(RZ_E_ARG, "plan options: watched[%u] is %u, expected 0 (n_watched is %u)", i, o.watched[i],
                             o.n_watched);
        }
    }
    for (int i = 0; i < 7 && !status; i++) {
        if (o.reserved[i]) status = rz_fail(RZ_E_ARG, "plan options: reserved[%d] is %u, expected 0", i, o.reserved[i]);
    }
    if (status) return status;
    *out = o;
    if (out->max_rows == 0) out->max_rows = o.max_outs;
    return RZ_OK;
}
