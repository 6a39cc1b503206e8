// prompt_wgmma.cu - attention of many rows over a cache in F16 or Q8_0, on Hopper: causal, windows, softcap, sinks,
// heads that share keys; chunks of several sequences in one launch.
//
// A block takes 128 rows of one key head: (token, query head) pairs, all heads of the group for each token, 64 of them
// a warpgroup. Keys come in tiles of 128 at absolute multiples of 128, two stages of keys and two of values; the third
// warpgroup brings them, by bulk copies as they lie in the cache (F16), or decoded (Q8_0). Sums of tile j run on the
// tensor cores while the exponentials of tile j + 1 are made. Each row keeps a running maximum: a row's result depends
// on nothing but its sequence.
#include "kv.cuh"
#include "wgmma.cuh"

constexpr u32 ROWS = 128, KEYS = 128;

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// What a wait made valid is not read before it.
template <int N> __device__ __forceinline__ void settled(float (&x)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(x[i])::"memory");
}

// s (64 x 128) = q (64 x 16) * k (128 x 16)^T, + s when `add`. Both in shared memory.
__device__ __forceinline__ void score(float (&d)[64], u64 q, u64 k, int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" R0 R32 "}, %64, %65, p, 1, 1, 0, 0;\n}"
                 : DS_128
                 : "l"(q), "l"(k), "r"(add));
}
// o (64 x D) += p (64 x 16, registers) * v (16 x D), columns of v contiguous.
__device__ __forceinline__ void weigh(float (&d)[64], const u32 *a, u64 v) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" R0 R32 "}, {%64,%65,%66,%67}, %68, 1, 1, 1, 1;"
                 : DS_128
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(v));
}
__device__ __forceinline__ void weigh(float (&d)[32], const u32 *a, u64 v) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" R0 "}, {%32,%33,%34,%35}, %36, 1, 1, 1, 1;"
                 : DS_64
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(v));
}
// Values: 64 columns a row of 128 bytes; groups of 8 tokens 1024 bytes apart, further columns KEYS rows.
__device__ __forceinline__ u64 value_tile(u32 at) {
    return (u64)((at & 0x3ffff) >> 4) | (u64)(KEYS * 128 >> 4) << 16 | 64ull << 32 | 1ull << 62;
}

struct Room {
    u64 full[2][2], empty[2][2]; // [keys, values][stage]
};
// What a block works on.
struct Task {
    const u8 *data[2]; // keys, values of the layer in page 0
    const u32 *pages;
    u64 page_bytes;
    u32 shift, head, n_past, row0, t0, count, begin, end, first, n_tiles;
};

__device__ __forceinline__ bool find_task(const rzc_attention &p, Task &k) {
    const u32 group = p.n_heads / p.n_kv_heads, n_tokens = ROWS / group, n_seqs = p.step.head->n_seqs;
    u32 tile = gridDim.x - 1 - blockIdx.x, seq = 0; // the last tokens first: they have the most keys
    for (; seq < n_seqs; seq++) {
        k.row0 = p.step.seq_first_row[seq], k.count = p.step.seq_first_row[seq + 1] - k.row0;
        const u32 tiles = k.count <= p.few ? 0 : (k.count + n_tokens - 1) / n_tokens;
        if (tile < tiles) break;
        tile -= tiles;
    }
    if (seq == n_seqs) return false;
    k.t0 = tile * n_tokens, k.n_past = p.step.seq_n_past[seq], k.head = blockIdx.y;
    const u32 lowest = k.n_past + k.t0;
    k.end = k.n_past + min(k.t0 + n_tokens, k.count);
    k.begin = p.window && p.window <= lowest ? lowest - p.window + 1 : 0;
    k.first = k.begin / KEYS * KEYS, k.n_tiles = (k.end - k.first + KEYS - 1) / KEYS;
    const Kv keys = kv_of(p.step, p.group, p.layer, seq, false), values = kv_of(p.step, p.group, p.layer, seq, true);
    k.data[0] = keys.data, k.data[1] = values.data, k.pages = keys.pages, k.page_bytes = keys.page_bytes;
    k.shift = keys.shift;
    return true;
}

