/* op.h - the operations of a plan: codes, operands and exact meaning. csrc/ref/ is their definition in code, and
 * src/plan/ops.ts emits them. Ids in a record are 1-based, 0 = none.
 *
 * Notation: X any row symbol (T, R, S, Tk); [X, c] = rows x cols, F32 unless said; w a weight, VECTOR = one F32 row. */
#ifndef RZ_OP_H
#define RZ_OP_H

/* X(NAME, code, "listing name") */
#define RZ_OPS(X)                                                                                                    \
    X(EMBED, 1, "embed")                                                                                             \
    X(RMS_NORM, 2, "rmsNorm")                                                                                        \
    X(LAYER_NORM, 3, "layerNorm")                                                                                    \
    X(MATMUL, 4, "matmul")                                                                                           \
    X(HEAD_MATMUL, 5, "headMatmul")                                                                                  \
    X(ROPE, 6, "rope")                                                                                               \
    X(KV_WRITE, 7, "kvWrite")                                                                                        \
    X(ATTENTION, 8, "attention")                                                                                     \
    X(GLU, 9, "glu")                                                                                                 \
    X(UNARY, 10, "unary")                                                                                            \
    X(ADD, 11, "add")                                                                                                \
    X(MUL, 12, "mul")                                                                                                \
    X(SCALE, 13, "scale")                                                                                            \
    X(SOFTCAP, 14, "softcap")                                                                                        \
    X(MOE_ROUTE, 15, "moeRoute")                                                                                     \
    X(MOE_MATMUL, 16, "moeMatmul")                                                                                   \
    X(MOE_COMBINE, 17, "moeCombine")                                                                                 \
    X(SELECT_ROWS, 18, "selectRows")                                                                                 \
    X(POOL, 19, "pool")                                                                                              \
    X(LOGITS, 20, "logits")                                                                                          \
    X(ALL_REDUCE, 21, "allReduce")

typedef enum rz_op_code {
#define RZ_OP_ENUM(name, code, text) RZ_OP_##name = code,
    RZ_OPS(RZ_OP_ENUM)
#undef RZ_OP_ENUM
} rz_op_code;

/* EMBED        out0 [T, hidden] = row token of w0 (ROWS, vocab x hidden) * f0
 * RMS_NORM     out0 [X, c] of in0 [X, c]: per group of n0 columns (0 = c): x / sqrt(mean(x^2) + f0) * w0 (VECTOR, n0
 *              or c columns; 0 = no weight)
 * LAYER_NORM   out0 [X, c] of in0: (x - mean) / sqrt(var + f0) * w0 + w1 (VECTORs of c; w1 may be 0)
 * MATMUL       out0 [X, rows] = in0 [X, cols] times w0 transposed (MATMUL, rows x cols), + w1 (VECTOR of rows, or 0)
 * HEAD_MATMUL  n0 heads: out0 [X, rows], out0[h * r + i] = sum_j w0[h * r + i][j] * in0[h * c + j]; w0 (MATMUL,
 *              rows = n0 * r, cols = c), in0 [X, n0 * c]
 * ROPE         out0 [T, c] of in0 [T, c], heads of n0 columns of which the first n1 (even) turn. n2 = 0: column i
 *              pairs with i + n1/2 ("halves"); 1: 2i with 2i + 1 ("pairs"). Constant n3 (an id) holds n1/2 inverse
 *              frequencies and then one magnitude m. angle = position * inv_freq[i] in F64; cos and sin rounded to F32
 *              after multiplying by m: (a cos - b sin, a sin + b cos)
 * KV_WRITE     in0 [T, k_cols], in1 [T, v_cols] go to layer n1 of cache group n0 at each row's position. No output.
 *              At most once for a (group, layer)
 * ATTENTION    out0 [T, n2 * n5] of in0 [T, n2 * n4] (queries): n2 heads over n3 key heads (n2 a multiple of n3),
 *              head sizes n4 (q, k) and n5 (v). n6 = 0: keys of layer n1 of group n0, causal, at positions
 *              max(0, p - n7 + 1) .. p (n7 = window, 0 = all), after that layer's KV_WRITE. n6 = 1: in1 [T, n3 * n4]
 *              and in2 [T, n3 * n5] of this batch only, bidirectional within the sequence. Scores are q.k * f0, then
 *              f1 * tanh(s / f1) unless f1 = 0; softmax over keys (w0: VECTOR of n2 sinks joins the denominator, or 0)
 * GLU          out0 [X, c] = act(in0) * in1; n0 = 0 silu, 1 gelu (tanh form), 2 gelu (erf), 3 clamped: g = min(x, f1),
 *              g * sigmoid(f0 * g) * (clamp(y, -f1, f1) + 1)
 * UNARY        out0 [X, c] of in0; n0 = 0 silu, 1 gelu (tanh form), 2 gelu (erf), 3 relu, 4 relu^2, 5 sigmoid, 6 tanh
 * ADD, MUL     out0 [X, c] of in0 and in1 [X, c], or of in0 and w0 (VECTOR of c, for every row): exactly one of them
 * SCALE        out0 = in0 * f0
 * SOFTCAP      out0 = f0 * tanh(in0 / f0), f0 > 0
 * MOE_ROUTE    in0 [T, n_experts] router logits; n0 = k experts a token, k <= n_experts. out0 [Tk, 1] their weights,
 *              out1 [Tk, 1] I32 their ids, best first (lowest id among equals). n1 = 0: softmax over all, 1: softmax
 *              over the chosen, 2: sigmoid. w0 (VECTOR of n_experts, or 0) is added for choosing only: to the softmax
 *              or sigmoid, for n1 = 1 to the logits. n2 = 1: weights divided by their sum (after n1). Then * f0
 * MOE_MATMUL   out0 [Tk, rows] of in0 ([T, cols] or [Tk, cols]), in1 ids [Tk, 1] I32, w0 (MOE, rows x cols x experts);
 *              n0 = k
 * MOE_COMBINE  out0 [T, c] = sum over the k = n0 rows of a token of in0 [Tk, c] * in1 [Tk, 1]
 * SELECT_ROWS  out0 [R, c] = the selected rows of in0 [T, c]
 * POOL         out0 [S, c] of in0 [T, c]: n0 = 0 mean, 1 first row, 2 last row of each sequence
 * LOGITS       out0 [R, vocab] = in0 [R, hidden] times w0 transposed (MATMUL), * f1, then f0 * tanh(y / f0) unless
 *              f0 = 0. w1 (VECTOR of vocab, or 0) is added first. At most one per plan; out0 has RZ_VALUE_OUTPUT
 * ALL_REDUCE   out0 [X, c] = sum of in0 over devices (the identity on one) */

#endif
