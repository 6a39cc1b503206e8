// decode_attention.cu - attention of single rows over a cache in F16 or Q8_0, by tensor cores: up to 8 query heads of a
// key head share every read of it.
//
// Work is slots: runs of TOKENS tokens of one (row, key head), laid end to end, row after row, and cut into equal
// ranges, one a block, wherever rows begin and end. A warp of its own copies slots into a ring ahead of eight (or four)
// warps that compute, slot i by warp i % 8: scores of 16 keys x 8 heads, running maximum, sums of 16 columns x 8 heads.
// The warps meet at the end of a row; ranges that share a row meet in global memory, joined in order by the last to
// arrive. Keys that earlier steps wrote are fetched before the predecessor has ended. PLACED: q, k and v are as the
// products gave them; norm of heads, RoPE and kvWrite of the newest key (the only row of its sequence) happen here.
#include "decode_slots.cuh"
#include "place.cuh"

// warps that compute, at most; rows of a launch; heads of a unit
constexpr u32 WARPS = RZC_DECODE_WARPS, ROWS = RZC_DECODE_ROWS, HEADS = RZC_DECODE_HEADS;

// Units of a row: key heads, each as often as it takes for its query heads.
__device__ __forceinline__ u32 units_of(const rzc_attention &p) {
    return p.n_kv_heads * ((p.n_heads / p.n_kv_heads + HEADS - 1) / HEADS);
}
__device__ __forceinline__ Layer layer_of(const rzc_attention &p) {
    const rzc_group &g = p.step.head->groups[p.group];
    u8 *data = g.data + ((u64)p.layer * (g.k_bytes + g.v_bytes) << g.page_shift);
    return {{data, data + ((u64)g.k_bytes << g.page_shift)}, p.step.head->pages, g.page_bytes, g.page_shift};
}

// What lies behind the ring and the warps' sums [WARPS][heads of a unit][D + 4] in shared memory.
template <int D> struct Room {
    u64 full[32], empty[32];
    float max[WARPS][HEADS], total[WARPS][HEADS];
    alignas(16) __half q[HEADS][D + 8];
    float scratch[WARPS][D];
    alignas(16) __half fresh[2][D];       // the newest key and value, as the cache has them
    alignas(16) signed char fresh8[2][D]; // in Q8_0
    __half fresh_scale[2][D / 32];
    u32 base[ROWS + 1];        // slots of one unit before a row
    u32 count[ROWS], first[ROWS], end[ROWS], past[ROWS], table[ROWS];
    u32 per, is_last;
};

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
constexpr int COPIERS = 1; // lanes that tell of a copied slot
#else
constexpr int COPIERS = 32;
#endif
__device__ __forceinline__ u32 n_workers() { return blockDim.x / 32 - 1; } // warps that compute
// The rows are found: the warp that copies tells, the others wait.
__device__ __forceinline__ void rows_found() { threads_arrive(2, blockDim.x); }
__device__ __forceinline__ void await_rows() { threads_wait(2, blockDim.x); }
__device__ __forceinline__ void workers() { threads_wait(1, n_workers() * 32); }
__device__ __forceinline__ void ring_wait(u32 barrier, u32 parity) {
#if __CUDA_ARCH__ >= 900
    barrier_wait(barrier, parity);
#else
    asm volatile("{\n.reg .pred p;\nW_%=:\nmbarrier.test_wait.parity.shared.b64 p, [%0], %1;\n@!p bra W_%=;\n}" ::"r"(
                     barrier),
                 "r"(parity)
                 : "memory");
#endif
}
__device__ __forceinline__ void ring_arrive(u32 barrier) {
    asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(barrier) : "memory");
}