// F16: one warp, bulk copies.
template <int D> __device__ __forceinline__ void bring(const Task &k, Room &room, u32 stages) {
    constexpr u32 CHUNKS = D / 64, TILE = D * KEYS * 2;
    const u32 lane = threadIdx.x % 32, tokens = 1u << k.shift, run = min(KEYS, tokens), n = KEYS / run * CHUNKS;
    for (u32 j = 0; j < k.n_tiles; j++) {
        const u32 stage = j & 1;
#pragma unroll
        for (u32 is_v = 0; is_v < 2; is_v++) {
            const u32 full = shared_at(&room.full[is_v][stage]), to = stages + (2 * stage + is_v) * TILE;
            barrier_wait(shared_at(&room.empty[is_v][stage]), j / 2 & 1 ^ 1);
            if (lane == 0) barrier_expect(full, TILE);
            __syncwarp();
            for (u32 i = lane; i < n; i += 32) {
                const u32 chunk = i % CHUNKS, row = i / CHUNKS * run, at = k.first + j * KEYS + row;
                const u32 page = __ldg(k.pages + (min(at, k.end - 1) >> k.shift));
                const u8 *from = k.data[is_v] + page * k.page_bytes +
                                 ((((u64)k.head * CHUNKS + chunk) << k.shift) + (at & (tokens - 1))) * 128;
                bulk_copy(to + (chunk * KEYS + row) * 128, from, run * 128, full);
            }
        }
    }
}

// Q8_0: four warps, a thread a token.
template <int D> struct Bytes {
    uint4 q[D / 16];
    __half scale[D / 32];
};
template <int D> __device__ __forceinline__ void load_token(const Task &k, Bytes<D> &b, u32 item) {
    const u32 tokens = 1u << k.shift, at = min(k.first + item / 2 * KEYS + threadIdx.x % 128, k.end - 1);
    const u32 t = at & (tokens - 1), sw = t >> 1 & 3;
    const u8 *page = (item & 1 ? k.data[1] : k.data[0]) + __ldg(k.pages + (at >> k.shift)) * k.page_bytes;
#pragma unroll
    for (u32 c = 0; c < D / 64; c++) {
        const u8 *chunk = page + (((u64)k.head * (D / 64) + c) << k.shift) * 68;
#pragma unroll
        for (u32 u = 0; u < 4; u++) b.q[c * 4 + u] = *(const uint4 *)(chunk + q8_row(k.shift, t) + ((u ^ sw) << 4));
#pragma unroll
        for (u32 s = 0; s < 2; s++)
            b.scale[c * 2 + s] = *(const __half *)(chunk + q8_scale(k.shift, t, s));
    }
}
__device__ __forceinline__ u32 decoded(u32 biased, u32 how, __half2 scale) {
    const u32 bits = __byte_perm(biased, 0x64646464u, how);
    const __half2 x = __hmul2(__hsub2(*(const __half2 *)&bits, __half2half2(__ushort_as_half(0x6480))), scale);
    return *(const u32 *)&x;
}
template <int D> __device__ __forceinline__ void decode_keys(const Task &k, Room &room, u32 stages) {
    constexpr u32 TILE = D * KEYS * 2;
    const u32 r = threadIdx.x % 128, n_items = 2 * k.n_tiles;
    Bytes<D> now, next;
    load_token<D>(k, now, 0);
    for (u32 item = 0; item < n_items; item++) {
        const u32 j = item / 2, is_v = item & 1, stage = j & 1;
        if (item + 1 < n_items) load_token<D>(k, next, item + 1);
        barrier_wait(shared_at(&room.empty[is_v][stage]), j / 2 & 1 ^ 1);
#pragma unroll
        for (u32 u = 0; u < D / 16; u++) {
            const u32 w[4] = {now.q[u].x ^ 0x80808080u, now.q[u].y ^ 0x80808080u, now.q[u].z ^ 0x80808080u,
                              now.q[u].w ^ 0x80808080u};
            const __half2 scale = __half2half2(now.scale[u / 2]);
            const u32 row = stages + (2 * stage + is_v) * TILE + (u / 4 * KEYS + r) * 128;
#pragma unroll
            for (u32 h = 0; h < 2; h++)
                asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(row + ((u % 4 * 2 + h ^ r & 7) << 4)),
                             "r"(decoded(w[2 * h], 0x4140, scale)), "r"(decoded(w[2 * h], 0x4342, scale)),
                             "r"(decoded(w[2 * h + 1], 0x4140, scale)), "r"(decoded(w[2 * h + 1], 0x4342, scale))
                             : "memory");
        }
        copies_after();
        barrier_arrive(shared_at(&room.full[is_v][stage]));
        now = next;
    }
}

