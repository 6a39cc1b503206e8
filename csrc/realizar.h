/* realizar.h - the whole C ABI of librealizar. What is not declared here is not public.
 *
 * What crosses the boundary: int32_t, uint32_t, float, double, pointers to memory that the caller owns and lends
 * for the call ("const T *" is read, "T *" is written), and handles. No struct by value, no 64-bit argument, no
 * pointer returned, no callback. The library never prints, exits or aborts, installs no signal handler, and its
 * threads block all signals.
 *
 * Results: every int32_t result is >= 0 on success (a handle, a count, bytes) and -rz_status on failure; the
 * message of this thread's last failure is in rz_error_read. A count of 0 is looked at before its pointer: an empty
 * buffer may come as NULL or not.
 *
 * Handles are ids (slot and generation), 0 = none. A stale, foreign or closed one is -RZ_E_HANDLE, never a crash.
 *     engine > weights > plan        engine > cache
 * Closing an object cancels and waits for its queued work, frees its memory before it returns, and closes what is
 * below it. Any function may be called from any thread; "A" marks those that may run while another call on the same
 * handle runs. Calls without it on one handle are serialized by the caller.
 *
 * Queued work (steps) is run in order by one driver thread per engine. Failures of queued work are told by
 * rz_step_wait. Memory can run out only in an open: a step allocates nothing.
 *
 * After a fault of a GPU everything of its engine answers -RZ_E_DEVICE_LOST, with the driver's first error. Close it: a
 * new engine may open, but drivers (580 does) can refuse that GPU to the whole process from then on. ref and cpu go on.
 *
 * All multi-byte data is little-endian. Structs have no hidden padding; sizes are in [brackets]. */
#ifndef REALIZAR_H
#define REALIZAR_H
#include <stdint.h>

#if defined(_WIN32)
#define RZ_API __declspec(dllexport)
#else
#define RZ_API __attribute__((visibility("default")))
#endif

#define RZ_ABI_VERSION 1u

/* Failures. The same list, in the same order, is ERROR_CODES in src/errors.ts. */
typedef enum rz_status {
    RZ_OK = 0,
    RZ_E_TRUNCATED = 1,
    RZ_E_MAGIC = 2,
    RZ_E_VERSION = 3,
    RZ_E_LIMIT = 4,
    RZ_E_OVERFLOW = 5,
    RZ_E_TYPE = 6,
    RZ_E_DUPLICATE = 7,
    RZ_E_ALIGN = 8,
    RZ_E_OFFSET = 9,
    RZ_E_SHAPE = 10,
    RZ_E_KEY_MISSING = 11,
    RZ_E_UNSUPPORTED = 12,
    RZ_E_VOCAB = 13,
    RZ_E_TEMPLATE = 14,
    RZ_E_ARG = 15,
    RZ_E_HANDLE = 16,
    RZ_E_OOM_HOST = 17,
    RZ_E_OOM_DEVICE = 18,
    RZ_E_DEVICE = 19,
    RZ_E_DEVICE_LOST = 20,
    RZ_E_CANCELLED = 21,
    RZ_E_BUSY = 22,
    RZ_E_CLOSED = 23,
    RZ_E_FORKED = 24,
    RZ_E_IO = 25,
    RZ_E_INTERNAL = 26,
} rz_status;

typedef enum rz_backend_id { RZ_BACKEND_REF = 0, RZ_BACKEND_CPU = 1, RZ_BACKEND_CUDA = 2 } rz_backend_id;

/* Instruction sets of the CPU executor, weakest first within an architecture, and what the CUDA executor runs. AUTO
 * takes the best that runs here. */
typedef enum rz_isa {
    RZ_ISA_AUTO = 0,
    RZ_ISA_BASE = 1, /* SSE2 or NEON */
    RZ_ISA_AVX2 = 2,
    RZ_ISA_AVX512 = 3, /* F, BW, VL, DQ, VNNI */
    RZ_ISA_DOTPROD = 4,
    RZ_ISA_I8MM = 5,
    RZ_ISA_PTX = 6, /* CUDA: no machine code, but the code for any GPU, which the driver compiles (slow to open) */
} rz_isa;

/* ---- library ------------------------------------------------------------------------------------------------- */

/* A. The RZ_ABI_VERSION this library was built with; any other value than the caller's is not usable. */
RZ_API uint32_t rz_abi_version(void);