// The rows of the launch: where their slots begin, and how many a block takes. One warp. When there are blocks enough,
// every unit is cut into parts of equal size, a block each, and takes a multiple of it (`base`); else blocks take what
// comes, from unit to unit.
template <int D, bool Q8> __device__ __forceinline__ void find_rows(const rzc_attention &p, Room<D> &room, u32 n_rows) {
    constexpr u32 T = Shape<D, Q8>::TOKENS;
    const u32 lane = threadIdx.x % 32, units = units_of(p);
    u32 before = 0, per = 0;
    for (u32 b = 0; b < n_rows; b += 32) {
        const u32 r = b + lane, t = p.first_row + r;
        u32 n = 0;
        if (r < n_rows) {
            const u32 seq = p.singles ? t : p.step.row_seq[t], position = p.step.row_position[t];
            const u32 first = p.window && p.window <= position ? position - p.window + 1 : 0;
            room.table[r] = p.step.seq_pages[seq * RZC_GROUPS + p.group], room.past[r] = p.step.seq_n_past[seq];
            room.first[r] = first, room.end[r] = position + 1;
            n = (position + T) / T - first / T;
            if (!p.singles && p.step.seq_first_row[seq + 1] - p.step.seq_first_row[seq] > p.few) n = 0;
            room.count[r] = n;
        }
        if (n_rows <= 32) {
            const u32 even = (__reduce_add_sync(~0u, n) * units + gridDim.x - 1) / gridDim.x;
            u32 size = max(even, p.least_slots);
            const u32 most = size + size / 4 + 4;
            while (size < most && __reduce_add_sync(~0u, (n + size - 1) / size) * units > gridDim.x) size++;
            if (size < most) per = size, n = (n + size - 1) / size * size;
        }
        if (n_rows > 1) {
#pragma unroll
            for (u32 o = 1; o < 32; o *= 2) {
                const u32 y = __shfl_up_sync(~0u, n, o);
                if (lane >= o) n += y;
            }
        }
        if (r < n_rows) room.base[r + 1] = before + n;
        before += __shfl_sync(~0u, n, min(31u, n_rows - b - 1));
    }
    if (lane == 0) {
        room.base[0] = 0;
        room.per = per > 0 ? per : max((before * units + gridDim.x - 1) / gridDim.x, 2u);
    }
    __syncwarp();
}

template <int D> __device__ __forceinline__ u32 row_of(const Room<D> &room, u32 slot, u32 units, u32 t) {
    while (slot >= room.base[t + 1] * units) t++;
    return t;
}

// How the slots are cut: s0 ... s1 - 1 are of this block.
struct Cut {
    u32 units, per, s0, s1;
};
template <int D> __device__ __forceinline__ Cut cut_slots(const rzc_attention &p, const Room<D> &room, u32 n_rows) {
    Cut c;
    c.units = units_of(p), c.per = room.per;
    c.s0 = blockIdx.x * c.per, c.s1 = min(c.s0 + c.per, room.base[n_rows] * c.units);
    return c;
}

