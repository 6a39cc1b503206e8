/* os_windows.c - locks, threads, time, memory and files on Windows. */
#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN 1
#include "os.h"
#include "error.h"
#include "test_hooks.h"
#include <stdatomic.h>
#include <windows.h>

/* ---- locks ----------------------------------------------------------------------------------------------------- */

static_assert(sizeof(rz_mutex) == sizeof(SRWLOCK) && sizeof(rz_cond) == sizeof(CONDITION_VARIABLE));

static SRWLOCK *lock_of(rz_mutex *m) { return (SRWLOCK *)(void *)&m->state; }
static CONDITION_VARIABLE *cond_of(rz_cond *c) { return (CONDITION_VARIABLE *)(void *)&c->state; }

void rz_mutex_init(rz_mutex *m) { InitializeSRWLock(lock_of(m)); }
void rz_mutex_destroy(rz_mutex *m) { (void)m; }
void rz_mutex_lock(rz_mutex *m) { AcquireSRWLockExclusive(lock_of(m)); }
void rz_mutex_unlock(rz_mutex *m) { ReleaseSRWLockExclusive(lock_of(m)); }

void rz_cond_init(rz_cond *c) { InitializeConditionVariable(cond_of(c)); }
void rz_cond_destroy(rz_cond *c) { (void)c; }
void rz_cond_signal(rz_cond *c) { WakeConditionVariable(cond_of(c)); }
void rz_cond_broadcast(rz_cond *c) { WakeAllConditionVariable(cond_of(c)); }

void rz_cond_wait(rz_cond *c, rz_mutex *m) {
    SleepConditionVariableSRW(cond_of(c), lock_of(m), INFINITE, 0);
}

bool rz_cond_wait_for(rz_cond *c, rz_mutex *m, uint64_t timeout_ns) {
    uint64_t ms = (timeout_ns + 999999u) / 1000000u;
    if (ms > INFINITE - 1u) ms = INFINITE - 1u;
    return SleepConditionVariableSRW(cond_of(c), lock_of(m), (DWORD)ms, 0) != 0 || GetLastError() != ERROR_TIMEOUT;
}

/* ---- threads --------------------------------------------------------------------------------------------------- */

#define STACK_BYTES (2u << 20)

static atomic_uint live_threads;

/* A host thread that ends may free the library while our threads run in it, so it must never be unloaded. */
static void pin_library(void) {
    static atomic_bool done;
    HMODULE module;
    if (atomic_exchange(&done, true)) return;
    GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                       (LPCWSTR)(void *)&live_threads, &module);
}

static DWORD WINAPI thread_main(void *arg) {
    rz_thread *t = arg;
    t->run(t->arg);
    return 0;
}

int32_t rz_thread_start(rz_thread *t, const char *name, void (*run)(void *arg), void *arg) {
    pin_library();
    *t = (rz_thread){.run = run, .arg = arg, .name = name};
    if (!rz_test_fails(RZ_TEST_ALLOCATION)) {
        t->handle = CreateThread(NULL, STACK_BYTES, thread_main, t, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    }
    if (t->handle == NULL) {
        return rz_fail(RZ_E_OOM_HOST, "thread %s: cannot start (error %lu)", name, GetLastError());
    }
    atomic_fetch_add(&live_threads, 1);
    return RZ_OK;
}

void rz_thread_join(rz_thread *t) {
    WaitForSingleObject(t->handle, INFINITE);
    CloseHandle(t->handle);
    atomic_fetch_sub(&live_threads, 1);
}

uint32_t rz_thread_count(void) { return atomic_load(&live_threads); }
void rz_thread_yield(void) { SwitchToThread(); }
uint32_t rz_process_id(void) { return GetCurrentProcessId(); }

#define CORES_MAX 512

uint32_t rz_cpu_count(void) {
    SYSTEM_LOGICAL_PROCESSOR_INFORMATION info[CORES_MAX];
    DWORD n_bytes = sizeof info;
    DWORD_PTR allowed = 0, all = 0;
    uint32_t n = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &allowed, &all) && allowed != 0 &&
        GetLogicalProcessorInformation(info, &n_bytes)) {
        for (uint32_t i = 0; i < n_bytes / sizeof info[0]; i++) {
            if (info[i].Relationship == RelationProcessorCore && (info[i].ProcessorMask & allowed) != 0) n++;
        }
    }
    if (n == 0) n = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
    return n > 0 ? n : 1;
}

/* ---- time ------------------------------------------------------------------------------------------------------ */

uint64_t rz_time_ns(void) {
    LARGE_INTEGER frequency, ticks;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&ticks);
    const uint64_t f = (uint64_t)frequency.QuadPart, t = (uint64_t)ticks.QuadPart;
    return t / f * 1000000000u + t % f * 1000000000u / f;
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

