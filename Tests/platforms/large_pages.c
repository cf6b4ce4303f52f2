// Makes a process believe that the system's pages are larger than they are: for LD_PRELOAD, with the size, in bytes, in
// LARGE_PAGES. The calls that take addresses answer as a system with such pages does: whatever is no multiple of the
// size is EINVAL, lengths are rounded up to it, and mappings begin at multiples of it.
//
// What it cannot do: behind the end of a file, in the last page, such a system has zeroes, and this one has SIGBUS from
// the next page of its own on.
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SMALL 4096

static size_t page(void) {
  static size_t size;
  if (size == 0) {
    const char *text = getenv("LARGE_PAGES");
    size = text ? strtoul(text, NULL, 10) : SMALL;
  }
  return size;
}

static int is_aligned(const void *address) { return ((uintptr_t)address & (page() - 1)) == 0; }
static size_t rounded(size_t length) { return (length + page() - 1) & ~(page() - 1); }
static void *start_of(const void *address) { return (void *)((uintptr_t)address & ~(page() - 1)); }

static int invalid(void) {
  errno = EINVAL;
  return -1;
}

long sysconf(int name) {
  static long (*next)(int);
  if (name == _SC_PAGESIZE) return (long)page();
  if (next == NULL) {
    extern void *dlsym(void *, const char *);
    next = (long (*)(int))dlsym((void *)-1L, "sysconf");
  }
  return next(name);
}

int getpagesize(void) { return (int)page(); }

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
  if (offset & (off_t)(page() - 1)) return (void *)(intptr_t)invalid();
  if (length == 0 || (flags & MAP_HUGETLB) || rounded(length) < length)
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
  if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
    if (!is_aligned(address)) return (void *)(intptr_t)invalid();
    return (void *)syscall(SYS_mmap, address, rounded(length), protection, flags, fd, offset);
  }
  // One that begins where it should is cut out of a larger one.
  size_t whole = rounded(length), more = page() - SMALL;
  char *room = (char *)syscall(SYS_mmap, address, whole + more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                               -1, 0);
  if (room == MAP_FAILED) return room;
  char *start = (char *)rounded((uintptr_t)room);
  void *result = (void *)syscall(SYS_mmap, start, whole, protection, flags | MAP_FIXED, fd, offset);
  int error = errno;
  if (result == MAP_FAILED) {
    syscall(SYS_munmap, room, whole + more);
  } else {
    if (start > room) syscall(SYS_munmap, room, (size_t)(start - room));
    size_t behind = (size_t)(room + more - start);
    if (behind > 0) syscall(SYS_munmap, start + whole, behind);
  }
  errno = error;
  return result;
}
void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
  return mmap(address, length, protection, flags, fd, offset);
}

int munmap(void *address, size_t length) {
  return is_aligned(address) ? (int)syscall(SYS_munmap, address, rounded(length)) : invalid();
}

int mprotect(void *address, size_t length, int protection) {
  return is_aligned(address) ? (int)syscall(SYS_mprotect, address, rounded(length), protection) : invalid();
}

int madvise(void *address, size_t length, int advice) {
  return is_aligned(address) ? (int)syscall(SYS_madvise, address, rounded(length), advice) : invalid();
}

int msync(void *address, size_t length, int flags) {
  return is_aligned(address) ? (int)syscall(SYS_msync, address, rounded(length), flags) : invalid();
}

int mlock(const void *address, size_t length) {
  char *start = start_of(address);
  return (int)syscall(SYS_mlock, start, rounded(length + (size_t)((char *)address - start)));
}

int munlock(const void *address, size_t length) {
  char *start = start_of(address);
  return (int)syscall(SYS_munlock, start, rounded(length + (size_t)((char *)address - start)));
}

// A byte for each large page: in memory if all of it is.
int mincore(void *address, size_t length, unsigned char *result) {
  if (!is_aligned(address)) return invalid();
  for (size_t i = 0; i * page() < length; i++) {
    unsigned char parts[65536 / SMALL];
    if (syscall(SYS_mincore, (char *)address + i * page(), page(), parts) != 0) return -1;
    result[i] = 1;
    for (size_t j = 0; j < page() / SMALL; j++) result[i] &= parts[j];
  }
  return 0;
}