/* A. Writes JSON (UTF-8, not terminated): version, build, ISAs compiled and usable, devices and why not.
 * Makes no device context. Returns the length; when it is > cap nothing was written. */
RZ_API int32_t rz_library_info(uint8_t *out, uint32_t cap);

/* [96] Live objects and native bytes of the whole process; all zero when everything was closed (peak excepted). */
typedef struct rz_stats {
    uint32_t n_engines, n_weights, n_plans, n_caches, n_tickets, n_threads;
    uint32_t reserved[2];
    uint64_t weights_bytes, plan_bytes, cache_bytes, other_bytes; /* live */
    uint64_t total_bytes, peak_bytes;                             /* sum of the four, and its maximum so far */
    uint64_t reserved64[2];
} rz_stats;

/* A. Returns the bytes written: sizeof(rz_stats), or -ARG when cap is smaller. */
RZ_API int32_t rz_library_stats(rz_stats *out, uint32_t cap);

/* A. Copies the message of the last failure on this thread (UTF-8, not terminated), cut at cap; returns the bytes
 * copied. A success does not clear it. */
RZ_API uint32_t rz_error_read(uint8_t *out, uint32_t cap);

/* ---- engine -------------------------------------------------------------------------------------------------- */

/* [64] */
typedef struct rz_engine_options {
    uint32_t size;      /* sizeof(rz_engine_options) */
    uint32_t backend;   /* rz_backend_id */
    uint32_t n_devices; /* 1 (more is -UNSUPPORTED so far); ignored by ref and cpu */
    uint32_t device[8]; /* CUDA ordinals */
    uint32_t n_threads; /* CPU: threads of the pool this engine uses, 1-256; 0 = cores this process may use */
    uint32_t isa_max;   /* rz_isa: CPU kernels no better than this; PTX asks for that of CUDA */
    uint32_t reserved;
    uint64_t memory_max; /* bytes this engine may allocate; 0 = no limit */
} rz_engine_options;

/* [128] */
typedef struct rz_engine_info {
    uint32_t backend, n_threads, isa, page_tokens; /* page_tokens: the page size this backend prefers */
    uint64_t memory_used, memory_max;              /* bytes, by this engine */
    uint64_t device_free, device_total;            /* bytes; host memory for ref and cpu */
    uint8_t name[80];                              /* device name, UTF-8, NUL padded */
} rz_engine_info;

/* Opens a device and starts its driver thread. Returns an engine, or -ARG, -UNSUPPORTED (backend not in this build),
 * -OOM_HOST, -DEVICE. */
RZ_API int32_t rz_engine_open(const rz_engine_options *options);

/* A. */
RZ_API int32_t rz_engine_info_read(uint32_t engine, rz_engine_info *out);

/* Measures the device: what = 0: plain read, 1: copy. Writes GB/s (1e9) of all its threads to out[0].
 * Blocks about 0.3 s. Returns the number of values written (1). */
RZ_API int32_t rz_engine_measure(uint32_t engine, uint32_t what, double *out, uint32_t cap);

/* A. Closes everything below first; cancels and waits. Other waiters get -CLOSED. */
RZ_API int32_t rz_engine_close(uint32_t engine);

/* ---- weights ------------------------------------------------------------------------------------------------- */

/* How a weight is used (bits): a tied embedding is ROWS | MATMUL. */
#define RZ_USE_ROWS 1u   /* rows are looked up by id */
#define RZ_USE_MATMUL 2u /* rows x cols matrix applied to rows of activations */
#define RZ_USE_MOE 4u    /* n_experts such matrices, one after another */
#define RZ_USE_VECTOR 8u /* one row: norm weights, biases; kept as F32 */

#define RZ_FILE_NONE 0xFFFFFFFFu /* rz_weight.file: the bytes come by rz_weights_write */

/* [80] One weight. bytes must be rows * n_experts * (cols / block) * block_bytes of the dtype. */
typedef struct rz_weight {
    uint32_t dtype; /* ggml type number, see csrc/dtype.h */
    uint32_t use;   /* RZ_USE_* */
    uint32_t rows, cols;
    uint32_t n_experts; /* 1 unless RZ_USE_MOE */
    uint32_t file;      /* index into paths, or RZ_FILE_NONE */
    uint64_t offset;    /* in that file */
    uint64_t bytes;
    uint32_t aux[2];                       /* auxiliary weights (scales, zeros); 0 */
    uint32_t shard_axis, shard_i, shard_n; /* 0, 0, 1: whole */
    uint32_t reserved[5];
} rz_weight;

