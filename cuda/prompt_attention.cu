// prompt_attention.cu - attention of many rows over an F16 cache, by mma.sync: causal, windows, softcap, sinks, heads
// that share keys; chunks of several sequences in one launch.
//
// A block takes 16 W rows of one key head: (token, query head) pairs, all heads of the group for each token, so keys
// and values are read once for them. A warp has 16 rows. Keys come in tiles of 64 at absolute multiples of 64, two
// stages (cp.async), each row keeps a running maximum: a row's result depends on nothing but its sequence.
// Shared: [2 stages][K, V][64 tokens][D] halves, 16-byte units of a row at unit ^ token % 8.
#include "prefill.cuh"

constexpr u32 KEYS = 64;
constexpr float LOG2E = 1.4426950408889634f;
__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Where the keys (values) of a sequence lie.
struct Cache {
    const u8 *k, *v;
    const u32 *pages;
    u64 page_bytes;
    u32 shift, k_bytes, v_bytes;
};
// Keys `first` ... + 63 of the cache into a stage; those outside [begin, end) are zeros.
template <int D, int W>
__device__ __forceinline__ void load_keys(const Cache &c, u32 first, u32 begin, u32 end, u32 to) {
    constexpr u32 UNITS = D / 8, STEP = W * 32 / UNITS;
    const u32 unit = threadIdx.x % UNITS;
    for (u32 r = threadIdx.x / UNITS; r < KEYS; r += STEP) {
        const u32 at = first + r;
        const bool in = at >= begin && at < end;
        const u32 page = in ? __ldg(c.pages + (at >> c.shift)) : 0, offset = at & ((1u << c.shift) - 1);
        const u32 place = to + r * D * 2 + ((unit ^ (r & 7)) << 4);
        copy16(place, c.k + page * c.page_bytes + (u64)(in ? offset : 0) * c.k_bytes + unit * 16, in);
        copy16(place + KEYS * D * 2, c.v + page * c.page_bytes + (u64)(in ? offset : 0) * c.v_bytes + unit * 16, in);
    }
    copy_commit();
}

template <int D, int W> __device__ __forceinline__ void attend(const rzc_attention &p) {
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
        const u32 tiles = (count + n_tokens - 1) / n_tokens;
        if (tile < tiles) break;
        tile -= tiles;
    }
    if (seq == n_seqs) return;
    const u32 t0 = tile * n_tokens, last_t = min(t0 + n_tokens, count) - 1, n_past = p.step.seq_n_past[seq];
    const u32 end = n_past + last_t + 1, lowest = n_past + t0; // keys of the last token; position of the first
    const u32 begin = p.window && p.window <= lowest ? lowest - p.window + 1 : 0;
    const rzc_group &g = p.step.head->groups[p.group];
    const u64 layer_at = (u64)p.layer * (g.k_bytes + g.v_bytes) << g.page_shift;
    const Cache cache = {g.data + layer_at + head * D * 2,
                         g.data + layer_at + ((u64)g.k_bytes << g.page_shift) + head * D * 2,
                         p.step.head->pages + p.step.seq_pages[seq * RZC_GROUPS + p.group],
                         g.page_bytes,
                         g.page_shift,
                         g.k_bytes,
                         g.v_bytes};
    const u32 first = begin / KEYS * KEYS, stages = shared_at(room);
    load_keys<D, W>(cache, first, begin, end, stages);

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
#pragma unroll
        for (u32 j = 0; j < J; j++) {
            const float2 a = *(const float2 *)(from + j * 16), b = *(const float2 *)(from + j * 16 + 8);
            qf[j][h] = pack16<false>(a.x * factor, a.y * factor),
            qf[j][2 + h] = pack16<false>(b.x * factor, b.y * factor);
        }
    }
    float sum[D / 8][4] = {};
    u32 stage = 0;
    for (u32 at = first; at < end; at += KEYS, stage ^= 1) {
        copy_wait<0>();
        __syncthreads(); // this tile is there; all are done with the one before
        if (at + KEYS < end) load_keys<D, W>(cache, at + KEYS, begin, end, stages + (stage ^ 1) * STAGE);
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
#define KERNEL(d, w, blocks)                                                                                       \
    extern "C" __global__ void __launch_bounds__(w * 32, blocks) rzc_prompt_attention_##d(const rzc_attention p) { \
        attend<d, w>(p);                                                                                           \
    }
KERNEL(64, 4, 3)
KERNEL(128, 8, 1)
