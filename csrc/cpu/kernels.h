/* kernels.h - internal: the kernels of the CPU executor, a table per family and instruction set.
 *
 * Kernels know vectors, stripes and tiles; no plan, no thread, no memory. The files of csrc/cpu/isa are compiled once
 * per instruction set and each exports one table; isa.c chooses at run time. */
#ifndef RZ_CPU_KERNELS_H
#define RZ_CPU_KERNELS_H
#include <stddef.h>
#include <stdint.h>

/* Layouts of MATMUL and MOE weights: layout.h. The first six are multiplied in int8. */
typedef enum rz_cpu_layout {
    RZ_LAYOUT_Q4_0,
    RZ_LAYOUT_Q4_1,
    RZ_LAYOUT_Q8_0,
    RZ_LAYOUT_Q4_K,
    RZ_LAYOUT_Q5_K,
    RZ_LAYOUT_Q6_K,
    RZ_LAYOUT_F32,
    RZ_LAYOUT_F16,
    RZ_LAYOUT_BF16,
    RZ_LAYOUT_ROWS, /* as in the file, row after row */
} rz_cpu_layout;
#define RZ_N_INT8 6u

/* 32 columns of one row of activations in int8, as products take them: x = scale * q, and q has 128 * high more where
 * there is an rz_xhigh. A block with a NaN or an infinity has scale NaN. Blocks of consecutive rows lie side by side:
 * [cols / 32][rows]. [64] */
#define RZ_X_PAIRED 6 /* of the 8 lines of 4 columns: those of pairs */
#define RZ_X_TOP 120 /* |q|: leaves room for a weight of 4 bits in the same byte (isa/pairs.c) */
typedef struct rz_xblock {
    int8_t q[32];
    float scale;
    float sum;       /* of x, as quantized: meets the minima of weights */
    int32_t less[3]; /* minus the sum of q: of columns 0-15, of 16-31, of all; meets the weights' offset */
    int32_t pairs[2]; /* what products by pairs have too much, of weights as they are and less 8; not everywhere */
    uint32_t unused;
} rz_xblock;

/* A number above RZ_OUTLIER_OVER_RMS times its row's root mean square is an outlier: the scale of its block is that of
 * the others, and what it has above is 128 * scale * high. Four columns that hold one at least, ascending by line. [16]
 */
typedef struct rz_xhigh {
    uint32_t line;  /* of 4 columns, in the row */
    int8_t high[4]; /* -127 .. 127 */
    int32_t less;   /* minus their sum */
    float scale;    /* 128 times the block's */
} rz_xhigh;
#define RZ_OUTLIER_OVER_RMS 4.0f
/* A row has n / 16 outliers at most: no more of n numbers are above four times the root of their mean square. */
static inline size_t rz_x_highs(size_t cols) { return cols / 16 + 8; }

/* Rows of activations in int8. */
typedef struct rz_x8 {
    const rz_xblock *blocks; /* [cols / 32][n_rows] */
    size_t n_rows;
    const rz_xhigh *high; /* of row r: n_high[r] from high + r * high_stride on */
    size_t high_stride;
    const uint32_t *n_high;
    const uint8_t *n_high_in; /* [parts][n_rows]: how many of them each part of the columns has (rz_part_blocks) */
} rz_x8;

/* The same with 8 bits more, x = scale * (q + low / 256), in some blocks or in all: queries of attention. [64] */
typedef struct rz_xq {
    int8_t q[32];
    float scale;
    float sum;           /* of x, as quantized */
    int32_t less[3];     /* minus the sum of q: of columns 0-15, of 16-31, of all */
    int32_t less_low[2]; /* minus the sum of low, by half */
    uint32_t is_fine;    /* there are low bits */
} rz_xq;
typedef struct rz_xlow {
    int8_t q[32]; /* -127 .. 127; zeros unless is_fine */
} rz_xlow;

/* 32 weight rows (two stripes) x 32 columns, unpacked for products with many rows of activations by the same table. */
typedef struct rz_panel {
    uint8_t q[8][2][64];     /* 4 columns of 16 rows a line, as in a stripe */
    float scale[2][2][16];   /* by half of the columns (Q6_K only; else [0]), stripe, row */
    float min[2][16];        /* with its sign: added times the activations' sum */
    int32_t pairs[2][16];    /* isa/pairs.c */
} rz_panel;
#define RZ_PANEL_BLOCKS 8u /* panels unpacked at once, at most: 256 columns */
/* Columns are taken in parts of as many blocks (the last one may have fewer): all of about the same size. */
static inline uint32_t rz_n_parts(uint32_t blocks) { return (blocks + RZ_PANEL_BLOCKS - 1) / RZ_PANEL_BLOCKS; }
static inline uint32_t rz_part_blocks(uint32_t blocks) {
    return (blocks + rz_n_parts(blocks) - 1) / rz_n_parts(blocks);
}

