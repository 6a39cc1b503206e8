/* pool.h - internal: the threads of the CPU executor: one set for the process, shared by all engines.
 *
 * A job is a number of items, run by the calling thread and up to n_threads - 1 workers. Jobs of different callers take
 * turns, first come first served. Nobody waits for a worker that has not begun: when it is late, its items are done by
 * the others, so a busy machine makes jobs slower and never stops them. Idle workers look for work for some 0.1 ms and
 * then sleep. */
#ifndef RZ_CPU_POOL_H
#define RZ_CPU_POOL_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define RZ_POOL_THREADS 256u

/* Starts what is missing to n_threads - 1 workers and counts the user. OOM_HOST. */
int32_t rz_pool_open(uint32_t n_threads);
/* The last user ends all workers. */
void rz_pool_close(void);

/* Runs fn(arg, thread) on the caller (thread 0) and, as they come, on workers (thread 1 .. n_threads - 1); returns
 * when all n_items were handed out and every thread has returned. */
void rz_pool_run(uint32_t n_threads, uint32_t n_items, void (*fn)(void *arg, uint32_t thread), void *arg);

/* For fn: the next item of its own share, then of the others'. False when there is none left. */
bool rz_pool_next(uint32_t thread, uint32_t *item);
/* The same for several items in a row, *item .. *item + n - 1: up to `most`, but no more than half of what its own
 * share still has, and one of the others'. Returns n, 0 when there is none left. */
uint32_t rz_pool_next_run(uint32_t thread, uint32_t most, uint32_t *item);

#endif