// The warp that copies.
template <int D, bool Q8, bool PLACED>
__device__ __forceinline__ void feed(const rzc_attention &p, Room<D> &room, u32 ring, u32 n_rows) {
    using S = Shape<D, Q8>;
    const u32 lane = threadIdx.x % 32;
    const Layer l = layer_of(p);
    find_rows<D, Q8>(p, room, n_rows);
    if (lane < p.ring) {
        barrier_init(shared_at(&room.full[lane]), COPIERS);
        barrier_init(shared_at(&room.empty[lane]), 1);
        copies_after();
    }
    __syncwarp();
    rows_found();
    const Cut c = cut_slots(p, room, n_rows);
    const u32 head_blocks = c.units / p.n_kv_heads;
    const Copier<D, Q8> copier(l);
    bool waited = PLACED;
    u32 t = 0, entry = 0, parity = 1;
    for (u32 b = c.s0; b < c.s1; b += 32) {
        // lane i finds slot b + i
        u32 kv = 0, token = 0, page = 0;
        bool early = true, is_slot = false;
        if (b + lane < c.s1) {
            t = row_of(room, b + lane, c.units, t);
            const u32 m = room.base[t + 1] - room.base[t], in_row = b + lane - room.base[t] * c.units;
            const u32 unit = in_row / m, i = in_row - unit * m;
            is_slot = i < room.count[t];
            kv = unit / head_blocks, token = (room.first[t] / S::TOKENS + i) * S::TOKENS;
            if (is_slot) page = __ldg(l.pages + room.table[t] + (token >> l.shift));
            early = token + S::TOKENS <= room.past[t];
        }
        const u32 n = __popc(__ballot_sync(~0u, is_slot)); // those behind a unit's end are the last of the block
        u32 k = 0;
#if __CUDA_ARCH__ >= 900
        if (b == c.s0 && copier.usual && (PLACED || __all_sync(~0u, early))) { // all at once while the ring is empty
            const u32 j = lane / copier.PIECES, at_j = shared_at(&room.full[j]);
            k = min(min(n, p.ring), 32 / copier.PIECES);
            if (lane % copier.PIECES == 0 && j < k) barrier_expect(at_j, S::SLOT);
            __syncwarp();
            const u32 kv_j = __shfl_sync(~0u, kv, j), token_j = __shfl_sync(~0u, token, j);
            const u32 page_j = __shfl_sync(~0u, page, j);
            if (j < k) copier.copy(l, kv_j, token_j, page_j, ring + j * S::SLOT, at_j);
            entry = k;
            if (entry == p.ring) entry = 0, parity ^= 1;
        }
#endif
        for (; k < n; k++) {
            const u32 row = __shfl_sync(~0u, t, k), full = shared_at(&room.full[entry]);
            if (!waited && !__shfl_sync(~0u, early, k)) {
                predecessors();
                waited = true;
            }
            ring_wait(shared_at(&room.empty[entry]), parity); // the first round of the ring passes
#if __CUDA_ARCH__ >= 900
            if (lane == 0) barrier_expect(full, S::SLOT);
            __syncwarp();
#endif
            const u32 kv_k = __shfl_sync(~0u, kv, k), token_k = __shfl_sync(~0u, token, k);
            const u32 page_k = __shfl_sync(~0u, page, k), to = ring + entry * S::SLOT;
            if (!copier.usual) copy_pieces<D, Q8>(l, kv_k, token_k, page_k, room.table[row], room.end[row], to, full);
            else if (lane < copier.PIECES) copier.copy(l, kv_k, token_k, page_k, to, full);
#if __CUDA_ARCH__ < 900
            asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(full) : "memory");
#endif
            if (++entry == p.ring) entry = 0, parity ^= 1;
        }
    }
}

