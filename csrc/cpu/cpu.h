/* cpu.h - internal: the CPU executor: engine, program, launches.
 *
 * A program is made once: ops become launches (patterns.c chooses what is fused, bind.c gives each launch its function
 * and facts), and a step runs them in order on the driver's thread; a launch spreads over the pool's threads. Nothing
 * is allocated or looked up by name in a step. Results do not depend on the number of rows, threads or neighbours. */
#ifndef RZ_CPU_H
#define RZ_CPU_H
#include "isa.h"
#include "lower.h"
#include "pool.h"
#include "weight.h"

typedef struct rz_cpu_engine {
    rz_account *account;
    const rz_cpu_kernels *kernels;
    uint32_t n_threads;
} rz_cpu_engine;

typedef struct rz_cpu_program rz_cpu_program;
typedef struct rz_cpu_launch rz_cpu_launch;

/* A MATMUL weight as products use it. */
typedef struct rz_cpu_matrix {
    const uint8_t *data;
    const rz_weight *spec;
    const float *bias; /* [rows], NULL = none */
    uint32_t layout;   /* rz_cpu_layout */
    uint32_t rows, cols, stripes;
    size_t stripe_bytes;
} rz_cpu_matrix;

/* What follows a product before its result is stored. */
typedef enum rz_cpu_after {
    RZ_AFTER_STORE,  /* the result itself; logits: times factor, then softcap */
    RZ_AFTER_ADD,    /* a residual is added */
    RZ_AFTER_GLU,    /* mat 0 is the gate, mat 1 what it meets */
    RZ_AFTER_HEADS,  /* head by head: norm, RoPE, then a value, keys or values of the cache */
} rz_cpu_after;

/* Where heads of one matrix go (RZ_AFTER_HEADS). */
typedef struct rz_cpu_heads {
    const rz_op *norm; /* RMS_NORM of each head, NULL = none */
    const rz_op *rope;
    const rz_op *kv_write; /* NULL: the heads are a value */
    bool is_keys;
    uint32_t out; /* value id, 0 = none */
    uint32_t cols; /* of a head */
} rz_cpu_heads;

#define RZ_PRODUCT_MATS 3u
typedef struct rz_cpu_product {
    uint32_t n_mats;
    rz_cpu_matrix mats[RZ_PRODUCT_MATS];
    const rz_op *norm; /* RMS_NORM or LAYER_NORM of the input, NULL = none */
    uint32_t in;       /* value id of the input (of the norm, when there is one) */
    rz_cpu_after after;
    uint32_t out;        /* value id; unused for heads */
    uint32_t residual;   /* value id (RZ_AFTER_ADD) */
    const rz_op *glu;    /* RZ_AFTER_GLU */
    float factor, cap;   /* RZ_AFTER_STORE: 1, 0 = none */
    rz_cpu_heads heads[RZ_PRODUCT_MATS];
} rz_cpu_product;

/* The function of a launch: on the driver's thread, with p->step set. */
typedef void rz_cpu_run_fn(rz_cpu_program *p, const rz_cpu_launch *l);

struct rz_cpu_launch {
    rz_cpu_run_fn *run;
    const rz_op *op; /* the op, or the first of a fusion */
    const rz_cpu_product *product;
    uint64_t weights_bytes; /* read by one run */
};

/* A table of cos and sin for the rows of a step: one for each constant that RoPE uses. */
typedef struct rz_cpu_angles {
    uint32_t constant, n_rot;
    float *cos, *sin; /* [rows_max][n_rot / 2] */
} rz_cpu_angles;

/* Where rows of activations are put as int8 (rz_x8). */
typedef struct rz_cpu_int8_rows {
    rz_xblock *blocks;
    rz_xhigh *high;   /* rz_x_highs(cols) a row */
    uint32_t *n_high;
    uint8_t *n_high_in; /* [parts][n_rows] */
    size_t n_rows;
} rz_cpu_int8_rows;

/* What a thread works with; other threads don't look. */
typedef struct rz_cpu_scratch {
    float *tiles;      /* results of a unit: RZ_UNIT_FLOATS */
    rz_panel *panels;  /* [RZ_PANEL_BLOCKS] */
    float *outliers;   /* [RZ_BLOCK_ROWS][32] rz_panel_outliers */
    uint32_t *cursor;  /* [RZ_BLOCK_ROWS] */
    rz_cpu_int8_rows int8; /* a few rows of activations, RZ_OWN_COLS columns in all (at least a row) */
    float *row;        /* [cols_max + 64] a row, and what is unpacked of weights */
    float *attention;  /* 3 x [RZ_TILE_QUERIES][widest value head] */
    rz_xq *queries_xq; /* [RZ_TILE_QUERIES][widest key head / 32], for caches in Q8_0 */
    rz_xlow *queries_low;
    rz_cpu_queries *queries; /* [3] */
    uint8_t *sample;   /* of rz_sample_out */
} rz_cpu_scratch;