/* [32] */
typedef struct rz_progress {
    uint32_t state;  /* 0 loading, 1 ready, 2 failed */
    uint32_t status; /* rz_status when failed */
    uint64_t done_bytes, total_bytes;
    uint64_t reserved;
} rz_progress;

/* Starts loading weights and returns at once (state loading). Weight i of the table has id i + 1.
 *   paths    n_bytes of records {u64 size, i64 mtime_ns (0 = not checked), u32 length, utf8[length], zero padding to
 *            a multiple of 8}. Size and time (compared in whole milliseconds: not every host language has more) are
 *            what was validated; a file that differs fails with -IO.
 *   weights  [n]. Checked again here: -TYPE, -SHAPE, -OFFSET, -LIMIT, -ARG name the first bad one.
 * Returns a weights handle; -OOM_HOST or -OOM_DEVICE when the final layout does not fit. */
RZ_API int32_t rz_weights_open(uint32_t engine, const uint8_t *paths, uint32_t n_bytes, const rz_weight *weights,
                               uint32_t n);

/* Brings bytes of a weight with file = RZ_FILE_NONE, in order or not, in pieces of whole rows: a piece begins at a
 * multiple of 64 rows (of its expert) and ends at one, or where the weight or an expert ends.
 *   offset   bytes from the weight's start (< 2^53)
 * A byte written twice is -DUPLICATE. Ready when every byte of every such weight was written. */
RZ_API int32_t rz_weights_write(uint32_t weights, uint32_t weight_id, double offset, const uint8_t *bytes, uint32_t n);

/* A. Waits up to timeout_ms for the end of loading. Returns 0 loading, 1 ready, or the failure. */
RZ_API int32_t rz_weights_poll(uint32_t weights, uint32_t timeout_ms, rz_progress *out);

/* Dequantizes rows from the final layout into out[n_rows][cols]; cap in floats. For MOE rows run over all experts.
 * Returns floats written; -BUSY while loading, and why it failed when it did. */
RZ_API int32_t rz_weights_read(uint32_t weights, uint32_t weight_id, uint32_t row, uint32_t n_rows, float *out,
                               uint32_t cap);

/* Cancels loading if it still runs, closes the plans over it. */
RZ_API int32_t rz_weights_close(uint32_t weights);

/* ---- plan ---------------------------------------------------------------------------------------------------- */

/* A plan is one buffer, and also the file that `realizar plan export` writes:
 *   rz_plan_header [64]
 *   rz_weight      [80] x n_weights     equal to the weights table it runs over in all but file, offset
 *   rz_constant    [64] x n_constants
 *   f64            x n_numbers           the constants' values
 *   rz_value       [16] x n_values       value ids are index + 1
 *   rz_op          [128] x n_ops         in execution order
 * Values are SSA: defined by exactly one op, before every use. What each op means: csrc/op.h. */
typedef struct rz_plan_header {
    uint32_t magic;   /* 'RZP1' = 0x31505A52 */
    uint32_t n_bytes; /* of the whole buffer */
    uint32_t n_weights, n_constants, n_numbers, n_values, n_ops;
    uint32_t vocab_size, hidden_size;
    uint32_t reserved[7];
} rz_plan_header;

/* [64] A named array of F64: numbers[first .. first + n). */
typedef struct rz_constant {
    uint8_t name[48]; /* UTF-8, NUL padded */
    uint32_t first, n;
    uint32_t reserved[2];
} rz_constant;

typedef enum rz_rows {
    RZ_ROWS_T = 0,  /* tokens of the step */
    RZ_ROWS_R = 1,  /* rows selected by the batch's outs: distinct, ascending */
    RZ_ROWS_S = 2,  /* sequences of the step */
    RZ_ROWS_TK = 3, /* tokens x routed experts, token-major */
} rz_rows;

#define RZ_VALUE_OUTPUT 1u  /* can be read by rz_step_read */
#define RZ_VALUE_WATCHED 2u /* same; disables fusion across it */

/* [16] */
typedef struct rz_value {
    uint16_t rows;  /* rz_rows */
    uint16_t dtype; /* 0 = F32, 26 = I32 (expert ids) */
    uint32_t cols;
    uint32_t flags;
    uint32_t reserved;
} rz_value;

