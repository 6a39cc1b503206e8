// gemm.cu - products of record weights with many rows of x on Hopper (wgmma): y[M][N] = x[M][K] w[N][K]^T, F32 sums.
//
// W is the wgmma A operand, decoded in registers; x is B, brought by TMA with the 128-byte swizzle. One warpgroup
// produces (one thread issues TMA), WGS warpgroups of 64 rows of W consume: chunk i + 1 is decoded while the products
// of chunk i run. The grid is persistent: whole tiles of 64 WGS rows x BN rows of x in turn. The ring is filled with
// weights before the predecessor has ended, since only x depends on it. x comes from rzc_half_k: fp16 (BF16 weights:
// bf16), each row scaled by a power of two, the k of every 16 permuted (position 2t + i <- 4t + i, 8 + 2t + i <- 4t + 2
// + i), because a lane of the A fragment wants k = 2t, 2t+1, 2t+8, 2t+9 and a record gives it 4t ... 4t+3. Layout of
// the records: dequant.cuh.
#include "dequant.cuh"
#include <type_traits>

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
enum Type { Q4K, Q6K, Q80, R16 };
// ---- PTX
__device__ __forceinline__ u32 smem(const void *p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void mb_init(u32 b, int n) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(b), "r"(n));
}
__device__ __forceinline__ void mb_expect(u32 b, int n) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(b), "r"(n) : "memory");
}
__device__ __forceinline__ void mb_arrive(u32 b) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(b) : "memory");
}
__device__ __forceinline__ void mb_wait(u32 b, u32 parity) {
    asm volatile(
        "{ .reg .pred p;\nW: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra D;\nbra W;\nD: }" ::"r"(b),
        "r"(parity)
        : "memory");
}
__device__ __forceinline__ void tma2(u32 dst, const void *m, int x, int y, u32 bar) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], "
                 "[%4];" ::"r"(dst),
                 "l"(m), "r"(x), "r"(y), "r"(bar)
                 : "memory");
}
__device__ __forceinline__ void tma3(u32 dst, const void *m, int x, int y, int z, u32 bar) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, "
                 "%4}], [%5];" ::"r"(dst),
                 "l"(m), "r"(x), "r"(y), "r"(z), "r"(bar)
                 : "memory");
}
__device__ __forceinline__ void wg_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wg_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> __device__ __forceinline__ void wg_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
// K-major operand tile, rows of 128 bytes, 128-byte swizzle, groups of eight rows 1024 bytes apart
__device__ __forceinline__ u64 desc128(u32 a) {
    return (u64)((a & 0x3ffff) >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62);
}

// wgmma m64 nN k16, A = 4 registers. `acc` scales the old accumulator by 0 or 1.
template <int N, bool BF> struct Mma;
#define A4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define A16(i) A4(i), A4(i + 4), A4(i + 8), A4(i + 12)
#define A32(i) A16(i), A16(i + 16)
#define A64(i) A32(i), A32(i + 32)
#define L16A "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define L16B ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define L32C                                                                                                           \
    ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%"   \
    "59,%60,%61,%62,%63"
#define L32D                                                                                                           \
    ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%"   \
    "91,%92,%93,%94,%95"
#define L32E                                                                                                           \
    ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118," \
    "%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define ACC_32 A16(0)