#define RZ_UNIT_FLOATS 65536u
#define RZ_BLOCK_ROWS 256u /* rows of activations that a unit takes at once */
#define RZ_OWN_COLS 4096u
#define RZ_MAX_ANGLES 16u

struct rz_cpu_program {
    rz_cpu_engine *engine;
    const rz_plan_ir *ir;
    const rz_tensor *tensors;
    rz_plan_options options;
    rz_lowering lowering;
    uint32_t n_products;
    rz_cpu_product *products;
    rz_cpu_launch *launches; /* [lowering.n_launches] */
    uint32_t n_angles;
    rz_cpu_angles angles[RZ_MAX_ANGLES];
    uint8_t *arena;          /* all values */
    rz_cpu_int8_rows int8;   /* activations in int8 for a launch, all rows */
    uint16_t *halves;        /* activations in BF16 for a launch, all rows */
    float *xf;               /* normed activations for a launch, all rows */
    float *batch_keys;       /* keys of attention within the batch, in groups */
    float *parts;            /* attention split over the context */
    uint32_t *row_order;     /* MoE: rows by expert, runs of one expert, counts */
    uint32_t *tile_first;    /* attention: first tile of each sequence */
    rz_cpu_scratch *scratch; /* [n_threads] */
    rz_brick *bricks;
    void *memory;            /* all of the above but the lowering's own */

    /* Of the step that runs. */
    const rz_step *step;
    uint32_t n_rows[4]; /* by rz_rows */
    const rz_cpu_launch *launch;
};

/* The largest context part that attention may be split into, so that few rows use all threads. */
#define RZ_PART_KEYS 512u
#define RZ_MAX_PARTS 64u

/* ---- facts ------------------------------------------------------------------------------------------------------ */