// Queries of a unit, and of PLACED rows the newest key and value, as F16 (Q8_0) into shared memory, and into the cache.
template <int D, bool Q8, bool PLACED>
__device__ __forceinline__ void stage(const rzc_attention &p, Room<D> &room, const Layer &l, u32 t, u32 row, u32 kv,
                                      u32 h0, u32 n_heads, bool has_newest, bool writes) {
    constexpr int C = D / 32;
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const bool adjacent = PLACED && p.adjacent;
    const float factor = p.cap != 0 ? p.scale : p.scale * LOG2E;
    const u32 tasks = n_heads + (PLACED && has_newest ? 2 : 0);
    for (u32 i = warp; i < tasks; i += n_workers()) {
        const bool is_q = i < n_heads, is_v = i == n_heads + 1;
        const float *from = is_q ? p.q + ((u64)row * p.n_heads + h0 + i) * D
                                 : (is_v ? p.v : p.k) + ((u64)row * p.n_kv_heads + kv) * D;
        float x[C];
#pragma unroll
        for (int j = 0; j < C; j++) x[j] = __ldcg(from + column<D>(j, lane, adjacent));
        if (PLACED && !is_v) place<D>(p, x, is_q ? p.q_norm : p.k_norm, row);
        if (Q8 && adjacent) { // blocks of 32 columns, one a lane
            __syncwarp();
#pragma unroll
            for (int j = 0; j < C; j++) room.scratch[warp][column<D>(j, lane, true)] = x[j];
            __syncwarp();
#pragma unroll
            for (int j = 0; j < C; j++) x[j] = room.scratch[warp][j * 32 + lane];
        }
        if (Q8 && !is_v) {
#pragma unroll
            for (int j = 0; j < C; j++) x[j] = turned(x[j]);
        }
        if (is_q) {
#pragma unroll
            for (int j = 0; j < C; j++)
                room.q[i][column<D>(j, lane, !Q8 && adjacent)] = __float2half_rn(x[j] * factor);
            continue;
        }
        const u32 position = room.end[t] - 1, at = position & ((1u << l.shift) - 1);
        u8 *page = (is_v ? l.data[1] : l.data[0]) +
                   __ldg(l.pages + room.table[t] + (position >> l.shift)) * l.page_bytes;
#pragma unroll
        for (int j = 0; j < C; j++) {
            const u32 c = column<D>(j, lane, !Q8 && adjacent), i = kv * D + c;
            if constexpr (Q8) {
                __half scale;
                const signed char q = quantized(x[j], scale);
                u8 *chunk = page + ((u64)(i / 64) << l.shift) * 68;
                room.fresh8[is_v][c] = q;
                if (writes) chunk[q8_row(l.shift, at) + ((i / 16 % 4 ^ at >> 1 & 3) << 4) + i % 16] = (u8)q;
                if (lane == 0) {
                    room.fresh_scale[is_v][j] = scale;
                    if (writes) *(__half *)(chunk + q8_scale(l.shift, at, i / 32 % 2)) = scale;
                }
            } else {
                const __half h = __float2half_rn(x[j]);
                room.fresh[is_v][c] = h;
                if (writes)
                    *(__half *)(page + ((u64)(i / 64) << l.shift) * 128 + at * 128 + ((i / 8 % 8 ^ at & 7) << 4) +
                                i % 8 * 2) = h;
            }
        }
    }
}

// A slot at an end of the row: the newest key and value go in, values outside [first, end) become zeros.
template <int D, bool Q8>
__device__ __forceinline__ void mend(const Room<D> &room, u8 *slot, u32 token, u32 first, u32 end, bool has_newest) {
    using S = Shape<D, Q8>;
    constexpr u32 UNITS = D / (Q8 ? 16 : 8); // of 16 bytes
    const u32 lane = threadIdx.x % 32, r = end - 1 - token;
    if (has_newest && r < S::TOKENS) {
        const u32 is_v = lane / UNITS, u = lane % UNITS;
        u8 *part = slot + is_v * S::V;
        if constexpr (Q8) {
            if (lane < 2 * UNITS)
                *(uint4 *)(part + u / 4 * S::CHUNK + r * 64 + ((u % 4 ^ r >> 1 & 3) << 4)) =
                    *(const uint4 *)&room.fresh8[is_v][u * 16];
            if (lane < D / 16) {
                const u32 v = lane / (D / 32), b = lane % (D / 32);
                *(__half *)(slot + v * S::V + b / 2 * S::CHUNK + S::TOKENS * 64 + (b % 2 * S::TOKENS + r) * 2) =
                    room.fresh_scale[v][b];
            }
        } else if (lane < 2 * UNITS) {
            *(uint4 *)(part + u / 8 * S::CHUNK + r * 128 + ((u % 8 ^ r & 7) << 4)) =
                *(const uint4 *)&room.fresh[is_v][u * 8];
        }
    }
    for (u32 i = lane; i < S::TOKENS; i += 32) {
        if (token + i >= first && token + i < end) continue;
#pragma unroll 1
        for (u32 u = 0; u < (Q8 ? D / 32 : UNITS); u++) {
            u8 *chunk = slot + S::V + u / (Q8 ? 2 : 8) * S::CHUNK;
            if constexpr (Q8) *(__half *)(chunk + S::TOKENS * 64 + (u % 2 * S::TOKENS + i) * 2) = __ushort_as_half(0);
            else *(uint4 *)(chunk + i * 128 + u % 8 * 16) = make_uint4(0, 0, 0, 0);
        }
    }
    __syncwarp();
}