#define ACC_64 A32(0)
#define ACC_128 A64(0)
#define ACC_256 A64(0), A64(64)
#define MMA_DEF(N, BF, TY, REGS, RA, RB, RP)                                                                           \
    template <> struct Mma<N, BF> {                                                                                    \
        static __device__ __forceinline__ void rs(float (&d)[N / 2], const u32 *a, u64 b, int acc) {                   \
            asm volatile("{ .reg .pred p; setp.ne.b32 p, " RP ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N             \
                         "k16.f32." TY "." TY " {" REGS "}, " RA ", " RB ", p, 1, 1, 0; }"                             \
                         : ACC_##N                                                                                     \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(acc));                              \
        }                                                                                                              \
    };
#define MMA_BOTH(N, REGS, RA, RB, RP)                                                                                  \
    MMA_DEF(N, false, "f16", REGS, RA, RB, RP) MMA_DEF(N, true, "bf16", REGS, RA, RB, RP)
MMA_BOTH(32, L16A, "{%16,%17,%18,%19}", "%20", "%21")
MMA_BOTH(64, L16A L16B, "{%32,%33,%34,%35}", "%36", "%37")
MMA_BOTH(128, L16A L16B L32C, "{%64,%65,%66,%67}", "%68", "%69")
MMA_BOTH(256, L16A L16B L32C L32D L32E, "{%128,%129,%130,%131}", "%132", "%133")

// ---- decoding
// Two 16-bit values a register. Magic numbers: bytes {b, 0x64} = 1024 + b as half, {b, 0x43} = 128 + b as bf16 (b <
// 128).
__device__ __forceinline__ u32 and_or(u32 x, u32 m, u32 o) {
    u32 r;
    asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(r) : "r"(x), "r"(m), "r"(o));
    return r;
}
__device__ __forceinline__ u32 prmt(u32 a, u32 b, u32 s) { return __byte_perm(a, b, s); }
template <bool BF> __device__ __forceinline__ u32 fma2(u32 a, u32 b, u32 c) {
    u32 r;
    if (BF) asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    else asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
}
template <bool BF> __device__ __forceinline__ u32 add2(u32 a, u32 b) {
    u32 r;
    if (BF) asm("add.rn.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    else asm("add.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
}
template <bool BF> __device__ __forceinline__ u32 mul2(u32 a, u32 b) {
    u32 r;
    if (BF) asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    else asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
}
__device__ __forceinline__ u32 lo2(u32 x) {
    u32 r;
    asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; mov.b32 %0, {l, l}; }" : "=r"(r) : "r"(x));
    return r;
}
__device__ __forceinline__ u32 hi2(u32 x) {
    u32 r;
    asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; mov.b32 %0, {h, h}; }" : "=r"(r) : "r"(x));
    return r;
}
__device__ __forceinline__ float half_lo(u32 x) { return __half2float(__ushort_as_half((unsigned short)x)); }
__device__ __forceinline__ float byte_f(u32 x, int i) {
    return __uint_as_float(prmt(x, 0x4B000000u, 0x7440 | i)) - 8388608.f;
} // 2^23 + b
__device__ __forceinline__ u32 pack2(float a, float b, bool bf) {
    u32 r;
    if (bf) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(b), "f"(a));
    else asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(b), "f"(a));
    return r;
}
// Scales of one record, decoded once by each quad: sv[2f + hi] of lane t belongs to row n + 8 hi, group 4f + t. Q4_K:
// (d*sc, -dmin*m); Q6_K: d*sc of the group's two 16-groups. Q8_0: sv[hi] = the fp16 pair f = 0, 1. ws: the record's
// bytes after the quants.
template <Type QT, bool BF> __device__ __forceinline__ void scales(u32 (&sv)[4], const u8 *ws, int lane) {
    if (QT == Q4K) {
        const uint2 d = *(const uint2 *)(ws + (lane >> 2) * 8);
        const u32 q0 = *(const u32 *)(ws + 64 + lane * 4), q1 = *(const unsigned short *)(ws + 192 + lane * 2);
        const u32 v[4] = {q0, q0 >> 12, __funnelshift_r(q0, q1, 24), q1 >> 4};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const u32 di = i & 1 ? d.y : d.x;
            if (BF)
                sv[i] = pack2((float)(v[i] & 63) * half_lo(di), (float)((v[i] >> 6) & 63) * -half_lo(di >> 16), true);
            else
                sv[i] = mul2<false>(
                    add2<false>(and_or(v[i] << 10, 0x003f0000, and_or(v[i], 0x3f, 0x64006400)), 0xE400E400u),
                    di ^ 0x80000000u);
        }
    } else if (QT == Q6K) {
        const uint2 q = *(const uint2 *)(ws + lane * 8);
        const u32 d = *(const u32 *)(ws + 256 + (lane >> 2) * 4);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const u32 x = i & 1 ? q.y : q.x;
            const float f = half_lo(i & 1 ? d >> 16 : d);
            if (BF) sv[i] = pack2((byte_f(x, i & 2) - 128.f) * f, (byte_f(x, (i & 2) + 1) - 128.f) * f, true);
            else
                sv[i] = mul2<false>(add2<false>(prmt(x, 0x64646464, i & 2 ? 0x4342 : 0x4140), 0xE480E480u),
                                    i & 1 ? hi2(d) : lo2(d));
        }
    } else if (QT == Q80) {
        const uint2 q = *(const uint2 *)(ws + lane * 8);
        sv[0] = q.x;
        sv[1] = q.y;
        if (BF) {
            sv[0] = pack2(half_lo(q.x), half_lo(q.x >> 16), true);
            sv[1] = pack2(half_lo(q.y), half_lo(q.y >> 16), true);
        }
    }
}
// One chunk (64 k, groups 2c and 2c+1) of 16 rows: a[4 j + i] = A register i of k-step j. wq: this warp's quants; v:
// Q6_K's low bits.
template <Type QT, bool BF>
__device__ __forceinline__ void decode(u32 (&a)[16], const u8 *wq, const uint4 &v, const u32 (&sv)[4], int lane,
                                       int c) {
    const u32 magic = BF ? 0x43434343u : 0x64646464u;
    u32 s[2][2]; // [group][row n, n+8]
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int hi = 0; hi < 2; hi++) {
            s[i][hi] = __shfl_sync(~0u, sv[(QT == Q80 ? 0 : c & 2) + hi], (lane & 28) | ((2 * c + i) & 3));
            if (QT == Q80) s[i][hi] = c & 2 ? hi2(s[i][hi]) : lo2(s[i][hi]);
        }
    uint4 w4[2];
    w4[0] = *(const uint4 *)(wq + lane * 16);
    if (QT == Q80) w4[1] = *(const uint4 *)(wq + 512 + lane * 16);