static inline float *rz_cpu_value(const rz_cpu_program *p, uint32_t id) {
    return (float *)(void *)(p->arena + p->lowering.value_offset[id - 1]);
}
static inline uint32_t rz_cpu_cols(const rz_cpu_program *p, uint32_t id) { return p->ir->values[id - 1].cols; }
static inline uint32_t rz_cpu_rows_of(const rz_cpu_program *p, uint32_t id) {
    return p->n_rows[p->ir->values[id - 1].rows];
}
static inline const float *rz_cpu_vector(const rz_cpu_program *p, uint32_t weight) {
    return weight ? (const float *)(const void *)p->tensors[weight - 1].data : NULL;
}
static inline bool rz_cpu_cancelled(const rz_cpu_program *p) {
    return atomic_load_explicit(p->step->cancel, memory_order_relaxed) != 0;
}
static inline uint32_t rz_cpu_least(uint32_t a, uint32_t b) { return a < b ? a : b; }
static inline uint32_t rz_cpu_most(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* ---- between files ---------------------------------------------------------------------------------------------- */

extern const rz_pattern rz_cpu_patterns[]; /* patterns.c */
extern const uint32_t rz_cpu_n_patterns;

/* program.c: the backend's functions of the same names. */
int32_t rz_cpu_program_open(void *engine, const rz_plan_ir *ir, const rz_tensor *tensors,
                            const rz_plan_options *options, rz_plan_info *info, void **program);
void rz_cpu_program_close(void *program);
uint32_t rz_cpu_program_listing(void *program, uint32_t row_class, uint8_t *out, uint32_t cap);
uint32_t rz_cpu_program_profile(void *program, rz_brick *out, uint32_t cap_bricks);
int32_t rz_cpu_forward(void *program, const rz_step *step);
int32_t rz_cpu_value_read(void *program, uint32_t value_id, uint32_t row, uint32_t n_rows, float *out);
int32_t rz_cpu_sample(void *program, const rz_step *step, const uint32_t *masks, rz_result_out *results,
                      rz_result_top *tops);

/* bind.c: fills launches[i] (and a product) for every launch of the lowering. */
void rz_cpu_bind(rz_cpu_program *p);

/* Runs fn(p, first, end) over row ranges of the current launch: on the pool when rows x cols is worth it. */
typedef void rz_cpu_rows_fn(rz_cpu_program *p, uint32_t thread, uint32_t first, uint32_t end);
void rz_cpu_each_row(rz_cpu_program *p, uint32_t n_rows, uint64_t cols, rz_cpu_rows_fn *fn); /* elementwise.c */

/* Functions of launches; RZ_OP_<name> alone unless said. */
rz_cpu_run_fn rz_cpu_embed, rz_cpu_select_rows, rz_cpu_pool_rows;                               /* rows_ops.c */
rz_cpu_run_fn rz_cpu_rms_norm, rz_cpu_layer_norm, rz_cpu_glu, rz_cpu_unary, rz_cpu_add, rz_cpu_mul, rz_cpu_scale,
    rz_cpu_softcap, rz_cpu_rope, rz_cpu_all_reduce;                                             /* elementwise.c */
rz_cpu_run_fn rz_cpu_product_run;                                                               /* product.c */
rz_cpu_run_fn rz_cpu_head_matmul, rz_cpu_moe_route, rz_cpu_moe_matmul, rz_cpu_moe_combine;      /* moe.c */
rz_cpu_run_fn rz_cpu_kv_write, rz_cpu_attention_run;                                            /* kv.c, attention.c */

/* rows_ops.c: cos and sin of the step's rows. */
void rz_cpu_fill_angles(rz_cpu_program *p);
const rz_cpu_angles *rz_cpu_angles_of(const rz_cpu_program *p, const rz_op *rope);

/* Activations as a product takes them: in int8 for int8 layouts, else F32 rows. */
typedef struct rz_cpu_input {
    rz_x8 x8;
    const float *rows;
    const uint16_t *halves; /* for BF16 weights: rows in BF16, rz_x_halves(cols) apart; NULL: F32 rows */
} rz_cpu_input;

/* product.c: row r in int8. */
void rz_cpu_to_int8(const rz_cpu_program *p, const float *x, uint32_t cols, uint32_t r, const rz_cpu_int8_rows *to);
rz_x8 rz_cpu_x8_of(const rz_cpu_int8_rows *rows, uint32_t cols);

/* product.c: stripes first .. first + n of a matrix times rows [row, row + n_rows) of x into tiles (kernels.h),
 * tile_stride = 32 * n_rows. */
void rz_cpu_multiply(const rz_cpu_program *p, const rz_cpu_scratch *s, const rz_cpu_matrix *m, uint32_t first,
                     uint32_t n, const rz_cpu_input *x, uint32_t row, uint32_t n_rows, float *tiles);
rz_cpu_matrix rz_cpu_matrix_of(const rz_cpu_program *p, uint32_t weight, uint32_t bias);

/* after.c: what follows a product, for rows [row, row + n_rows) and a unit of stripes of matrix m. */
void rz_cpu_after_product(const rz_cpu_program *p, const rz_cpu_scratch *s, const rz_cpu_product *d, uint32_t m,
                          uint32_t first, uint32_t n, uint32_t row, uint32_t n_rows, float *tiles);

/* kv.c: a layer of a cache group as the step sees it. */
typedef struct rz_cpu_kv {
    uint8_t *pages;
    uint64_t page_bytes;
    size_t k_offset, v_offset; /* of the layer within a page */
    size_t k_group_bytes, v_group_bytes; /* of 16 tokens */
    uint32_t page_tokens, k_cols, v_cols;
    rz_cpu_kv_format format;
} rz_cpu_kv;
rz_cpu_kv rz_cpu_kv_of(const rz_cpu_program *p, uint32_t group, uint32_t layer);
int32_t rz_cpu_page_bytes(void *engine, const rz_cache_group *group, uint64_t *bytes);
/* Columns first .. first + n of the keys (values) of a token row. */
void rz_cpu_put_keys(const rz_cpu_program *p, const rz_cpu_kv *kv, uint32_t group, uint32_t row, uint32_t first,
                     uint32_t n, const float *x);
void rz_cpu_put_values(const rz_cpu_program *p, const rz_cpu_kv *kv, uint32_t group, uint32_t row, uint32_t first,
                       uint32_t n, const float *x);
/* The group of 16 tokens that holds `position`: keys, values. */
const void *rz_cpu_keys_at(const rz_cpu_kv *kv, uint32_t page, uint32_t position);
const void *rz_cpu_values_at(const rz_cpu_kv *kv, uint32_t page, uint32_t position);
/* Whether the step's cache suits the plan's heads: UNSUPPORTED. */
int32_t rz_cpu_kv_check(const rz_cpu_program *p);

#endif