// 32 columns times the Hadamard matrix, in one thread.
__device__ __forceinline__ void turn_all(float (&x)[32]) {
#pragma unroll
    for (u32 o = 1; o < 32; o *= 2) {
#pragma unroll
        for (u32 i = 0; i < 32; i++) {
            if (i & o) continue;
            const float a = x[i], b = x[i | o];
            x[i] = a + b, x[i | o] = a - b;
        }
    }
#pragma unroll
    for (u32 i = 0; i < 32; i++) x[i] *= TURN;
}

// The warpgroup's 64 rows of queries, F16 times scale (and log2 e when nothing comes between): [64 columns][128
// rows][128 bytes], as tiles of wgmma.
template <int D, bool Q8>
__device__ __forceinline__ void stage_queries(const rzc_attention &p, const Task &k, u8 *to, u32 group) {
    const u32 tid = threadIdx.x % 128, r = threadIdx.x / 128 * 64 + tid / 2;
    const float factor = p.cap != 0 ? p.scale : p.scale * LOG2E;
    const bool in = r < ROWS / group * group && k.t0 + r / group < k.count;
    const float *from = p.q + ((u64)(k.row0 + k.t0 + r / group) * p.n_heads + k.head * group + r % group) * D;
#pragma unroll
    for (u32 b = tid % 2; b < D / 32; b += 2) {
        float x[32];
#pragma unroll
        for (u32 i = 0; i < 8; i++) {
            const float4 v = in ? __ldcg((const float4 *)(from + b * 32) + i) : make_float4(0, 0, 0, 0);
            x[4 * i] = v.x, x[4 * i + 1] = v.y, x[4 * i + 2] = v.z, x[4 * i + 3] = v.w;
        }
        if constexpr (Q8) turn_all(x);
#pragma unroll
        for (u32 u = 0; u < 4; u++) {
            uint4 w;
            w.x = pack16<false>(x[8 * u] * factor, x[8 * u + 1] * factor);
            w.y = pack16<false>(x[8 * u + 2] * factor, x[8 * u + 3] * factor);
            w.z = pack16<false>(x[8 * u + 4] * factor, x[8 * u + 5] * factor);
            w.w = pack16<false>(x[8 * u + 6] * factor, x[8 * u + 7] * factor);
            *(uint4 *)(to + (b / 2 * ROWS + r) * 128 + ((b % 2 * 4 + u ^ r & 7) << 4)) = w;
        }
    }
    copies_after();
}

