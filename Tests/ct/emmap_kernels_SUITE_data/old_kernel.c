// Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.

// Makes a process believe that the kernel is older than it is: for LD_PRELOAD, with the names of what it has not got in
// LACKS, each between commas. What an older kernel does not know of mmap(2) it ignores; of everything else it says so.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static long (*next_syscall)(long, ...);
static int (*next_open)(const char *, int, ...);
static int fallocate_, memory_files, locking, noreplace, populating, unnamed, waiting;

static int lacks(const char *name) {
  const char *names = getenv("LACKS");
  return names != NULL && strstr(names, name) != NULL;
}

__attribute__((constructor)) static void start(void) {
  next_syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  next_open = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
  fallocate_ = lacks(",fallocate,");
  memory_files = lacks(",memfd_create,");
  locking = lacks(",mlock2,");
  noreplace = lacks(",MAP_FIXED_NOREPLACE,");
  populating = lacks(",MADV_POPULATE,");
  unnamed = lacks(",O_TMPFILE,");
  waiting = lacks(",futex_waitv,");
}

static long refused(int error) {
  errno = error;
  return -1;
}

long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long), d = va_arg(list, long),
       e = va_arg(list, long), f = va_arg(list, long);
  va_end(list);
  if (number == SYS_fallocate && fallocate_) return refused(ENOSYS);
  if (number == SYS_memfd_create && memory_files) return refused(ENOSYS);
  if (number == SYS_mlock2 && locking) return refused(ENOSYS);
  // The headers of older systems do not have it.
  if (number == 449 && waiting) return refused(ENOSYS);
  // MADV_POPULATE_READ and MADV_POPULATE_WRITE.
  if (number == SYS_madvise && populating && (c == 22 || c == 23)) return refused(EINVAL);
  return next_syscall(number, a, b, c, d, e, f);
}

int madvise(void *address, size_t length, int advice) { return (int)syscall(SYS_madvise, address, length, advice); }

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
  if (noreplace) flags &= ~0x100000;
  return (void *)next_syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}
void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
  return mmap(address, length, protection, flags, fd, offset);
}

int open(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  int mode = va_arg(list, int);
  va_end(list);
  // To an older kernel this is a directory that is opened for writing.
  if (unnamed && (flags & O_TMPFILE) == O_TMPFILE) return (int)refused(EISDIR);
  return next_open(path, flags, mode);
}
