// prefill_wgmma.cu - products of many token rows with weights in records, on Hopper: y^T = W x^T, so that the weights
// are the A operand, decoded in registers, and the activations (prefill.cuh) the B operand, as they lie.
//
// A tile is 128 outputs (GLU: 64 of each) x BN token rows. Warp 8 copies weights, whole records into a ring of slots,
// and does not wait for the kernels ahead; warp 9 copies activations, stages of 64 columns. Two warpgroups of 64
// decode chunk i + 1 while the tensor cores work on chunk i. The grid is persistent, tiles are dealt in turn, each is
// summed in the order of its columns: a row's result depends on nothing but the row.
#include "decode_records.cuh"
#include "wgmma.cuh"

// ---- decoding: two 16-bit values a register; bytes {b, 0x64} are 1024 + b as half precision ----

__device__ __forceinline__ u32 and_or(u32 x, u32 m, u32 o) {
    u32 r;
    asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(r) : "r"(x), "r"(m), "r"(o));
    return r;
}
__device__ __forceinline__ u32 fma2(u32 a, u32 b, u32 c) {
    u32 r;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
}
__device__ __forceinline__ u32 add2(u32 a, u32 b) {
    u32 r;
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
}
__device__ __forceinline__ u32 mul2(u32 a, u32 b) {
    u32 r;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
}
__device__ __forceinline__ u32 low2(u32 x) { return __byte_perm(x, x, 0x1010); }
__device__ __forceinline__ u32 high2(u32 x) { return __byte_perm(x, x, 0x3232); }
[[maybe_unused]] constexpr u32 SCALE2 = 0x54005400u; // WEIGHT_SCALE, twice

// The 16 rows a warp works on: a record, or (GLU) half of one of gate and half of one of up.
struct Record {
    const u8 *low, *high;  // rows n, rows n + 8: the same unless GLU
    int low_row, high_row; // word (0 or 1) of a pair: which half of its record
};

// Scales of a record: out[2 f + hi] of lane t belongs to row n + 8 hi, group 4 f + t. Q4_K: (d * scale, - dmin * min);
// Q6_K: d * scale of the group's two halves. Q8_0: out[hi] = the pair f = 0, 1. All times WEIGHT_SCALE.
template <int F> __device__ __forceinline__ void scales(u32 (&out)[4], const Record &r, int lane) {
#pragma unroll
    for (int hi = 0; hi < 2; hi++) {
        const u8 *at = hi ? r.high : r.low;
        const int half = hi ? r.high_row : r.low_row;
        if constexpr (F == RZC_R_Q4_K) {
            const u32 d = mul2(*(const u32 *)(at + (lane >> 2) * 8 + half * 4) ^ 0x80000000u, SCALE2);
            const u32 q0 = *(const u32 *)(at + 64 + lane * 4), q1 = *(const unsigned short *)(at + 192 + lane * 2);
            const u32 v[2] = {q0 >> (12 * half), half ? q1 >> 4 : __funnelshift_r(q0, q1, 24)};
#pragma unroll
            for (int f = 0; f < 2; f++) {
                const u32 s = and_or(v[f] << 10, 0x003f0000u, and_or(v[f], 0x3fu, 0x64006400u));
                out[2 * f + hi] = mul2(add2(s, 0xE400E400u), d);
            }
        } else if constexpr (F == RZC_R_Q6_K) {
            const u32 q = *(const u32 *)(at + lane * 8 + half * 4);
            const u32 d = mul2(low2(*(const unsigned short *)(at + 256 + (lane >> 2) * 4 + half * 2)), SCALE2);
            out[hi] = mul2(add2(__byte_perm(q, 0x64646464u, 0x4140), 0xE480E480u), d);
            out[2 + hi] = mul2(add2(__byte_perm(q, 0x64646464u, 0x4342), 0xE480E480u), d);
        } else if constexpr (F == RZC_R_Q8_0) {
            out[hi] = mul2(*(const u32 *)(at + lane * 8 + half * 4), SCALE2);
        }
    }
}
// Lane's four words of a record's part of 512 bytes, of both halves.
__device__ __forceinline__ uint4 words(const Record &r, u32 part, int lane) {
    const uint4 a = *(const uint4 *)(r.low + part + lane * 16);
    if (r.low == r.high) return a;
    const uint4 b = *(const uint4 *)(r.high + part + lane * 16);
    return r.low_row ? make_uint4(a.y, b.y, a.w, b.w) : make_uint4(a.x, b.x, a.z, b.z);
}
// 64 columns, groups 2c and 2c + 1: a[4 j + i] = A register i of step j. r: quants of the chunk; v: Q6_K's low bits.
template <int F>
__device__ __forceinline__ void decode(u32 (&a)[16], const Record &r, const uint4 &v, const u32 (&sv)[4], int lane,
                                       int c) {
    u32 s[2][2]; // [group][row n, n + 8]
#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll
        for (int hi = 0; hi < 2; hi++) {
            s[i][hi] = __shfl_sync(~0u, sv[(F == RZC_R_Q8_0 ? 0 : c & 2) + hi], (lane & 28) | ((2 * c + i) & 3));
            if (F == RZC_R_Q8_0) s[i][hi] = c & 2 ? high2(s[i][hi]) : low2(s[i][hi]);
        }
    }
    uint4 w4[2];
    w4[0] = words(r, 0, lane);
    if (F == RZC_R_Q8_0) w4[1] = words(r, 512, lane);