#pragma unroll
    for (int i = 0; i < 2; i++) { // group 2c + i
        const uint4 w = w4[QT == Q80 ? i : 0];
        const u32 ww[4] = {w.x, w.y, w.z, w.w}, vv[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int r = 0; r < 4; r++) { // word 2h + hi -> registers hi and hi + 2 of k-step 2i + h
            const int h = r >> 1, hi = r & 1;
            u32 b, sub = 0xE400E400u, mul = 0x3C003C00u,
                   sc = s[i][hi]; // four bytes; the value is (magic + byte) * mul + sub
            if (QT == Q4K) {
                if (BF) b = (i ? ww[r] >> 4 : ww[r]) & 0x0f0f0f0f, sub = 0xC300C300u;
                else if (i) b = ww[r] & 0xf0f0f0f0, mul = 0x2C002C00u, sub = 0xD400D400u;
                else b = ww[r] & 0x0f0f0f0f;
            }
            if (QT == Q6K) { // byte = q, or 4 q where that saves a shift
                const int sh = 2 * ((2 * c + i) & 3);
                if (BF || !i)
                    b = and_or(vv[r] >> sh, 0x03030303, ((i ? ww[r] >> 2 : ww[r] << 2) & 0x3c3c3c3c) ^ 0x20202020),
                    sub = BF ? 0xC320C320u : 0xE420E420u;
                else
                    b = and_or(sh > 2 ? vv[r] >> (sh - 2) : vv[r], 0x0c0c0c0c, (ww[r] & 0xf0f0f0f0) ^ 0x80808080),
                    mul = 0x34003400u, sub = 0xDC80DC80u;
            }
            if (QT == Q80) b = ww[r] ^ 0x80808080, sub = 0xE480E480u;
#pragma unroll
            for (int x = 0; x < 2; x++) {
                u32 p = prmt(b, magic, x ? 0x4342 : 0x4140);
                if (QT == Q80 && BF)
                    p = pack2(byte_f(b, 2 * x) - 128.f, byte_f(b, 2 * x + 1) - 128.f, true); // 8 bits and sign fit bf16
                else p = mul == 0x3C003C00u ? add2<BF>(p, sub) : fma2<BF>(p, mul, sub);      // exact
                a[4 * (2 * i + h) + hi + 2 * x] = QT == Q4K ? fma2<BF>(p, lo2(sc), hi2(sc))
                                                            : mul2<BF>(p, QT == Q80 ? sc
                                                                          : h       ? hi2(sc)
                                                                                    : lo2(sc));
            }
        }
    }
}

