// ops.cu - the small ops: embed, norms, rope, kvWrite, element by element, rows, experts.
#include "kv.cuh"
#include "ptx.cuh"

// grid: n_rows; block: 128
extern "C" __global__ void rzc_embed_k(const rzc_embed p) {
    dependents();
    predecessors();
    const u32 t = blockIdx.x, cols = p.w.cols;
    const int token = p.step.tokens[t];
    for (u32 k = threadIdx.x * 8; k < cols; k += blockDim.x * 8) {
        const int n = cols - k < 8 ? (int)(cols - k) : 8;
        float v[8];
        any_weights(p.w, (u64)token, k, n, v);
        for (int i = 0; i < n; i++) p.out[(u64)t * cols + k + i] = v[i] * p.factor;
    }
}

// Blocks 0 and 1 copy the batch; then one block a row for its embedding, then one a row for its angles. Whoever comes
// behind waits for all of it: attention reads the batch before it waits. grid: 2 + 2 n_rows; block: 256
extern "C" __global__ void rzc_begin_k(const __grid_constant__ rzc_begin p) {
    __shared__ int word;
    if (blockIdx.x < 2) {
#pragma unroll 1
        for (u32 r = 0, at = 0; r < RZC_BEGIN_RUNS; r++) {
            const u32 first = p.runs[r][0], n = p.runs[r][1];
            for (u32 i = (blockIdx.x * 256 + threadIdx.x - at) & 511; i < n; i += 512) {
                ((uint4 *)p.device)[first + i] = __ldcv((const uint4 *)p.host + first + i);
            }
            at += n;
        }
        return;
    }
    const u32 i = blockIdx.x - 2, t = i < p.n_rows ? i : i - p.n_rows;
    if (threadIdx.x == 0) word = __ldcv((const int *)(p.host + (i < p.n_rows ? p.tokens_at : p.positions_at)) + t);
    __syncthreads();
    if (i < p.n_rows) {
        const u32 cols = p.w.cols;
        for (u32 k = threadIdx.x * 8; k < cols; k += blockDim.x * 8) {
            const int n = cols - k < 8 ? (int)(cols - k) : 8;
            float v[8];
            any_weights(p.w, (u64)word, k, n, v);
            for (int j = 0; j < n; j++) p.out[(u64)t * cols + k + j] = v[j] * p.factor;
        }
        return;
    }
    const double position = (u32)word;
    for (u32 k = 0; k < p.n_angles; k++) {
        const u32 n_pairs = (u32)p.angles[k].n_pairs;
        const double magnitude = p.angles[k].frequency[n_pairs];
        for (u32 j = threadIdx.x; j < n_pairs; j += blockDim.x) {
            double s, c;
            sincos(position * p.angles[k].frequency[j], &s, &c);
            float2 *out = (float2 *)p.angles[k].out + (u64)t * n_pairs + j;
            *out = make_float2((float)(c * magnitude), (float)(s * magnitude));
        }
    }
}

// Sum over a block of up to 1024 threads, for all of them.
__device__ __forceinline__ float block_sum(float x, float *room) {
    for (int o = 16; o; o >>= 1) x += __shfl_xor_sync(~0u, x, o);
    __syncthreads();
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0;
    for (u32 i = 0; i < (blockDim.x + 31) / 32; i++) sum += room[i];
    return sum;
}

