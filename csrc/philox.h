/* philox.h - internal: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011): random numbers that are a function of key and counter, with no state to keep, fork or rewind. */
#ifndef RZ_PHILOX_H
#define RZ_PHILOX_H
#include <stdint.h>

/* Replaces counter[4] by its random words under key. */
static inline void rz_philox(uint32_t counter[4], uint32_t key_lo, uint32_t key_hi) {
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53u * counter[0];
        const uint64_t b = (uint64_t)0xCD9E8D57u * counter[2];
        const uint32_t next[4] = {(uint32_t)(b >> 32) ^ counter[1] ^ key_lo, (uint32_t)b,
                                  (uint32_t)(a >> 32) ^ counter[3] ^ key_hi, (uint32_t)a};
        for (int i = 0; i < 4; i++) counter[i] = next[i];
        key_lo += 0x9E3779B9u; /* 2^32 / golden ratio */
        key_hi += 0xBB67AE85u; /* 2^32 * (sqrt 3 - 1) */
    }
}

/* The uniform number of a seed and a position, in [0, 1): 53 bits. */
static inline double rz_philox_uniform(uint32_t seed_lo, uint32_t seed_hi, uint32_t position) {
    uint32_t words[4] = {position, 0, 0, 0};
    rz_philox(words, seed_lo, seed_hi);
    const uint64_t bits = ((uint64_t)words[1] << 32 | words[0]) >> 11;
    return (double)bits * 0x1p-53;
}

#endif