/* Where a tile's outliers are summed, until all columns are done. */
typedef struct rz_panel_outliers {
    float *c;         /* [n_rows][32] */
    uint32_t *cursor; /* [n_rows]: how many of a row's are done */
    const uint8_t *counts; /* [n_rows]: how many it has in these panels */
} rz_panel_outliers;

/* Results of a product lie in tiles of 32 weight rows: c[row of x][32]; tiles of the next 32 rows `tile_stride` floats
 * further on. Rows of activations are row .. row + n_rows - 1 of x. */
typedef struct rz_cpu_panels {
    /* Unpacks blocks first .. first + n of a stripe into half h of panels. NULL: not for this layout. */
    void (*unpack[RZ_N_INT8])(const uint8_t *stripe, uint32_t blocks, uint32_t first, uint32_t n, rz_panel *panels,
                              uint32_t h);
    /* c[n_rows][32] += panels * x, for panels of blocks first .. first + blocks; next, next_bytes: what is unpacked
     * next is fetched meanwhile, two streams of it */
    void (*multiply[RZ_N_INT8])(const rz_panel *panels, const rz_x8 *x, uint32_t row, uint32_t n_rows, uint32_t first,
                                uint32_t blocks, float *c, const rz_panel_outliers *outliers,
                                const uint8_t *const next[2], size_t next_bytes);
    uint32_t rows_from; /* with fewer rows `direct` is faster; same bits either way */
} rz_cpu_panels;
typedef struct rz_cpu_int8 {
    rz_cpu_panels panels;
} rz_cpu_int8;
typedef struct rz_cpu_few {
    /* n_stripes x n_rows results straight from the stripes; blocks = cols / 32 */
    void (*direct[RZ_N_INT8])(const uint8_t *stripes, size_t stripe_bytes, uint32_t n_stripes, const rz_x8 *x,
                              uint32_t row, uint32_t n_rows, uint32_t blocks, float *c, size_t tile_stride);
} rz_cpu_few;

/* Products with F32 activations (row after row, x_stride floats apart), F32 accumulators in column order. */
typedef struct rz_cpu_float {
    void (*direct[3])(const uint8_t *stripes, size_t stripe_bytes, uint32_t n_stripes, const float *x, size_t x_stride,
                      uint32_t n_rows, uint32_t cols, float *c, size_t tile_stride); /* F32, F16, BF16 */
    /* c[row][16 of a tile's 32] += lines [col][16] * x: for weights dequantized on the way */
    void (*lines)(const float *lines, const float *x, size_t x_stride, uint32_t n_rows, uint32_t cols, float *c);
} rz_cpu_float;

/* Products of BF16 weights with rows of BF16 activations, x_stride apart (even), for processors that have them. */
typedef struct rz_cpu_bf16 {
    /* To the nearest, ties to even; an odd last column has a zero behind it. */
    void (*round)(const float *x, uint32_t n, uint16_t *y);
    void (*direct)(const uint8_t *stripes, size_t stripe_bytes, uint32_t n_stripes, const uint16_t *x, size_t x_stride,
                   uint32_t n_rows, uint32_t cols, float *c, size_t tile_stride);
} rz_cpu_bf16;
static inline size_t rz_x_halves(size_t cols) { return (cols + 1) & ~(size_t)1; }

/* Work on rows of activations; n any number of columns. */
typedef struct rz_cpu_rows {
    void (*rms_norm)(const float *x, const float *w, uint32_t n, float eps, float *y); /* w may be NULL */
    void (*layer_norm)(const float *x, const float *w, const float *b, uint32_t n, float eps, float *y);
    /* A whole row to int8, n a multiple of 32; its blocks are x_rows apart, and so are the counts of outliers in each
     * part. Returns how many there are in all. */
    uint32_t (*to_int8)(const float *x, uint32_t n, rz_xblock *q, size_t x_rows, rz_xhigh *high, uint8_t *high_in);
    /* A whole row; n a multiple of 32. Blocks are fine whose largest number is above `over` times the row's root mean
     * square; 0: all that are not zeros. */
    void (*quantize)(const float *x, uint32_t n, float over, rz_xq *q, rz_xlow *low, size_t q_rows);
    void (*glu)(uint32_t kind, float alpha, float limit, const float *g, const float *u, uint32_t n, float *y);
    void (*unary)(uint32_t kind, const float *x, uint32_t n, float *y);
    void (*add)(const float *a, const float *b, uint32_t n, float *y);
    void (*mul)(const float *a, const float *b, uint32_t n, float *y);
    void (*scale)(const float *x, float f, uint32_t n, float *y);
    void (*softcap)(const float *x, float cap, uint32_t n, float *y);
    /* One head: the first n_rot columns turn by cos, sin [n_rot / 2]. pairs: 2i with 2i + 1, else i, i + n_rot / 2 */
    void (*rope)(const float *x, const float *cos, const float *sin, uint32_t n, uint32_t n_rot, uint32_t pairs,
                 float *y);
    double (*exp_sum)(const float *x, uint32_t n, float max); /* rz_exp_sum (sample.h), the same bits */
} rz_cpu_rows;

