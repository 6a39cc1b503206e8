// prefill_wgmma.cu - products of many token rows with weights in records, on Hopper: y^T = W x^T, so that the weights
// are the A operand, decoded in registers, and the activations (prefill.cuh) the B operand, as they lie.
//
// A tile is 128 outputs (GLU: 64 of each) x BN token rows. One warp copies weights, whole records of 256 columns into
// slots of a ring, and does not wait for the kernels ahead; another copies activations. Up to 64 token rows the work is
// bound by reading: two teams of eight warps take slots in turn, and a block does a run of slots wherever tiles begin
// and end; a tile that blocks share is added up by the last of them to come, in the order of the blocks. With more rows
// one team of two warpgroups decodes the next columns while the tensor cores work, and whole tiles are dealt in turn.
// A row's result depends on the row, and on how the work is cut for this many rows.
#include "prefill_decode.cuh"
#include "wgmma.cuh"

constexpr int K = RZC_R_Q4_K; // as the format of a kernel: Q4_K or Q6_K, told by each matrix
template <int F, int BN> struct Layout {
    static constexpr int CHUNKS = RZC_SLOT_CHUNKS(F), STAGE_CHUNKS = RZC_STAGE_CHUNKS(F, BN);
    static constexpr int TEAMS = RZC_TEAMS(BN), CONSUMERS = 256 * TEAMS, THREADS = CONSUMERS + (BN < 64 ? 64 : 128);
    static constexpr int STAGE = STAGE_CHUNKS * BN * 128, PART = 128 * BN; // bytes of activations; floats of a tile
    static constexpr int SUMS = (TEAMS - 1) * PART * 4;                    // what teams hand over
    // With few token rows warps multiply by themselves (mma.sync): wgmma would make four of them wait for each other.
    static constexpr bool ALONE = BN <= 16;
    static constexpr int RELEASES = ALONE ? 8 : 2; // arrivals of a team that empty a place: of its warps, or warpgroups
};
template <int F> constexpr int slot_record = is_16bit(F) ? 4096 : record_bytes(F); // bytes of a record in a slot

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// Barriers of a ring of n places: full[i], empty[i].
struct Ring {
    u32 full, empty, n;
};
// A place in a ring, and how often the ring has gone round.
struct Place {
    u32 i, round;
    __device__ __forceinline__ void step(u32 by, u32 n) {
        i += by;
        if (i >= n) i -= n, round ^= 1;
    }
};

// What a block does: parts of output tiles, units of columns (a slot each) from `first` on. Units are numbered tile by
// tile; the tiles of the same weights, over the token rows, follow each other.
template <int F, int BN> struct Work {
    u32 units, tiles_m, at, end, step;
    u32 tile, first, n;
    __device__ __forceinline__ explicit Work(const rzc_prefill &p) {
        units = (p.cols + 255) / 256 * (4 / Layout<F, BN>::CHUNKS), tiles_m = (p.n_rows + BN - 1) / BN;
        step = p.each ? 0 : gridDim.x * units;
        at = p.each ? begin(p, blockIdx.x) : blockIdx.x * units;
        end = p.each ? begin(p, blockIdx.x + 1) : tiles_m * p.n_tiles * units;
    }
    __device__ __forceinline__ bool next() {
        if (at >= end) return false;
        tile = at / units, first = at % units, n = min(units - first, end - at);
        at += step ? step : n;
        return true;
    }
    // First unit of a block, and the block that has a unit.
    static __device__ __forceinline__ u32 begin(const rzc_prefill &p, u32 block) {
        return block * p.each + min(block, p.rest);
    }
    static __device__ __forceinline__ u32 owner(const rzc_prefill &p, u32 unit) {
        const u32 large = p.rest * (p.each + 1);
        return unit < large ? unit / (p.each + 1) : p.rest + (unit - large) / p.each;
    }
};