// Two rows of a thread, lane/4 and + 8 of its warp's 16.
struct Rows {
    float max[2], total[2], shrink[2];
    u32 position[2];
};
// Scores of the tile at `at` become exponentials.
__device__ __forceinline__ void exponentials(const rzc_attention &p, Rows &r, float (&s)[64], u32 at, u32 lowest,
                                             u32 end) {
    const u32 q = threadIdx.x % 4;
    if (p.cap != 0) {
#pragma unroll
        for (u32 i = 0; i < 64; i++) s[i] = p.cap * LOG2E * tanhf(s[i] / p.cap);
    }
    if (at + KEYS > lowest + 1 || (p.window && at + p.window < end)) { // some key is not for some row
#pragma unroll
        for (u32 i = 0; i < 64; i++) {
            const u32 key = at + i / 4 * 8 + q * 2 + i % 2, pos = r.position[i / 2 % 2];
            if (key > pos || (p.window && key + p.window <= pos)) s[i] = -INFINITY;
        }
    }
#pragma unroll
    for (u32 h = 0; h < 2; h++) {
        float m = r.max[h];
#pragma unroll
        for (u32 i = 0; i < 16; i++) m = fmaxf(m, fmaxf(s[4 * i + 2 * h], s[4 * i + 2 * h + 1]));
        m = fmaxf(m, __shfl_xor_sync(~0u, m, 1)), m = fmaxf(m, __shfl_xor_sync(~0u, m, 2));
        const float base = m == -INFINITY ? 0.f : m;
        r.shrink[h] = exp2_fast(r.max[h] - base), r.max[h] = m;
        float n = 0;
#pragma unroll
        for (u32 i = 0; i < 16; i++) {
            s[4 * i + 2 * h] = exp2_fast(s[4 * i + 2 * h] - base);
            s[4 * i + 2 * h + 1] = exp2_fast(s[4 * i + 2 * h + 1] - base);
            n += s[4 * i + 2 * h] + s[4 * i + 2 * h + 1];
        }
        r.total[h] = r.total[h] * r.shrink[h] + n; // of this lane's columns, and the sink in one of four
    }
}
__device__ __forceinline__ void pack_all(u32 (&w)[32], const float (&s)[64]) {
#pragma unroll
    for (u32 i = 0; i < 32; i++) w[i] = pack16<false>(s[2 * i], s[2 * i + 1]);
}

template <int D, bool Q8>
__device__ __forceinline__ void consume(const rzc_attention &p, const Task &k, Room &room, u8 *queries, u32 stages) {
    constexpr u32 TILE = D * KEYS * 2;
    const u32 group = p.n_heads / p.n_kv_heads, wg = threadIdx.x / 128, tid = threadIdx.x % 128, q = tid % 4;
    stage_queries<D, Q8>(p, k, queries, group);
    Rows r;
    u32 token[2], query_head[2];
    const u32 lowest = k.n_past + k.t0;
#pragma unroll
    for (u32 h = 0; h < 2; h++) {
        const u32 i = wg * 64 + tid / 32 * 16 + tid % 32 / 4 + 8 * h;
        const bool in = i < ROWS / group * group && k.t0 + i / group < k.count;
        token[h] = in ? k.t0 + i / group : ~0u, query_head[h] = k.head * group + i % group;
        r.position[h] = in ? k.n_past + k.t0 + i / group : lowest;
        r.max[h] = p.sinks && in ? p.sinks[query_head[h]] * LOG2E : -INFINITY;
        r.total[h] = p.sinks && q == 0 ? 1.f : 0.f;
    }
    threads_wait(1 + wg, 128);
    float s[64], sum[D / 2];
    u32 weights[32];
#pragma unroll
    for (u32 i = 0; i < D / 2; i++) sum[i] = 0;
    const u32 mine = shared_at(queries) + wg * 64 * 128;
    auto scores = [&](u32 j) {
        const u32 keys = stages + 2 * (j & 1) * TILE;
        barrier_wait(shared_at(&room.full[0][j & 1]), j / 2 & 1);
        wgmma_fence();
#pragma unroll
        for (u32 c = 0; c < D / 16; c++)
            score(s, swizzled_tile(mine + c / 4 * ROWS * 128 + c % 4 * 32),
                  swizzled_tile(keys + c / 4 * KEYS * 128 + c % 4 * 32), c > 0);
        wgmma_commit();
    };
    auto sums = [&](u32 j) {
        const u32 values = stages + (2 * (j & 1) + 1) * TILE, at = k.first + j * KEYS;
        barrier_wait(shared_at(&room.full[1][j & 1]), j / 2 & 1);
        if (at < k.begin || at + KEYS > k.end) { // values of no row: what a page holds there may be no number
            threads_wait(3, 256);
            for (u32 i = threadIdx.x; i < KEYS * D / 8; i += 256) {
                const u32 row = i % KEYS, piece = i / KEYS;
                if (at + row < k.begin || at + row >= k.end)
                    asm volatile("st.shared.v4.b32 [%0], {%1,%1,%1,%1};" ::"r"(values + (piece / 8 * KEYS + row) * 128 +
                                                                               piece % 8 * 16),
                                 "r"(0)
                                 : "memory");
            }
            copies_after();
            threads_wait(3, 256);
        }
        wgmma_fence();
#pragma unroll
        for (u32 c = 0; c < KEYS / 16; c++) weigh(sum, weights + 4 * c, value_tile(values + c * 2048));
        wgmma_commit();
    };
    auto release = [&](u32 is_v, u32 j) {
        if (tid == 0) barrier_arrive(shared_at(&room.empty[is_v][j & 1]));
    };
    scores(0);
    wgmma_wait<0>();
    settled(s);
    release(0, 0);
    exponentials(p, r, s, k.first, lowest, k.end);
    pack_all(weights, s);
    for (u32 j = 1; j < k.n_tiles; j++) {
        scores(j);
        sums(j - 1);
        wgmma_wait<1>();
        settled(s);
        release(0, j);
        exponentials(p, r, s, k.first + j * KEYS, lowest, k.end);
        wgmma_wait<0>();
        settled(sum);
        release(1, j - 1);
#pragma unroll
        for (u32 i = 0; i < D / 2; i++) sum[i] *= r.shrink[i / 2 % 2];
        pack_all(weights, s);
    }
    sums(k.n_tiles - 1);
    wgmma_wait<0>();
    settled(sum);
#pragma unroll
    for (u32 h = 0; h < 2; h++) {
        r.total[h] += __shfl_xor_sync(~0u, r.total[h], 1), r.total[h] += __shfl_xor_sync(~0u, r.total[h], 2);
        if (token[h] == ~0u) continue;
        const float f = 1.f / r.total[h];
        float *to = p.out + ((u64)(k.row0 + token[h]) * p.n_heads + query_head[h]) * D + q * 2;
#pragma unroll
        for (u32 i = 0; i < D / 8; i++)
            *(float2 *)(to + i * 8) = make_float2(sum[4 * i + 2 * h] * f, sum[4 * i + 2 * h + 1] * f);
    }
}

