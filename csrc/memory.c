/* memory.c - allocation, counted and limited. A header of 64 bytes precedes each block. */
#include "memory.h"
#include "error.h"
#include "os.h"
#include "test_hooks.h"
#include <stdatomic.h>
#include <stdlib.h>

#define ALIGN_BYTES ((size_t)64)
#define MAP_BYTES ((size_t)4 << 20)
#define ASK_BYTES ((size_t)64 << 20)
#define KINDS 4

struct rz_account {
    uint64_t max_bytes;
    atomic_uint_fast64_t used_bytes;
};

typedef struct block {
    rz_account *account;
    void *region;        /* what malloc or rz_os_map gave */
    size_t region_bytes; /* 0 = malloc */
    uint64_t bytes;
    rz_memory_kind kind;
} block;
static_assert(sizeof(block) <= ALIGN_BYTES);

static atomic_uint_fast64_t live_bytes[KINDS];
static atomic_uint_fast64_t total_bytes;
static atomic_uint_fast64_t peak_bytes;

static const char *kind_name(rz_memory_kind kind) {
    static const char *const names[KINDS] = {"weights", "plan", "cache", "other"};
    return names[kind];
}

static block *block_of(void *memory) { return (block *)(void *)((uint8_t *)memory - ALIGN_BYTES); }

static void *refuse(const char *what, rz_memory_kind kind, size_t bytes, const char *why) {
    rz_fail(RZ_E_OOM_HOST, "%s (%s): no host memory for %zu bytes: %s", what, kind_name(kind), bytes, why);
    return NULL;
}

/* Takes bytes from the account, or returns false with nothing changed. */
static bool charge(rz_account *account, uint64_t bytes) {
    if (account == NULL) return true;
    const uint64_t used = atomic_fetch_add(&account->used_bytes, bytes) + bytes;
    if (account->max_bytes == 0 || (used >= bytes && used <= account->max_bytes)) return true;
    atomic_fetch_sub(&account->used_bytes, bytes);
    return false;
}

static void count(rz_memory_kind kind, uint64_t bytes) {
    atomic_fetch_add(&live_bytes[kind], bytes);
    const uint64_t total = atomic_fetch_add(&total_bytes, bytes) + bytes;
    uint64_t peak = atomic_load(&peak_bytes);
    while (total > peak && !atomic_compare_exchange_weak(&peak_bytes, &peak, total)) {
    }
}

static bool machine_has(size_t bytes) {
    uint64_t free_bytes = 0, all_bytes = 0;
    rz_os_memory(&free_bytes, &all_bytes);
    return all_bytes == 0 || bytes <= free_bytes;
}

/* Zeroed and aligned, with room for the header before it. */
static uint8_t *take(size_t bytes, void **region, size_t *region_bytes) {
    if (bytes >= MAP_BYTES) return rz_os_map(bytes, region, region_bytes);
    *region = calloc(1, bytes + 2 * ALIGN_BYTES);
    *region_bytes = 0;
    if (*region == NULL) return NULL;
    const uintptr_t first = (uintptr_t)*region + ALIGN_BYTES;
    return (uint8_t *)*region + ALIGN_BYTES + (ALIGN_BYTES - first % ALIGN_BYTES) % ALIGN_BYTES;
}

void *rz_alloc(rz_account *account, rz_memory_kind kind, size_t bytes, const char *what) {
    if (rz_test_fails(RZ_TEST_ALLOCATION)) return refuse(what, kind, bytes, "failed by rz_test_fail_after");
    if (!charge(account, bytes)) return refuse(what, kind, bytes, "memory_max of this engine is reached");
    void *region = NULL;
    size_t region_bytes = 0;
    const bool offered = bytes < ASK_BYTES || machine_has(bytes);
    uint8_t *memory = offered ? take(bytes, &region, &region_bytes) : NULL;
    if (memory == NULL) {
        if (account != NULL) atomic_fetch_sub(&account->used_bytes, bytes);
        return refuse(what, kind, bytes, offered ? "the system has none" : "more than is free");
    }
    *block_of(memory) = (block){account, region, region_bytes, bytes, kind};
    count(kind, bytes);
    return memory;
}

static void uncount(rz_account *account, rz_memory_kind kind, uint64_t bytes) {
    atomic_fetch_sub(&live_bytes[kind], bytes);
    atomic_fetch_sub(&total_bytes, bytes);
    if (account != NULL) atomic_fetch_sub(&account->used_bytes, bytes);
}

void rz_free(void *memory) {
    if (memory == NULL) return;
    const block b = *block_of(memory);
    uncount(b.account, b.kind, b.bytes);
    if (b.region_bytes > 0) rz_os_unmap(b.region, b.region_bytes);
    else free(b.region);
}

bool rz_account_take(rz_account *account, rz_memory_kind kind, uint64_t bytes, const char *what) {
    if (!charge(account, bytes)) {
        rz_fail(RZ_E_OOM_DEVICE, "%s (%s): %llu bytes are more than memory_max leaves to this engine (%llu of %llu)",
                what, kind_name(kind), (unsigned long long)bytes, (unsigned long long)rz_account_used(account),
                (unsigned long long)account->max_bytes);
        return false;
    }
    count(kind, bytes);
    return true;
}

void rz_account_give(rz_account *account, rz_memory_kind kind, uint64_t bytes) { uncount(account, kind, bytes); }

rz_account *rz_account_open(uint64_t max_bytes) {
    rz_account *account = rz_alloc(NULL, RZ_MEMORY_OTHER, sizeof *account, "account of an engine");
    if (account != NULL) account->max_bytes = max_bytes;
    return account;
}

void rz_account_close(rz_account *account) { rz_free(account); }
uint64_t rz_account_used(const rz_account *account) { return atomic_load(&account->used_bytes); }

void rz_memory_stats(rz_stats *out) {
    out->weights_bytes = atomic_load(&live_bytes[RZ_MEMORY_WEIGHTS]);
    out->plan_bytes = atomic_load(&live_bytes[RZ_MEMORY_PLAN]);
    out->cache_bytes = atomic_load(&live_bytes[RZ_MEMORY_CACHE]);
    out->other_bytes = atomic_load(&live_bytes[RZ_MEMORY_OTHER]);
    out->total_bytes = out->weights_bytes + out->plan_bytes + out->cache_bytes + out->other_bytes;
    out->peak_bytes = atomic_load(&peak_bytes);
}
