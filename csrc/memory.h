/* memory.h - internal: every byte the library allocates goes through here: counted by kind and by engine, limited by
 * memory_max, and made to fail by rz_test_fail_after in the test library. */
#ifndef RZ_MEMORY_H
#define RZ_MEMORY_H
#include "realizar.h"
#include <stdbool.h>
#include <stddef.h>

typedef enum rz_memory_kind { RZ_MEMORY_WEIGHTS, RZ_MEMORY_PLAN, RZ_MEMORY_CACHE, RZ_MEMORY_OTHER } rz_memory_kind;

/* The account of one engine; NULL stands for none (process-wide objects). */
typedef struct rz_account rz_account;

/* max_bytes 0 = no limit. NULL with the message set when there is no memory. Closed after all it counts was freed. */
rz_account *rz_account_open(uint64_t max_bytes);
void rz_account_close(rz_account *account); /* NULL is fine */
uint64_t rz_account_used(const rz_account *account);

/* Zeroed memory aligned to 64 bytes (2 MiB and huge pages from 4 MiB up), or NULL with the message set (OOM_HOST,
 * what, bytes). The size is remembered. bytes 0 gives memory too. From 64 MiB up it is refused when the machine (or the
 * control group) says that it has less: touching such memory would end the process. */
void *rz_alloc(rz_account *account, rz_memory_kind kind, size_t bytes, const char *what);
void rz_free(void *memory); /* NULL is fine */

/* Counts and limits bytes of a device's memory in the same way; false with the message set (OOM_DEVICE). */
bool rz_account_take(rz_account *account, rz_memory_kind kind, uint64_t bytes, const char *what);
void rz_account_give(rz_account *account, rz_memory_kind kind, uint64_t bytes);

/* Writes the byte counts of rz_stats. */
void rz_memory_stats(rz_stats *out);

#endif