#define RZ_LAYER_NONE 0xFFFFFFFFu /* rz_op.layer of what is before the first layer or after the last */

/* [128] Ids are 1-based, 0 = none. */
typedef struct rz_op {
    uint16_t code; /* csrc/op.h */
    uint16_t flags;
    uint32_t layer; /* of the model (< 1024), for listings and profiles, or RZ_LAYER_NONE */
    uint32_t out[2];
    uint32_t in[4];
    uint32_t w[4];
    uint32_t n[8];
    float f[6];
    uint32_t reserved[6];
} rz_op;

#define RZ_PLAN_DETERMINISTIC 1u /* results do not depend on row count, neighbours or chunking */
#define RZ_PLAN_PROFILE 2u       /* rz_plan_profile has figures; slower */
#define RZ_PLAN_NO_FUSION 4u

/* [128] */
typedef struct rz_plan_options {
    uint32_t size;
    uint32_t flags;
    uint32_t max_tokens, max_seqs, max_outs; /* of one step: 1-65536, 1-4096, 0-65536 */
    uint32_t max_rows;                       /* distinct rows the outs may select; 0 = max_outs */
    uint32_t patterns_off[2];                /* bit i switches off fusion pattern i */
    uint32_t n_watched;
    uint32_t watched[16]; /* value ids */
    uint32_t reserved[7];
} rz_plan_options;

/* [128] */
typedef struct rz_plan_info {
    uint64_t weights_bytes; /* final layout of the plan's weights on this engine */
    uint64_t scratch_bytes; /* what rz_plan_open allocates */
    uint32_t n_ops, n_values, n_weights, vocab_size, hidden_size;
    uint32_t max_tokens, max_seqs, max_outs, max_rows;
    uint32_t result_bytes_max; /* enough for rz_step_wait */
    uint32_t logits_value;     /* id of the logits, 0 = none */
    uint32_t n_classes;        /* row classes */
    uint32_t class_rows[8];    /* largest row count of each class */
    uint32_t n_launches[8];    /* fused ops a step of that class runs */
} rz_plan_info;

/* [32] One line of a profile. */
typedef struct rz_brick {
    uint32_t op; /* index of the first plan op it covers */
    uint32_t code, layer, calls;
    uint64_t ticks_ns;
    uint64_t bytes;
} rz_brick;

/* A. Verifies, lowers and lays out without allocating anything: the memory estimate, to the byte. */
RZ_API int32_t rz_plan_check(uint32_t engine, const uint8_t *plan, uint32_t n, const rz_plan_options *options,
                             rz_plan_info *out);

/* Returns a plan. Every rule a plan breaks is a failure that names op and operand; weights must be ready (-BUSY while
 * they are loading). */
RZ_API int32_t rz_plan_open(uint32_t weights, const uint8_t *plan, uint32_t n, const rz_plan_options *options);
RZ_API int32_t rz_plan_info_read(uint32_t plan, rz_plan_info *out);

/* The plan as lowered for a row class, as text. Returns its length; when > cap nothing was written. */
RZ_API int32_t rz_plan_listing(uint32_t plan, uint32_t row_class, uint8_t *out, uint32_t cap);

/* Sums since the last call; cap in bytes. Returns bytes written, -ARG without RZ_PLAN_PROFILE. */
RZ_API int32_t rz_plan_profile(uint32_t plan, rz_brick *out, uint32_t cap);
RZ_API int32_t rz_plan_close(uint32_t plan);

/* ---- cache --------------------------------------------------------------------------------------------------- */

/* [32] Layers that share page tables. */
typedef struct rz_cache_group {
    uint32_t n_layers;
    uint32_t window; /* tokens; 0 = all */
    uint32_t k_cols, v_cols;
    uint32_t k_dtype, v_dtype; /* F32, F16 or Q8_0 where the backend knows it */
    uint32_t n_pages;          /* usable ids are 1 .. n_pages - 1; page 0 is the null page */
    uint32_t page_tokens;      /* a power of two, 16-1024 */
} rz_cache_group;

/* [288] */
typedef struct rz_cache_options {
    uint32_t size;
    uint32_t n_groups; /* 1-8 */
    uint32_t n_slots;  /* 1-65536; a slot holds the last sampled id of a sequence */
    uint32_t reserved[5];
    rz_cache_group groups[8];
} rz_cache_options;

/* Allocates all pages. Returns a cache; -ARG, -UNSUPPORTED (a KV dtype the backend does not know), -OOM_HOST,
 * -OOM_DEVICE. */