#pragma unroll
    for (int i = 0; i < 2; i++) { // group 2c + i
        const uint4 w = w4[F == RZC_R_Q8_0 ? i : 0];
        const u32 ww[4] = {w.x, w.y, w.z, w.w}, vv[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int j = 0; j < 4;
             j++) { // word 2h + hi: registers hi and hi + 2 of step 2i + h; value = (1024 + byte) * mul + sub
            const int h = j >> 1, hi = j & 1;
            u32 b, sub = 0xE400E400u, mul = 0x3C003C00u;
            if constexpr (F == RZC_R_Q4_K) {
                b = ww[j] & (i ? 0xf0f0f0f0u : 0x0f0f0f0fu);
                if (i) mul = 0x2C002C00u, sub = 0xD400D400u; // byte = 16 q
            } else if constexpr (F == RZC_R_Q6_K) {          // byte = q, or 4 q where that saves a shift
                const int sh = 2 * ((2 * c + i) & 3);
                if (!i)
                    b = and_or(vv[j] >> sh, 0x03030303u, ((ww[j] << 2) & 0x3c3c3c3cu) ^ 0x20202020u), sub = 0xE420E420u;
                else
                    b = and_or(sh > 2 ? vv[j] >> (sh - 2) : vv[j], 0x0c0c0c0cu, (ww[j] & 0xf0f0f0f0u) ^ 0x80808080u),
                    mul = 0x34003400u, sub = 0xDC80DC80u;
            } else {
                b = ww[j] ^ 0x80808080u, sub = 0xE480E480u;
            }
#pragma unroll
            for (int x = 0; x < 2; x++) {
                u32 p = __byte_perm(b, 0x64646464u, x ? 0x4342 : 0x4140);
                p = mul == 0x3C003C00u ? add2(p, sub) : fma2(p, mul, sub); // exact
                const u32 sc = s[i][hi];
                a[4 * (2 * i + h) + hi + 2 * x] = F == RZC_R_Q4_K ? fma2(p, low2(sc), high2(sc))
                                                                  : mul2(p, F == RZC_R_Q8_0 ? sc
                                                                            : h             ? high2(sc)
                                                                                            : low2(sc));
            }
        }
    }
}
// R_BF16: fragments as they are; R_F16: times WEIGHT_SCALE.
template <int F> __device__ __forceinline__ void fetch(u32 (&a)[16], const Record &r, int lane) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const uint4 w = words(r, j * 512, lane);
        a[4 * j] = w.x, a[4 * j + 1] = w.y, a[4 * j + 2] = w.z, a[4 * j + 3] = w.w;
    }
    if constexpr (F == RZC_R_F16) {
#pragma unroll
        for (int i = 0; i < 16; i++) a[i] = mul2(a[i], SCALE2);
    }
}
// Formats that have a decode of their own here; the others go by their parts.
__host__ __device__ constexpr bool is_own(int f) { return f == RZC_R_Q4_K || f == RZC_R_Q6_K || f == RZC_R_Q8_0; }
__host__ __device__ constexpr bool is_16bit(int f) { return parts_of(f).bits == 16; }

