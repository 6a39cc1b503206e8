/* test_hooks.c - rz_test_*, only in librealizar_test. */
#if defined(RZ_TEST)
#include "test_hooks.h"
#include "backend.h"
#include "error.h"
#include <stdatomic.h>

#define KINDS 4u

static atomic_uint seen[KINDS];
static atomic_uint fail_at[KINDS]; /* 0 = disarmed */
static atomic_uint hold_ms;
static const rz_backend *_Atomic test_backend;
static const struct rz_cu *_Atomic test_driver;

bool rz_test_fails(uint32_t kind) {
    const uint32_t count = atomic_fetch_add(&seen[kind], 1) + 1;
    uint32_t expected = count;
    return atomic_compare_exchange_strong(&fail_at[kind], &expected, 0);
}

uint32_t rz_test_hold_take(void) { return atomic_exchange(&hold_ms, 0); }

void rz_test_backend_set(const rz_backend *backend) { atomic_store(&test_backend, backend); }
const rz_backend *rz_test_backend(void) { return atomic_load(&test_backend); }

void rz_test_driver_set(const struct rz_cu *driver) { atomic_store(&test_driver, driver); }
const struct rz_cu *rz_test_driver(void) { return atomic_load(&test_driver); }

RZ_API int32_t rz_test_fail_after(uint32_t kind, uint32_t n) {
    if (kind >= KINDS) return -(int32_t)rz_fail(RZ_E_ARG, "rz_test_fail_after: kind %u, expected 0 to %u", kind,
                                                       KINDS - 1);
    atomic_store(&fail_at[kind], 0);
    const uint32_t before = atomic_exchange(&seen[kind], 0);
    atomic_store(&fail_at[kind], n);
    return (int32_t)(before & INT32_MAX);
}

RZ_API int32_t rz_test_hold(uint32_t ms) {
    if (ms > 600000) return -(int32_t)rz_fail(RZ_E_ARG, "rz_test_hold: %u ms, at most 600000", ms);
    atomic_store(&hold_ms, ms);
    return RZ_OK;
}
#endif
