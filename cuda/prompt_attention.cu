// prompt_attention.cu - attention of many rows over a cache in F16 or Q8_0, by mma.sync: causal, windows, softcap,
// sinks, heads that share keys; chunks of several sequences in one launch. On Hopper prompt_wgmma.cu does the same.
//
// A block takes 16 W rows of one key head: (token, query head) pairs, all heads of the group for each token, so keys
// and values are read once for them. A warp has 16 rows. Keys come in tiles of 64 at absolute multiples of 64, two
// stages (cp.async), each row keeps a running maximum: a row's result depends on nothing but its sequence.
// Shared: [2 stages][K, V][64 tokens][D] halves, 16-byte units of a row at unit ^ token % 8.
#include "kv.cuh"
#include "ptx.cuh"

constexpr u32 KEYS = 64;

// Keys and values of a head.
struct Cache {
    const u8 *data[2]; // of the head, in page 0
    const u32 *pages;
    u64 page_bytes;
    u32 shift;
};
__device__ __forceinline__ u32 decoded(u32 biased, u32 how, __half2 scale) {
    const u32 bits = __byte_perm(biased, 0x64646464u, how);
    const __half2 x = __hmul2(__hsub2(*(const __half2 *)&bits, __half2half2(__ushort_as_half(0x6480))), scale);
    return *(const u32 *)&x;
}
// Keys and values `first` ... + 63 of the cache into a stage; those outside [begin, end) are zeros.
template <int D, int W, bool Q8>
__device__ __forceinline__ void load_keys(const Cache &c, u32 first, u32 begin, u32 end, u32 to) {
    constexpr u32 UNITS = D / (Q8 ? 16 : 8), STEP = W * 32 / UNITS;
    const u32 unit = threadIdx.x % UNITS;
    for (u32 r = threadIdx.x / UNITS; r < KEYS; r += STEP) {
        const u32 at = first + r;
        const bool in = at >= begin && at < end;
        const u32 page = in ? __ldg(c.pages + (at >> c.shift)) : 0, t = in ? at & ((1u << c.shift) - 1) : 0;
        const u32 row = to + r * D * 2;
#pragma unroll
        for (u32 is_v = 0; is_v < 2; is_v++) {
            const u8 *from = c.data[is_v] + page * c.page_bytes;
            if constexpr (!Q8) { // swizzled in the page as in the stage
                from += ((unit / 8 << c.shift) + t) * 128 + unit % 8 * 16;
                copy16(row + is_v * KEYS * D * 2 + unit * 16, from, in);
            } else {
                from += (u64)(unit / 4 << c.shift) * 68;
                uint4 w = make_uint4(0, 0, 0, 0);
                __half scale = __ushort_as_half(0);
                if (in) {
                    w = *(const uint4 *)(from + q8_row(c.shift, t) + ((unit % 4 ^ t >> 1 & 3) << 4));
                    scale = *(const __half *)(from + q8_scale(c.shift, t, unit / 2 % 2));
                }
                const __half2 twice = __half2half2(scale);
                const u32 words[4] = {w.x ^ 0x80808080u, w.y ^ 0x80808080u, w.z ^ 0x80808080u, w.w ^ 0x80808080u};
#pragma unroll
                for (u32 h = 0; h < 2; h++)
                    asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(row + is_v * KEYS * D * 2 +
                                                                               ((2 * unit + h ^ r & 7) << 4)),
                                 "r"(decoded(words[2 * h], 0x4140, twice)), "r"(decoded(words[2 * h], 0x4342, twice)),
                                 "r"(decoded(words[2 * h + 1], 0x4140, twice)),
                                 "r"(decoded(words[2 * h + 1], 0x4342, twice))
                                 : "memory");
            }
        }
    }
    copy_commit();
}

// Query columns q * 2, + 1, + 8, + 9 of every 16, as a lane of an A fragment has them, are turned like keys of Q8_0:
// bits 0 and 3 of the column are in the lane's own numbers, bits 1 and 2 in the lane, bit 4 in j.
template <int J> __device__ __forceinline__ void turn_query(float (&x)[J][4]) {
#pragma unroll
    for (u32 j = 0; j < J; j++) {
#pragma unroll
        for (u32 i = 0; i < 4; i += 2) {
            const float a = x[j][i], b = x[j][i + 1];
            x[j][i] = a + b, x[j][i + 1] = a - b;
        }
#pragma unroll
        for (u32 i = 0; i < 2; i++) {
            const float a = x[j][i], b = x[j][i + 2];
            x[j][i] = a + b, x[j][i + 2] = a - b;
        }
#pragma unroll
        for (u32 o = 1; o < 4; o *= 2) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                const float y = __shfl_xor_sync(~0u, x[j][i], o);
                x[j][i] = threadIdx.x & o ? y - x[j][i] : x[j][i] + y;
            }
        }
    }
