// place.cu - norm of heads, RoPE and kvWrite of many rows in one pass, a warp a head.
#include "place.cuh"
#include "ptx.cuh"

constexpr u32 WARPS = 8;

// Heads of q, then of k, then of v, of each row. q_out may be q.
template <int D> __device__ __forceinline__ void place_many(const rzc_place &p) {
    __shared__ float room[WARPS][D];
    constexpr int C = D / 32;
    dependents();
    predecessors();
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, n = p.n_heads + 2 * p.n_kv_heads;
    const u32 task = blockIdx.x * WARPS + warp, t = task / n, i = task % n;
    if (t >= p.n_rows) return;
    const bool is_q = i < p.n_heads, is_v = i >= p.n_heads + p.n_kv_heads;
    const u32 head = is_q ? i : i - p.n_heads - (is_v ? p.n_kv_heads : 0);
    const u64 at = ((u64)t * (is_q ? p.n_heads : p.n_kv_heads) + head) * D;
    const float *from = (is_q ? p.q : is_v ? p.v : p.k) + at;
    float x[C];
#pragma unroll
    for (int j = 0; j < C; j++) x[j] = __ldcg(from + column<D>(j, lane, p.adjacent));
    if (!is_v) place<D>(p, x, is_q ? p.q_norm : p.k_norm, t);
    if (is_q) {
#pragma unroll
        for (int j = 0; j < C; j++) p.q_out[at + column<D>(j, lane, p.adjacent)] = x[j];
        return;
    }
    const Kv to = kv_of(p.step, p.group, p.layer, p.step.row_seq[t], is_v);
    const u32 position = p.step.row_position[t], in_page = to.in_page(position);
    u8 *page = to.page_of(position);
#pragma unroll
    for (int j = 0; j < C; j++) room[warp][column<D>(j, lane, p.adjacent)] = x[j];
    __syncwarp();
#pragma unroll
    for (int j = 0; j < C; j++) {
        const u32 c = head * D + j * 32 + lane;
        const float v = room[warp][j * 32 + lane];
        if (to.dtype == KV_F32) {
            ((float *)page)[in_page * to.cols + c] = v;
        } else if (to.dtype == KV_F16) {
            *(__half *)(page + to.f16_at(in_page, c)) = __float2half_rn(v);
        } else {
            __half scale;
            page[to.q8_at(in_page, c)] = (u8)quantized(is_v ? v : turned(v), scale);
            if (lane == 0) *(__half *)(page + to.scale_at(in_page, c)) = scale;
        }
    }
}
// grid: n_rows * (n_heads + 2 n_kv_heads) / 8; block: 256
extern "C" __global__ void rzc_place_many_64(const rzc_place p) { place_many<64>(p); }
extern "C" __global__ void rzc_place_many_128(const rzc_place p) { place_many<128>(p); }