template <int F> __device__ __forceinline__ u32 bytes_of(const rzc_prefill_matrix &m) {
    return F == K && m.w.format == RZC_R_Q6_K ? slot_record<RZC_R_Q6_K> : slot_record<F>;
}
// A lane's record of a tile, its first column tile; past the last row the last one, never stored.
template <int F>
__device__ __forceinline__ const u8 *record_of(const rzc_prefill &p, u32 mat, u32 tile, u32 i, u32 units, u32 bytes) {
    u32 rt = tile * 8 + i;
    if (p.glu) mat = i & 1, rt = tile * 4 + i / 2;
    const rzc_prefill_matrix &m = p.mats[mat];
    rt = min(rt, (m.n_out + 15) / 16 - 1);
    return m.w.data + (u64)rt * units * bytes;
}
template <int F, int BN> __device__ __forceinline__ void copy_weights(const rzc_prefill &p, u32 slots, Ring ring) {
    const u32 lane = threadIdx.x % 32;
    Place slot = {0, 1};
    for (Work<F, BN> w(p); w.next();) {
        const u32 tn = w.tile / w.tiles_m, mat = matrix_of(p, tn), bytes = bytes_of<F>(p.mats[mat]);
        const u8 *from = record_of<F>(p, mat, tn - p.mats[mat].first_tile, lane % 8, w.units, bytes) + w.first * bytes;
#pragma unroll 1
        for (u32 i = 0; i < w.n; i++, from += bytes) {
            barrier_wait(ring.empty + 8 * slot.i, slot.round);
            if (lane == 0) barrier_expect(ring.full + 8 * slot.i, 8 * bytes);
            __syncwarp();
            if (lane < 8) bulk_copy(slots + slot.i * p.slot_bytes + lane * bytes, from, bytes, ring.full + 8 * slot.i);
            slot.step(1, ring.n);
        }
    }
}
template <int F, int BN> __device__ __forceinline__ void copy_activations(const rzc_prefill &p, u32 stages, Ring ring) {
    using L = Layout<F, BN>;
    Place stage = {0, 1};
    predecessors();
    for (Work<F, BN> w(p); w.next();) {
        const u8 *from = p.tiles + ((u64)w.first * L::CHUNKS * p.rows_pad + w.tile % w.tiles_m * BN) * 128;
        const u64 step = (u64)p.rows_pad * 128 * L::STAGE_CHUNKS;
#pragma unroll 1 // unrolled, ptxas 13.0 loses the upper half of an address
        for (u32 i = 0; i < w.n * (L::CHUNKS / L::STAGE_CHUNKS); i++, from += step) {
            barrier_wait(ring.empty + 8 * stage.i, stage.round);
            barrier_expect(ring.full + 8 * stage.i, L::STAGE);
            // more than one chunk: rows_pad is BN
            bulk_copy(stages + stage.i * L::STAGE, from, L::STAGE, ring.full + 8 * stage.i);
            stage.step(1, ring.n);
        }
    }
}

// acc[4 j + {0, 1}]: (first row of the lane; token rows 8 j + 2 q, + 1), + {2, 3}: its second row. Loads of up to eight
// results come before their stores. Short code: all of it is unrolled, BN / 16 times.
template <int BN, bool GLU>
__device__ __forceinline__ void store(const rzc_prefill &p, const float (&acc)[BN / 2], u32 mat, u32 tile, u32 t0) {
    constexpr u32 N = BN == 8 ? 2 : 4;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    const rzc_prefill_matrix &m = p.mats[GLU ? 0 : mat];
    const rzc_prefill_matrix &m1 = p.mats[GLU ? 1 : mat];
    const u32 n = GLU ? tile * 64 + warp * 8 + g : tile * 128 + warp * 16 + g, n1 = GLU ? n : n + 8;
    const bool in = n < m.n_out, in1 = n1 < m.n_out;
    const float b = m.bias && in ? m.bias[n] : 0.f, b1 = m1.bias && in1 ? m1.bias[n1] : 0.f, factor = p.factor;
    const float c1 = p.glu == RZC_PREFILL_GELU ? GELU_1 : 1.f, c3 = p.glu == RZC_PREFILL_GELU ? GELU_3 : 0.f;
    const u64 at0 = (u64)(t0 + q * 2) * m.ldy + n;
    const u32 ldy = m.ldy, left = p.n_rows > t0 + q * 2 ? p.n_rows - t0 - q * 2 : 0;
    float *y = m.y + at0;
    const float *scale = p.row_scale + t0 + q * 2;
    const float *add = m.add ? m.add + at0 : nullptr;
#pragma unroll
    for (u32 j = 0; j < BN / 8; j += 2) {
        float v[N], v1[N];
#pragma unroll
        for (u32 i = 0; i < N; i++) {
            const float s = __ldcg(scale + j * 8 + i / 2 * 8 + i % 2); // rows up to rows_pad have one, of any value
            v[i] = acc[4 * j + i / 2 * 4 + i % 2] * s + b, v1[i] = acc[4 * j + i / 2 * 4 + 2 + i % 2] * s + b1;
            if (GLU)
                v[i] = gate(v[i], c1, c3) * v1[i];
            else
                v[i] *= factor, v1[i] *= factor;
        }
        if (!GLU && p.cap != 0) {
#pragma unroll
            for (u32 i = 0; i < N; i++) v[i] = soft_cap(v[i], p.cap), v1[i] = soft_cap(v1[i], p.cap);
        }
        if (!GLU && add) {
#pragma unroll
            for (u32 i = 0; i < N; i++) {
                const u32 t = j * 8 + i / 2 * 8 + i % 2;
                if (t < left && in) v[i] += add[t * ldy];
                if (t < left && in1) v1[i] += add[t * ldy + 8];
            }
        }
#pragma unroll
        for (u32 i = 0; i < N; i++) {
            const u32 t = j * 8 + i / 2 * 8 + i % 2;
            if (t < left && in) y[t * ldy] = v[i];
            if (!GLU && t < left && in1) y[t * ldy + 8] = v1[i];
        }
    }
}

