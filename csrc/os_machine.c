/* os_machine.c - what machine this is, on Linux and macOS: cores and memory that this process may use. */
#if !defined(_WIN32)
#define _GNU_SOURCE 1
#define _DARWIN_C_SOURCE 1
#include "os.h"
#if defined(__APPLE__)
#include <mach/mach.h>
#include <sys/sysctl.h>

static uint64_t sysctl_number(const char *name) {
    uint64_t value = 0;
    size_t n = sizeof value;
    return sysctlbyname(name, &value, &n, NULL, 0) == 0 ? value : 0; /* a 4-byte answer fills the low half */
}

uint32_t rz_cpu_count(void) {
    const uint64_t fast = sysctl_number("hw.perflevel0.physicalcpu");
    const uint64_t all = sysctl_number("hw.physicalcpu");
    const uint64_t n = fast > 0 ? fast : all;
    return n > 0 ? (uint32_t)n : 1;
}

void rz_os_memory(uint64_t *free_bytes, uint64_t *total_bytes) {
    vm_statistics64_data_t vm = {0};
    mach_msg_type_number_t n = HOST_VM_INFO64_COUNT;
    *total_bytes = sysctl_number("hw.memsize");
    *free_bytes = *total_bytes;
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&vm, &n) == KERN_SUCCESS) {
        *free_bytes = ((uint64_t)vm.free_count + vm.inactive_count + vm.purgeable_count) * vm_kernel_page_size;
    }
}

#else
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 512

/* The beginning of a small text file; false when there is none. */
static bool read_text(const char *path, char *out, size_t cap) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    size_t n = 0;
    for (;;) {
        const ssize_t got = read(fd, out + n, cap - 1 - n);
        if (got <= 0) break;
        n += (size_t)got;
    }
    close(fd);
    out[n] = 0;
    return n > 0;
}

static uint64_t number_after(const char *text, const char *key) {
    const char *at = strstr(text, key);
    return at == NULL ? 0 : strtoull(at + strlen(key), NULL, 10);
}

/* The folder of this process in the control group tree (version 2), without a slash at its end; false if none. */
static bool cgroup_folder(char out[PATH_BYTES]) {
    char text[PATH_BYTES];
    if (!read_text("/proc/self/cgroup", text, sizeof text)) return false;
    char *at = strstr(text, "0::");
    if (at == NULL) return false;
    at += 3;
    at[strcspn(at, "\n")] = 0;
    size_t n = strlen(at);
    while (n > 0 && at[n - 1] == '/') at[--n] = 0;
    return snprintf(out, PATH_BYTES, "/sys/fs/cgroup%s", at) < PATH_BYTES;
}

/* Goes from a folder to its parent; false after the root of the tree. */
static bool cgroup_up(char folder[PATH_BYTES]) {
    if (strcmp(folder, "/sys/fs/cgroup") == 0) return false;
    char *slash = strrchr(folder, '/');
    if (slash == NULL) return false;
    *slash = 0;
    return true;
}

static bool cgroup_text(const char *folder, const char *file, char *out, size_t cap) {
    char path[PATH_BYTES + 32];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    return read_text(path, out, cap);
}

/* Cores that a quota allows, rounded up; 0 = no quota. */
static uint32_t quota_of(uint64_t quota_us, uint64_t period_us) {
    if (quota_us == 0 || period_us == 0 || quota_us > UINT32_MAX) return 0;
    return (uint32_t)((quota_us + period_us - 1) / period_us);
}

static uint32_t cpu_quota(void) {
    char folder[PATH_BYTES], text[128];
    uint32_t least = 0;
    if (cgroup_folder(folder)) {
        do {
            if (!cgroup_text(folder, "cpu.max", text, sizeof text) || strncmp(text, "max", 3) == 0) continue;
            char *rest = text;
            const uint64_t quota_us = strtoull(text, &rest, 10);
            const uint32_t n = quota_of(quota_us, strtoull(rest, NULL, 10));
            if (n > 0 && (least == 0 || n < least)) least = n;
        } while (cgroup_up(folder));
    }
    char period[64];
    if (least == 0 && read_text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, sizeof text) && text[0] != '-' &&
        read_text("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period)) {
        least = quota_of(strtoull(text, NULL, 10), strtoull(period, NULL, 10));
    }
    return least;
}

/* The lowest logical CPU of the same core. */
static uint32_t core_of(uint32_t cpu) {
    char path[128], text[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
    return read_text(path, text, sizeof text) ? (uint32_t)strtoul(text, NULL, 10) : cpu;
}

uint32_t rz_cpu_count(void) {
    cpu_set_t allowed, cores;
    CPU_ZERO(&allowed);
    CPU_ZERO(&cores);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        const long n = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than a cpu_set_t holds */
        return n > 0 ? (uint32_t)n : 1;
    }
    for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed)) continue;
        const uint32_t core = core_of(cpu);
        if (core < CPU_SETSIZE) CPU_SET(core, &cores);
    }
    uint32_t n = (uint32_t)CPU_COUNT(&cores);
    const uint32_t quota = cpu_quota();
    if (quota > 0 && quota < n) n = quota;
    return n > 0 ? n : 1;
}

/* Takes a limit into account. cached: what is used but given back when needed. */
static void limit_memory(uint64_t max, uint64_t used, uint64_t cached, uint64_t *free_bytes, uint64_t *total_bytes) {
    used = used > cached ? used - cached : 0;
    const uint64_t left = max > used ? max - used : 0;
    if (*total_bytes == 0 || max < *total_bytes) *total_bytes = max;
    if (left < *free_bytes) *free_bytes = left;
}

/* The older version of control groups, as containers see it: their own group is the root. */
static void limit_by_old_cgroup(uint64_t *free_bytes, uint64_t *total_bytes) {
    static const char folder[] = "/sys/fs/cgroup/memory";
    char max[64], used[64], stat[4096];
    if (!cgroup_text(folder, "memory.limit_in_bytes", max, sizeof max)) return;
    if (!cgroup_text(folder, "memory.usage_in_bytes", used, sizeof used)) return;
    const bool has_stat = cgroup_text(folder, "memory.stat", stat, sizeof stat);
    limit_memory(strtoull(max, NULL, 10), strtoull(used, NULL, 10),
                 has_stat ? number_after(stat, "\ntotal_inactive_file ") : 0, free_bytes, total_bytes);
}

void rz_os_memory(uint64_t *free_bytes, uint64_t *total_bytes) {
    char text[4096], folder[PATH_BYTES];
    *free_bytes = *total_bytes = 0;
    if (read_text("/proc/meminfo", text, sizeof text)) {
        *total_bytes = number_after(text, "MemTotal:") * 1024;
        *free_bytes = number_after(text, "MemAvailable:") * 1024;
    }
    limit_by_old_cgroup(free_bytes, total_bytes);
    if (!cgroup_folder(folder)) return;
    do {
        if (!cgroup_text(folder, "memory.max", text, sizeof text) || strncmp(text, "max", 3) == 0) continue;
        const uint64_t max = strtoull(text, NULL, 10);
        if (!cgroup_text(folder, "memory.current", text, sizeof text)) continue;
        const uint64_t used = strtoull(text, NULL, 10);
        const bool has_stat = cgroup_text(folder, "memory.stat", text, sizeof text);
        limit_memory(max, used, has_stat ? number_after(text, "\ninactive_file ") : 0, free_bytes, total_bytes);
    } while (cgroup_up(folder));
}
#endif
#endif
