/* test_hooks.h - internal: failures on order, in the test library; nothing at all in the release library. */
#ifndef RZ_TEST_HOOKS_H
#define RZ_TEST_HOOKS_H
#include <stdbool.h>
#include <stdint.h>

#define RZ_TEST_ALLOCATION 0u
#define RZ_TEST_READ 1u
#define RZ_TEST_TRAP 2u  /* CUDA: the n-th entry runs a kernel that traps first */
#define RZ_TEST_STRAY 3u /* or one that writes where no memory is: real errors, after which a context is lost */

#if defined(RZ_TEST)
/* Counts a call of this kind; true when it is the one that rz_test_fail_after chose. */
bool rz_test_fails(uint32_t kind);
/* What rz_test_hold asked for the next step, and 0 from then on. */
uint32_t rz_test_hold_take(void);

/* For native tests: backend id 255 is this one (NULL = none). */
#define RZ_TEST_BACKEND 255u
struct rz_backend;
void rz_test_backend_set(const struct rz_backend *backend);
const struct rz_backend *rz_test_backend(void);

/* For native tests: this table is the machine's CUDA driver, looked at anew (NULL = the real one). */
struct rz_cu;
void rz_test_driver_set(const struct rz_cu *driver);
const struct rz_cu *rz_test_driver(void);
#else
static inline bool rz_test_fails(uint32_t kind) {
    (void)kind;
    return false;
}
static inline uint32_t rz_test_hold_take(void) { return 0; }
#endif

#endif