// What the consumers of a block know.
struct Block {
    const u8 *stages, *slots;
    float4 *sums; // of teams but the first, [team - 1][BN / 8][256]
    u32 *shared;  // a word
    Ring x, w;
};
// Where a team is in the rings, and whose turn the next unit is.
struct Cursor {
    Place stage, slot;
    u32 turn;
};

// Adds up the team's units of n that follow.
template <int F, int BN, bool GLU, int KERNEL>
__device__ __forceinline__ void sum_units(float (&acc)[BN / 2], const rzc_prefill &p, const Block &b, Cursor &at,
                                          u32 n) {
    using L = Layout<KERNEL, BN>;
    constexpr int RECORD = slot_record<F>;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 8;
    const bool first = threadIdx.x % 128 == 0;
    const int r0 = GLU ? warp & ~1 : warp, r1 = GLU ? warp | 1 : warp, h0 = GLU ? warp & 1 : 0, h1 = GLU ? h0 : 1;
    const u32 team = threadIdx.x / 256;
    constexpr bool by_parts = !is_own(F) && !is_16bit(F);               // decoded 64 columns at once
    constexpr int GROUPS = L::ALONE || (BN <= 64 && !by_parts) ? 1 : 2; // of 32 columns, between two commits
    u32 a[GROUPS][16], sv[4], last = 0, last_slot = 0;
    uint4 low = {}, quants = {};
    LaneScales<by_parts ? F : RZC_R_Q8_0> lane_scales;
    bool any = false;
    const u32 tiles = (u32)swizzled_tile(shared_at(b.stages)), rows = shared_at(b.stages) + lane % 8 * 128;
    u32 magic;
    asm volatile("mov.u32 %0, 0x64646464;" : "=r"(magic)); // stays in a register
#pragma unroll
    for (int i = 0; i < BN / 2; i++) acc[i] = 0.f;
    for (u32 u = 0; u < n; u++) {
        const bool own = L::TEAMS == 1 || at.turn == team;
        at.turn = at.turn + 1 == L::TEAMS ? 0 : at.turn + 1;
        if (!own) {
            at.slot.step(1, b.w.n), at.stage.step(L::CHUNKS / L::STAGE_CHUNKS, b.x.n);
            continue;
        }
        barrier_wait(b.w.full + 8 * at.slot.i, at.slot.round);
        const u8 *base = b.slots + at.slot.i * p.slot_bytes;
        auto part = [&](int byte) {
            return Record{base + r0 * RECORD + byte, (GLU ? base + r1 * RECORD : base + r0 * RECORD) + byte, h0, h1};
        };
        const WholeRecord whole = {base + warp * RECORD};
        const HalfRecords halves = {base + r0 * RECORD, base + r1 * RECORD, h0};
        if constexpr (by_parts && GLU) lane_scales.load(halves, lane);
        if constexpr (by_parts && !GLU) lane_scales.load(whole, lane);
        if (is_own(F)) scales<F>(sv, part(F == RZC_R_Q4_K ? 2048 : F == RZC_R_Q6_K ? 3072 : 4096), lane);
#pragma unroll
        for (int k = 0; k < 2 * L::CHUNKS; k++) { // groups
            const int c = k / 2, i = k % 2;
            u32 *chunk = a[c % GROUPS], *regs = chunk + 8 * i;
            if constexpr (is_16bit(F)) { // fragments as they are; R_F16: times WEIGHT_SCALE
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    const uint4 w = words(part(k * 1024), h * 512, lane);
                    regs[4 * h] = w.x, regs[4 * h + 1] = w.y, regs[4 * h + 2] = w.z, regs[4 * h + 3] = w.w;
                }
#pragma unroll
                for (int j = 0; j < 8 && F == RZC_R_F16; j++) regs[j] = half2_mul(regs[j], SCALE2);
            } else if constexpr (by_parts) {
                if (i == 0 && GLU) decode_record<F>(a[c % GROUPS], halves, lane_scales, lane, c);
                if (i == 0 && !GLU) decode_record<F>(a[c % GROUPS], whole, lane_scales, lane, c);
            } else {
                if (F == RZC_R_Q8_0 || i == 0) quants = words(part((F == RZC_R_Q8_0 ? k : c) * 512), 0, lane);
                if (F == RZC_R_Q6_K && k % 4 == 0) low = words(part(2048 + c / 2 * 512), 0, lane);
                decode<F>(regs, quants, low, sv, magic, lane, c, i);
            }
            if (i + 1 < GROUPS) continue;
            const bool first_of_chunk = i + 1 == GROUPS;
            if (first_of_chunk && c % L::STAGE_CHUNKS == 0) barrier_wait(b.x.full + 8 * at.stage.i, at.stage.round);
            if constexpr (L::ALONE) {
                const u32 x = rows + at.stage.i * L::STAGE + c * (BN * 128) + ((4 * i + lane / 8 ^ lane % 8) << 4);
#pragma unroll
                for (int n8 = 0; n8 < BN / 8; n8++) {
                    u32 m[4];
                    ldmatrix4(m, x + n8 * 1024);
                    float(&sum)[4] = *(float(*)[4])(acc + 4 * n8);
                    mma16<is_bf16(F)>(sum, *(const u32(*)[4])regs, m[0], m[1]);
                    mma16<is_bf16(F)>(sum, *(const u32(*)[4])(regs + 4), m[2], m[3]);
                }
            } else {
                const u32 x = tiles + at.stage.i * (L::STAGE / 16) + c % L::STAGE_CHUNKS * (BN * 8);
                wgmma_fence();
#pragma unroll
                for (int j = (2 - GROUPS) * 2 * i; j < 2 * (i + 1); j++)
                    Wgmma<BN, is_bf16(F)>::add(acc, chunk + 4 * j, x + 2 * j);
                wgmma_commit();
                // after this the groups before have been multiplied: their registers, stage and, in time, slot are free
                wgmma_wait<1>();
                if (first_of_chunk) {
                    if (first && (c || any)) {
                        if (c % L::STAGE_CHUNKS == 0) barrier_arrive(b.x.empty + 8 * last);
                        if (c == 0) barrier_arrive(b.w.empty + 8 * last_slot);
                    }
                    last = at.stage.i, last_slot = at.slot.i;
                }
                if (i == 1 && c % L::STAGE_CHUNKS == L::STAGE_CHUNKS - 1) at.stage.step(1, b.x.n);
            }
        }
        if constexpr (L::ALONE) {
            __syncwarp();
            if (lane == 0) barrier_arrive(b.x.empty + 8 * at.stage.i), barrier_arrive(b.w.empty + 8 * at.slot.i);
            at.stage.step(1, b.x.n);
        }
        at.slot.step(1, b.w.n);
        any = true;
    }
    if constexpr (L::ALONE) return;
    wgmma_wait<0>();
    if (first && any) barrier_arrive(b.x.empty + 8 * last), barrier_arrive(b.w.empty + 8 * last_slot);
}

