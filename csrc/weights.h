/* weights.h - internal: weights in their final places, and the threads that bring them there from files. */
#ifndef RZ_WEIGHTS_H
#define RZ_WEIGHTS_H
#include "engine.h"

#define RZ_LOADERS_MAX 8u
#define RZ_WRITE_ROWS 64u /* pieces of rz_weights_write begin at multiples of this; a multiple of every row unit */

typedef struct rz_source {
    rz_file file;
    const char *path;
    uint64_t size_bytes; /* promised */
    int64_t mtime_ns;    /* promised, then found at the opening */
} rz_source;

typedef struct rz_weights {
    rz_object object;
    rz_engine *engine;
    uint32_t n, n_sources;
    rz_tensor *tensors;
    rz_source *sources;
    char *paths;   /* what the sources point to */
    uint8_t *data; /* all layouts, in the engine's memory */
    uint64_t data_bytes;
    uint64_t *first_block; /* [n + 1] blocks of RZ_WRITE_ROWS rows of weights that come by rz_weights_write */
    uint8_t *written;      /* a bit each */
    rz_mutex lock;
    rz_cond changed;
    /* Guarded by the lock. */
    rz_progress progress;
    char message[RZ_MESSAGE_BYTES]; /* of the failure */
    bool stopping;
    uint32_t next_tensor, next_row; /* what a loader takes next */
    uint64_t file_left, memory_left; /* bytes */
    uint32_t n_active;  /* loaders not at their end */
    uint32_t n_started; /* threads to join */
    uint32_t n_stages;  /* given to loaders */
    uint8_t *staging;   /* [n loaders][staging_bytes] */
    size_t staging_bytes;
    rz_thread threads[RZ_LOADERS_MAX];
} rz_weights;

static inline rz_status rz_pin_weights(const char *function, uint32_t id, rz_weights **out) {
    rz_object *o = NULL;
    const rz_status status = rz_handle_pin(function, id, RZ_KIND_WEIGHTS, &o);
    *out = (rz_weights *)(void *)o;
    return status;
}

/* Bytes of one row in its file. */
uint64_t rz_weight_row_bytes(const rz_weight *spec);

/* Bytes of the layouts of n weights one after another, each aligned to 64. */
rz_status rz_weights_layout(rz_engine *engine, const rz_weight *specs, uint32_t n, uint64_t *bytes);

/* RZ_OK when loaded; BUSY, or why loading failed. */
rz_status rz_weights_ready(rz_weights *w, const char *function);

/* Opens the files and starts the loaders, when any weight comes from a file. On failure nothing runs. */
rz_status rz_loader_start(rz_weights *w);
/* Asks the loaders to end, and waits for them; files are closed then. */
void rz_loader_stop(rz_weights *w);
void rz_loader_join(rz_weights *w);
/* With the lock held: state, when nothing is left to come. */
void rz_loader_settle(rz_weights *w);
/* With the lock held: remembers the first failure, whose message is this thread's. */
void rz_loader_fail(rz_weights *w, rz_status status);

#endif
