/* cuda.h - internal: the CUDA executor's own objects.
 *
 * A context of its own per engine. Every entry pushes it and pops it, so any thread may call. One stream does the
 * steps; each loader has a lane with a stream of its own. After an error that the driver calls sticky the engine is
 * lost: every call answers DEVICE_LOST with the first message. */
#ifndef RZ_CUDA_H
#define RZ_CUDA_H
#include "driver.h"
#include "error.h"
#include "lower.h"
#include "os.h"
#include "params.h"

/* X(module, name) for kernels of one name in several sizes, and for one a record format: what <module>.cu makes. */
#define RZC_SIZES_4(X, m, name) X(m, name##_1) X(m, name##_2) X(m, name##_4) X(m, name##_8)
#define RZC_SIZES_3(X, m, name) X(m, name##_2) X(m, name##_4) X(m, name##_8)
#define RZC_ALL_TILES(X, m, name)                                                                                      \
    X(m, name##_8) X(m, name##_16) X(m, name##_32) X(m, name##_64) X(m, name##_128) X(m, name##_256)
#define RZC_SOME_TILES(X, m, name) X(m, name##_16) X(m, name##_64) X(m, name##_256)
#define RZC_HEADS_2(X, m, name) X(m, name##_64) X(m, name##_128)
#define RZC_COMMON_RECORDS(X, m, name) X(m, name##_R_Q4_K) X(m, name##_R_Q6_K) X(m, name##_R_Q8_0)
#define RZC_OTHER_RECORDS(X, m, name)                                                                                  \
    X(m, name##_R_Q4_0) X(m, name##_R_Q4_1) X(m, name##_R_Q5_0) X(m, name##_R_Q5_1) X(m, name##_R_Q5_K)                \
    X(m, name##_R_Q3_K) X(m, name##_R_Q2_K) X(m, name##_R_IQ4_NL) X(m, name##_R_IQ4_XS)
#define RZC_RECORDS(X, m, name)                                                                                        \
    RZC_COMMON_RECORDS(X, m, name) X(m, name##_R_BF16) X(m, name##_R_F16) RZC_OTHER_RECORDS(X, m, name)

/* X(module, name): the function rzc_<name> of cuda/<module>.cu. The plain products of all formats follow. */
#define RZC_KERNELS(X)                                                                                                 \
    RZC_RECORDS(X, weights, repack) X(weights, read_row) X(weights, read_all)                                          \
    X(ops, embed_k) X(ops, norm_k) X(ops, rope_k) X(ops, kv_write_k) X(ops, elementwise_k) X(ops, rows_k)              \
    X(ops, moe_route_k) X(ops, moe_combine_k) X(ops, argmax_k) X(ops, angles_k) X(ops, place_k)                        \
    X(ops, begin_k) X(best, best_k)                                                                                    \
    X(moe, moe_router_k) X(moe_many, moe_scores_k) X(moe_many, moe_order_k) X(moe_many, moe_x_k)                       \
    X(moe_many, moe_choose_k) X(moe_many, moe_sum_k)                                                                   \
    X(attention, attention_k)                                                                                          \
    RZC_HEADS_2(X, place, place_many)                                                                                  \
    RZC_SIZES_4(X, gemv, gemv_q4k) RZC_SIZES_4(X, gemv, gemv_q80) RZC_SIZES_4(X, gemv, gemv_bf16)                      \
    RZC_SIZES_4(X, gemv, gemv_any) RZC_SIZES_4(X, gemv, gemv_f16)                                                      \
    RZC_SIZES_3(X, gemv, stage_q4k) RZC_SIZES_3(X, gemv, stage_q80) RZC_SIZES_3(X, gemv, stage_bf16)                   \
    RZC_SIZES_3(X, gemv, stage_any) RZC_SIZES_3(X, gemv, stage_f16)                                                    \
    X(moe, moe_up_k) X(moe, moe_down_k)                                                                                \
    RZC_COMMON_RECORDS(X, moe_many, moe) RZC_OTHER_RECORDS(X, moe_many, moe)                                           \
    X(prefill_product, prefill_x_f16) X(prefill_product, prefill_x_bf16)                                               \
    X(prefill_product, prefill_F16) X(prefill_product, prefill_BF16) X(prefill_product, prefill_Q4_0)                  \
    X(prefill_product, prefill_Q4_1) X(prefill_product, prefill_Q5_0) X(prefill_product, prefill_Q5_1)                 \
    X(prefill_product, prefill_Q8_0) X(prefill_product, prefill_Q2_K) X(prefill_product, prefill_Q3_K)                 \
    X(prefill_product, prefill_Q4_K) X(prefill_product, prefill_Q5_K) X(prefill_product, prefill_Q6_K)                 \
    X(prefill_product, prefill_IQ4_NL) X(prefill_product, prefill_IQ4_XS) RZC_RECORDS(X, prefill_product, prefill)     \
    RZC_ALL_TILES(X, prefill_wgmma, wgmma_K) RZC_ALL_TILES(X, prefill_wgmma, wgmma_R_Q8_0)                             \
    RZC_ALL_TILES(X, prefill_wgmma, wgmma_R_BF16) RZC_SOME_TILES(X, prefill_wgmma, wgmma_R_F16)                        \
    RZC_SOME_TILES(X, prefill_wgmma, wgmma_R_Q4_0) RZC_SOME_TILES(X, prefill_wgmma, wgmma_R_Q4_1)                      \
    RZC_SOME_TILES(X, prefill_wgmma, wgmma_R_Q5_0) RZC_SOME_TILES(X, prefill_wgmma, wgmma_R_Q5_1)                      \
    RZC_SOME_TILES(X, prefill_wgmma, wgmma_R_Q5_K) RZC_SOME_TILES(X, prefill_wgmma, wgmma_R_Q3_K)                      \
    RZC_SOME_TILES(X, prefill_wgmma, wgmma_R_Q2_K) RZC_SOME_TILES(X, prefill_wgmma, wgmma_R_IQ4_NL)                    \
    RZC_SOME_TILES(X, prefill_wgmma, wgmma_R_IQ4_XS)                                                                   \
    RZC_HEADS_2(X, decode_attention, decode_f16) RZC_HEADS_2(X, decode_attention, decode_q8)                           \
    RZC_HEADS_2(X, decode_attention, decode_placed_f16) RZC_HEADS_2(X, decode_attention, decode_placed_q8)             \
    RZC_HEADS_2(X, prompt_attention, prompt_attention_f16) RZC_HEADS_2(X, prompt_attention, prompt_attention_q8)       \
    RZC_HEADS_2(X, prompt_wgmma, prompt_wgmma_f16) RZC_HEADS_2(X, prompt_wgmma, prompt_wgmma_q8)
typedef enum rzc_kernel {
#define RZC_KERNEL_ENUM(module, name) RZC_K_##name,
    RZC_KERNELS(RZC_KERNEL_ENUM)
#undef RZC_KERNEL_ENUM
    RZC_K_PRODUCT1, /* + format */
    RZC_K_PRODUCT8 = RZC_K_PRODUCT1 + RZC_N_FORMATS,
    RZC_N_KERNELS = RZC_K_PRODUCT8 + RZC_N_FORMATS
} rzc_kernel;

#define RZC_MODULES(X)                                                                                                \
    X(weights) X(ops) X(attention) X(matmul) X(gemv) X(prefill_product) X(prefill_wgmma)             \
    X(place) X(decode_attention) X(prompt_attention) X(prompt_wgmma) X(best) X(moe) X(moe_many)
typedef enum rzc_module {
#define RZC_MODULE_ENUM(name) RZC_M_##name,
    RZC_MODULES(RZC_MODULE_ENUM)
#undef RZC_MODULE_ENUM
    RZC_N_MODULES
} rzc_module;

/* The compiled code of a module, machine code or PTX; NULL = not in this build: modules.c. */
const void *rzc_fatbin(rzc_module module, bool portable);
/* Whether GPU code as in RZ_CUDA_CODE ("sm_80,sm_90a,ptx") runs on a GPU of this compute capability, 8.0 or more. */
bool rzc_has_code(const char *list, int major, int minor);

#define RZC_LANES 8u
#define RZC_LANE_BYTES ((size_t)8 << 20)

/* What a thread that stores or reads weights works with. */
typedef struct rzc_lane {
    void *stream;
    uint8_t *pinned;
    rz_cu_ptr device;
    bool taken;
} rzc_lane;

typedef struct rzc_engine {
    const rz_cu *cu;
    rz_account *account;
    void *context;
    int device, n_sms, cc_major, cc_minor, shared_max;
    bool portable; /* runs PTX, written for compute capability 8.0: then that is cc_major and cc_minor */
    char name[80];
    void *modules[RZC_N_MODULES];
    void *kernels[RZC_N_KERNELS];
    void *stream;
    bool full_edge; /* the next chained launch of the stream waits for the end of its predecessor */
    rz_mutex lock; /* lanes, message */
    rz_cond lane_free;
    rzc_lane lanes[RZC_LANES];
    atomic_bool lost;
    char message[RZ_MESSAGE_BYTES];
} rzc_engine;

/* ---- fault.c: in the test library ---- */
#if defined(RZ_TEST)
void rzc_fault(rzc_engine *e);
#else
static inline void rzc_fault(rzc_engine *e) { (void)e; }
#endif

/* Makes the engine's context current; DEVICE_LOST when it is lost. Each success is followed by rzc_leave. */
rz_status rzc_enter(rzc_engine *e);
void rzc_leave(rzc_engine *e);
/* RZ_OK for 0; else sets the message and tells whether the device is lost. */
rz_status rzc_check(rzc_engine *e, rz_cu_result result, const char *what);

/* Zeroed device memory, counted. */
rz_status rzc_alloc(rzc_engine *e, rz_memory_kind kind, uint64_t bytes, const char *what, rz_cu_ptr *out);
void rzc_free(rzc_engine *e, rz_memory_kind kind, uint64_t bytes, rz_cu_ptr memory);

/* Launches with one parameter struct on a stream. `chained`: may begin before its predecessor ended (the kernel waits
 * by itself). */
typedef struct rzc_shape {
    uint32_t x, y, z, threads, shared_bytes, cluster;
    bool chained;
} rzc_shape;
rz_status rzc_launch(rzc_engine *e, void *stream, uint32_t kernel, rzc_shape shape, void *params);

/* ---- weights.c ---- */
/* The format a weight gets: records where the product kernels know them. */
rzc_format rzc_format_of(const rz_weight *spec);
uint32_t rzc_record_bytes(rzc_format format); /* 0 = not a record */
rzc_matrix rzc_matrix_of(const rz_tensor *t);
int32_t rzc_weight_bytes(void *engine, const rz_weight *spec, uint64_t *bytes);
uint32_t rzc_weight_row_unit(void *engine, const rz_weight *spec);
int32_t rzc_weight_store(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, const uint8_t *src);
int32_t rzc_weight_read(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, float *out);

/* ---- program.c ---- */
#define RZC_CLASSES 2u    /* of rows: up to RZC_FEW_ROWS, and more */
#define RZC_FEW_ROWS 4u
#define RZC_GRAPH_ROWS 64u   /* decodes of one step that are captured, at most */
#define RZC_ARGMAX_PARTS 32u /* of a row among many; of one among few: */
#define RZC_ARGMAX_MOST 128u
#define RZC_INLINE_PAGES 16384u /* entries of page tables that travel with the batch */

/* Queries, keys and values that the next attention places by itself. */
typedef struct rzc_placing {
    const rz_op *rope; /* NULL = none */
    rz_cu_ptr q, k, v, q_norm, k_norm;
    float eps;
} rzc_placing;

/* What is between the launches of experts (moe.c): as much as the largest layer needs. */
typedef struct rzc_moe_room {
    rz_cu_ptr logits, weights, ids, arrivals, hidden;
    rz_cu_ptr normed, position, pair, tiles, n_tiles; /* many rows; 0 = no such */
    rz_cu_ptr x, x_scale, h, h_scale, y; /* y lies where x was */
} rzc_moe_room;

typedef struct rzc_program {
    rzc_engine *engine;
    const rz_plan_ir *ir;
    const rz_tensor *tensors;
    rz_plan_options options;
    rz_lowering lowering[RZC_CLASSES];
    uint32_t last_class; /* of the last step */
    uint64_t device_bytes, pinned_bytes;
    rz_cu_ptr memory; /* all of the following */
    rz_cu_ptr arena, batch, numbers, parts, arrivals;
    rz_cu_ptr argmax_parts, argmax_arrivals;
    rz_cu_ptr tiles; /* many rows of activations as 16 bit (prefill.c): scales, tiles */
    uint32_t tiles_value; /* whose they are in this step, 0 = nobody's */
    bool tiles_bf16;
    uint32_t tiles_only; /* the value that in this step is nowhere else, 0 = none */
    rz_cu_ptr tile_parts, tile_arrivals; /* output tiles of products that blocks share */
    rz_cu_ptr staged; /* x of a product of few rows: gemv.c */
    rzc_moe_room moe;
    rz_cu_ptr heads; /* queries, keys and values of few rows, before they are placed */
    uint32_t n_angles;
    struct {
        uint32_t constant, n_pairs;
        rz_cu_ptr at; /* [few rows][n_pairs][cos, sin] */
    } angles[RZC_ANGLES];
    struct {
        void *exec;
        uint64_t key; /* of the cache's types, which choose kernels */
    } graphs[2][RZC_GRAPH_ROWS + 1]; /* [best logits][rows], all of them selected: captured when they come first */
    bool begun; /* embedding and angles are queued: by the first launch of a graph */
    rzc_step step_at; /* in `batch` */
    size_t batch_bytes, pages_at; /* of the fixed part, and where inline pages begin */
    uint8_t *pinned;      /* the batch as it is uploaded, then a row of logits, argmax, best */
    float *logits_row;
    float *argmax_host;
    rz_cu_ptr best_parts;
    uint64_t *best_host;
    void *sample_scratch;
    uint32_t n_events;    /* profile.c; events NULL = no profile */
    void **events;
    rz_brick *bricks[RZC_CLASSES];
    bool sampling_queued; /* by the graph of this step */
    rzc_placing placing;
    /* Of the step that runs. */
    const rz_step *step;
    uint32_t row_class;
    uint32_t n_rows[4]; /* of each rz_rows */
} rzc_program;

int32_t rzc_program_open(void *engine, const rz_plan_ir *ir, const rz_tensor *tensors, const rz_plan_options *options,
                         rz_plan_info *info, void **program);
void rzc_program_close(void *program);
uint32_t rzc_program_listing(void *program, uint32_t row_class, uint8_t *out, uint32_t cap);
uint32_t rzc_program_profile(void *program, rz_brick *out, uint32_t cap_bricks);
int32_t rzc_forward(void *program, const rz_step *step);
int32_t rzc_value_read(void *program, uint32_t value_id, uint32_t row, uint32_t n_rows, float *out);

/* ---- sample.c ---- */
/* Parts of a row for the search of its best logits; 0 = more than there may be. */
uint32_t rzc_best_parts(const rzc_program *p);
/* Queues the search of the largest logit of each row, or of the best ones; results go to argmax_host, best_host. */
rz_status rzc_queue_sampling(rzc_program *p, bool best);
/* Whether an out of the step asks for the best logits of its row. */
bool rzc_wants_best(const rzc_program *p, const rz_step *step);
int32_t rzc_sample(void *program, const rz_step *step, const uint32_t *masks, rz_result_out *results,
                   rz_result_top *tops);

static inline rz_cu_ptr rzc_value(const rzc_program *p, uint32_t id) {
    return p->arena + p->lowering[p->row_class].value_offset[id - 1];
}

/* Whether nothing may depend on the row count: then every product and attention goes the plain way. */
static inline bool rzc_is_fixed(const rzc_program *p) { return (p->options.flags & RZ_PLAN_DETERMINISTIC) != 0; }

/* The table of angles of a RoPE op, for few rows. */
rz_cu_ptr rzc_angles_of(const rzc_program *p, const rz_op *rope);

/* ---- profile.c ---- */
rz_status rzc_profile_open(rzc_program *p);
void rzc_profile_close(rzc_program *p);
void rzc_profile_mark(rzc_program *p, uint32_t i); /* 0: before the first launch; i + 1: behind launch i */
void rzc_profile_add(rzc_program *p);

/* ---- attention.c ---- */
/* Whether the attention behind this RoPE and kvWrite can place queries, keys and values itself. */
bool rzc_places_later(const rzc_program *p, const rz_op *rope, const rz_op *kv_write);

/* ---- launch.c ---- */
/* Queues one op, or a fusion. */
rz_status rzc_run(rzc_program *p, const rz_launch *launch);

#endif
