/* os.h - internal: what the library needs from an operating system. os_posix.c (Linux, macOS) and os_windows.c. */
#ifndef RZ_OS_H
#define RZ_OS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(_WIN32)
#include <pthread.h>
#endif

/* ---- locks: not recursive. RZ_MUTEX_INIT and RZ_COND_INIT are for statics; such ones are never destroyed. ------- */

#if defined(_WIN32)
typedef struct rz_mutex {
    void *state;
} rz_mutex;
typedef struct rz_cond {
    void *state;
} rz_cond;
#define RZ_MUTEX_INIT {0}
#define RZ_COND_INIT {0}
#else
typedef struct rz_mutex {
    pthread_mutex_t state;
} rz_mutex;
typedef struct rz_cond {
    pthread_cond_t state;
} rz_cond;
#define RZ_MUTEX_INIT {PTHREAD_MUTEX_INITIALIZER}
#define RZ_COND_INIT {PTHREAD_COND_INITIALIZER} /* for rz_cond_wait only: its clock is not the monotonic one */
#endif

void rz_mutex_init(rz_mutex *m);
void rz_mutex_destroy(rz_mutex *m);
void rz_mutex_lock(rz_mutex *m);
void rz_mutex_unlock(rz_mutex *m);

void rz_cond_init(rz_cond *c);
void rz_cond_destroy(rz_cond *c);
void rz_cond_signal(rz_cond *c);
void rz_cond_broadcast(rz_cond *c);
/* Wakes may be spurious: look at the condition again. */
void rz_cond_wait(rz_cond *c, rz_mutex *m);
/* Returns false when timeout_ns passed. */
bool rz_cond_wait_for(rz_cond *c, rz_mutex *m, uint64_t timeout_ns);

/* ---- threads --------------------------------------------------------------------------------------------------- */

typedef struct rz_thread {
#if defined(_WIN32)
    void *handle;
#else
    pthread_t handle;
#endif
    void (*run)(void *arg);
    void *arg;
    const char *name;
} rz_thread;

/* Starts run(arg) on a thread with all signals blocked and a stack of 2 MiB, after pinning the library in memory. `t`
 * must not move until the join. name: a literal, up to 15 characters. RZ_OK, or OOM_HOST with the message set. */
int32_t rz_thread_start(rz_thread *t, const char *name, void (*run)(void *arg), void *arg);
void rz_thread_join(rz_thread *t);
/* Started and not joined yet, in the whole process. */
uint32_t rz_thread_count(void);
void rz_thread_yield(void);

/* A hint inside a spin loop. */
static inline void rz_cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Cores this process may use: physical cores within its affinity and its CPU quota (cgroup), at least 1. */
uint32_t rz_cpu_count(void);

/* Id of this process: another one after a fork. */
uint32_t rz_process_id(void);

/* ---- time ------------------------------------------------------------------------------------------------------ */

/* Monotonic. */
uint64_t rz_time_ns(void);

/* ---- memory ---------------------------------------------------------------------------------------------------- */

/* Zeroed memory from the system: `bytes` at a multiple of 2 MiB, where huge pages are asked for, with at least 64
 * writable bytes before it. NULL when there is none. *region and *region_bytes are for rz_os_unmap. */
void *rz_os_map(size_t bytes, void **region, size_t *region_bytes);
void rz_os_unmap(void *region, size_t region_bytes);

/* Memory of this machine, or of the control group that limits this process: what can still be taken, and all. */
void rz_os_memory(uint64_t *free_bytes, uint64_t *total_bytes);

/* ---- files (reading only) -------------------------------------------------------------------------------------- */

typedef struct rz_file {
    intptr_t handle; /* -1 = none */
} rz_file;

/* path: UTF-8. A thing that is not a regular file is refused (and never waited for). RZ_OK, or IO with the message
 * set. */
int32_t rz_file_open(rz_file *file, const char *path);
/* Size and modification time of an open file. */
int32_t rz_file_stat(rz_file file, const char *path, uint64_t *size_bytes, int64_t *mtime_ns);
/* Reads exactly n bytes at offset; from any thread. IO, or TRUNCATED where the file ends before. */
int32_t rz_file_read(rz_file file, const char *path, uint64_t offset, uint8_t *out, size_t n);
void rz_file_close(rz_file *file); /* none is fine */

#endif
