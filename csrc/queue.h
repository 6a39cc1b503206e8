/* queue.h - internal: the queued work of an engine and the thread that runs it.
 *
 * A ticket belongs to its plan and holds everything one step needs, so that a step allocates nothing:
 *     FREE -> FILLING (validated and copied by the submitter) -> QUEUED -> RUNNING -> DONE -> FREE when told
 * Beside steps the queue holds fences: turns of a calling thread, in which no step runs. */
#ifndef RZ_QUEUE_H
#define RZ_QUEUE_H
#include "backend.h"
#include "error.h"
#include "handle.h"
#include "os.h"

#define RZ_QUEUE_DEPTH 4u

typedef struct rz_engine rz_engine;
typedef struct rz_plan rz_plan;
typedef struct rz_cache rz_cache;

/* A place in the queue. */
typedef struct rz_work {
    struct rz_work *next;
    bool is_fence;
} rz_work;

typedef struct rz_fence {
    rz_work work;
    const void *owner;   /* the plan or cache it is about, NULL = the engine */
    const bool *stopped; /* the owner's; NULL = none */
    bool closed;         /* the owner was closed before the turn came */
} rz_fence;

typedef enum rz_ticket_state {
    RZ_TICKET_FREE,
    RZ_TICKET_FILLING,
    RZ_TICKET_QUEUED,
    RZ_TICKET_RUNNING,
    RZ_TICKET_DONE,
} rz_ticket_state;

typedef struct rz_ticket {
    rz_work work;
    rz_ticket_state state; /* guarded by the queue's lock, as all up to `cancel` */
    uint32_t number;
    rz_plan *plan;
    rz_cache *cache;     /* NULL = none; while not FREE */
    uint32_t cache_lane; /* which of the cache's page buffers */
    bool after_failed;   /* the ticket it comes after did not succeed */
    bool closed;         /* plan or cache is being closed: ends as CLOSED */
    bool hold;           /* sampling waits for `released` */
    bool released;
    atomic_uint cancel;

    /* Written by the submitter, then read by the driver. */
    rz_batch_header header;
    rz_batch batch;
    uint32_t after;   /* 0 = none, or known to have succeeded */
    uint32_t n_masks; /* highest mask of the outs */
    uint32_t *masks;
    uint32_t *row_mark; /* [max_tokens] */
    uint64_t submitted_ns;

    /* Written by the driver, then read by who waits. */
    rz_status status;
    char message[RZ_MESSAGE_BYTES];
    rz_result_header result;
    rz_result_out *results;
    rz_result_top *tops;
    bool *no_input; /* [max_seqs] the sequence asked for a last sample that there is not */
} rz_ticket;

/* How numbers that are not live any more ended. */
#define RZ_HISTORY 1024u
typedef struct rz_history {
    uint32_t number;
    bool succeeded;
    bool closed; /* by its plan's close, before it was told */
} rz_history;

typedef struct rz_queue {
    rz_mutex lock;
    rz_cond work; /* for the driver: something to run, a release, a cancel, a turn's end */
    rz_cond done; /* for callers: something ended */
    rz_work *first, **end;
    rz_work *running;
    uint32_t n_waiting; /* callers in `done` */
    bool stopping;
    uint32_t last_number;
    rz_plan *plans;     /* open ones */
    rz_history history[RZ_HISTORY];
    rz_thread thread;
} rz_queue;

/* Starts the driver. */
rz_status rz_queue_open(rz_queue *q);
/* Makes the driver and everybody who waits give up soon. */
void rz_queue_stop(rz_queue *q);
/* Ends the driver; nothing is queued any more. */
void rz_queue_close(rz_queue *q);

/* Plans are known to the queue while open. */
void rz_queue_plan_add(rz_queue *q, rz_plan *plan);
/* Cancels a plan's (or a cache's) work; queued steps end at once, a running one soon. */
void rz_queue_plan_stop(rz_queue *q, rz_plan *plan);
void rz_queue_cache_stop(rz_queue *q, rz_cache *cache);
/* After the stop: returns when nothing of it runs; a plan is forgotten. */
void rz_queue_plan_remove(rz_queue *q, rz_plan *plan);
void rz_queue_cache_remove(rz_queue *q, rz_cache *cache);

/* A ticket to fill (BUSY, CLOSED), which then goes back or into the queue. rz_queue_submit gives the number. */
rz_status rz_queue_take(rz_queue *q, rz_plan *plan, rz_cache *cache, rz_ticket **out);
void rz_queue_give_back(rz_queue *q, rz_ticket *ticket);
rz_status rz_queue_submit(rz_queue *q, rz_ticket *ticket, uint32_t *number);

/* What the functions of the ABI with the same names do. */
rz_status rz_queue_wait(rz_queue *q, uint32_t number, uint32_t timeout_ms, uint8_t *out, uint32_t cap, uint32_t *n);
rz_status rz_queue_release(rz_queue *q, uint32_t number, const uint32_t *masks, uint32_t n_bytes);
void rz_queue_cancel(rz_queue *q, uint32_t number);

/* Takes a turn of the calling thread after everything queued so far, and ends it. BUSY when a step before it waits for
 * rz_step_sample (the caller would wait for itself), CLOSED. */
rz_status rz_queue_fence_begin(rz_queue *q, rz_fence *fence, const char *function);
void rz_queue_fence_end(rz_queue *q);

/* Tickets not told yet, of all engines. */
uint32_t rz_queue_tickets(void);

/* Finds the plan whose last submitted step has this number and was told as a success; while it is read, the plan
 * runs nothing and is not removed. */
rz_status rz_queue_read_begin(rz_queue *q, uint32_t number, rz_plan **plan);
void rz_queue_read_end(rz_queue *q, rz_plan *plan);

#endif
