/* backend.h - internal: what the core gives an executor, and what an executor (ref, cpu, cuda) gives the core.
 *
 * The core (api, handle, weights, plan, cache, batch, queue) owns objects, checks everything, and calls an executor
 * with facts only: a kernel may rely on whatever is said here. Threads, per engine: *_open, weight_bytes and page_bytes
 * come from one at a time; weight_store from several; forward and sample from the driver's alone; engine_measure and
 * program_profile while the driver rests; value_read while it does not run that program. They may overlap otherwise. */
#ifndef RZ_BACKEND_H
#define RZ_BACKEND_H
#include "memory.h"
#include "op.h"
#include "realizar.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* What an object is to an executor: its own state behind a pointer, made in *_open, freed in *_close. */

/* A weight in its final place. */
typedef struct rz_tensor {
    rz_weight spec;
    uint8_t *data;         /* layout_bytes, 64-byte aligned at least; layout is the backend's: f(dtype, use) */
    uint64_t layout_bytes; /* what weight_bytes said */
} rz_tensor;

/* A verified plan: pointers into one owned copy of the plan's bytes. Ids are 1-based: value id v is values[v - 1]. */
typedef struct rz_plan_ir {
    const rz_plan_header *header;
    const rz_weight *weights;
    const rz_constant *constants;
    const double *numbers;
    const rz_value *values;
    const rz_op *ops;
    uint32_t logits_value; /* 0 = none */
    uint32_t n_groups;     /* 1 + highest cache group used; 0 = no cache */
    struct {
        uint32_t n_layers, k_cols, v_cols, window_max; /* what the ops of that group need; window_max 0 = all */
    } groups[8];
} rz_plan_ir;

/* One group of a cache. Page p's bytes are data + p * page_bytes; inside, the layout is the backend's. */
typedef struct rz_cache_mem {
    rz_cache_group spec;
    uint64_t page_bytes;
    uint8_t *data;
} rz_cache_mem;

/* A cache as an executor sees it. ids: token ids by page and offset in it, of group 0's pages. */
typedef struct rz_cache_view {
    uint32_t n_groups;
    rz_cache_mem groups[8];
    int32_t *ids;  /* [groups[0].n_pages][groups[0].page_tokens] */
    int32_t *last; /* [n_slots] last sampled id of a slot, -1 = none */
    uint8_t *tables; /* device executors: their memory for the page tables of one step; NULL for host executors */
} rz_cache_view;

/* A validated batch: sections of the copied buffer, and what the core derived from them. */
typedef struct rz_batch {
    const rz_batch_header *header;
    const rz_batch_copy *copies;
    const rz_batch_seq *seqs;
    const uint32_t *pages;
    const rz_batch_out *outs;
    const rz_batch_bias *bias;
    const float *ext_rows;
    int32_t *tokens;            /* [n_tokens] ids >= 0: -1 is resolved by the driver just before the forward */
    uint32_t *row_seq;          /* [n_tokens] index of the row's sequence */
    uint32_t *row_position;     /* [n_tokens] absolute position */
    uint32_t *seq_first_row;    /* [n_seqs + 1] */
    uint32_t *seq_group_pages;  /* [n_seqs][n_groups of the cache] index into pages of that table's first entry */
    uint32_t n_rows;            /* R */
    uint32_t *rows;             /* [n_rows] token rows, distinct, ascending */
    uint32_t *out_row;          /* [n_outs] index into rows */
} rz_batch;

/* One step being run. */
typedef struct rz_step {
    const rz_batch *batch;
    const rz_cache_view *cache; /* NULL for plans without a cache */
    const atomic_uint *cancel;  /* non-zero: stop soon (tested between launches and between tiles of rows) */
    uint32_t flags;             /* RZ_PLAN_* of the plan */
} rz_step;

/* The page that holds position `position` of sequence `seq` in `group`, and where in it: 0 for a freed page. */
static inline uint32_t rz_page_at(const rz_step *s, uint32_t seq, uint32_t group, uint32_t position) {
    const uint32_t page_tokens = s->cache->groups[group].spec.page_tokens;
    const uint32_t first = s->batch->seq_group_pages[seq * s->cache->n_groups + group];
    return s->batch->pages[first + position / page_tokens];
}

