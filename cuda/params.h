/* params.h - internal: what host and kernels say to each other. C and CUDA read it alike: explicit sizes, pointers as
 * 64-bit addresses on the device, no hidden padding. */
#ifndef RZ_CUDA_PARAMS_H
#define RZ_CUDA_PARAMS_H
#include <stdint.h>

#if defined(__CUDACC__)
#define RZC_PTR(type) type *
#else
#define RZC_PTR(type) uint64_t
#endif

/* Weight formats on the device: 0-14 are GGUF rows as they lie in the file; from R_Q4_K on they are records of
 * 16 rows x 256 columns, [row tile][column tile] (records.cuh). */
#define RZC_FORMATS(X)                                                                                                \
    X(F32) X(F16) X(BF16) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_NL)   \
    X(IQ4_XS) X(R_Q4_K) X(R_Q6_K) X(R_Q8_0) X(R_BF16) X(R_F16) X(R_Q4_0) X(R_Q4_1) X(R_Q5_0) X(R_Q5_1) X(R_Q5_K)      \
    X(R_Q3_K) X(R_Q2_K) X(R_IQ4_NL) X(R_IQ4_XS)
typedef enum rzc_format {
#define RZC_FORMAT_ENUM(name) RZC_##name,
    RZC_FORMATS(RZC_FORMAT_ENUM)
#undef RZC_FORMAT_ENUM
    RZC_N_FORMATS
} rzc_format;

/* A matrix (or the matrices of all experts, one after another) on the device. */
typedef struct rzc_matrix {
    RZC_PTR(const uint8_t) data;
    uint64_t row_bytes; /* of one row of 256-column records or GGUF blocks */
    uint32_t format, rows, cols, reserved;
} rzc_matrix;

#define RZC_GROUPS 8

/* One cache group. A page: for each layer the keys of its tokens [page_tokens][k_cols], then their values. */
typedef struct rzc_group {
    RZC_PTR(uint8_t) data;
    uint64_t page_bytes;
    uint32_t page_shift; /* log2 of page_tokens */
    uint32_t k_bytes, v_bytes; /* of one token in one layer */
    uint32_t k_dtype, v_dtype; /* ggml numbers: F32, F16, Q8_0 */
    uint32_t reserved;
} rzc_group;

/* What changes from step to step and is not an array; written by the host before each step. */
typedef struct rzc_head {
    RZC_PTR(const uint32_t) pages; /* page tables of all sequences */
    uint32_t n_tokens, n_seqs, n_rows, n_groups;
    uint32_t reserved[2];
    rzc_group groups[RZC_GROUPS];
} rzc_head;

/* Where a program finds its step: fixed addresses. */
typedef struct rzc_step {
    RZC_PTR(const rzc_head) head;
    RZC_PTR(const int32_t) tokens;         /* [T] */
    RZC_PTR(const uint32_t) row_seq;       /* [T] */
    RZC_PTR(const uint32_t) row_position;  /* [T] */
    RZC_PTR(const uint32_t) seq_first_row; /* [S + 1] */
    RZC_PTR(const uint32_t) seq_n_past;    /* [S] */
    RZC_PTR(const uint32_t) seq_pages;     /* [S][8] first entry of each group's table in head->pages */
    RZC_PTR(const uint32_t) rows;          /* [R] */
} rzc_step;

/* The start of a captured step: the batch comes from pinned host memory, ids become rows, positions become angles. */
#define RZC_BEGIN_RUNS 9u
#define RZC_ANGLES 8u
typedef struct rzc_begin {
    RZC_PTR(const uint8_t) host;
    RZC_PTR(uint8_t) device;
    rzc_matrix w; /* the embedding */
    RZC_PTR(float) out;
    uint32_t runs[RZC_BEGIN_RUNS][2]; /* what is copied, in 16 bytes: first, number */
    uint32_t tokens_at, positions_at; /* bytes in the batch */
    uint32_t n_rows, n_angles;
    float factor;
    uint32_t reserved;
    struct {
        RZC_PTR(const double) frequency; /* [n_pairs] and the magnitude */
        RZC_PTR(float) out;              /* [row][n_pairs][cos, sin] */
        uint64_t n_pairs;
    } angles[RZC_ANGLES];
} rzc_begin;

typedef struct rzc_embed {
    rzc_step step;
    rzc_matrix w;
    RZC_PTR(float) out;
    uint32_t n_rows;
    float factor;
} rzc_embed;

