/* profile.c - the time of each launch, by events around it: for plans opened with RZ_PLAN_PROFILE, whose steps are not
 * captured and do not overlap. */
#include "cuda.h"
#include <string.h>

rz_status rzc_profile_open(rzc_program *p) {
    rzc_engine *e = p->engine;
    uint32_t n = 0;
    if ((p->options.flags & RZ_PLAN_PROFILE) == 0) return RZ_OK;
    for (uint32_t c = 0; c < RZC_CLASSES; c++) n = p->lowering[c].n_launches > n ? p->lowering[c].n_launches : n;
    p->n_events = n + 1;
    p->events = rz_alloc(e->account, RZ_MEMORY_PLAN, p->n_events * sizeof *p->events, "profile");
    if (p->events == NULL) return RZ_E_OOM_HOST;
    for (uint32_t c = 0; c < RZC_CLASSES; c++) {
        p->bricks[c] = rz_alloc(e->account, RZ_MEMORY_PLAN, n * sizeof(rz_brick) + 1, "profile");
        if (p->bricks[c] == NULL) return RZ_E_OOM_HOST;
    }
    rz_status status = rzc_enter(e);
    if (status != RZ_OK) return status;
    for (uint32_t i = 0; i < p->n_events && status == RZ_OK; i++) {
        status = rzc_check(e, e->cu->event_create(&p->events[i], 0), "cuEventCreate");
    }
    rzc_leave(e);
    return status;
}

/* The engine's context is current. */
void rzc_profile_close(rzc_program *p) {
    for (uint32_t i = 0; i < p->n_events && p->events != NULL; i++) {
        if (p->events[i] != NULL) p->engine->cu->event_destroy(p->events[i]);
    }
    for (uint32_t c = 0; c < RZC_CLASSES; c++) rz_free(p->bricks[c]);
    rz_free(p->events);
}

void rzc_profile_mark(rzc_program *p, uint32_t i) {
    if (p->events != NULL) p->engine->cu->event_record(p->events[i], p->engine->stream);
}

static uint64_t weights_bytes(const rzc_program *p, const rz_launch *l) {
    uint64_t bytes = 0;
    for (uint32_t k = 0; k < l->n_ops; k++) {
        const rz_op *op = &p->ir->ops[l->ops[k]];
        const bool reads_all = op->code != RZ_OP_EMBED && op->code != RZ_OP_MOE_MATMUL;
        for (uint32_t w = 0; w < 4 && reads_all; w++) bytes += op->w[w] ? p->tensors[op->w[w] - 1].layout_bytes : 0;
    }
    return bytes;
}

/* After the stream was waited for. */
void rzc_profile_add(rzc_program *p) {
    const rz_lowering *l = &p->lowering[p->row_class];
    for (uint32_t i = 0; p->events != NULL && i < l->n_launches; i++) {
        float ms = 0;
        rz_brick *brick = &p->bricks[p->row_class][i];
        if (p->engine->cu->event_elapsed(&ms, p->events[i], p->events[i + 1]) != 0) continue;
        brick->calls++;
        brick->ticks_ns += (uint64_t)((double)ms * 1e6);
        brick->bytes += weights_bytes(p, &l->launches[i]);
    }
}

uint32_t rzc_program_profile(void *program, rz_brick *out, uint32_t cap_bricks) {
    rzc_program *p = program;
    uint32_t n = 0;
    for (uint32_t c = 0; c < RZC_CLASSES && p->events != NULL; c++) {
        const rz_lowering *l = &p->lowering[c];
        for (uint32_t i = 0; i < l->n_launches; i++) {
            rz_brick *brick = &p->bricks[c][i];
            const rz_launch *launch = &l->launches[i];
            const rz_op *op = &p->ir->ops[launch->ops[launch->n_ops - 1]];
            brick->op = launch->ops[0], brick->code = op->code, brick->layer = op->layer;
            if (brick->calls > 0 && n < cap_bricks) out[n++] = *brick;
        }
        memset(p->bricks[c], 0, l->n_launches * sizeof(rz_brick));
    }
    return n;
}