// The teams' sums go to the first team, in order. False for the others.
template <int BN, int TEAMS>
__device__ __forceinline__ bool join_teams(float (&acc)[BN / 2], const Block &b, bool is_first, bool is_last) {
    const u32 team = threadIdx.x / 256, tid = threadIdx.x % 256;
    if (team > 0) {
        float4 *to = b.sums + (team - 1) * (BN / 8 * 256) + tid;
        if (!is_first) threads_wait(2 * team, 512); // they have been taken
#pragma unroll
        for (int j = 0; j < BN / 8; j++)
            to[j * 256] = make_float4(acc[4 * j], acc[4 * j + 1], acc[4 * j + 2], acc[4 * j + 3]);
        threads_arrive(2 * team + 1, 512);
        return false;
    }
#pragma unroll
    for (u32 t = 1; t < TEAMS; t++) {
        const float4 *from = b.sums + (t - 1) * (BN / 8 * 256) + tid;
        threads_wait(2 * t + 1, 512);
#pragma unroll
        for (int j = 0; j < BN / 8; j++) {
            const float4 v = from[j * 256];
            acc[4 * j] += v.x, acc[4 * j + 1] += v.y, acc[4 * j + 2] += v.z, acc[4 * j + 3] += v.w;
        }
        if (!is_last) threads_arrive(2 * t, 512);
    }
    return true;
}