/* x of a product of few rows as rzc_gemv needs it: B fragments, sums, scales, sums of squares (XBytes in gemv.cuh). */
typedef struct rzc_stage {
    RZC_PTR(const float) x;
    RZC_PTR(const float) norm; /* NULL = none */
    RZC_PTR(uint8_t) out;
    uint32_t ldx, n_cols, k_tiles, cols;
} rzc_stage;

/* Products of records with up to NB rows of x, in one pass over the weights (gemv.cu). Three matrices at most: one
 * after another (queries, keys, values), or row tiles of two in turn (gate, up: `paired`). */
typedef struct rzc_gemv {
    RZC_PTR(const uint8_t) w[3];
    RZC_PTR(float) out[3];
    RZC_PTR(const float) bias[3]; /* NULL = none */
    RZC_PTR(const float) x;       /* of one row; of more, what rzc_stage wrote */
    RZC_PTR(const float) norm;    /* RMSNorm's weights, NULL = x as it is */
    RZC_PTR(const float) add;     /* [n_cols][ldo[0]], NULL = none */
    uint32_t first_tile[3];       /* row tile at which each matrix begins */
    uint32_t tile_bytes[3];
    uint32_t format[3];
    uint32_t ldo[3];
    uint32_t ldx, n_cols, cols;   /* cols: of x, at most k_tiles * 256 */
    uint32_t is_head; /* factor and cap are applied */
    float eps, factor, cap;
    /* How the work is cut: launch_gemv in gemv.c. */
    uint32_t units, units_rest;  /* block b has units + (b < units_rest) of them: b, b + grid, ... */
    uint32_t paired;             /* 1: a unit is two row tiles */
    uint32_t k_tiles;            /* K / 256 */
    uint32_t k_warps, row_warps_log2;
    uint32_t slots, slot_bytes;  /* of the ring of a warp */
    uint32_t tiles_at_once, n_buffers; /* row tiles of one reduction */
} rzc_gemv;

/* Head norm, RoPE and kvWrite of few rows. */
typedef struct rzc_place {
    rzc_step step;
    RZC_PTR(const float) q; /* as the products gave them */
    RZC_PTR(const float) k;
    RZC_PTR(const float) v;
    RZC_PTR(float) q_out;
    RZC_PTR(const float) q_norm; /* [head_cols], NULL = none */
    RZC_PTR(const float) k_norm;
    RZC_PTR(const float) angles; /* [row][n_pairs][cos, sin] */
    uint32_t n_rows, group, layer, n_heads, n_kv_heads, head_cols, n_pairs, adjacent;
    float eps;
    uint32_t reserved;
} rzc_place;

typedef struct rzc_angles {
    rzc_step step;
    RZC_PTR(const double) frequency;
    RZC_PTR(float) out;
    uint32_t n_rows, n_pairs;
} rzc_angles;

/* y[t][n] = f(sum_k w[n][k] x[t][k] + bias[n]): matmul, headMatmul, logits, moeMatmul. */
typedef struct rzc_product {
    rzc_matrix w;
    RZC_PTR(const float) x;
    RZC_PTR(float) y;
    RZC_PTR(const float) bias;  /* NULL = none */
    RZC_PTR(const float) add;   /* [n_rows][ldy] added last, NULL = none */
    RZC_PTR(const int32_t) ids; /* moe: expert of row t, NULL = no experts */
    uint32_t n_rows, ldx, ldy;
    uint32_t n_out;     /* rows of w that count: of one expert, of all heads */
    uint32_t head_rows; /* > 0: rows of w a head; head h reads columns h * cols of x */
    uint32_t x_div;     /* moe: row t reads row t / x_div of x */
    float factor, cap;  /* factor * y, then cap * tanh(y / cap) unless cap is 0 */
} rzc_product;

/* Products of many token rows (prefill_product.cu, prefill_wgmma.cu): activations as 16-bit tiles (prefill.cuh), up to
 * three matrices with the same columns in one launch, or gate and up of a GLU. */
