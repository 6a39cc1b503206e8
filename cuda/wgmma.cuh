// wgmma.cuh - Hopper's own products, m64nNk16 with A in registers. Only for code compiled for sm_90a.
#pragma once
#include "ptx.cuh"

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> __device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
// B tile: rows of 128 bytes, 128-byte swizzle, groups of eight rows 1024 bytes apart.
__device__ __forceinline__ u64 swizzled_tile(u32 at) {
    return (u64)((at & 0x3ffff) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

// d (64 x N) = a (64 x 16, registers) * b (16 x N), + d when `add`. add(): always; b is the low half of swizzled_tile,
// whose other half is the same for all.
template <int N, bool BF> struct Wgmma;
#define D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define D16(i) D4(i), D4(i + 4), D4(i + 8), D4(i + 12)
#define D64(i) D16(i), D16(i + 16), D16(i + 32), D16(i + 48)
#define DS_8 D4(0)
#define DS_16 D4(0), D4(4)
#define DS_32 D16(0)
#define DS_64 D16(0), D16(16)
#define DS_128 D64(0)
#define DS_256 D64(0), D64(64)
#define R8 "%0,%1,%2,%3"
#define R16 R8 ",%4,%5,%6,%7"
#define R0                                                                                                            \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%" \
    "30,%31"
#define R32                                                                                                          \
    ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%" \
    "59,%60,%61,%62,%63"
#define R64                                                                                                          \
    ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%" \
    "91,%92,%93,%94,%95"
#define R96                                                                                                            \
    ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118," \
    "%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define WGMMA(N, BF, TYPE, D, A, B, P)                                                                         \
    template <> struct Wgmma<N, BF> {                                                                          \
        static __device__ __forceinline__ void run(float (&d)[N / 2], const u32 *a, u64 b, int add) {          \
            asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P ", 0;\n"                                        \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" D "}, " A ", " B \
                         ", p, 1, 1, 0;\n}"                                                                    \
                         : DS_##N                                                                              \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));                      \
        }                                                                                                      \
        static __device__ __forceinline__ void add(float (&d)[N / 2], const u32 *a, u32 b) {                   \
            asm volatile("{\n.reg .b64 b;\nmov.b64 b, {" B ", 0x40000040};\n"                                  \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" D "}, " A        \
                         ", b, 1, 1, 1, 0;\n}"                                                                 \
                         : DS_##N                                                                              \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b));                                \
        }                                                                                                      \
    };
#define WGMMA_BOTH(N, D, A, B, P) WGMMA(N, false, "f16", D, A, B, P) WGMMA(N, true, "bf16", D, A, B, P)
WGMMA_BOTH(32, R16 ",%8,%9,%10,%11,%12,%13,%14,%15", "{%16,%17,%18,%19}", "%20", "%21")
WGMMA_BOTH(64, R0, "{%32,%33,%34,%35}", "%36", "%37")
WGMMA_BOTH(128, R0 R32, "{%64,%65,%66,%67}", "%68", "%69")
WGMMA_BOTH(256, R0 R32 R64 R96, "{%128,%129,%130,%131}", "%132", "%133")
