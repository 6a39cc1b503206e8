/* memory.h - internal: every byte the library allocates goes through here: counted by kind and by engine, limited by
 * memory_max, and made to fail by rz_test_fail_after in the test library. */
#ifndef RZ_MEMORY_H
#define RZ_MEMORY_H
#include "realizar.h"
#include <stddef.h>

typedef enum rz_memory_kind { RZ_MEMORY_WEIGHTS, RZ_MEMORY_PLAN, RZ_MEMORY_CACHE, RZ_MEMORY_OTHER } rz_memory_kind;

/* The account of one engine; NULL stands for none (process-wide objects). */
typedef struct rz_account rz_account;

/* Zeroed memory aligned to 64 bytes (2 MiB and huge pages from 4 MiB up), or NULL with the message set (OOM_HOST,
 * what, bytes). The size is remembered. */
void *rz_alloc(rz_account *account, rz_memory_kind kind, size_t bytes, const char *what);
void rz_free(void *memory); /* NULL is fine */

#endif