typedef struct rzc_prefill_x {
    RZC_PTR(const float) x;    /* [n_rows][ldx] */
    RZC_PTR(const float) norm; /* RMSNorm's weights [cols], NULL = x as it is */
    RZC_PTR(float) y;          /* what is converted, for others [n_rows][cols]; NULL = nobody */
    RZC_PTR(uint8_t) tiles;    /* [(cols + 255) / 256 * 4][rows_pad] x 128 bytes */
    RZC_PTR(float) row_scale;  /* [rows_pad]: what a sum is multiplied by */
    uint32_t n_rows, rows_pad, ldx, cols;
    float eps;
    uint32_t reserved;
} rzc_prefill_x;
typedef struct rzc_prefill_matrix {
    rzc_matrix w;
    RZC_PTR(float) y;          /* [n_rows][ldy] */
    RZC_PTR(const float) bias; /* [n_out], NULL = none */
    RZC_PTR(const float) add;  /* [n_rows][ldy] added last, NULL = none; may be y */
    uint32_t n_out, ldy;
    uint32_t first_tile, reserved; /* tiles of 128 outputs before this matrix */
} rzc_prefill_matrix;
#define RZC_PREFILL_MATS 3
enum { RZC_PREFILL_NO_GLU = 0, RZC_PREFILL_SILU, RZC_PREFILL_GELU };
typedef struct rzc_prefill {
    rzc_prefill_matrix mats[RZC_PREFILL_MATS]; /* glu: y of mats[0] = act(mats[0]) * mats[1]; a tile is 64 outputs */
    RZC_PTR(const uint8_t) tiles;
    RZC_PTR(const float) row_scale;
    uint32_t n_rows, rows_pad, cols, n_mats;
    uint32_t n_tiles, glu;     /* tiles of outputs, all matrices */
    float factor, cap;         /* factor * y, then cap * tanh(y / cap) unless cap is 0 */
    /* prefill_wgmma.cu: how the work is cut, and the rings (multiply in prefill.c). */
    RZC_PTR(float) parts;       /* [blocks][2] tiles of sums that blocks share */
    RZC_PTR(uint32_t) arrivals; /* [tiles], 0 between launches */
    uint32_t each, rest;        /* block b has each + (b < rest) units that follow; each 0: whole tiles in turn */
    uint32_t slots, slot_bytes, stages, reserved;
} rzc_prefill;
/* Consumers of a block of prefill_wgmma.cu in teams of two warpgroups, by token rows of a tile; chunks of 64 columns of
 * a slot and of a stage. */
#define RZC_TEAMS(rows) ((rows) <= 64 ? 2 : 1)
#define RZC_SLOT_CHUNKS(format) ((format) == RZC_R_BF16 || (format) == RZC_R_F16 ? 2 : 4)
#define RZC_STAGE_CHUNKS(format, rows) ((rows) <= 32 ? RZC_SLOT_CHUNKS(format) : 1)

typedef struct rzc_norm {
    RZC_PTR(const float) x;
    RZC_PTR(float) y;
    RZC_PTR(const float) weight; /* NULL = none */
    RZC_PTR(const float) bias;
    uint32_t n_rows, cols, group, weight_cols;
    float eps;
    uint32_t is_layer_norm;
} rzc_norm;

typedef struct rzc_rope {
    rzc_step step;
    RZC_PTR(const float) x;
    RZC_PTR(float) y;
    RZC_PTR(const double) frequency; /* [n_pairs] and the magnitude */
    uint32_t n_rows, cols, head_cols, n_pairs, adjacent, reserved;
} rzc_rope;

typedef struct rzc_kv_write {
    rzc_step step;
    RZC_PTR(const float) k;
    RZC_PTR(const float) v;
    uint32_t n_rows, group, layer, k_cols, v_cols, reserved;
} rzc_kv_write;

typedef struct rzc_attention {
    rzc_step step;
    RZC_PTR(const float) q;
    RZC_PTR(const float) k; /* of the batch, when not cached */
    RZC_PTR(const float) v;
    RZC_PTR(float) out;
    RZC_PTR(const float) sinks;
    RZC_PTR(float) parts; /* decode: [block][2][RZC_DECODE_HEADS][maximum, total, v_cols sums] */
    RZC_PTR(uint32_t) arrivals; /* [row of the launch][unit], 0 between launches */
    /* `placed` kernels: q, k and v are as the products gave them, one row a sequence; norm, RoPE and kvWrite happen
     * here. */
    RZC_PTR(const float) q_norm;
    RZC_PTR(const float) k_norm;
    RZC_PTR(const float) angles;
    uint32_t n_rows, group, layer, n_heads, n_kv_heads, k_cols, v_cols, cached, window, adjacent;
    /* Rows of sequences with up to `few` rows are of the decode kernels, all others of the prompt kernels. */
    uint32_t few;
    uint32_t first_row, ring, least_slots; /* decode: the launch's first row; slots of the ring, of a block at least */
    float scale, cap, eps;
    uint32_t singles; /* decode: row t is the only one of sequence t */
} rzc_attention;