template <int D, bool Q8> __device__ __forceinline__ void attend(const rzc_attention &p) {
    extern __shared__ __align__(1024) u8 memory[];
    __shared__ Room room;
    dependents();
    if (threadIdx.x < 4) {
        barrier_init(shared_at(&room.full[0][0] + threadIdx.x), Q8 ? 128 : 1);
        barrier_init(shared_at(&room.empty[0][0] + threadIdx.x), 2);
        copies_after();
    }
    __syncthreads();
    predecessors();
    Task k;
    if (!find_task(p, k)) return;
    u8 *queries = memory;
    const u32 stages = shared_at(memory) + ROWS * D * 2;
    if (threadIdx.x >= 256) {
        if constexpr (Q8) {
            asm volatile("setmaxnreg.dec.sync.aligned.u32 88;");
            decode_keys<D>(k, room, stages);
        } else {
            asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
            if (threadIdx.x < 288) bring<D>(k, room, stages);
        }
    } else {
        if constexpr (Q8) asm volatile("setmaxnreg.inc.sync.aligned.u32 208;");
        else asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        consume<D, Q8>(p, k, room, queries, stages);
    }
}
#define BODY(d, q8) attend<d, q8>(p);
#else
#define BODY(d, q8)
#endif
// grid: (n_rows / (128 / group) + n_seqs, n_kv_heads); block: 384; shared: 1280 D
#define KERNEL(name, d, q8)                                                                                          \
    extern "C" __global__ void __launch_bounds__(384, 1) rzc_prompt_wgmma_##name##_##d(const rzc_attention p) {    \
        BODY(d, q8)                                                                                                  \
    }
KERNEL(f16, 64, false) KERNEL(f16, 128, false) KERNEL(q8, 64, true) KERNEL(q8, 128, true)