// A tile that several blocks share: each leaves its part, the last to come adds all of them in the order of the blocks.
// False for the others.
template <int F, int BN>
__device__ __forceinline__ bool join_blocks(float (&acc)[BN / 2], const rzc_prefill &p, const Block &b,
                                            const Work<F, BN> &w) {
    const u32 tid = threadIdx.x % 256, begin = w.tile * w.units;
    const u32 b0 = w.owner(p, begin), b1 = w.owner(p, begin + w.units - 1);
    // a block's second part is the tile that begins in it
    auto part = [&](u32 block, u32 second) {
        return (float4 *)p.parts + (u64)(block * 2 + second) * (BN / 8 * 256) + tid;
    };
    const u32 second = w.begin(p, b0) != begin;
    float4 *mine = part(blockIdx.x, blockIdx.x == b0 ? second : 0);
#pragma unroll
    for (int j = 0; j < BN / 8; j++)
        __stcg(mine + j * 256, make_float4(acc[4 * j], acc[4 * j + 1], acc[4 * j + 2], acc[4 * j + 3]));
    threads_wait(1, 256);
    if (tid == 0) { // releases what the team has written, acquires what the blocks before have
        u32 n;
        asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], 1;" : "=r"(n) : "l"(p.arrivals + w.tile) : "memory");
        *b.shared = n;
    }
    threads_wait(1, 256);
    if (*b.shared != b1 - b0) return false;
    if (tid == 0) p.arrivals[w.tile] = 0;
#pragma unroll
    for (int i = 0; i < BN / 2; i++) acc[i] = 0.f;
#pragma unroll(BN <= 16 ? 4 : BN == 32 ? 2 : 1)
    for (u32 i = b0; i <= b1; i++) {
        const float4 *from = part(i, i == b0 ? second : 0);
#pragma unroll
        for (int j = 0; j < BN / 8; j++) {
            const float4 v = __ldcg(from + j * 256);
            acc[4 * j] += v.x, acc[4 * j + 1] += v.y, acc[4 * j + 2] += v.z, acc[4 * j + 3] += v.w;
        }
    }
    return true;
}