// ---- the kernel ----

template <int F, int BN> struct Layout {
    static constexpr int X = BN * 128;                                      // activations of a stage
    static constexpr int PART = is_16bit(F) ? 2 : 4;                    // chunks of 64 columns in a slot
    static constexpr int RECORD = is_16bit(F) ? 4096 : record_bytes(F); // of a record in a slot
    static constexpr int SLOT = 8 * RECORD, SLOTS = BN < 256 ? 4 : RECORD > 3072 && !is_16bit(F) ? 2 : 3;
    static constexpr int FREE = 231424 - 1024 - 512 - SLOTS * SLOT, STAGES = FREE / X < 12 ? FREE / X : 12;
    static constexpr int BYTES = 1024 + 512 + SLOTS * SLOT + STAGES * X;
    static_assert(STAGES >= 4 && SLOT % 128 == 0);
};
// Record (row tile) that slot i of an output tile holds, at column tile kb. Past the end: the last one, never stored.
__device__ __forceinline__ const u8 *record_at(const rzc_prefill &p, u32 mat, u32 tile, u32 i, u32 kb, u32 bytes) {
    u32 rt = tile * 8 + i;
    if (p.glu) mat = i & 1, rt = tile * 4 + i / 2;
    const rzc_prefill_matrix &m = p.mats[mat];
    rt = min(rt, (m.n_out + 15) / 16 - 1);
    return m.w.data + ((u64)rt * ((p.cols + 255) / 256) + kb) * bytes;
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// Barriers of a ring: full[i], empty[i].
struct Ring {
    u32 full, empty;
};
template <int F, int BN> __device__ __forceinline__ void copy_weights(const rzc_prefill &p, u32 slots, Ring ring) {
    using L = Layout<F, BN>;
    const u32 lane = threadIdx.x % 32, tiles_m = (p.n_rows + BN - 1) / BN, tiles = tiles_m * p.n_tiles,
              KB = (p.cols + 255) / 256;
    u32 slot = 0, phase = 1;
    for (u32 w = blockIdx.x; w < tiles; w += gridDim.x) {
        const u32 tn = w / tiles_m, mat = matrix_of(p, tn);
        const u8 *from = record_at(p, mat, tn - p.mats[mat].first_tile, lane % 8, 0, record_bytes(F));
        for (u32 i = 0; i < KB * (4 / L::PART); i++, from += L::RECORD) {
            barrier_wait(ring.empty + 8 * slot, phase);
            if (lane == 0) barrier_expect(ring.full + 8 * slot, L::SLOT);
            __syncwarp();
            if (lane < 8) bulk_copy(slots + slot * L::SLOT + lane * L::RECORD, from, L::RECORD, ring.full + 8 * slot);
            if (++slot == L::SLOTS) slot = 0, phase ^= 1;
        }
    }
}
template <int F, int BN> __device__ __forceinline__ void copy_activations(const rzc_prefill &p, u32 stages, Ring ring) {
    using L = Layout<F, BN>;
    const u32 tiles_m = (p.n_rows + BN - 1) / BN, tiles = tiles_m * p.n_tiles, chunks = (p.cols + 255) / 256 * 4;
    u32 stage = 0, phase = 1;
    predecessors();
    for (u32 w = blockIdx.x; w < tiles; w += gridDim.x) {
        const u8 *from = p.tiles + (u64)(w % tiles_m * BN) * 128;
        for (u32 c = 0; c < chunks; c++, from += (u64)p.rows_pad * 128) {
            barrier_wait(ring.empty + 8 * stage, phase);
            barrier_expect(ring.full + 8 * stage, L::X);
            bulk_copy(stages + stage * L::X, from, L::X, ring.full + 8 * stage);
            if (++stage == L::STAGES) stage = 0, phase ^= 1;
        }
    }
}

// acc[4 j + {0, 1}]: (first row of the lane; token rows 8 j + 2 q, + 1), + {2, 3}: its second row. Loads of eight
// results come before their stores. Short code: all of it is unrolled, BN / 16 times.
template <int BN, bool GLU>
__device__ __forceinline__ void store(const rzc_prefill &p, const float (&acc)[BN / 2], u32 mat, u32 tile, u32 t0) {
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
        float v[4], v1[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const float s = __ldg(scale + j * 8 + i / 2 * 8 + i % 2); // rows up to rows_pad have one, of any value
            v[i] = acc[4 * j + i / 2 * 4 + i % 2] * s + b, v1[i] = acc[4 * j + i / 2 * 4 + 2 + i % 2] * s + b1;
            if (GLU)
                v[i] = gate(v[i], c1, c3) * v1[i];
            else
                v[i] *= factor, v1[i] *= factor;
        }
        if (!GLU && add) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                const u32 t = j * 8 + i / 2 * 8 + i % 2;
                if (t < left && in) v[i] += add[t * ldy];
                if (t < left && in1) v1[i] += add[t * ldy + 8];
            }
        }
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const u32 t = j * 8 + i / 2 * 8 + i % 2;
            if (t < left && in) y[t * ldy] = v[i];
            if (!GLU && t < left && in1) y[t * ldy + 8] = v1[i];
        }
    }
}

