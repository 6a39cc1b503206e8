// decode_slots.cuh - slots of decode_attention.cu: TOKENS keys of a head, then their values, as they lie in the cache:
// [64 columns][token], in Q8_0 each followed by its scales. How they are copied, and what tensor cores make of them.
#pragma once
#include "kv.cuh"
#include "ptx.cuh"

template <int D, bool Q8> struct Shape {
    static constexpr u32 CHUNKS = D / 64, TOKENS = Q8 || D == 128 ? 32 : 64;
    static constexpr u32 CHUNK = TOKENS * (Q8 ? 68 : 128), V = CHUNK * CHUNKS, SLOT = 2 * V; // bytes
};
struct Layer { // keys, then values
    u8 *data[2];
    const u32 *pages;
    u64 page_bytes;
    u32 shift;
};
__device__ __forceinline__ u32 movmatrix(u32 x) {
    u32 y;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
    return y;
}
// Bytes of x as signed numbers in F16: 0 and 1, 2 and 3 (even, odd: 0 and 2, 1 and 3).
__device__ __forceinline__ u32 minus1152(u32 x) {
    u32 y;
    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(y) : "r"(x), "r"(0x64806480u));
    return y;
}
template <u32 HOW> __device__ __forceinline__ u32 halves_of(u32 biased) {
    return minus1152(__byte_perm(biased, 0x64646464u, HOW));
}
// Copies one piece of a slot; n_bytes a multiple of 16.
__device__ __forceinline__ void copy_piece(u32 to, const u8 *from, u32 n_bytes, u32 barrier) {
#if __CUDA_ARCH__ >= 900
    bulk_copy(to, from, n_bytes, barrier);
#else
    for (u32 i = 0; i < n_bytes; i += 16) copy16(to + i, from + i, true);
#endif
}

// All pieces of a slot of TOKENS tokens, by one warp, where it lies in several pages. page: of its first token. Tokens
// behind `end` need not have a page.
template <int D, bool Q8>
__device__ __noinline__ void copy_pieces(Layer l, u32 kv, u32 token, u32 page, u32 table, u32 end, u32 to,
                                         u32 barrier) {
    using S = Shape<D, Q8>;
    const u32 tokens = 1u << l.shift, run = min(S::TOKENS, tokens), parts = S::TOKENS / run;
    const u32 n = 2 * S::CHUNKS * parts * (Q8 ? 3 : 1);
    for (u32 i = threadIdx.x % 32; i < n; i += 32) {
        const u32 is_v = i & 1, chunk = i / 2 % S::CHUNKS, rest = i / 2 / S::CHUNKS, part = rest % parts,
                  kind = rest / parts;
        const u32 at = token + part * run;
        const u32 p = part == 0 ? page : __ldg(l.pages + table + (min(at, end - 1) >> l.shift));
        const u8 *from = (is_v ? l.data[1] : l.data[0]) + p * l.page_bytes;
        const u32 t = at & (tokens - 1), row = part * run, dest = to + is_v * S::V + chunk * S::CHUNK;
        if constexpr (!Q8) {
            from += (((u64)kv * S::CHUNKS + chunk) << l.shift) * 128 + t * 128;
            copy_piece(dest + row * 128, from, run * 128, barrier);
        } else {
            from += (((u64)kv * S::CHUNKS + chunk) << l.shift) * 68;
            if (kind == 0) copy_piece(dest + row * 64, from + t * 64, run * 64, barrier);
            else copy_piece(dest + S::TOKENS * 64 + (kind - 1) * S::TOKENS * 2 + row * 2,
                            from + (64u << l.shift) + (((kind - 1) << l.shift) + t) * 2, run * 2, barrier);
        }
    }
}
// The usual way: a slot is PIECES pieces, lane i has piece i % PIECES of any slot.
template <int D, bool Q8> struct Copier {
    using S = Shape<D, Q8>;
    static constexpr u32 ROW = Q8 ? 68 : 128, PIECES = 2 * S::CHUNKS; // bytes of a token in 64 columns
    const u8 *from;
    u32 to, kv_bytes;
    bool usual;
    __device__ Copier(const Layer &l) {
        const u32 piece = threadIdx.x % PIECES, is_v = piece & 1, chunk = piece / 2;
        usual = 1u << l.shift >= S::TOKENS;
        from = (is_v ? l.data[1] : l.data[0]) + ((u64)chunk << l.shift) * ROW;
        to = is_v * S::V + chunk * S::CHUNK, kv_bytes = (S::CHUNKS << l.shift) * ROW;
    }
    __device__ void copy(const Layer &l, u32 kv, u32 token, u32 page, u32 slot, u32 barrier) const {
        const u32 t = token & ((1u << l.shift) - 1);
        copy_piece(slot + to, from + page * l.page_bytes + (u64)kv * kv_bytes + t * ROW, S::CHUNK, barrier);
    }
};

