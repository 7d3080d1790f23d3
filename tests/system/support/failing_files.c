/*
 * LD_PRELOAD: calls that write a file whose name contains $ML_FAIL_FILE, or sync a folder, are counted, and one of them
 * goes wrong.
 *
 *   ML_FAIL_AT     which call, from 1; 0: none
 *   ML_FAIL_HOW    an errno to fail with, "kill" (SIGKILL before the call), or "torn" (half of a write, then SIGKILL)
 *   ML_FAIL_ALL    set: every later call fails as well
 *   ML_FAIL_COUNT  file that the number of calls is written to at exit
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long calls;

static void* real(const char* name) { return dlsym(RTLD_NEXT, name); }

static int matches(const char* path) {
  const char* wanted = getenv("ML_FAIL_FILE");
  const char* name = strrchr(path, '/');
  return wanted != NULL && strstr(name != NULL ? name : path, wanted) != NULL;
}

static int matches_fd(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = '\0';
  return matches(path);
}

/* Counts a call: -1 when it is to fail (errno is set), 0 otherwise. */
static int fails(int fd, const void* data, size_t bytes) {
  const long at = atol(getenv("ML_FAIL_AT") != NULL ? getenv("ML_FAIL_AT") : "0");
  const char* how = getenv("ML_FAIL_HOW");
  const long number = atomic_fetch_add(&calls, 1) + 1;
  if (at == 0 || how == NULL || number < at || (number > at && getenv("ML_FAIL_ALL") == NULL)) return 0;
  if (strcmp(how, "torn") == 0 && data != NULL) {
    ssize_t (*write_half)(int, const void*, size_t) = real("write");
    if (write_half(fd, data, bytes / 2) < 0) abort();
  }
  if (strcmp(how, "torn") == 0 || strcmp(how, "kill") == 0) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  errno = atoi(how);
  return -1;
}

#pragma GCC visibility push(default)

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  if ((flags & O_ACCMODE) == O_WRONLY && matches(path) && fails(-1, NULL, 0) != 0) return -1;
  int (*next)(const char*, int, ...) = real("open");
  return next(path, flags, mode);
}

ssize_t write(int fd, const void* data, size_t bytes) {
  if (matches_fd(fd) && fails(fd, data, bytes) != 0) return -1;
  ssize_t (*next)(int, const void*, size_t) = real("write");
  return next(fd, data, bytes);
}

int fsync(int fd) {
  struct stat info;
  const int folder = fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);
  if ((folder || matches_fd(fd)) && fails(fd, NULL, 0) != 0) return -1;
  int (*next)(int) = real("fsync");
  return next(fd);
}

int rename(const char* from, const char* to) {
  if (matches(to) && fails(-1, NULL, 0) != 0) return -1;
  int (*next)(const char*, const char*) = real("rename");
  return next(from, to);
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned int flags) {
  if (matches(to) && fails(-1, NULL, 0) != 0) return -1;
  int (*next)(int, const char*, int, const char*, unsigned int) = real("renameat2");
  return next(from_folder, from, to_folder, to, flags);
}

#pragma GCC visibility pop

__attribute__((destructor)) static void tell(void) {
  const char* path = getenv("ML_FAIL_COUNT");
  FILE* file = path != NULL ? fopen(path, "w") : NULL;
  if (file == NULL) return;
  fprintf(file, "%ld\n", atomic_load(&calls));
  fclose(file);
}