template <int F, int BN, bool GLU>
__device__ __forceinline__ void consume(const rzc_prefill &p, const u8 *stages, const u8 *slots, Ring x_ring,
                                        Ring w_ring) {
    using L = Layout<F, BN>;
    const u32 tiles_m = (p.n_rows + BN - 1) / BN, tiles = tiles_m * p.n_tiles, KB = (p.cols + 255) / 256;
    const int lane = threadIdx.x % 32, first = threadIdx.x % 128 == 0, warp = threadIdx.x / 32;
    const int r0 = GLU ? warp & ~1 : warp, r1 = GLU ? warp | 1 : warp, h0 = GLU ? warp & 1 : 0, h1 = GLU ? h0 : 1;
    float acc[BN / 2];
    u32 a[2][16], sv[4];
    uint4 low = {};
    LaneScales<is_16bit(F) ? RZC_R_Q8_0 : F> own;
    u32 stage = 0, slot = 0, x_phase = 0, w_phase = 0, last = ~0u, last_slot = ~0u;
    for (u32 w = blockIdx.x; w < tiles; w += gridDim.x) {
        int add = 0;
        for (u32 kb = 0; kb < KB; kb++) {
#pragma unroll
            for (int c = 0; c < 4; c++) {
                if (c % L::PART == 0) barrier_wait(w_ring.full + 8 * slot, w_phase);
                const u8 *base = slots + slot * L::SLOT;
                auto at = [&](int byte) {
                    return Record{base + r0 * L::RECORD + byte,
                                  (GLU ? base + r1 * L::RECORD : base + r0 * L::RECORD) + byte, h0, h1};
                };
                u32(&regs)[16] = a[c & 1];
                if constexpr (is_16bit(F)) {
                    fetch<F>(regs, at(c % L::PART * 2048), lane);
                } else if constexpr (!is_own(F) && GLU) {
                    const HalfRecords rows = {base + r0 * L::RECORD, base + r1 * L::RECORD, h0};
                    if (c == 0) own.load(rows, lane);
                    decode_record<F>(regs, rows, own, lane, c);
                } else if constexpr (!is_own(F)) {
                    const WholeRecord rows = {base + warp * L::RECORD};
                    if (c == 0) own.load(rows, lane);
                    decode_record<F>(regs, rows, own, lane, c);
                } else {
                    if (c == 0) scales<F>(sv, at(F == RZC_R_Q4_K ? 2048 : F == RZC_R_Q6_K ? 3072 : 4096), lane);
                    if (F == RZC_R_Q6_K && !(c & 1)) low = words(at(2048 + c / 2 * 512), 0, lane);
                    decode<F>(regs, at(c * (F == RZC_R_Q8_0 ? 1024 : 512)), low, sv, lane, c);
                }
                const u64 b = swizzled_tile(shared_at(stages + stage * L::X));
                barrier_wait(x_ring.full + 8 * stage, x_phase);
                wgmma_fence();
#pragma unroll
                for (int j = 0; j < 4; j++) Wgmma<BN, is_bf16(F)>::run(acc, regs + 4 * j, b + 2 * j, j || c ? 1 : add);
                wgmma_commit();
                // after this the chunk before has been multiplied: its registers, stage and, in time, slot are free
                wgmma_wait<1>();
                if (first && last != ~0u) {
                    barrier_arrive(x_ring.empty + 8 * last);
                    if (c % L::PART == 0) barrier_arrive(w_ring.empty + 8 * last_slot);
                }
                last = stage, last_slot = slot;
                if (++stage == L::STAGES) stage = 0, x_phase ^= 1;
                if (c % L::PART == L::PART - 1 && ++slot == L::SLOTS) slot = 0, w_phase ^= 1;
            }
            add = 1;
        }
        wgmma_wait<0>();
        if (first) barrier_arrive(x_ring.empty + 8 * last), barrier_arrive(w_ring.empty + 8 * last_slot);
        last = ~0u;
        const u32 tn = w / tiles_m, mat = matrix_of(p, tn);
        store<BN, GLU>(p, acc, mat, tn - p.mats[mat].first_tile, w % tiles_m * BN);
    }
}
#endif