RZ_API int32_t rz_cache_open(uint32_t engine, const rz_cache_options *options);

/* Copies one page out or in, in queue order (after all steps submitted so far, for which it waits). The bytes are
 * opaque, of the length that both return; cap or n smaller is -ARG. -BUSY while a step before it waits for
 * rz_step_sample. */
RZ_API int32_t rz_cache_read(uint32_t cache, uint32_t group, uint32_t page, uint8_t *out, uint32_t cap);
RZ_API int32_t rz_cache_write(uint32_t cache, uint32_t group, uint32_t page, const uint8_t *bytes, uint32_t n);
RZ_API int32_t rz_cache_close(uint32_t cache);

/* ---- step ---------------------------------------------------------------------------------------------------- */

/* A batch is one buffer of u32 words; sections in this order, each starting at a multiple of 16 bytes:
 *   rz_batch_header [64]
 *   rz_batch_copy   [16] x n_copies   pages copied before the forward (fork, copy on write)
 *   rz_batch_seq    [32] x n_seqs
 *   u32             x n_pages         for each sequence, for each group: ceil((n_past + n_new) / page_tokens) ids;
 *                                     0 only where the group's window has passed the whole page
 *   i32             x n_tokens        id >= 0; -1 = last sample of the slot; -2 - k = external row k
 *   rz_batch_out    [80] x n_outs
 *   rz_batch_bias   [8]  x n_bias
 *   f32             x n_ext_rows x hidden_size
 * Sequences own consecutive token rows in order. Slots are distinct, and no page is written twice in a step (by two
 * sequences, by one, or by two copies): -ARG. Room, beside the plan's max_*, for 8 * max_seqs copies,
 * 4,096 + 256 * max_outs biases (at most 2^20), min(256 * max_outs, 65,536) for the sum of n_top, and page tables of
 * 8 x the cache's pages, at least n_slots * 8,192 entries (at most 2^18): more is -LIMIT. */
#define RZ_BATCH_MAGIC 0x31425A52u /* 'RZB1' */
#define RZ_BATCH_HOLD_SAMPLE 1u    /* sampling waits for rz_step_sample */

typedef struct rz_batch_header {
    uint32_t magic, bytes, flags;
    uint32_t n_seqs, n_tokens, n_outs, n_pages, n_copies, n_bias, n_ext_rows, n_axes;
    uint32_t after; /* ticket that must have succeeded, else this step is -CANCELLED; 0 = none */
    uint32_t reserved[4];
} rz_batch_header;

typedef struct rz_batch_copy {
    uint32_t group, src_page, dst_page, n_tokens;
} rz_batch_copy;

typedef struct rz_batch_seq {
    uint32_t slot;          /* not looked at without a cache */
    uint32_t n_past, n_new; /* positions n_past .. n_past + n_new - 1; n_new >= 1 */
    uint32_t flags;         /* 0 */
    uint32_t adapter, rope_table;
    uint32_t first_page; /* index into the pages section */
    uint32_t reserved;
} rz_batch_seq;

/* Every out that samples sets its sequence's last sample (the last such out of a sequence counts): its token, or none
 * when it got none. An input of -1 whose slot has none makes that sequence's outs NO_INPUT; its neighbours don't
 * notice. Ids of inputs go into group 0's pages, where penalties read them; a sampled id when it comes as an input. */

#define RZ_OUT_SAMPLE 1u
#define RZ_OUT_LOGITS 2u  /* the row's logits stay readable by rz_step_read */
#define RZ_OUT_TARGET 4u  /* log-probability of `target` (before temperature and filters) */
#define RZ_OUT_HIDDEN 8u

typedef struct rz_batch_out {
    uint32_t row;  /* token row of the batch */
    uint32_t mode; /* RZ_OUT_*, at least one */
    float temperature; /* 0 = greedy (lowest id among equals); else 0 < t <= 100 */
    uint32_t top_k;    /* 0 = off */
    float top_p, min_p, typical_p;         /* 0-1; 1, 0, 1 = off */
    float repetition, presence, frequency; /* > 0 up to 100, -100 to 100, -100 to 100; 1, 0, 0 = off */
    uint32_t penalty_from;                 /* first position whose token counts for penalties */
    uint32_t seed_lo, seed_hi;
    uint16_t n_top;   /* log-probabilities wanted beside the token's, 0-256 */
    uint16_t n_draft; /* 0 */
    uint32_t target;
    uint32_t bias_first, bias_n;
    uint32_t mask;          /* 0 = none, else 1 + index into rz_step_sample's masks */
    uint32_t draw_position; /* absolute position of the token drawn: the random number's counter */
    uint32_t reserved;
} rz_batch_out;