// Scores of 16 keys from `row` of the slot on with 8 heads.
template <int D, bool Q8>
__device__ __forceinline__ void scores(float (&s)[4], const u32 (&q)[D / 16][2], u32 slot, u32 row) {
    using S = Shape<D, Q8>;
    const u32 lane = threadIdx.x % 32, key = row + (lane & 15), sw = Q8 ? key >> 1 & 3 : key & 7;
    s[0] = s[1] = s[2] = s[3] = 0;
    if constexpr (!Q8) {
        float odd[4] = {}; // two chains, half as long
#pragma unroll
        for (int j = 0; j < D / 16; j++) {
            u32 a[4];
            ldmatrix4(a, slot + j / 4 * S::CHUNK + key * 128 + ((2 * (j % 4) + lane / 16 ^ sw) << 4));
            mma16<false>(j % 2 ? odd : s, a, q[j][0], q[j][1]);
        }
#pragma unroll
        for (int e = 0; e < 4; e++) s[e] += odd[e];
    } else {
#pragma unroll
        for (int b = 0; b < D / 32; b++) { // blocks of 32 columns: the scale comes after
            u32 w[4];
            const u32 chunk = slot + b / 2 * S::CHUNK;
            ldmatrix4(w, chunk + key * 64 + ((2 * (b % 2) + lane / 16 ^ sw) << 4));
            float part[4] = {};
#pragma unroll
            for (int u = 0; u < 2; u++) {
                const u32 lo = w[2 * u] ^ 0x80808080u, hi = w[2 * u + 1] ^ 0x80808080u;
                const u32 a[4] = {halves_of<0x4140>(lo), halves_of<0x4140>(hi), halves_of<0x4342>(lo),
                                  halves_of<0x4342>(hi)};
                mma16<false>(part, a, q[2 * b + u][0], q[2 * b + u][1]);
            }
            float scale[2];
#pragma unroll
            for (int h = 0; h < 2; h++) {
                unsigned short bits;
                asm volatile("ld.shared.u16 %0, [%1];"
                             : "=h"(bits)
                             : "r"(chunk + S::TOKENS * 64 + (b % 2 * S::TOKENS + row + lane / 4 + 8 * h) * 2)
                             : "memory");
                scale[h] = __half2float(__ushort_as_half(bits));
            }
            s[0] += part[0] * scale[0], s[1] += part[1] * scale[0];
            s[2] += part[2] * scale[1], s[3] += part[3] * scale[1];
        }
    }
}

// sum += values of 16 tokens from `row` on x their weights.
template <int D, bool Q8>
__device__ __forceinline__ void values(float (&sum)[D / 16][4], u32 b0, u32 b1, u32 slot, u32 row) {
    using S = Shape<D, Q8>;
    const u32 lane = threadIdx.x % 32;
    if constexpr (!Q8) {
        const u32 token = row + (lane & 7) + (lane & 16) / 2;
#pragma unroll
        for (int i = 0; i < D / 16; i++) {
            u32 a[4];
            ldmatrix4_trans(a, slot + S::V + i / 4 * S::CHUNK + token * 128 +
                                   ((2 * (i % 4) + (lane >> 3 & 1) ^ token & 7) << 4));
            mma16<false>(sum[i], a, b0, b1);
        }
    } else {
        const u32 token = row + (lane & 15);
#pragma unroll
        for (int b = 0; b < D / 32; b++) {
            u32 w[4], scale[2];
            const u32 chunk = slot + S::V + b / 2 * S::CHUNK;
            ldmatrix4_trans(w, chunk + token * 64 + ((2 * (b % 2) + lane / 16 ^ token >> 1 & 3) << 4));
#pragma unroll
            for (int h = 0; h < 2; h++)
                asm volatile("ld.shared.u32 %0, [%1];"
                             : "=r"(scale[h])
                             : "r"(chunk + S::TOKENS * 64 + (b % 2 * S::TOKENS + row + lane % 4 * 2 + 8 * h) * 2)
                             : "memory");
#pragma unroll
            for (int u = 0; u < 2; u++) {
                const u32 lo = w[2 * u] ^ 0x80808080u, hi = w[2 * u + 1] ^ 0x80808080u;
                const u32 a[4] = {
                    half2_mul(halves_of<0x4240>(lo), scale[0]), half2_mul(halves_of<0x4341>(lo), scale[0]),
                    half2_mul(halves_of<0x4240>(hi), scale[1]), half2_mul(halves_of<0x4341>(hi), scale[1])};
                mma16<false>(sum[2 * b + u], a, b0, b1);
            }
        }
    }
}
