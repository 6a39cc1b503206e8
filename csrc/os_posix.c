/* os_posix.c - locks, threads, time, memory and files on Linux and macOS. */
#if !defined(_WIN32)
#define _GNU_SOURCE 1
#define _DARWIN_C_SOURCE 1
#define _FILE_OFFSET_BITS 64
#include "os.h"
#include "error.h"
#include "test_hooks.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- locks: with valid arguments none of these calls can fail --------------------------------------------------- */

void rz_mutex_init(rz_mutex *m) { pthread_mutex_init(&m->state, NULL); }
void rz_mutex_destroy(rz_mutex *m) { pthread_mutex_destroy(&m->state); }
void rz_mutex_lock(rz_mutex *m) { pthread_mutex_lock(&m->state); }
void rz_mutex_unlock(rz_mutex *m) { pthread_mutex_unlock(&m->state); }

void rz_cond_init(rz_cond *c) {
#if defined(__APPLE__)
    pthread_cond_init(&c->state, NULL);
#else
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&c->state, &attributes);
    pthread_condattr_destroy(&attributes);
#endif
}

void rz_cond_destroy(rz_cond *c) { pthread_cond_destroy(&c->state); }
void rz_cond_signal(rz_cond *c) { pthread_cond_signal(&c->state); }
void rz_cond_broadcast(rz_cond *c) { pthread_cond_broadcast(&c->state); }
void rz_cond_wait(rz_cond *c, rz_mutex *m) { pthread_cond_wait(&c->state, &m->state); }

bool rz_cond_wait_for(rz_cond *c, rz_mutex *m, uint64_t timeout_ns) {
#if defined(__APPLE__)
    const struct timespec span = {.tv_sec = (time_t)(timeout_ns / 1000000000u), .tv_nsec = timeout_ns % 1000000000u};
    return pthread_cond_timedwait_relative_np(&c->state, &m->state, &span) != ETIMEDOUT;
#else
    const uint64_t until = rz_time_ns() + timeout_ns;
    const struct timespec at = {.tv_sec = (time_t)(until / 1000000000u), .tv_nsec = (long)(until % 1000000000u)};
    return pthread_cond_timedwait(&c->state, &m->state, &at) != ETIMEDOUT;
#endif
}

/* ---- threads --------------------------------------------------------------------------------------------------- */

#define STACK_BYTES (2u << 20)

static atomic_uint live_threads;

/* A host thread that ends may close the library while our threads run in it, so it must never be unmapped. Where the
 * code is part of an executable this has no effect. */