__device__ __forceinline__ void fetch16(u32 (&a)[16], const u8 *wq, int lane) { // R16: the fragments as they are
#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint4 w = *(const uint4 *)(wq + j * 512 + lane * 16);
        a[4 * j] = w.x;
        a[4 * j + 1] = w.y;
        a[4 * j + 2] = w.z;
        a[4 * j + 3] = w.w;
    }
}

// ---- the kernel
template <Type QT, bool BF, int WGS, int BN> struct Cfg {
    static constexpr int ROWS = 64 * WGS, RG = ROWS / 16;
    static constexpr int XB = BN * 128, QB = QT == R16 ? ROWS * 128 : QT == Q80 ? ROWS * 64 : ROWS * 32;
    static constexpr int HB = QT == Q6K ? ROWS * 32 : 0, STAGE = XB + QB + HB;
    static constexpr int SR = QT == R16   ? 0
                              : QT == Q6K ? 288
                                          : 256,
                         SB = RG * SR, SLOT = (SB + 127) / 128 * 128; // scales
    static constexpr int SLOTS = BN <= 64 ? 5 : 3, FREE = 232448 - 1024 - 512 - SLOTS * SLOT, ST0 = FREE / STAGE;
    static constexpr int ST = ST0 > 4 * SLOTS - 3 ? 4 * SLOTS - 3 : ST0; // a scale slot serves four stages
    static constexpr int SMEM = 1024 + 512 + SLOTS * SLOT + ST * STAGE;
};
template <Type QT, bool BF, int WGS, int BN> __device__ __forceinline__ void gemm(const rzc_gemm &ar) {
    typedef Cfg<QT, BF, WGS, BN> C;
    typedef Mma<BN, BF> MM;
    extern __shared__ u8 raw[];
    asm volatile("griddepcontrol.launch_dependents;");
    u8 *sm = raw + ((1024 - (smem(raw) & 1023)) & 1023);
    u8 *sc = sm + C::ST * C::STAGE;
    const u32 full = smem(sc + C::SLOTS * C::SLOT), empty = full + 8 * C::ST;
    const int wg = threadIdx.x >> 7, tid = threadIdx.x & 127, lane = tid & 31, warp = tid >> 5;
    const int worker = blockIdx.x, G = gridDim.x, KB = ar.k_tiles;
    const void *mx = ar.maps[0], *mq = ar.maps[1], *mh = ar.maps[2], *ms = ar.maps[3];
    if (threadIdx.x == 0) {
        for (int s = 0; s < C::ST; s++) mb_init(full + 8 * s, 1), mb_init(empty + 8 * s, WGS);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    if (wg == WGS) { // producer; 40 x 128 + 232 x 256 = 168 x 384: what the block has at its start
        if (WGS == 2) asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        else asm volatile("setmaxnreg.dec.sync.aligned.u32 32;");
        if (tid == 0) {
            auto load_w = [&](int st, int slot, int tn, int kb, int c) {
                const u32 dst = smem(sm) + st * C::STAGE, fb = full + 8 * st, sl = smem(sc) + slot * C::SLOT;
                mb_expect(fb, C::XB + C::QB + (c & 1 ? 0 : C::HB) + (c ? 0 : C::SB));
                // coordinates: 8-byte units in the record, k tile, row tile
                tma3(dst + C::XB, mq, c * (C::QB / C::RG / 8), kb, tn * C::RG, fb);
                if (QT == Q6K && !(c & 1)) tma3(dst + C::XB + C::QB, mh, 256 + c * 32, kb, tn * C::RG, fb);
                if (C::SB && c == 0) tma3(sl, ms, QT == Q4K ? 256 : QT == Q6K ? 384 : 512, kb, tn * C::RG, fb);
            };
            int head = 0, i = 0;
            { // weights of the first ST chunks
                int slot = 0;
                for (int t = worker; head < C::ST && t < (int)ar.tiles; t += G)
                    for (int kb = 0; kb < KB && head < C::ST; kb++) {
                        for (int c = 0; c < 4 && head < C::ST; c++) load_w(head++, slot, t / ar.tiles_m, kb, c);
                        if (++slot == C::SLOTS) slot = 0;
                    }
            }
            asm volatile("griddepcontrol.wait;" ::: "memory");
            int st = 0, slot = 0;
            u32 ph = 1;
            for (int t = worker; t < (int)ar.tiles; t += G) {
                const int tn = t / ar.tiles_m, tm = t % ar.tiles_m;
                for (int kb = 0; kb < KB; kb++) {
                    for (int c = 0; c < 4; c++, i++) {
                        if (i >= head) mb_wait(empty + 8 * st, ph), load_w(st, slot, tn, kb, c);
                        tma2(smem(sm) + st * C::STAGE, mx, (kb * 4 + c) * 64, tm * BN, full + 8 * st);
                        if (++st == C::ST) st = 0, ph ^= 1;
                    }
                    if (++slot == C::SLOTS) slot = 0;
                }
            }
        }
    } else { // consumers
        if (WGS == 2) asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        else asm volatile("setmaxnreg.inc.sync.aligned.u32 112;");
        asm volatile("griddepcontrol.wait;" ::: "memory");
        float acc[BN / 2];
        u32 a[2][16], sv[4];
        uint4 vl = {};
        int st = 0, slot = 0, prev = -1;
        u32 ph = 0;
        auto release = [&](int s) {
            if (tid == 0) mb_arrive(empty + 8 * s);
        };
        for (int t = worker; t < (int)ar.tiles; t += G) {
            int keep = 0;
            for (int kb = 0; kb < KB; kb++) {
                const u8 *ss = sc + slot * C::SLOT;
#pragma unroll
                for (int c = 0; c < 4; c++) {
                    const u8 *base = sm + st * C::STAGE;
                    const u64 db = desc128(smem(base));
                    const int rg = wg * 4 + warp;
                    mb_wait(full + 8 * st, ph);
                    if (c == 0) scales<QT, BF>(sv, ss + rg * C::SR, lane);
                    if (QT == Q6K && !(c & 1)) vl = *(const uint4 *)(base + C::XB + C::QB + rg * 512 + lane * 16);
                    if (QT == R16) fetch16(a[c & 1], base + C::XB + rg * 2048, lane);
                    else decode<QT, BF>(a[c & 1], base + C::XB + rg * (C::QB / C::RG), vl, sv, lane, c);
                    wg_fence();
#pragma unroll
                    for (int j = 0; j < 4; j++) MM::rs(acc, a[c & 1] + 4 * j, db + 2 * j, j ? 1 : (c ? 1 : keep));
                    wg_commit();
                    wg_wait<1>(); // the group before this one has finished with its registers and its stage
                    if (prev >= 0) release(prev);
                    prev = st;
                    if (++st == C::ST) st = 0, ph ^= 1;
                }
                keep = 1;
                if (++slot == C::SLOTS) slot = 0;
            }
            wg_wait<0>();
            if (prev >= 0) release(prev);
            prev = -1;
            // acc[4 j + {0, 1}] = row lane / 4 of W, rows 8 j + 2 (lane % 4), + 1 of x; {2, 3}: row + 8 of W
            const int n = t / ar.tiles_m * C::ROWS + wg * 64 + warp * 16 + lane / 4,
                      m0 = t % ar.tiles_m * BN + 2 * (lane & 3);
            if (n >= (int)ar.n) continue;
            const float b0 = ar.bias ? ar.bias[n] : 0.f, b1 = ar.bias ? ar.bias[n + 8] : 0.f;
#pragma unroll
            for (int j = 0; j < BN / 8; j++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const int m = m0 + 8 * j + i;
                    if (m >= (int)ar.m) continue;
                    const float s = ar.x_scale[m];
                    float y0 = acc[4 * j + i] * s + b0, y1 = acc[4 * j + 2 + i] * s + b1;
                    const size_t at = (size_t)m * ar.ldy + n;
                    if (ar.add) y0 += __ldcg(ar.add + at), y1 += __ldcg(ar.add + at + 8);
                    ar.y[at] = y0, ar.y[at + 8] = y1;
                }
        }
    }
}
#define RUN(qt, bf, wgs, bn) gemm<qt, bf, wgs, bn>(a);
#else
#define RUN(qt, bf, wgs, bn)
#endif
// block: 384; grid: as many as there are SMs or tiles
#define KERNEL(name, qt, bf, bn)                                                                                       \
    extern "C" __global__ void __launch_bounds__(384, 1) rzc_gemm_##name##_##bn(const __grid_constant__ rzc_gemm a) {  \
        RUN(qt, bf, 2, bn)                                                                                             \
    }