#define RZC_DECODE_ROWS 256u  /* of a launch */
#define RZC_DECODE_HEADS 8u   /* query heads that share a read of a key head */
#define RZC_DECODE_WARPS 8u
/* Shared memory beside the ring and the sums: Room in decode_attention.cu. */
#define RZC_DECODE_ROOM(cols) (8192u + 56u * (cols))

typedef struct rzc_elementwise {
    RZC_PTR(const float) a;
    RZC_PTR(const float) b; /* NULL: vector w, or no second operand */
    RZC_PTR(const float) w;
    RZC_PTR(float) y;
    uint64_t n;
    uint32_t cols, what; /* RZC_EW_* */
    float f0, f1;
} rzc_elementwise;
enum { RZC_EW_ADD = 0, RZC_EW_MUL, RZC_EW_SCALE, RZC_EW_SOFTCAP, RZC_EW_COPY, RZC_EW_GLU = 16, RZC_EW_UNARY = 32 };

typedef struct rzc_moe_route {
    RZC_PTR(const float) logits;
    RZC_PTR(const float) bias;
    RZC_PTR(float) weights;
    RZC_PTR(int32_t) ids;
    uint32_t n_rows, n_experts, k, gating, normalize;
    float factor;
} rzc_moe_route;

typedef struct rzc_moe_combine {
    RZC_PTR(const float) x;
    RZC_PTR(const float) weights;
    RZC_PTR(float) y;
    uint32_t n_rows, cols, k, reserved;
} rzc_moe_combine;

/* What a token's experts are and how much they weigh, from its logits. */
typedef struct rzc_moe_choice {
    RZC_PTR(float) weights; /* [n_rows][k] */
    RZC_PTR(int32_t) ids;
    uint32_t n_experts, k, gating, normalize; /* gating: 0 softmax over all, 1 over the chosen */
    float factor;
    uint32_t reserved;
} rzc_moe_choice;

/* Norm, router product and choice of experts of few rows (moe.cu). */
typedef struct rzc_moe_router {
    rzc_moe_choice choice;
    RZC_PTR(const float) x;      /* [n_rows][cols] */
    RZC_PTR(const float) norm;   /* RMSNorm's weights */
    RZC_PTR(const float) w;      /* [n_experts][cols] */
    RZC_PTR(const float) bias;   /* [n_experts], NULL = none */
    RZC_PTR(float) logits;       /* [n_rows][n_experts] scratch */
    RZC_PTR(uint32_t) arrivals;  /* [n_rows], 0 between launches */
    uint32_t cols;
    float eps;
} rzc_moe_router;

/* Products of few rows with the records of the experts that their ids name (moe.cu). */
typedef struct rzc_moe_few {
    RZC_PTR(const uint8_t) w[2];  /* gate and up, or one */
    RZC_PTR(const float) x;       /* up: [n_rows][cols]; down: [n_rows][k][cols] */
    RZC_PTR(const float) norm;    /* RMSNorm's weights, NULL = none */
    RZC_PTR(const int32_t) ids;   /* [n_rows][k] */
    RZC_PTR(const float) weights; /* down: [n_rows][k] */
    RZC_PTR(const float) add;     /* down: [n_rows][n_out], NULL = none */
    RZC_PTR(float) out;           /* up: [n_rows][k][n_out]; down: [n_rows][n_out] */
    uint64_t expert_bytes[2];
    uint32_t format[2], tile_bytes[2];
    uint32_t k, cols, k_tiles, n_out;
    uint32_t is_down, slots, slot_bytes; /* slots: records in flight of a warp */
    float eps;
} rzc_moe_few;

/* Many rows with experts (moe_many.cu). A pair is a (token, expert of it); pairs of one expert lie one after another,
 * at positions that begin at multiples of 8. */
#define RZC_MOE_ROWS 64u /* positions of a tile */
typedef struct rzc_moe_tile {
    uint32_t expert, first, n, reserved; /* n <= RZC_MOE_ROWS positions from `first` on */
} rzc_moe_tile;

/* Router logits of many rows, as sums of n_splits parts of the columns; and the choice by them. */
#define RZC_MOE_SPLITS 8u /* at most */
typedef struct rzc_moe_scores {
    RZC_PTR(const float) x; /* [n_rows][cols] */
    RZC_PTR(const float) w; /* [n_experts][cols] */
    RZC_PTR(float) y;       /* [n_splits][n_rows][n_experts] */
    uint32_t n_rows, cols, n_experts, split_cols; /* split_cols: a multiple of 16 */
} rzc_moe_scores;
typedef struct rzc_moe_choose {
    rzc_moe_choice choice;
    RZC_PTR(const float) logits; /* as rzc_moe_scores wrote them */
    RZC_PTR(const float) bias;   /* NULL = none */
    uint32_t n_rows, n_splits;
} rzc_moe_choose;