static void pin_library(void) {
    static atomic_bool done;
    Dl_info info;
    if (atomic_exchange(&done, true)) return;
    if (dladdr((void *)&live_threads, &info) == 0 || info.dli_fname == NULL) return;
    (void)dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

static void *thread_main(void *arg) {
    rz_thread *t = arg;
#if defined(__APPLE__)
    pthread_setname_np(t->name);
#else
    pthread_setname_np(pthread_self(), t->name);
#endif
    t->run(t->arg);
    return NULL;
}

int32_t rz_thread_start(rz_thread *t, const char *name, void (*run)(void *arg), void *arg) {
    pin_library();
    *t = (rz_thread){.run = run, .arg = arg, .name = name};
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* inherited by the new thread */
    const int error = rz_test_fails(RZ_TEST_ALLOCATION) ? ENOMEM
                                                        : pthread_create(&t->handle, &attributes, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error != 0) return rz_fail(RZ_E_OOM_HOST, "thread %s: cannot start (error %d)", name, error);
    atomic_fetch_add(&live_threads, 1);
    return RZ_OK;
}

void rz_thread_join(rz_thread *t) {
    pthread_join(t->handle, NULL);
    atomic_fetch_sub(&live_threads, 1);
}

uint32_t rz_thread_count(void) { return atomic_load(&live_threads); }
void rz_thread_yield(void) { sched_yield(); }
uint32_t rz_process_id(void) { return (uint32_t)getpid(); }

/* ---- time ------------------------------------------------------------------------------------------------------ */

uint64_t rz_time_ns(void) {
    struct timespec t = {0};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

#define HUGE_BYTES ((size_t)2 << 20)
#define LEAD_BYTES ((size_t)64 << 10) /* a multiple of every page size in use */

void *rz_os_map(size_t bytes, void **region, size_t *region_bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    const size_t body = (bytes + LEAD_BYTES - 1) / LEAD_BYTES * LEAD_BYTES;
    const size_t whole = body + HUGE_BYTES + LEAD_BYTES;
    uint8_t *base = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (base == MAP_FAILED) return NULL;
    const uintptr_t first = (uintptr_t)base + LEAD_BYTES;
    uint8_t *memory = base + (LEAD_BYTES + (HUGE_BYTES - first % HUGE_BYTES) % HUGE_BYTES);
    uint8_t *lead = memory - LEAD_BYTES;
    if (lead > base) munmap(base, (size_t)(lead - base));
    if (memory + body < base + whole) munmap(memory + body, (size_t)(base + whole - (memory + body)));
#if defined(MADV_HUGEPAGE)
    madvise(memory, body, MADV_HUGEPAGE); /* only a wish: without huge pages everything works, more slowly */
#endif
    *region = lead;
    *region_bytes = body + LEAD_BYTES;
    return memory;
}

void rz_os_unmap(void *region, size_t region_bytes) { munmap(region, region_bytes); }

/* ---- files ----------------------------------------------------------------------------------------------------- */

/* strerror is not safe among threads, and strerror_r has two forms. */
static const char *error_text(int error) {
    switch (error) {
    case ENOENT: return "no such file";
    case EACCES:
    case EPERM: return "permission denied";
    case EISDIR: return "is a folder";
    case ENOTDIR: return "a part of the path is not a folder";
    case EMFILE:
    case ENFILE: return "too many open files";
    case ENAMETOOLONG: return "name too long";
    case EIO: return "input/output error";
    case ESTALE: return "stale network file";
    default: return "failed";
    }
}

int32_t rz_file_open(rz_file *file, const char *path) {
    int fd;
    do {
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not be waited for */
    } while (fd < 0 && errno == EINTR);
    file->handle = fd;
    if (fd < 0) return rz_fail(RZ_E_IO, "%s: open: %s (errno %d)", path, error_text(errno), errno);
    struct stat s;
    if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode)) return RZ_OK;
    rz_file_close(file);
    return rz_fail(RZ_E_IO, "%s: not a regular file", path);
}

int32_t rz_file_stat(rz_file file, const char *path, uint64_t *size_bytes, int64_t *mtime_ns) {
    struct stat s;
    if (fstat((int)file.handle, &s) != 0) {
        return rz_fail(RZ_E_IO, "%s: stat: %s (errno %d)", path, error_text(errno), errno);
    }
#if defined(__APPLE__)
    const struct timespec changed = s.st_mtimespec;
#else
    const struct timespec changed = s.st_mtim;
#endif
    *size_bytes = (uint64_t)s.st_size;
    *mtime_ns = (int64_t)changed.tv_sec * 1000000000 + (int64_t)changed.tv_nsec;
    return RZ_OK;
}

int32_t rz_file_read(rz_file file, const char *path, uint64_t offset, uint8_t *out, size_t n) {
    if (rz_test_fails(RZ_TEST_READ)) return rz_fail(RZ_E_IO, "%s: read: failed by rz_test_fail_after", path);
    if (offset > INT64_MAX - n) return rz_fail(RZ_E_OFFSET, "%s: read: offset too large", path);
    while (n > 0) {
        const size_t piece = n < ((size_t)1 << 30) ? n : (size_t)1 << 30;
        const ssize_t got = pread((int)file.handle, out, piece, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            return rz_fail(RZ_E_IO, "%s: read at byte %llu: %s (errno %d)", path, (unsigned long long)offset,
                           error_text(errno), errno);
        }
        if (got == 0) {
            return rz_fail(RZ_E_TRUNCATED, "%s: ends at byte %llu, %zu bytes more are expected", path,
                           (unsigned long long)offset, n);
        }
        out += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return RZ_OK;
}

void rz_file_close(rz_file *file) {
    if (file->handle >= 0) close((int)file->handle);
    file->handle = -1;
}
#endif