// A group of one row a block. grid: (cols / group, n_rows); block: 32-1024
extern "C" __global__ void rzc_norm_k(const rzc_norm p) {
    __shared__ float room[32];
    dependents();
    predecessors();
    const u32 first = blockIdx.x * p.group;
    const float *x = p.x + (u64)blockIdx.y * p.cols + first;
    float *y = p.y + (u64)blockIdx.y * p.cols + first;
    float mean = 0;
    if (p.is_layer_norm) {
        float sum = 0;
        for (u32 i = threadIdx.x; i < p.group; i += blockDim.x) sum += x[i];
        mean = block_sum(sum, room) / p.group;
    }
    float squares = 0;
    for (u32 i = threadIdx.x; i < p.group; i += blockDim.x) squares += (x[i] - mean) * (x[i] - mean);
    const float factor = 1.f / sqrtf(block_sum(squares, room) / p.group + p.eps);
    for (u32 i = threadIdx.x; i < p.group; i += blockDim.x) {
        float v = (x[i] - mean) * factor;
        if (p.weight) v *= p.weight[(first + i) % p.weight_cols];
        if (p.bias) v += p.bias[first + i];
        y[i] = v;
    }
}

// Angles once a row, then all heads. grid: n_rows; block: 256
extern "C" __global__ void rzc_rope_k(const rzc_rope p) {
    __shared__ float2 turn[256];
    dependents();
    predecessors();
    const u32 t = blockIdx.x, n_heads = p.cols / p.head_cols;
    const double position = p.step.row_position[t], magnitude = p.frequency[p.n_pairs];
    const float *__restrict__ x = p.x + (u64)t * p.cols;
    float *__restrict__ y = p.y + (u64)t * p.cols;
    for (u32 first = 0; first < p.n_pairs; first += 256) {
        const u32 n = min(256u, p.n_pairs - first);
        __syncthreads();
        for (u32 i = threadIdx.x; i < n; i += blockDim.x) {
            double s, c;
            sincos(position * p.frequency[first + i], &s, &c);
            turn[i] = make_float2((float)(c * magnitude), (float)(s * magnitude));
        }
        __syncthreads();
#pragma unroll 4
        for (u32 j = threadIdx.x; j < n * n_heads; j += blockDim.x) {
            const u32 i = first + j % n, at = j / n * p.head_cols;
            const u32 a = at + (p.adjacent ? 2 * i : i), b = at + (p.adjacent ? 2 * i + 1 : i + p.n_pairs);
            const float2 f = turn[j % n];
            const float u = x[a], v = x[b];
            y[a] = u * f.x - v * f.y;
            y[b] = u * f.y + v * f.x;
        }
    }
    const u32 still = p.head_cols - 2 * p.n_pairs;
    for (u32 i = threadIdx.x; i < still * n_heads; i += blockDim.x) {
        const u32 at = i / still * p.head_cols + 2 * p.n_pairs + i % still;
        y[at] = x[at];
    }
}

// grid: (n_rows, 2); block: 128
extern "C" __global__ void rzc_kv_write_k(const rzc_kv_write p) {
    dependents();
    predecessors();
    const u32 t = blockIdx.x, seq = p.step.row_seq[t], position = p.step.row_position[t];
    const bool is_v = blockIdx.y == 1;
    const u32 cols = is_v ? p.v_cols : p.k_cols;
    const Kv to = kv_of(p.step, p.group, p.layer, seq, is_v);
    kv_store(to, position, 0, (is_v ? p.v : p.k) + (u64)t * cols, cols, is_v);
}

__device__ __forceinline__ float act(u32 which, float x) {
    switch (which) {
    case 0: return x / (1.f + expf(-x));
    case 1: return 0.5f * x * (1.f + tanhf(0.79788456080286535588f * (x + 0.044715f * x * x * x)));
    case 2: return 0.5f * x * (1.f + erff(x * 0.70710678118654752440f));
    case 3: return x > 0 || isnan(x) ? x : 0;
    case 4: return x > 0 || isnan(x) ? x * x : 0;
    case 5: return 1.f / (1.f + expf(-x));
    default: return tanhf(x);
    }
}