template <int F, int BN, bool GLU> __device__ __forceinline__ void consume(const rzc_prefill &p, const Block &b) {
    using L = Layout<F, BN>;
    float acc[BN / 2];
    Cursor at = {};
    bool is_first = true;
    for (Work<F, BN> w(p); w.next(); is_first = false) {
        const u32 tn = w.tile / w.tiles_m, mat = matrix_of(p, tn);
        if constexpr (F == K) {
            if (p.mats[mat].w.format == RZC_R_Q6_K)
                sum_units<RZC_R_Q6_K, BN, GLU, F>(acc, p, b, at, w.n);
            else
                sum_units<RZC_R_Q4_K, BN, GLU, F>(acc, p, b, at, w.n);
        } else {
            sum_units<F, BN, GLU, F>(acc, p, b, at, w.n);
        }
        if (L::TEAMS > 1 && !join_teams<BN, L::TEAMS>(acc, b, is_first, w.at >= w.end)) continue;
        if (w.n < w.units && !join_blocks<F, BN>(acc, p, b, w)) continue;
        store<BN, GLU>(p, acc, mat, tn - p.mats[mat].first_tile, w.tile % w.tiles_m * BN);
    }
}
#endif

template <int F, int BN> __device__ __forceinline__ void product(const rzc_prefill &p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    using L = Layout<F, BN>;
    extern __shared__ u8 raw[];
    dependents();
    u8 *stages = raw + ((1024 - (shared_at(raw) & 1023)) & 1023), *slots = stages + p.stages * L::STAGE;
    u8 *sums = slots + p.slots * p.slot_bytes;
    const u32 bars = shared_at(sums + L::SUMS);
    const Block b = {stages,
                     slots,
                     (float4 *)sums,
                     (u32 *)(sums + L::SUMS + 16 * (p.stages + p.slots)),
                     {bars, bars + 8 * p.stages, p.stages},
                     {bars + 16 * p.stages, bars + 16 * p.stages + 8 * p.slots, p.slots}};
    if (threadIdx.x == 0) { // one copier fills a place, a team empties it
        auto open = [](const Ring &ring) {
            for (u32 i = 0; i < ring.n; i++)
                barrier_init(ring.full + 8 * i, 1), barrier_init(ring.empty + 8 * i, L::RELEASES);
        };
        open(b.x), open(b.w);
        barriers_made();
    }
    __syncthreads();
    if (threadIdx.x >= L::CONSUMERS) {
        // no more registers in all than the block has at its start: a larger sum never gets them
        if constexpr (BN > 64) asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if constexpr (BN == 64) asm volatile("setmaxnreg.dec.sync.aligned.u32 32;");
        if (threadIdx.x < L::CONSUMERS + 32)
            copy_weights<F, BN>(p, shared_at(slots), b.w);
        else if (threadIdx.x == L::CONSUMERS + 32)
            copy_activations<F, BN>(p, shared_at(stages), b.x);
    } else {
        if constexpr (BN > 64) asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        if constexpr (BN == 64) asm volatile("setmaxnreg.inc.sync.aligned.u32 112;");
        predecessors();
        if (p.glu)
            consume<F, BN, true>(p, b);
        else
            consume<F, BN, false>(p, b);
    }
#endif
}
// grid: up to the number of SMs; block: Layout::THREADS; shared: shared_bytes in prefill.c
#define KERNEL(name, f, bn)                                                                                           \
    extern "C" __global__ void __launch_bounds__(Layout<f, bn>::THREADS, 1)                                           \
        rzc_wgmma_##name##_##bn(const __grid_constant__ rzc_prefill p) {                                              \
        product<f, bn>(p);                                                                                            \
    }
#define KERNELS(name, f) \
    KERNEL(name, f, 8)   \
    KERNEL(name, f, 16)  \
    KERNEL(name, f, 32)  \
    KERNEL(name, f, 64)  \
    KERNEL(name, f, 128) \
    KERNEL(name, f, 256)
#define SOME_KERNELS(f)       \
    KERNEL(f, RZC_##f, 16) \
    KERNEL(f, RZC_##f, 64) \
    KERNEL(f, RZC_##f, 256)
KERNELS(K, K)
KERNELS(R_Q8_0, RZC_R_Q8_0)
KERNELS(R_BF16, RZC_R_BF16)
SOME_KERNELS(R_F16)
SOME_KERNELS(R_Q4_0)
SOME_KERNELS(R_Q4_1)
SOME_KERNELS(R_Q5_0)
SOME_KERNELS(R_Q5_1)
SOME_KERNELS(R_Q5_K)
SOME_KERNELS(R_Q3_K)
SOME_KERNELS(R_Q2_K)
SOME_KERNELS(R_IQ4_NL)
SOME_KERNELS(R_IQ4_XS)
