/* engine.h - internal: the objects behind the four kinds of handles. */
#ifndef RZ_ENGINE_H
#define RZ_ENGINE_H
#include "backend.h"
#include "handle.h"
#include "os.h"
#include "queue.h"

struct rz_engine {
    rz_object object;
    const rz_backend *backend;
    void *state; /* the backend's */
    rz_account *account;
    rz_engine_options options;
    rz_mutex open_lock; /* one caller at a time in the backend's *_open and *_bytes */
    rz_queue queue;
};

typedef struct rz_weights rz_weights; /* weights.h */

struct rz_plan {
    rz_object object;
    rz_engine *engine;
    rz_plan *next; /* in the queue's list */
    rz_plan_ir ir;
    rz_plan_options options;
    rz_plan_info info;
    void *program;
    uint32_t experts_per_token;
    rz_mutex fill_lock; /* one submitter at a time writes marks */
    uint8_t *memory;    /* of the tickets */
    rz_ticket tickets[RZ_QUEUE_DEPTH];
    /* Guarded by the queue's lock. */
    bool stopped;
    uint32_t last_number; /* of the last step submitted */
    bool readable;        /* that step was told as a success */
    uint32_t n_readers;
    uint32_t last_rows[4]; /* rows of each rz_rows in that step */
};

struct rz_cache {
    rz_object object;
    rz_engine *engine;
    rz_cache_options options;
    rz_cache_view view;
    rz_mutex fill_lock;    /* one submitter at a time uses the stamps */
    uint32_t stamp;        /* of the submit being validated */
    uint32_t *slot_stamp;  /* [n_slots] */
    uint32_t *page_stamp[8]; /* [n_pages of the group] */
    uint32_t pages_max;    /* entries of all page tables of a step */
    uint32_t *pages[RZ_QUEUE_DEPTH]; /* [pages_max]: the tables of a step in the queue */
    /* Guarded by the queue's lock. */
    bool stopped;
    bool lane_taken[RZ_QUEUE_DEPTH];
};

/* Memory of the engine's device (or host memory), zeroed. Freed with the same kind and bytes. */
rz_status rz_engine_alloc(rz_engine *e, rz_memory_kind kind, uint64_t bytes, const char *what, uint8_t **out);
void rz_engine_free(rz_engine *e, rz_memory_kind kind, uint64_t bytes, uint8_t *memory); /* NULL is fine */

/* Masks that rz_step_sample may bring for one step: no more sequences than that sample. */
static inline uint32_t rz_plan_masks_max(const rz_plan *plan) {
    return plan->options.max_outs < plan->options.max_seqs ? plan->options.max_outs : plan->options.max_seqs;
}

/* Pins an object of a kind and casts it. */
static inline rz_status rz_pin_engine(const char *function, uint32_t id, rz_engine **out) {
    rz_object *o = NULL;
    const rz_status status = rz_handle_pin(function, id, RZ_KIND_ENGINE, &o);
    *out = (rz_engine *)(void *)o;
    return status;
}

static inline rz_status rz_pin_plan(const char *function, uint32_t id, rz_plan **out) {
    rz_object *o = NULL;
    const rz_status status = rz_handle_pin(function, id, RZ_KIND_PLAN, &o);
    *out = (rz_plan *)(void *)o;
    return status;
}

static inline rz_status rz_pin_cache(const char *function, uint32_t id, rz_cache **out) {
    rz_object *o = NULL;
    const rz_status status = rz_handle_pin(function, id, RZ_KIND_CACHE, &o);
    *out = (rz_cache *)(void *)o;
    return status;
}

/* Runs one step: copies, tokens, forward, sampling. On the driver's thread, without the queue's lock. */
rz_status rz_step_run(rz_queue *q, rz_ticket *ticket);

#endif