// grid: any; block: 256
extern "C" __global__ void rzc_elementwise_k(const rzc_elementwise p) {
    dependents();
    predecessors();
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < p.n; i += (u64)gridDim.x * blockDim.x) {
        const float a = p.a[i];
        float y;
        if (p.what >= RZC_EW_UNARY) {
            y = act(p.what - RZC_EW_UNARY, a);
        } else if (p.what >= RZC_EW_GLU) {
            float up = p.b[i];
            if (p.what == RZC_EW_GLU + 3) {
                const float gate = fminf(a, p.f1);
                up = fminf(fmaxf(up, -p.f1), p.f1);
                y = isnan(a) ? a : gate / (1.f + expf(-p.f0 * gate)) * (up + 1.f);
            } else {
                y = act(p.what - RZC_EW_GLU, a) * up;
            }
        } else {
            const float b = p.b ? p.b[i] : p.w ? p.w[i % p.cols] : 0.f;
            y = p.what == RZC_EW_ADD ? a + b : p.what == RZC_EW_MUL ? a * b : p.what == RZC_EW_SCALE ? a * p.f0
                : p.what == RZC_EW_SOFTCAP ? p.f0 * tanhf(a / p.f0) : a;
        }
        p.y[i] = y;
    }
}

// selectRows and pool. grid: (n_rows of the result, cols / 256); block: 256
extern "C" __global__ void rzc_rows_k(const rzc_rows_op p) {
    dependents();
    predecessors();
    const u32 r = blockIdx.x, i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= p.cols) return;
    float y;
    if (p.what == 0) {
        y = p.x[(u64)p.step.rows[r] * p.cols + i];
    } else {
        const u32 first = p.step.seq_first_row[r], end = p.step.seq_first_row[r + 1];
        if (p.what == 1) {
            double sum = 0;
            for (u32 t = first; t < end; t++) sum += p.x[(u64)t * p.cols + i];
            y = (float)(sum / (end - first));
        } else {
            y = p.x[(u64)(p.what == 2 ? first : end - 1) * p.cols + i];
        }
    }
    p.y[(u64)r * p.cols + i] = y;
}

// One token a block: shared memory n_experts doubles, k doubles, n_experts bytes. grid: n_rows; block: 32
extern "C" __global__ void rzc_moe_route_k(const rzc_moe_route p) {
    extern __shared__ double score[];
    const u32 t = blockIdx.x, lane = threadIdx.x, n = p.n_experts;
    double *chosen = score + n;
    u8 *taken = (u8 *)(chosen + p.k);
    dependents();
    predecessors();
    double max = -INFINITY, sum = 0;
    for (u32 e = lane; e < n; e += 32) {
        const double x = p.logits[(u64)t * n + e];
        score[e] = p.gating == 2 ? 1.0 / (1.0 + exp(-x)) : x;
        taken[e] = 0;
        max = x > max ? x : max;
    }
    if (p.gating == 0) {
        for (int o = 16; o; o >>= 1) max = fmax(max, __shfl_xor_sync(~0u, max, o));
        for (u32 e = lane; e < n; e += 32) sum += score[e] = exp(score[e] - max);
        for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(~0u, sum, o);
        for (u32 e = lane; e < n; e += 32) score[e] /= sum;
    }
    __syncwarp();
    for (u32 j = 0; j < p.k; j++) {
        double best = 0;
        u32 at = n;
        for (u32 e = lane; e < n; e += 32) {
            const double s = score[e] + (p.bias ? (double)p.bias[e] : 0.0);
            if (!taken[e] && (at == n || s > best)) best = s, at = e;
        }
        for (int o = 16; o; o >>= 1) {
            const double other = __shfl_xor_sync(~0u, best, o);
            const u32 from = __shfl_xor_sync(~0u, at, o);
            if (from < n && (at == n || other > best || (other == best && from < at))) best = other, at = from;
        }
        at = at < n ? at : n - 1;
        if (lane == 0) taken[at] = 1, chosen[j] = score[at], p.ids[(u64)t * p.k + j] = (int)at;
        __syncwarp();
    }
    if (lane != 0) return;
    double total = 0, top = -INFINITY;
    if (p.gating == 1) {
        double s = 0;
        for (u32 j = 0; j < p.k; j++) top = chosen[j] > top ? chosen[j] : top;
        for (u32 j = 0; j < p.k; j++) s += chosen[j] = exp(chosen[j] - top);
        for (u32 j = 0; j < p.k; j++) chosen[j] /= s;
    }
    for (u32 j = 0; j < p.k; j++) total += chosen[j];
    const double factor = (double)p.factor / (p.normalize ? total : 1.0);
    for (u32 j = 0; j < p.k; j++) p.weights[(u64)t * p.k + j] = (float)(chosen[j] * factor);
}