struct State {
    float max[2], total[2]; // of heads 2 (lane % 4) and + 1; totals of this lane's keys
};

template <int D, bool Q8>
__device__ __forceinline__ void take_slot(const rzc_attention &p, State &st, float (&sum)[D / 16][4],
                                          const u32 (&q)[D / 16][2], u32 slot, u32 token, u32 first, u32 end) {
    constexpr u32 M = Shape<D, Q8>::TOKENS / 16;
    const u32 lane = threadIdx.x % 32;
    float s[M][4], top[2] = {st.max[0], st.max[1]};
    const bool edge = token < first || token + Shape<D, Q8>::TOKENS > end;
#pragma unroll
    for (u32 m = 0; m < M; m++) {
        scores<D, Q8>(s[m], q, slot, m * 16);
#pragma unroll
        for (u32 e = 0; e < 4; e++) {
            if (p.cap != 0) s[m][e] = p.cap * LOG2E * tanhf(s[m][e] / p.cap);
            const u32 at = token + m * 16 + lane / 4 + e / 2 * 8;
            if (edge && (at < first || at >= end)) s[m][e] = -INFINITY;
            top[e % 2] = fmaxf(top[e % 2], s[m][e]);
        }
    }
    float base[2];
#pragma unroll
    for (u32 h = 0; h < 2; h++) {
#pragma unroll
        for (u32 o = 4; o < 32; o *= 2) top[h] = fmaxf(top[h], __shfl_xor_sync(~0u, top[h], o));
        base[h] = top[h] == -INFINITY ? 0.f : top[h];
        const float f = exp2_fast(st.max[h] - base[h]);
        st.max[h] = top[h], st.total[h] *= f;
#pragma unroll
        for (int i = 0; i < D / 16; i++) sum[i][h] *= f, sum[i][2 + h] *= f;
    }
#pragma unroll
    for (u32 m = 0; m < M; m++) {
#pragma unroll
        for (u32 e = 0; e < 4; e++) {
            s[m][e] = exp2_fast(s[m][e] - base[e % 2]);
            st.total[e % 2] += s[m][e];
        }
        values<D, Q8>(sum, movmatrix(pack16<false>(s[m][0], s[m][1])), movmatrix(pack16<false>(s[m][2], s[m][3])), slot,
                      m * 16);
    }
}

// Tells that this block's part is written; true for the last of n, which then sees all parts. The counter wraps to 0.
__device__ __forceinline__ bool arrive(u32 *counter, u32 n) {
    u32 before;
    asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;" : "=r"(before) : "l"(counter), "r"(n - 1) : "memory");
    return before == n - 1;
}

struct Sums { // of 4 columns
    float max, total;
    float4 x;
    __device__ __forceinline__ void add(float m, float n, float4 v) {
        if (m == -INFINITY) return;
        const float top = fmaxf(max, m), f = exp2_fast(max - top), g = exp2_fast(m - top);
        x.x = x.x * f + v.x * g, x.y = x.y * f + v.y * g, x.z = x.z * f + v.z * g, x.w = x.w * f + v.w * g;
        total = total * f + n * g, max = top;
    }
};