#define FAMILY(name, qt, bf)                                                                                           \
    KERNEL(name, qt, bf, 32) KERNEL(name, qt, bf, 64) KERNEL(name, qt, bf, 128) KERNEL(name, qt, bf, 256)
FAMILY(q4k, Q4K, false)
FAMILY(q6k, Q6K, false) FAMILY(q80, Q80, false) FAMILY(r16, R16, true)

    // Rows of F32 to what the products read: fp16 (or bf16), permuted, scaled by a power of two so that the largest of
    // a row is in [64, 128); x_scale undoes it. grid: n_rows; block: 256; cols: a multiple of 16
    extern "C" __global__ void rzc_half_k(const rzc_half p) {
    __shared__ float room[8];
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
    const u64 t = blockIdx.x;
    const float *x = p.x + t * p.cols;
    auto value = [&](u32 i) { return *(const float4 *)(x + i); };
    float scale = 1.f;
    if (!p.is_bf16) {
        float max = 0;
        for (u32 i = threadIdx.x * 4; i < p.cols; i += 1024) {
            const float4 v = value(i);
            max = fmaxf(fmaxf(fmaxf(max, fabsf(v.x)), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
        }
        for (int o = 16; o; o >>= 1) max = fmaxf(max, __shfl_xor_sync(~0u, max, o));
        if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = max;
        __syncthreads();
        for (int i = 0; i < 8; i++) max = fmaxf(max, room[i]);
        const int e = (int)(__float_as_uint(max) >> 23) - 127; // max in [2^e, 2^(e + 1))
        const int by = e < -100 ? 106 : e > 100 ? -94 : 6 - e;
        scale = __uint_as_float((u32)(127 + by) << 23);
    }
    if (threadIdx.x == 0) p.x_scale[t] = 1.f / scale;
    for (u32 i = threadIdx.x * 16; i < p.cols; i += 4096) {
        u32 w[8];
#pragma unroll
        for (int q = 0; q < 4; q++) {
            const float4 v = value(i + 4 * q);
            if (p.is_bf16) {
                __nv_bfloat162 a = __floats2bfloat162_rn(v.x, v.y);
                __nv_bfloat162 b = __floats2bfloat162_rn(v.z, v.w);
                w[q] = *(u32 *)&a, w[4 + q] = *(u32 *)&b;
            } else {
                __half2 a = __floats2half2_rn(v.x * scale, v.y * scale),
                        b = __floats2half2_rn(v.z * scale, v.w * scale);
                w[q] = *(u32 *)&a, w[4 + q] = *(u32 *)&b;
            }
        }
        uint4 *to = (uint4 *)(p.y + t * p.cols + i);
        to[0] = make_uint4(w[0], w[1], w[2], w[3]), to[1] = make_uint4(w[4], w[5], w[6], w[7]);
    }
}