// grid: (n_rows, cols / 256); block: 256
extern "C" __global__ void rzc_moe_combine_k(const rzc_moe_combine p) {
    dependents();
    predecessors();
    const u32 t = blockIdx.x, i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= p.cols) return;
    float sum = 0;
    for (u32 j = 0; j < p.k; j++) sum += p.x[((u64)t * p.k + j) * p.cols + i] * p.weights[(u64)t * p.k + j];
    p.y[(u64)t * p.cols + i] = sum;
}

// cos and sin of every row's position, for rzc_place_k. grid: n_rows; block: n_pairs rounded up to 32
extern "C" __global__ void rzc_angles_k(const rzc_angles p) {
    dependents();
    predecessors();
    const u32 t = blockIdx.x;
    const double position = p.step.row_position[t], magnitude = p.frequency[p.n_pairs];
    for (u32 i = threadIdx.x; i < p.n_pairs; i += blockDim.x) {
        double s, c;
        sincos(position * p.frequency[i], &s, &c);
        ((float2 *)p.out)[(u64)t * p.n_pairs + i] = make_float2((float)(c * magnitude), (float)(s * magnitude));
    }
}

// One head of one row a block: heads of q, then of k, then of v. grid: (n_heads + 2 n_kv_heads, n_rows); block:
// head_cols
extern "C" __global__ void rzc_place_k(const rzc_place p) {
    __shared__ float x[1024], room[32];
    dependents();
    predecessors();
    const u32 t = blockIdx.y, i = threadIdx.x;
    const bool is_q = blockIdx.x < p.n_heads, is_k = !is_q && blockIdx.x < p.n_heads + p.n_kv_heads;
    const u32 head = is_q ? blockIdx.x : blockIdx.x - p.n_heads - (is_k ? 0 : p.n_kv_heads);
    const u32 n_heads = is_q ? p.n_heads : p.n_kv_heads, position = p.step.row_position[t], seq = p.step.row_seq[t];
    const u64 at = ((u64)t * n_heads + head) * p.head_cols;
    float v = __ldcg((is_q ? p.q : is_k ? p.k : p.v) + at + i);
    const float *norm = is_q ? p.q_norm : is_k ? p.k_norm : nullptr;
    if (norm) v *= rsqrtf(block_sum(v * v, room) / p.head_cols + p.eps) * norm[i];
    if (is_q || is_k) {
        x[i] = v;
        __syncthreads();
        const u32 pair = p.adjacent ? i / 2 : i % p.n_pairs;
        if (i < 2 * p.n_pairs) {
            const float2 angle = __ldcg((const float2 *)p.angles + (u64)t * p.n_pairs + pair);
            const bool second = p.adjacent ? i & 1 : i >= p.n_pairs;
            const float other = x[p.adjacent ? i ^ 1 : second ? i - p.n_pairs : i + p.n_pairs];
            v = second ? other * angle.y + v * angle.x : v * angle.x - other * angle.y;
        }
    }
    if (is_q) {
        p.q_out[at + i] = v;
        return;
    }
    __syncthreads();
    x[i] = v;
    __syncthreads();
    const Kv to = kv_of(p.step, p.group, p.layer, seq, !is_k);
    kv_store(to, position, head * p.head_cols, x, p.head_cols, !is_k);
}