// The warps' sums of a range of a unit (from begin to end), joined: to the result, or to global memory and, by the last
// to arrive, from there to the result. A part: [HEADS][D] sums, [HEADS][maximum, total].
template <int D>
__device__ __forceinline__ void finish(const rzc_attention &p, Room<D> &room, const float *sums, float *out, u32 h0,
                                       u32 n_heads, u32 begin, u32 end, u32 per, u32 arrival) {
    constexpr u32 QUADS = D / 4, PART = HEADS * (D + 2);
    const u32 tid = threadIdx.x, first = begin / per, n_parts = (end - 1) / per - first + 1, n = n_heads * QUADS;
    float *part = p.parts + (u64)(blockIdx.x * 2 + (begin >= blockIdx.x * per)) * PART;
    for (u32 i = tid; i < n; i += n_workers() * 32) {
        const u32 h = i / QUADS, d = i % QUADS * 4;
        float max[WARPS];
        Sums s = {-INFINITY, 0, {0, 0, 0, 0}};
#pragma unroll
        for (u32 w = 0; w < WARPS; w++) {
            max[w] = w < n_workers() ? room.max[w][h] : -INFINITY;
            s.max = fmaxf(s.max, max[w]);
        }
#pragma unroll
        for (u32 w = 0; w < WARPS; w++) {
            if (max[w] == -INFINITY) continue;
            const float f = exp2_fast(max[w] - s.max);
            const float4 v = *(const float4 *)(sums + (w * n_heads + h) * (D + 4) + d);
            s.total += f * room.total[w][h];
            s.x.x += f * v.x, s.x.y += f * v.y, s.x.z += f * v.z, s.x.w += f * v.w;
        }
        if (n_parts == 1) {
            if (p.sinks) s.add(p.sinks[h0 + h] * LOG2E, 1, make_float4(0, 0, 0, 0));
            const float f = 1.f / s.total;
            *(float4 *)(out + h * D + d) = make_float4(s.x.x * f, s.x.y * f, s.x.z * f, s.x.w * f);
        } else {
            __stcg((float4 *)(part + h * D + d), s.x);
            if (d == 0) __stcg((float2 *)(part + HEADS * D) + h, make_float2(s.max, s.total));
        }
    }
    if (n_parts == 1) return;
    workers();
    if (tid == 0) room.is_last = arrive(p.arrivals + arrival, n_parts);
    workers();
    if (!room.is_last) return;
    for (u32 i = tid; i < n; i += n_workers() * 32) {
        const u32 h = i / QUADS, d = i % QUADS * 4;
        Sums s = {p.sinks ? p.sinks[h0 + h] * LOG2E : -INFINITY, p.sinks ? 1.f : 0.f, {0, 0, 0, 0}};
#pragma unroll 8
        for (u32 k = 0; k < n_parts; k++) {
            const float *one = p.parts + (u64)((first + k) * 2 + (k == 0)) * PART;
            const float2 m = __ldcg((const float2 *)(one + HEADS * D) + h);
            s.add(m.x, m.y, __ldcg((const float4 *)(one + h * D + d)));
        }
        const float f = 1.f / s.total;
        *(float4 *)(out + h * D + d) = make_float4(s.x.x * f, s.x.y * f, s.x.z * f, s.x.w * f);
    }
}

