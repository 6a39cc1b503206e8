// flash.cu - attention of many rows over an F16 cache: tiles of 64 consecutive rows of a sequence x one query head,
// four warps of 16 rows, m16n8k16 products with F32 sums; keys and values of 64 positions at a time through shared
// memory.
#include "dequant.cuh"

__device__ __forceinline__ void pdl() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ u32 smem(const void *p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void ldsm(u32 (&r)[4], u32 p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(p)
                 : "memory");
}
__device__ __forceinline__ void ldsm_t(u32 (&r)[4], u32 p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(p)
                 : "memory");
}
__device__ __forceinline__ void mma(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) { // 16 x 16 times 16 x 8
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ u32 pack(float a, float b) {
    const __half2 h = __floats2half2_rn(a, b);
    return *(const u32 *)&h;
}
__device__ __forceinline__ void copy16(u32 to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

// Shared memory: two stages of [K, V][64 positions][D] fp16, 16-byte pieces at piece ^ (position % 8).
template <int D> __device__ __forceinline__ void flash(const rzc_attention &p) {
    constexpr int B = 64, P = D / 8, STAGE = 2 * B * D * 2; // positions, pieces of a row
    extern __shared__ __align__(128) u8 sm[];
    pdl();
    // the tile: sequence and first row of it
    u32 seq = 0, tile = blockIdx.x;
    const u32 n_seqs = p.step.head->n_seqs;
    for (; seq < n_seqs; seq++) {
        const u32 n = (p.step.seq_first_row[seq + 1] - p.step.seq_first_row[seq] + B - 1) / B;
        if (tile < n) break;
        tile -= n;
    }
    if (seq >= n_seqs) return;
    const u32 row0 = p.step.seq_first_row[seq] + tile * B, rows = min((u32)B, p.step.seq_first_row[seq + 1] - row0);
    const u32 h = blockIdx.y, kv = h / (p.n_heads / p.n_kv_heads), tid = threadIdx.x, warp = tid / 32, lane = tid % 32;
    const u32 pos0 = p.step.row_position[row0]; // rows are consecutive positions
    const u32 last = pos0 + rows - 1, first = p.window && p.window <= pos0 ? pos0 - p.window + 1 : 0;
    const rzc_group &g = p.step.head->groups[p.group];
    const u32 tokens = 1u << g.page_shift, *pages = p.step.head->pages + p.step.seq_pages[seq * RZC_GROUPS + p.group];
    const u8 *data = g.data + (u64)p.layer * tokens * (g.k_bytes + g.v_bytes);
    const u64 page_bytes = g.page_bytes;
    const u32 shift = g.page_shift, k_bytes = g.k_bytes, v_bytes = g.v_bytes;
    auto fetch = [&](u32 begin, u32 stage) {
        const u32 base = smem(sm) + stage * STAGE;
        for (u32 i = tid; i < 2 * B * P; i += 128) {
            const u32 is_v = i / (B * P), j = i / P % B, piece = i % P, at = min(begin + j, last);
            const u8 *from = data + pages[at >> shift] * page_bytes;
            const u32 in = at & (tokens - 1);
            from += is_v ? (u64)tokens * k_bytes + (u64)in * v_bytes : (u64)in * k_bytes;
            copy16(base + is_v * B * D * 2 + j * D * 2 + ((piece ^ (j & 7)) << 4), from + (kv * D + piece * 8) * 2);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    const u32 start = first / B * B;
    fetch(start, 0);
    // queries: A fragments of 16 rows
    u32 q[D / 16][4];
    const u32 r0 = warp * 16 + lane / 4, r1 = r0 + 8;
    const float *q0 = p.q + ((u64)(row0 + min(r0, rows - 1)) * p.n_heads + h) * D + lane % 4 * 2;
    const float *q1 = p.q + ((u64)(row0 + min(r1, rows - 1)) * p.n_heads + h) * D + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < D / 16; j++) {
        const float2 a = *(const float2 *)(q0 + j * 16), b = *(const float2 *)(q1 + j * 16);
        const float2 c = *(const float2 *)(q0 + j * 16 + 8), d = *(const float2 *)(q1 + j * 16 + 8);
        q[j][0] = pack(a.x, a.y), q[j][1] = pack(b.x, b.y), q[j][2] = pack(c.x, c.y), q[j][3] = pack(d.x, d.y);
    }
    float out[D / 8][4] = {}, m0 = -INFINITY, m1 = -INFINITY, l0 = 0, l1 = 0;
    const float log2e = 1.4426950408889634f;
    const u32 p0 = pos0 + r0, p1 = pos0 + r1, w = p.window ? p.window : ~0u;
    u32 stage = 0;
    for (u32 begin = start; begin <= last; begin += B, stage ^= 1) {
        if (begin + B <= last) {
            fetch(begin + B, stage ^ 1);
            asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else {
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        }
        __syncthreads();
        const u32 kb = smem(sm) + stage * STAGE, vb = kb + B * D * 2;
        float s[B / 8][4];
#pragma unroll
        for (int n = 0; n < B / 8; n++) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
        for (int n = 0; n < B / 16; n++)
#pragma unroll
            for (int j = 0; j < D / 16; j++) { // B fragments of 16 keys x 16 columns
                u32 f[4];
                const u32 key = n * 16 + (lane & 7) + (lane >> 4) * 8, piece = 2 * j + (lane >> 3 & 1);
                ldsm(f, kb + key * D * 2 + ((piece ^ (key & 7)) << 4));
                mma(s[2 * n], q[j], f[0], f[1]), mma(s[2 * n + 1], q[j], f[2], f[3]);
            }
        float x0 = m0, x1 = m1;
#pragma unroll
        for (int n = 0; n < B / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float v = s[n][i] * p.scale;
                if (p.cap != 0) v = p.cap * tanhf(v / p.cap);
                const u32 key = begin + n * 8 + lane % 4 * 2 + (i & 1), at = i < 2 ? p0 : p1;
                v = key <= at && at - key < w && key <= last ? v * log2e : -INFINITY;
                s[n][i] = v;
                if (i < 2) x0 = fmaxf(x0, v);
                else x1 = fmaxf(x1, v);
            }
        x0 = fmaxf(x0, __shfl_xor_sync(~0u, x0, 1)), x0 = fmaxf(x0, __shfl_xor_sync(~0u, x0, 2));
        x1 = fmaxf(x1, __shfl_xor_sync(~0u, x1, 1)), x1 = fmaxf(x1, __shfl_xor_sync(~0u, x1, 2));
        const float f0 = x0 == -INFINITY ? 1.f : exp2f(m0 - x0), f1 = x1 == -INFINITY ? 1.f : exp2f(m1 - x1);
        const float z0 = x0 == -INFINITY ? 0.f : x0, z1 = x1 == -INFINITY ? 0.f : x1;
        m0 = x0, m1 = x1, l0 *= f0, l1 *= f1;
#pragma unroll
        for (int d = 0; d < D / 8; d++) out[d][0] *= f0, out[d][1] *= f0, out[d][2] *= f1, out[d][3] *= f1;
#pragma unroll
        for (int n = 0; n < B / 16; n++) {
            float e[8];
#pragma unroll
            for (int i = 0; i < 8; i++) {
                e[i] = exp2f(s[2 * n + i / 4][i % 4] - (i % 4 < 2 ? z0 : z1));
                if (i % 4 < 2) l0 += e[i];
                else l1 += e[i];
            }
            const u32 a[4] = {pack(e[0], e[1]), pack(e[2], e[3]), pack(e[4], e[5]), pack(e[6], e[7])};
#pragma unroll
            for (int d = 0; d < D / 16; d++) { // V: 16 keys x 16 columns, transposed
                u32 f[4];
                const u32 key = n * 16 + (lane & 15), piece = 2 * d + (lane >> 4);
                ldsm_t(f, vb + key * D * 2 + ((piece ^ (key & 7)) << 4));
                mma(out[2 * d], a, f[0], f[1]), mma(out[2 * d + 1], a, f[2], f[3]);
            }
        }
        __syncthreads();
    }
    l0 += __shfl_xor_sync(~0u, l0, 1), l0 += __shfl_xor_sync(~0u, l0, 2);
    l1 += __shfl_xor_sync(~0u, l1, 1), l1 += __shfl_xor_sync(~0u, l1, 2);
#pragma unroll
    for (int d = 0; d < D / 8; d++) {
        const u32 col = d * 8 + lane % 4 * 2;
        if (r0 < rows)
            *(float2 *)(p.out + ((u64)(row0 + r0) * p.n_heads + h) * D + col) =
                make_float2(out[d][0] / l0, out[d][1] / l0);
        if (r1 < rows)
            *(float2 *)(p.out + ((u64)(row0 + r1) * p.n_heads + h) * D + col) =
                make_float2(out[d][2] / l1, out[d][3] / l1);
    }
}
// grid: (tiles of all sequences, n_heads); block: 128
extern "C" __global__ void __launch_bounds__(128) rzc_flash_64(const rzc_attention p) { flash<64>(p); }
extern "C" __global__ void __launch_bounds__(128) rzc_flash_128(const rzc_attention p) { flash<128>(p); }