// The largest logit of a row (lowest id among equals), and the sum of exponents for its log-probability: parts of a row
// by n_parts blocks, joined in order by the last one to arrive. grid: (n_parts, n_rows); block: 256
extern "C" __global__ void rzc_argmax_k(const rzc_argmax p) {
    __shared__ float value[32], total[32];
    __shared__ u32 index[32], bad[32], is_last;
    dependents();
    predecessors();
    const float *x = p.logits + (u64)blockIdx.y * p.vocab;
    const u32 chunk = (p.vocab + p.n_parts - 1) / p.n_parts, begin = blockIdx.x * chunk,
              end = min(begin + chunk, p.vocab);
    float best = -INFINITY, sum = 0;
    u32 at = ~0u, odd = 0;
    constexpr int N = 8; // logits in flight
    for (u32 first = begin + threadIdx.x; first < end; first += blockDim.x * N) {
        float v[N];
#pragma unroll
        for (int k = 0; k < N; k++) {
            const u32 i = first + k * blockDim.x;
            v[k] = i < end ? __ldcg(x + i) : -INFINITY;
        }
        float top = best;
#pragma unroll
        for (int k = 0; k < N; k++) {
            odd |= !isfinite(v[k]) && first + k * blockDim.x < end;
            if (v[k] > top) top = v[k], at = first + k * blockDim.x;
        }
        if (top == -INFINITY) continue;
        sum *= best == -INFINITY ? 0.f : expf(best - top);
        best = top;
#pragma unroll
        for (int k = 0; k < N; k++) sum += expf(v[k] - top);
    }
    auto join = [&](float v, u32 i, float s, u32 b) {
        odd |= b;
        const float top = fmaxf(best, v);
        sum = top == -INFINITY ? 0.f : sum * expf(best - top) + s * expf(v - top);
        if (v > best || (v == best && i < at)) at = i;
        best = top;
    };
    for (int o = 16; o; o >>= 1) {
        const float v = __shfl_xor_sync(~0u, best, o), s = __shfl_xor_sync(~0u, sum, o);
        const u32 i = __shfl_xor_sync(~0u, at, o), b = __shfl_xor_sync(~0u, odd, o);
        join(v, i, s, b);
    }
    const u32 warp = threadIdx.x / 32;
    if (threadIdx.x % 32 == 0) value[warp] = best, index[warp] = at, total[warp] = sum, bad[warp] = odd;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (u32 w = 1; w < blockDim.x / 32; w++) join(value[w], index[w], total[w], bad[w]);
        float *part = p.parts + ((u64)blockIdx.y * p.n_parts + blockIdx.x) * 4;
        __stcg((float4 *)part, make_float4(__uint_as_float(at), best, sum, odd ? 1.f : 0.f));
        __threadfence();
        is_last = atomicInc(p.arrivals + blockIdx.y, p.n_parts - 1) == p.n_parts - 1;
    }
    __syncthreads();
    if (!is_last || threadIdx.x >= 32) return;
    __threadfence();
    best = -INFINITY, sum = 0, at = ~0u, odd = 0;
    for (u32 i = threadIdx.x; i < p.n_parts; i += 32) {
        const float4 part = __ldcg((const float4 *)p.parts + (u64)blockIdx.y * p.n_parts + i);
        join(part.y, __float_as_uint(part.x), part.z, part.w != 0);
    }
    for (int o = 16; o; o >>= 1) {
        const float v = __shfl_xor_sync(~0u, best, o), s = __shfl_xor_sync(~0u, sum, o);
        const u32 i = __shfl_xor_sync(~0u, at, o), b = __shfl_xor_sync(~0u, odd, o);
        join(v, i, s, b);
    }
    if (threadIdx.x == 0) {
        ((float4 *)p.out)[blockIdx.y] = make_float4(__uint_as_float(at), best, logf(sum), odd ? 1.f : 0.f);
    }
}
