// A library that makes calls of the C library fail: preloaded, it counts the calls that touch files whose path holds
// FAIL_PATH, or the allocations of the core once such a file has been opened, and at number FAIL_AT lets the call fail or ends the
// process. FAIL_WHAT: "error", "kill" or "memory". What it counted is written to FAIL_COUNT.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { kSmallest = 64 };
static long calls, allocations;
static int armed;

static const char* setting(const char* name) {
    const char* value = getenv(name);
    return value != NULL ? value : "";
}
static int is(const char* what) { return strcmp(setting("FAIL_WHAT"), what) == 0; }
static int watched(const char* path) { return path != NULL && strstr(path, setting("FAIL_PATH")) != NULL; }
static int watched_fd(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return watched(path);
}
// Whether this call, one that is watched, is to fail.
static int fails(void) {
    armed = 1;
    if (++calls != atol(setting("FAIL_AT"))) return 0;
    if (is("kill")) kill(getpid(), SIGKILL);
    return is("error");
}
__attribute__((destructor)) static void report(void) {
    FILE* file = fopen(setting("FAIL_COUNT"), "w");
    if (file == NULL) return;
    fprintf(file, "%ld %ld\n", calls, allocations);
    fclose(file);
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, name)
#define FAIL_IF(condition, error) \
    if ((condition) && fails()) return errno = (error), -1

int open64(const char* path, int flags, ...) {
    REAL(int, "open64", const char*, int, ...);
    va_list rest;
    va_start(rest, flags);
    const int mode = va_arg(rest, int);
    va_end(rest);
    FAIL_IF((flags & (O_CREAT | O_WRONLY | O_RDWR)) && watched(path), EIO);
    return real(path, flags, mode);
}
ssize_t write(int fd, const void* data, size_t size) {
    REAL(ssize_t, "write", int, const void*, size_t);
    FAIL_IF(fd > 2 && watched_fd(fd), ENOSPC);
    return real(fd, data, size);
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
    REAL(ssize_t, "pwrite64", int, const void*, size_t, off64_t);
    FAIL_IF(watched_fd(fd), ENOSPC);
    return real(fd, data, size, offset);
}
int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    FAIL_IF(watched_fd(fd), EIO);
    return real(fd, size);
}
int fsync(int fd) {
    REAL(int, "fsync", int);
    FAIL_IF(watched_fd(fd), EIO);
    return real(fd);
}
int posix_fallocate64(int fd, off64_t offset, off64_t size) {
    REAL(int, "posix_fallocate64", int, off64_t, off64_t);
    if (watched_fd(fd) && fails()) return ENOSPC;
    return real(fd, offset, size);
}
int rename(const char* from, const char* to) {
    REAL(int, "rename", const char*, const char*);
    FAIL_IF(watched(from), EIO);
    return real(from, to);
}
int unlink(const char* path) {
    REAL(int, "unlink", const char*);
    FAIL_IF(watched(path), EIO);
    return real(path);
}

// Of the core and its C++ library alone: NumPy does not survive every failure of its own.
static int of_core(const void* caller) {
    Dl_info info;
    if (dladdr(caller, &info) == 0 || info.dli_fname == NULL) return 0;
    return strstr(info.dli_fname, "libstdc++") != NULL || strstr(info.dli_fname, "_core.") != NULL;
}
static int no_memory(size_t size, const void* caller) {
    if (!armed || size < kSmallest || !of_core(caller)) return 0;
    return ++allocations == atol(setting("FAIL_AT")) && is("memory");
}
void* aligned_alloc(size_t alignment, size_t size) {
    REAL(void*, "aligned_alloc", size_t, size_t);
    return no_memory(size, __builtin_return_address(0)) ? NULL : real(alignment, size);
}
extern void* __libc_malloc(size_t size);
void* malloc(size_t size) { return no_memory(size, __builtin_return_address(0)) ? NULL : __libc_malloc(size); }