#define HUGE_BYTES ((size_t)2 << 20)
#define LEAD_BYTES ((size_t)64 << 10)

/* Large pages need a privilege that programs don't have: these are ordinary ones. */
void *rz_os_map(size_t bytes, void **region, size_t *region_bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    const size_t whole = bytes + HUGE_BYTES + LEAD_BYTES;
    uint8_t *base = VirtualAlloc(NULL, whole, MEM_RESERVE, PAGE_NOACCESS);
    if (base == NULL) return NULL;
    const uintptr_t first = (uintptr_t)base + LEAD_BYTES;
    uint8_t *memory = base + (LEAD_BYTES + (HUGE_BYTES - first % HUGE_BYTES) % HUGE_BYTES);
    if (VirtualAlloc(memory - LEAD_BYTES, bytes + LEAD_BYTES, MEM_COMMIT, PAGE_READWRITE) == NULL) {
        VirtualFree(base, 0, MEM_RELEASE);
        return NULL;
    }
    *region = base;
    *region_bytes = whole;
    return memory;
}

void rz_os_unmap(void *region, size_t region_bytes) {
    (void)region_bytes;
    VirtualFree(region, 0, MEM_RELEASE);
}

void rz_os_memory(uint64_t *free_bytes, uint64_t *total_bytes) {
    MEMORYSTATUSEX status = {.dwLength = sizeof status};
    *free_bytes = *total_bytes = 0;
    if (!GlobalMemoryStatusEx(&status)) return;
    *total_bytes = status.ullTotalPhys;
    *free_bytes = status.ullAvailPhys;
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

#define PATH_CHARS 32768
#define UNIX_EPOCH_100NS 116444736000000000ll

int32_t rz_file_open(rz_file *file, const char *path) {
    file->handle = -1;
    WCHAR *wide = HeapAlloc(GetProcessHeap(), 0, PATH_CHARS * sizeof *wide);
    if (wide == NULL) return rz_fail(RZ_E_OOM_HOST, "%s: open: no host memory for its path", path);
    HANDLE handle = INVALID_HANDLE_VALUE;
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, PATH_CHARS) > 0) {
        handle = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                             OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    }
    const DWORD error = GetLastError();
    HeapFree(GetProcessHeap(), 0, wide);
    if (handle == INVALID_HANDLE_VALUE) return rz_fail(RZ_E_IO, "%s: open: failed (error %lu)", path, error);
    file->handle = (intptr_t)handle;
    if (GetFileType(handle) == FILE_TYPE_DISK) return RZ_OK;
    rz_file_close(file);
    return rz_fail(RZ_E_IO, "%s: not a regular file", path);
}

int32_t rz_file_stat(rz_file file, const char *path, uint64_t *size_bytes, int64_t *mtime_ns) {
    BY_HANDLE_FILE_INFORMATION info;
    if (!GetFileInformationByHandle((HANDLE)file.handle, &info)) {
        return rz_fail(RZ_E_IO, "%s: stat: failed (error %lu)", path, GetLastError());
    }
    *size_bytes = (uint64_t)info.nFileSizeHigh << 32 | info.nFileSizeLow;
    const int64_t changed = (int64_t)((uint64_t)info.ftLastWriteTime.dwHighDateTime << 32 |
                                      info.ftLastWriteTime.dwLowDateTime);
    *mtime_ns = (changed - UNIX_EPOCH_100NS) * 100;
    return RZ_OK;
}

int32_t rz_file_read(rz_file file, const char *path, uint64_t offset, uint8_t *out, size_t n) {
    if (rz_test_fails(RZ_TEST_READ)) return rz_fail(RZ_E_IO, "%s: read: failed by rz_test_fail_after", path);
    while (n > 0) {
        OVERLAPPED at = {.Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32)};
        const DWORD piece = n < (1u << 30) ? (DWORD)n : 1u << 30;
        DWORD got = 0;
        if (!ReadFile((HANDLE)file.handle, out, piece, &got, &at) && GetLastError() != ERROR_HANDLE_EOF) {
            return rz_fail(RZ_E_IO, "%s: read at byte %llu: failed (error %lu)", path, (unsigned long long)offset,
                           GetLastError());
        }
        if (got == 0) {
            return rz_fail(RZ_E_TRUNCATED, "%s: ends at byte %llu, %zu bytes more are expected", path,
                           (unsigned long long)offset, n);
        }
        out += got;
        offset += got;
        n -= got;
    }
    return RZ_OK;
}

void rz_file_close(rz_file *file) {
    if (file->handle != -1) CloseHandle((HANDLE)file->handle);
    file->handle = -1;
}
#endif