/* From the experts of each token to positions and tiles. */
typedef struct rzc_moe_order {
    RZC_PTR(const int32_t) ids;    /* [n_pairs] */
    RZC_PTR(uint32_t) position;    /* [n_pairs] */
    RZC_PTR(uint32_t) pair;        /* [positions]; ~0 = none */
    RZC_PTR(rzc_moe_tile) tiles;
    RZC_PTR(uint32_t) n_tiles;     /* [1] */
    uint32_t n_pairs, n_experts;
} rzc_moe_order;

/* Rows of F32 to the 16-bit tiles of prefill.cuh, each at the positions of its k pairs. */
typedef struct rzc_moe_x {
    RZC_PTR(const float) x;           /* [n_rows][cols] */
    RZC_PTR(const uint32_t) position; /* [n_rows * k] */
    RZC_PTR(uint8_t) tiles;           /* [(cols + 255) / 256 * 4][positions] x 128 bytes */
    RZC_PTR(float) row_scale;         /* [positions] */
    uint32_t k, cols, positions, reserved;
} rzc_moe_x;

typedef struct rzc_moe_many {
    RZC_PTR(const uint8_t) w[2];      /* gate and up: silu(first) * second; or one */
    uint64_t expert_bytes[2];
    RZC_PTR(const uint8_t) x;         /* tiles */
    RZC_PTR(const float) row_scale;
    RZC_PTR(const rzc_moe_tile) tiles;
    RZC_PTR(const uint32_t) n_tiles;
    RZC_PTR(const uint32_t) pair;
    RZC_PTR(float) y;                 /* [pair][n_out] */
    uint32_t cols, n_out, positions, reserved;
} rzc_moe_many;

/* The weighted sum of a token's pairs. */
typedef struct rzc_moe_sum {
    RZC_PTR(const float) x;       /* [n_rows][k][cols] */
    RZC_PTR(const float) weights; /* [n_rows][k] */
    RZC_PTR(const float) add;     /* [n_rows][cols], NULL = none */
    RZC_PTR(float) y;
    uint32_t n_rows, cols, k, reserved;
} rzc_moe_sum;

typedef struct rzc_rows_op {
    rzc_step step;
    RZC_PTR(const float) x;
    RZC_PTR(float) y;
    uint32_t n_rows, cols;
    uint32_t what; /* 0 selectRows; 1 + n0 of pool */
    uint32_t reserved;
} rzc_rows_op;

typedef struct rzc_repack {
    RZC_PTR(const uint8_t) from; /* n_rows rows in file format */
    RZC_PTR(uint8_t) to;         /* the record of the first of them */
    uint64_t row_bytes;
    uint32_t n_tiles_k, n_row_tiles;
    uint32_t cols, reserved;
} rzc_repack;

typedef struct rzc_read {
    rzc_matrix w;
    RZC_PTR(float) out; /* columns first_col ... + n_cols of one row */
    uint64_t row;
    uint32_t first_col, n_cols;
} rzc_read;

typedef struct rzc_argmax {
    RZC_PTR(const float) logits;
    /* Host memory [n_rows][4]: id (bits), largest, log of the sum of exponents relative to it, not finite. */
    RZC_PTR(float) out;
    RZC_PTR(float) parts;       /* [n_rows][n_parts][4] */
    RZC_PTR(uint32_t) arrivals; /* [n_rows], 0 between launches */
    uint32_t n_rows, vocab, n_parts, reserved;
} rzc_argmax;

#define RZC_BEST 64u        /* logits of a row that are told, and the length of a sorted list; a power of two */
#define RZC_BEST_PART 2048u /* logits of a block */
#define RZC_BEST_PARTS 128u /* of a row, at most */

typedef struct rzc_best {
    RZC_PTR(const float) logits;
    RZC_PTR(uint64_t) parts;    /* [n_rows][n_parts][RZC_BEST] */
    RZC_PTR(float) figure_parts; /* [n_rows][n_parts][4] */
    RZC_PTR(uint32_t) arrivals; /* [n_rows], 0 between launches */
    /* Host memory [n_rows][RZC_BEST]: order of the logit << 32 | ~id, largest first; 0 = none. */
    RZC_PTR(uint64_t) out;
    RZC_PTR(float) figures; /* as out of rzc_argmax */
    uint32_t vocab, n_parts;
} rzc_best;

#endif