typedef struct rz_batch_bias {
    uint32_t token;
    float bias; /* added to the logit: -1e6 to 1e6, or -inf */
} rz_batch_bias;

#define RZ_RESULT_NONFINITE 1u  /* the row's logits had NaN or Inf: no token (token = -1) */
#define RZ_RESULT_EMPTY_MASK 2u /* nothing was left to sample from: no token */
#define RZ_RESULT_NO_INPUT 4u   /* an input of the sequence was -1 and its slot had no last sample: no token */

/* Result: rz_result_header [32], rz_result_out [32] x n_outs, rz_result_top [8] x n_top_total. */
typedef struct rz_result_header {
    uint32_t ticket, status, n_outs, flags;
    uint32_t device_us, queue_us; /* time running, and waiting to run */
    uint32_t n_top_total, reserved;
} rz_result_header;

typedef struct rz_result_out {
    int32_t token;       /* -1 = none */
    uint32_t n_accepted; /* of n_draft */
    uint32_t flags;
    float logprob; /* natural log, of the token (or of target when not sampled), before temperature and filters */
    uint32_t top_first, n_top;
    uint32_t position; /* absolute position of the row */
    uint32_t reserved;
} rz_result_out;

typedef struct rz_result_top {
    uint32_t token;
    float logprob;
} rz_result_top;

/* Validates everything (any failure leaves nothing changed), copies the batch, queues it. cache 0: a plan without
 * kvWrite. Returns a ticket (1, 2, ... per engine), or -BUSY when 4 steps of this cache, or of this plan, were not
 * waited for yet. -SHAPE when plan and cache don't go together. */
RZ_API int32_t rz_step_submit(uint32_t plan, uint32_t cache, const uint8_t *batch, uint32_t n);

/* Lets a HOLD_SAMPLE step sample, once, before or after its forward. masks: n bytes, whole masks of
 * 4 * ceil(vocab / 32) bytes each, bit i % 32 of word i / 32 allows token i; at least as many as the highest mask of
 * the outs, at most min(max_outs, max_seqs). Steps behind a held one wait for it. */
RZ_API int32_t rz_step_sample(uint32_t engine, uint32_t ticket, const uint32_t *masks, uint32_t n);

/* A. Waits up to timeout_ms. Returns the bytes of the result, 0 = not yet, or the step's failure; a result or a
 * failure is told once (the ticket is then spent). -ARG when cap is too small: the ticket is not spent. A step whose
 * plan was closed is -CLOSED; of a closed cache too, unless it was done before. */
RZ_API int32_t rz_step_wait(uint32_t engine, uint32_t ticket, uint32_t timeout_ms, uint8_t *result, uint32_t cap);

/* Reads rows of an OUTPUT or WATCHED value of a step that succeeded, into out[n_rows][cols]; cap in floats.
 * Row r of an R value is the r-th distinct row of the outs. Readable from its wait until the plan's next submit:
 * then -ARG. Returns floats written. */
RZ_API int32_t rz_step_read(uint32_t engine, uint32_t ticket, uint32_t value_id, uint32_t row, uint32_t n_rows,
                            float *out, uint32_t cap);

/* A. Asks a step, queued or running, to stop; 0 = all of this engine. Its wait then answers -CANCELLED, or its result
 * if it was done before. Unknown tickets are ignored. */
RZ_API int32_t rz_step_cancel(uint32_t engine, uint32_t ticket);

/* ---- test library only (librealizar_test) ---------------------------------------------------------------------- */
#ifdef RZ_TEST
/* kind: 0 host allocation, 1 file read. The n-th such call from now (1 = the next) fails, once; 0 disarms. Returns how
 * many such calls were seen since the last arming. Kinds 2 and 3 lose a CUDA engine: the n-th time that something is
 * asked of a GPU, a kernel that traps (2), or that writes where no memory is (3), runs first. */
RZ_API int32_t rz_test_fail_after(uint32_t kind, uint32_t n);
/* The next step runs at least this long (still hearing cancel). */
RZ_API int32_t rz_test_hold(uint32_t ms);
#endif
#endif
