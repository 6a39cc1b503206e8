/* bind.c - gives each launch of a lowering its function and its facts. */
#include "fusion.h"

static rz_cpu_run_fn *const functions[] = {
    [RZ_OP_EMBED] = rz_cpu_embed,
    [RZ_OP_RMS_NORM] = rz_cpu_rms_norm,
    [RZ_OP_LAYER_NORM] = rz_cpu_layer_norm,
    [RZ_OP_MATMUL] = rz_cpu_product_run,
    [RZ_OP_HEAD_MATMUL] = rz_cpu_head_matmul,
    [RZ_OP_ROPE] = rz_cpu_rope,
    [RZ_OP_KV_WRITE] = rz_cpu_kv_write,
    [RZ_OP_ATTENTION] = rz_cpu_attention_run,
    [RZ_OP_GLU] = rz_cpu_glu,
    [RZ_OP_UNARY] = rz_cpu_unary,
    [RZ_OP_ADD] = rz_cpu_add,
    [RZ_OP_MUL] = rz_cpu_mul,
    [RZ_OP_SCALE] = rz_cpu_scale,
    [RZ_OP_SOFTCAP] = rz_cpu_softcap,
    [RZ_OP_MOE_ROUTE] = rz_cpu_moe_route,
    [RZ_OP_MOE_MATMUL] = rz_cpu_moe_matmul,
    [RZ_OP_MOE_COMBINE] = rz_cpu_moe_combine,
    [RZ_OP_SELECT_ROWS] = rz_cpu_select_rows,
    [RZ_OP_POOL] = rz_cpu_pool_rows,
    [RZ_OP_LOGITS] = rz_cpu_product_run,
    [RZ_OP_ALL_REDUCE] = rz_cpu_all_reduce,
};
#define COUNT(name, code, text) +1
static_assert(sizeof functions / sizeof functions[0] == 1 RZ_OPS(COUNT), "an op without its function");
#undef COUNT

static const rz_op *op_or_none(const rz_cpu_program *p, uint32_t i) { return i == RZ_NO_OP ? NULL : &p->ir->ops[i]; }

static void bind_heads(const rz_cpu_program *p, const rz_cpu_fusion *f, rz_cpu_product *d) {
    d->after = RZ_AFTER_HEADS;
    for (uint32_t m = 0; m < f->n_mats; m++) {
        rz_cpu_heads *h = &d->heads[m];
        h->norm = op_or_none(p, f->head_norm[m]);
        h->rope = op_or_none(p, f->rope[m]);
        h->cols = f->head_cols[m];
        if (f->keys_of == m || f->values_of == m) {
            h->kv_write = op_or_none(p, f->kv_write);
            h->is_keys = f->keys_of == m;
        } else {
            h->out = (h->rope ? h->rope : h->norm ? h->norm : &p->ir->ops[f->mats[m]])->out[0];
        }
    }
}

static void bind_product(const rz_cpu_program *p, const rz_cpu_fusion *f, rz_cpu_pattern pattern, rz_cpu_product *d) {
    d->n_mats = f->n_mats;
    for (uint32_t m = 0; m < f->n_mats; m++) {
        const rz_op *op = &p->ir->ops[f->mats[m]];
        d->mats[m] = rz_cpu_matrix_of(p, op->w[0], op->w[1]);
    }
    const rz_op *first = &p->ir->ops[f->mats[0]];
    d->norm = op_or_none(p, f->norm);
    d->in = d->norm ? d->norm->in[0] : first->in[0];
    d->out = first->out[0];
    d->factor = first->code == RZ_OP_LOGITS ? first->f[1] : 1.0f;
    d->cap = first->code == RZ_OP_LOGITS ? first->f[0] : 0.0f;
    if (f->add != RZ_NO_OP) {
        const rz_op *add = &p->ir->ops[f->add];
        d->after = RZ_AFTER_ADD;
        d->residual = add->in[0] == d->out ? add->in[1] : add->in[0];
        d->out = add->out[0];
    } else if (f->glu != RZ_NO_OP) {
        d->after = RZ_AFTER_GLU;
        d->glu = &p->ir->ops[f->glu];
        d->out = d->glu->out[0];
    } else if (pattern == RZ_CPU_HEADS) {
        bind_heads(p, f, d);
    }
}

static uint64_t weights_read(const rz_cpu_program *p, const rz_launch *launch) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < launch->n_ops; i++) {
        const rz_op *op = &p->ir->ops[launch->ops[i]];
        if (op->code == RZ_OP_EMBED) continue; /* some rows of it */
        for (int k = 0; k < 4; k++) bytes += op->w[k] ? p->tensors[op->w[k] - 1].layout_bytes : 0;
    }
    return bytes;
}

void rz_cpu_bind(rz_cpu_program *p) {
    for (uint32_t i = 0; i < p->lowering.n_launches; i++) {
        const rz_launch *launch = &p->lowering.launches[i];
        rz_cpu_launch *l = &p->launches[i];
        l->op = &p->ir->ops[launch->ops[0]];
        l->run = functions[l->op->code];
        l->weights_bytes = weights_read(p, launch);
        rz_cpu_fusion f = {.norm = RZ_NO_OP, .n_mats = 1, .mats = {launch->ops[0]}, .glu = RZ_NO_OP, .add = RZ_NO_OP};
        const rz_cpu_pattern pattern = launch->pattern ? (rz_cpu_pattern)(launch->pattern - 1) : RZ_CPU_NORM;
        if (launch->pattern) rz_cpu_match(&p->lowering, pattern, launch->ops[0], &f);
        if (!launch->pattern && l->op->code != RZ_OP_MATMUL && l->op->code != RZ_OP_LOGITS) continue;
        rz_cpu_product *d = &p->products[p->n_products++];
        bind_product(p, &f, pattern, d);
        l->product = d;
        l->run = rz_cpu_product_run;
    }
}