template <int D, bool Q8, bool PLACED> __device__ __forceinline__ void decode(const rzc_attention &p) {
    using S = Shape<D, Q8>;
    extern __shared__ __align__(128) u8 memory[];
    dependents();
    const u32 group = p.n_heads / p.n_kv_heads, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 warps = n_workers(); // the ring has a multiple of them: an entry is always of the same warp
    const u32 n_rows = min(p.n_rows - p.first_row, ROWS);
    float *sums = (float *)(memory + p.ring * S::SLOT);
    Room<D> &room = *(Room<D> *)(sums + warps * min(group, HEADS) * (D + 4));
    if (warp == warps) {
        feed<D, Q8, PLACED>(p, room, shared_at(memory), n_rows);
        return;
    }
    const Layer l = layer_of(p);
    await_rows();
    const Cut c = cut_slots(p, room, n_rows);
    if (c.s0 >= c.s1) return;
    const u32 head_blocks = c.units / p.n_kv_heads;
    predecessors();
    u32 t = 0, entry = warp, parity = 0, i = c.s0 + warp; // i: the warp's next slot
    for (u32 s = c.s0; s < c.s1;) {
        t = row_of(room, s, c.units, t);
        const u32 m = room.base[t + 1] - room.base[t], n = room.count[t], unit = (s - room.base[t] * c.units) / m,
                  begin = room.base[t] * c.units + unit * m, end = min(begin + n, c.s1);
        const u32 kv = unit / head_blocks, hb = unit - kv * head_blocks, h0 = kv * group + hb * HEADS,
                  n_heads = min(HEADS, group - hb * HEADS), row = p.first_row + t;
        const u32 first_key = room.first[t], end_key = room.end[t];
        const bool has_newest = PLACED && end == begin + n;
        stage<D, Q8, PLACED>(p, room, l, t, row, kv, h0, n_heads, has_newest, hb == 0);
        workers();
        u32 q[D / 16][2];
        const __half *from = room.q[lane / 4 < n_heads ? lane / 4 : 0];
#pragma unroll
        for (int j = 0; j < D / 16; j++) {
            const u32 at = j * 16 + lane % 4 * (Q8 ? 4 : 2);
            q[j][0] = *(const u32 *)(from + at), q[j][1] = *(const u32 *)(from + at + (Q8 ? 2 : 8));
        }
        State st = {{-INFINITY, -INFINITY}, {0, 0}};
        float sum[D / 16][4] = {};
        const bool works = i < end;
        for (; i < end; i += warps) {
            u8 *slot = memory + entry * S::SLOT;
            const u32 token = (first_key / S::TOKENS + i - begin) * S::TOKENS;
            ring_wait(shared_at(&room.full[entry]), parity);
            const bool edge = token < first_key || token + S::TOKENS > end_key || (has_newest && i + 1 == end);
            if (edge) mend<D, Q8>(room, slot, token, first_key, end_key, has_newest);
            take_slot<D, Q8>(p, st, sum, q, shared_at(slot), token, first_key, end_key);
            if (edge) copies_after();
            __syncwarp();
            if (lane == 0) ring_arrive(shared_at(&room.empty[entry]));
            entry += warps;
            if (entry >= p.ring) entry -= p.ring, parity ^= 1;
        }
        // to shared memory; a warp without a slot has the maximum -inf
#pragma unroll
        for (u32 h = 0; h < 2; h++) {
            const u32 head = lane % 4 * 2 + h;
#pragma unroll
            for (u32 o = 4; o < 32; o *= 2) st.total[h] += __shfl_xor_sync(~0u, st.total[h], o);
            if (head >= n_heads) continue;
            if (lane < 4) room.max[warp][head] = st.max[h], room.total[warp][head] = st.total[h];
            float *to = sums + (warp * n_heads + head) * (D + 4);
#pragma unroll
            for (int j = 0; j < D / 16 && works; j++) {
                const u32 at = j * 16 + (Q8 ? lane / 4 * 2 : lane / 4);
                to[at] = sum[j][h], to[at + (Q8 ? 1 : 8)] = sum[j][2 + h];
            }
        }
        workers();
        finish<D>(p, room, sums, p.out + ((u64)row * p.n_heads + h0) * D, h0, n_heads, begin, begin + n, c.per,
                  t * c.units + unit);
        s = end == begin + n ? begin + m : end;
    }
}

static_assert(sizeof(Room<64>) <= RZC_DECODE_ROOM(64) && sizeof(Room<128>) <= RZC_DECODE_ROOM(128));
// grid: any number of blocks; block: 32 (1 + warps that compute); shared: ring slots, sums, RZC_DECODE_ROOM
#define KERNEL(name, d, q8)                                                                                          \
    extern "C" __global__ void __launch_bounds__(288) rzc_decode_##name##_##d(const rzc_attention p) {           \
        decode<d, q8, false>(p);                                                                                     \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(288) rzc_decode_placed_##name##_##d(const rzc_attention p) {    \
        decode<d, q8, true>(p);                                                                                      \
    }
KERNEL(f16, 64, false) KERNEL(f16, 128, false) KERNEL(q8, 64, true) KERNEL(q8, 128, true)