#pragma unroll
    for (u32 j = 0; j < J; j += 2) {
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const float a = x[j][i], b = x[j + 1][i];
            x[j][i] = (a + b) * TURN, x[j + 1][i] = (a - b) * TURN;
        }
    }
}

template <int D, int W, bool Q8> __device__ __forceinline__ void attend(const rzc_attention &p) {
    constexpr u32 STAGE = 2 * KEYS * D * 2, J = D / 16;
    extern __shared__ __align__(1024) u8 room[];
    dependents();
    predecessors();
    // the tile: the last tokens first, they have the most keys
    const u32 group = p.n_heads / p.n_kv_heads, head = blockIdx.y, n_tokens = 16 * W / group,
              n_seqs = p.step.head->n_seqs;
    u32 tile = gridDim.x - 1 - blockIdx.x, seq = 0, row0 = 0, count = 0;
    for (; seq < n_seqs; seq++) {
        row0 = p.step.seq_first_row[seq], count = p.step.seq_first_row[seq + 1] - row0;
        const u32 tiles = count <= p.few ? 0 : (count + n_tokens - 1) / n_tokens;
        if (tile < tiles) break;
        tile -= tiles;
    }
    if (seq == n_seqs) return;
    const u32 t0 = tile * n_tokens, last_t = min(t0 + n_tokens, count) - 1, n_past = p.step.seq_n_past[seq];
    const u32 end = n_past + last_t + 1, lowest = n_past + t0; // keys of the last token; position of the first
    const u32 begin = p.window && p.window <= lowest ? lowest - p.window + 1 : 0;
    const Kv keys = kv_of(p.step, p.group, p.layer, seq, false), values = kv_of(p.step, p.group, p.layer, seq, true);
    const u64 head_at = (u64)head * D / 64 * (Q8 ? 68 : 128) << keys.shift;
    const Cache cache = {{keys.data + head_at, values.data + head_at}, keys.pages, keys.page_bytes, keys.shift};
    const u32 first = begin / KEYS * KEYS, stages = shared_at(room);
    load_keys<D, W, Q8>(cache, first, begin, end, stages);

    // queries: rows warp * 16 + lane/4 and + 8, as A fragments, times scale (and log2 e, when nothing comes between)
    const u32 lane = threadIdx.x % 32, q = lane % 4, sw = lane & 7;
    const float factor = p.cap != 0 ? p.scale : p.scale * LOG2E;
    u32 token[2], query_head[2], position[2], qf[J][4];
    float max[2], total[2];
#pragma unroll
    for (u32 h = 0; h < 2; h++) {
        const u32 r = threadIdx.x / 32 * 16 + lane / 4 + 8 * h;
        const bool in = r < n_tokens * group && t0 + r / group < count;
        token[h] = in ? t0 + r / group : ~0u, query_head[h] = head * group + r % group;
        position[h] = in ? n_past + t0 + r / group : lowest;
        max[h] = p.sinks && in ? p.sinks[query_head[h]] * LOG2E : -INFINITY, total[h] = p.sinks && q == 0 ? 1.f : 0.f;
        const float *from = p.q + ((u64)(row0 + (in ? token[h] : 0)) * p.n_heads + query_head[h]) * D + q * 2;
        float x[J][4];
#pragma unroll
        for (u32 j = 0; j < J; j++) {
            const float2 a = *(const float2 *)(from + j * 16), b = *(const float2 *)(from + j * 16 + 8);
            x[j][0] = a.x, x[j][1] = a.y, x[j][2] = b.x, x[j][3] = b.y;
        }
        if constexpr (Q8) turn_query<J>(x);
#pragma unroll
        for (u32 j = 0; j < J; j++) {
            qf[j][h] = pack16<false>(x[j][0] * factor, x[j][1] * factor);
            qf[j][2 + h] = pack16<false>(x[j][2] * factor, x[j][3] * factor);
        }
    }
    float sum[D / 8][4] = {};
    u32 stage = 0;
    for (u32 at = first; at < end; at += KEYS, stage ^= 1) {
        copy_wait<0>();
        __syncthreads(); // this tile is there; all are done with the one before
        if (at + KEYS < end) load_keys<D, W, Q8>(cache, at + KEYS, begin, end, stages + (stage ^ 1) * STAGE);
        const u32 k = stages + stage * STAGE, v = k + KEYS * D * 2;
        float s[KEYS / 8][4] = {};
#pragma unroll
        for (u32 j = 0; j < J; j++) {
#pragma unroll
            for (u32 i = 0; i < KEYS / 16; i++) {
                u32 b[4];
                ldmatrix4(b, k + (i * 16 + (lane & 7) + (lane & 16) / 2) * D * 2 +
                                 (((2 * j + (lane >> 3 & 1)) ^ sw) << 4));
                mma16<false>(s[2 * i], qf[j], b[0], b[1]);
                mma16<false>(s[2 * i + 1], qf[j], b[2], b[3]);
            }
        }
        if (p.cap != 0) {
#pragma unroll
            for (u32 i = 0; i < KEYS / 8; i++) {
#pragma unroll
                for (u32 e = 0; e < 4; e++) s[i][e] = p.cap * LOG2E * tanhf(s[i][e] / p.cap);
            }
        }
        if (at + KEYS > lowest + 1 || (p.window && at + p.window <= end)) { // some key is not for some row
#pragma unroll
            for (u32 i = 0; i < KEYS / 8; i++) {
#pragma unroll
                for (u32 e = 0; e < 4; e++) {
                    const u32 key = at + i * 8 + q * 2 + e % 2, pos = position[e / 2];
                    if (key > pos || (p.window && key + p.window <= pos)) s[i][e] = -INFINITY;
                }
            }
        }
#pragma unroll
        for (u32 h = 0; h < 2; h++) {
            float m = max[h];
#pragma unroll
            for (u32 i = 0; i < KEYS / 8; i++) m = fmaxf(m, fmaxf(s[i][2 * h], s[i][2 * h + 1]));
            m = fmaxf(m, __shfl_xor_sync(~0u, m, 1)), m = fmaxf(m, __shfl_xor_sync(~0u, m, 2));
            const float base = m == -INFINITY ? 0.f : m, f = exp2_fast(max[h] - base);
            max[h] = m;
            float n = 0;
#pragma unroll
            for (u32 i = 0; i < KEYS / 8; i++) {
                s[i][2 * h] = exp2_fast(s[i][2 * h] - base), s[i][2 * h + 1] = exp2_fast(s[i][2 * h + 1] - base);
                n += s[i][2 * h] + s[i][2 * h + 1];
            }
            total[h] = total[h] * f + n; // of this lane's columns, and the sink in one of four
#pragma unroll
            for (u32 i = 0; i < D / 8; i++) sum[i][2 * h] *= f, sum[i][2 * h + 1] *= f;
        }
#pragma unroll
        for (u32 i = 0; i < KEYS / 16; i++) {
            u32 a[4];
            a[0] = pack16<false>(s[2 * i][0], s[2 * i][1]), a[1] = pack16<false>(s[2 * i][2], s[2 * i][3]);
            a[2] = pack16<false>(s[2 * i + 1][0], s[2 * i + 1][1]),
            a[3] = pack16<false>(s[2 * i + 1][2], s[2 * i + 1][3]);
#pragma unroll
            for (u32 j = 0; j < J; j++) {
                u32 b[4];
                ldmatrix4_trans(b, v + (i * 16 + (lane & 15)) * D * 2 + (((2 * j + lane / 16) ^ sw) << 4));
                mma16<false>(sum[2 * j], a, b[0], b[1]);
                mma16<false>(sum[2 * j + 1], a, b[2], b[3]);
            }
        }
    }
#pragma unroll
    for (u32 h = 0; h < 2; h++) {
        total[h] += __shfl_xor_sync(~0u, total[h], 1), total[h] += __shfl_xor_sync(~0u, total[h], 2);
        if (token[h] == ~0u) continue;
        const float f = 1.f / total[h];
        float *to = p.out + ((u64)(row0 + token[h]) * p.n_heads + query_head[h]) * D + q * 2;
#pragma unroll
        for (u32 i = 0; i < D / 8; i++) *(float2 *)(to + i * 8) = make_float2(sum[i][2 * h] * f, sum[i][2 * h + 1] * f);
    }
}
// grid: (n_rows / (16 W / group) + n_seqs, n_kv_heads); block: 32 W; shared: 512 D bytes
#define KERNEL(name, d, q8, w, blocks)                                                           \
    extern "C" __global__ void __launch_bounds__(w * 32, blocks)                               \
        rzc_prompt_attention_##name##_##d(const rzc_attention p) {                               \
        attend<d, w, q8>(p);                                                                       \
    }
KERNEL(f16, 64, false, 4, 3)
KERNEL(f16, 128, false, 8, 1)
KERNEL(q8, 64, true, 4, 3)
KERNEL(q8, 128, true, 8, 1)