/* An executor. Functions return RZ_OK or a positive rz_status with the message set by rz_fail (error.h).
 * `engine` is the executor's own state, from engine_open. */
typedef struct rz_backend {
    const char *name;
    uint32_t page_tokens; /* preferred page size */

    int32_t (*engine_open)(const rz_engine_options *options, rz_account *account, void **engine);
    void (*engine_close)(void *engine);
    void (*engine_info)(void *engine, rz_engine_info *out);
    int32_t (*engine_measure)(void *engine, uint32_t what, double *gb_s);

    /* An executor with memory of its own has these five, a host executor none: weights and pages are then rz_alloc's.
     * Memory is zeroed and aligned to 256 bytes; the address is the device's. OOM_DEVICE with what is needed and free.
     * The copies are in order with steps; page_write and page_read wait. */
    int32_t (*memory_open)(void *engine, rz_memory_kind kind, uint64_t bytes, const char *what, uint8_t **out);
    void (*memory_close)(void *engine, rz_memory_kind kind, uint64_t bytes, uint8_t *memory);
    int32_t (*page_copy)(void *engine, uint8_t *to, const uint8_t *from, uint64_t bytes);
    int32_t (*page_write)(void *engine, uint8_t *to, const uint8_t *from, uint64_t bytes); /* from the host */
    int32_t (*page_read)(void *engine, uint8_t *to, const uint8_t *from, uint64_t bytes);  /* to the host */

    /* Bytes of the final layout; UNSUPPORTED for a (dtype, use) this executor does not know. */
    int32_t (*weight_bytes)(void *engine, const rz_weight *spec, uint64_t *bytes);
    /* Rows that must be stored together, a divisor of 64: weight_store gets a multiple, or an expert's last rows. */
    uint32_t (*weight_row_unit)(void *engine, const rz_weight *spec);
    /* Converts n_rows rows in file format (src) into the layout at t->data. Rows run over all experts, a call stays
     * within one. May be called from several threads on different rows. Host executors cannot fail. */
    int32_t (*weight_store)(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, const uint8_t *src);
    /* Dequantizes rows from the layout. */
    int32_t (*weight_read)(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, float *out);

    /* Bytes of one page of a group; UNSUPPORTED for a KV dtype this executor does not know. */
    int32_t (*page_bytes)(void *engine, const rz_cache_group *group, uint64_t *bytes);

    /* Lowers. info gets scratch_bytes, n_classes, class_rows, n_launches. With tensors NULL nothing is allocated
     * (rz_plan_check) and *program is not written. */
    int32_t (*program_open)(void *engine, const rz_plan_ir *ir, const rz_tensor *tensors,
                            const rz_plan_options *options, rz_plan_info *info, void **program);
    void (*program_close)(void *program);
    /* Text of the lowered plan for a row class; returns the length, writes up to cap. */
    uint32_t (*program_listing)(void *program, uint32_t row_class, uint8_t *out, uint32_t cap);
    uint32_t (*program_profile)(void *program, rz_brick *out, uint32_t cap_bricks);

    /* Runs all ops. RZ_E_CANCELLED when the flag was heard. */
    int32_t (*forward)(void *program, const rz_step *step);
    /* Rows of a value after a forward, as F32: [n_rows][cols]. */
    int32_t (*value_read)(void *program, uint32_t value_id, uint32_t row, uint32_t n_rows, float *out);
    /* Samples every out of the step, of a plan that has logits: results [n_outs], tops [n_top_total of the batch].
     * Results come with position, top_first and no token; masks as in rz_step_sample. The core then writes ids to
     * slots. Host executors call rz_sample_outs (sample.h). */
    int32_t (*sample)(void *program, const rz_step *step, const uint32_t *masks, rz_result_out *results,
                      rz_result_top *tops);
} rz_backend;

extern const rz_backend rz_backend_ref;
extern const rz_backend rz_backend_cpu;
#if defined(RZ_CUDA)
extern const rz_backend rz_backend_cuda;
/* Why no GPU can be used here, NULL when one can; name[80] gets the first GPU's. Makes no context. The text holds until
 * this thread asks again. */
const char *rz_cuda_why_not(char name[80]);
#endif

#endif