template <int F, int BN> __device__ __forceinline__ void product(const rzc_prefill &p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    using L = Layout<F, BN>;
    extern __shared__ u8 raw[];
    dependents();
    u8 *stages = raw + ((1024 - (shared_at(raw) & 1023)) & 1023), *slots = stages + L::STAGES * L::X;
    const u32 bars = shared_at(slots + L::SLOTS * L::SLOT);
    const Ring x_ring = {bars, bars + 8 * L::STAGES},
               w_ring = {bars + 16 * L::STAGES, bars + 16 * L::STAGES + 8 * L::SLOTS};
    if (threadIdx.x == 0) {
        for (int s = 0; s < L::STAGES; s++) barrier_init(x_ring.full + 8 * s, 1), barrier_init(x_ring.empty + 8 * s, 2);
        for (int s = 0; s < L::SLOTS; s++) barrier_init(w_ring.full + 8 * s, 1), barrier_init(w_ring.empty + 8 * s, 2);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    if (threadIdx.x >= 256) {
        // 40 x 128 + 232 x 256 registers are what the block has at its start; a larger sum never gets them
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x < 288)
            copy_weights<F, BN>(p, shared_at(slots), w_ring);
        else if (threadIdx.x == 288)
            copy_activations<F, BN>(p, shared_at(stages), x_ring);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        predecessors();
        if (p.glu)
            consume<F, BN, true>(p, stages, slots, x_ring, w_ring);
        else
            consume<F, BN, false>(p, stages, slots, x_ring, w_ring);
    }
#endif
}
// grid: SMs; block: 384; shared: Layout::BYTES
#define KERNEL(f, bn)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(384, 1) rzc_wgmma_##f##_##bn(const __grid_constant__ rzc_prefill p) { \
        product<RZC_##f, bn>(p);                                                                                       \
    }
#define KERNELS(f) \
    KERNEL(f, 64)  \
    KERNEL(f, 128) \
    KERNEL(f, 256)
KERNELS(R_Q4_K)
KERNELS(R_Q6_K)
KERNELS(R_Q8_0)
KERNELS(R_BF16)
KERNELS(R_F16)
KERNELS(R_Q4_0)
KERNELS(R_Q4_1)
KERNELS(R_Q5_0)
KERNELS(R_Q5_1)
KERNELS(R_Q5_K)
KERNELS(R_Q3_K)
KERNELS(R_Q2_K)
KERNELS(R_IQ4_NL)
KERNELS(R_IQ4_XS)