/* How keys and values are kept. */
typedef enum rz_cpu_kv_format { RZ_KV_F32, RZ_KV_F16, RZ_KV_Q8_0 } rz_cpu_kv_format;
#define RZ_N_KV_FORMATS 3u

/* Keys and values of 256 consecutive positions (the first a multiple of 256), in groups of 16 as they lie in a page
 * (kv.c), from a head's first column on. A group that nobody looks at may be NULL. */
#define RZ_RUN_KEYS 256u
#define RZ_GROUP_KEYS 16u
#define RZ_RUN_GROUPS (RZ_RUN_KEYS / RZ_GROUP_KEYS)
#define RZ_NEXT_GROUPS 4u /* of the run after it: fetched, not read */
typedef struct rz_cpu_run {
    const void *k[RZ_RUN_GROUPS + RZ_NEXT_GROUPS]; /* of one key head */
    const void *v[RZ_RUN_GROUPS + RZ_NEXT_GROUPS];
    uint32_t v_stride; /* elements from a value row to the next */
    size_t k_scales, v_scales; /* RZ_KV_Q8_0: bytes from k[g], v[g] to the head's scales */
    uint32_t first;    /* position of the first key */
    uint32_t k_cols, v_cols; /* of a head; RZ_KV_Q8_0: multiples of 32 */
    float scale, cap;        /* scores are scale * q.k, then cap * tanh(s / cap) unless cap = 0 */
} rz_cpu_run;

/* Queries that share a key head, and what they have seen so far. Starts with top = -inf, total and o = 0. */
#define RZ_TILE_QUERIES 64u
typedef struct rz_cpu_queries {
    uint32_t n;
    const float *q[RZ_TILE_QUERIES];        /* k_cols each */
    const rz_xq *xq;                        /* RZ_KV_Q8_0: [n][k_cols / 32], the queries turned, in int8 */
    const rz_xlow *low_q;                   /* their low bits */
    uint32_t low[RZ_TILE_QUERIES];          /* sees positions low .. high - 1 */
    uint32_t high[RZ_TILE_QUERIES];
    float top[RZ_TILE_QUERIES];             /* largest score */
    float total[RZ_TILE_QUERIES][16];       /* sum of e^(score - top), by lane */
    float *o;                               /* [n][v_cols]: sum of e^(score - top) * value */
} rz_cpu_queries;

/* Attention by runs: what comes out for a query depends on the keys it sees and on nothing else. */
typedef struct rz_cpu_attention {
    /* Adds a run, 64 keys at a time. */
    void (*run[RZ_N_KV_FORMATS])(const rz_cpu_run *run, rz_cpu_queries *queries);
    /* a += b, for queries of two parts of the context, a the earlier one. */
    void (*merge)(rz_cpu_queries *a, const rz_cpu_queries *b, uint32_t v_cols);
    /* o[i] becomes the result of query i; sink: a score without value (-inf: none). */
    void (*finish)(rz_cpu_queries *queries, uint32_t i, uint32_t v_cols, float sink);
    /* A row as keys in Q8_0 are kept, and queries meet them: every 32 columns times a fixed orthogonal matrix; n a
     * multiple of 32. */
    void (*turn)(const float *x, uint32_t n, float *y);
    /* Puts n columns of a token's keys (values), from column `first` of `cols` on, into place `lane` of a group.
     * RZ_KV_Q8_0: first and n are multiples of 32. */
    void (*put_keys[RZ_N_KV_FORMATS])(const float *x, uint32_t n, uint32_t first, uint32_t cols, uint32_t lane,
                                      void *group);
    void (*put_values[RZ_N_KV_FORMATS])(const float *x, uint32_t n, uint32_t first, uint32_t cols, uint32_t lane,
                                        void *group);
} rz_cpu_attention;

/* rz_cpu_attention's run for caches in F16 with sums of products in BF16, for processors that have them. */
typedef struct rz_cpu_run_f16 {
    void (*run)(const rz_cpu_run *run, rz_cpu_queries *queries);
} rz_cpu_run_f16;

#endif
