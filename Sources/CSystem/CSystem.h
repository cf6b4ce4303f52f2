#ifndef EMMAP_CSYSTEM_H
#define EMMAP_CSYSTEM_H

// libc calls and macros that Swift cannot see (variadic functions, macros with casts, unions), and raw system calls
// where the libc symbol would bind a newer glibc than needed. What decides anything is in Swift, but for the little that
// a signal handler or a C string needs.
//
// _GNU_SOURCE is not defined here: debug builds also import libc's own module, which is compiled without it, and the
// two must agree on every struct.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <sys/syscall.h>
#include <unistd.h>

#if !defined(__linux__) || !defined(__LP64__)
#error "emmap needs a 64-bit Linux"
#endif

static const int sys_map_type = MAP_TYPE;
static const int sys_map_shared = MAP_SHARED;
static const int sys_map_shared_validate = 0x03;
static const int sys_map_private = MAP_PRIVATE;
static const int sys_map_fixed = MAP_FIXED;
static const int sys_map_anonymous = MAP_ANONYMOUS;
static const int sys_map_noreserve = MAP_NORESERVE;
static const int sys_map_nonblock = MAP_NONBLOCK;
static const int sys_map_hugetlb = MAP_HUGETLB;
static const int sys_map_huge_2mb = 21 << 26;
static const int sys_map_huge_1gb = 30 << 26;
static const int sys_map_sync = 0x80000;
static const int sys_map_fixed_noreplace = 0x100000;
static const int sys_map_uninitialized = 0x4000000;
static const int sys_advise_remove = 9;           // MADV_REMOVE
static const int sys_advise_huge = 14;            // MADV_HUGEPAGE
static const int sys_advise_no_huge = 15;         // MADV_NOHUGEPAGE
static const int sys_advise_cold = 20;            // MADV_COLD, Linux 5.4
static const int sys_advise_page_out = 21;        // MADV_PAGEOUT, Linux 5.4
static const int sys_advise_populate_read = 22;   // MADV_POPULATE_READ, Linux 5.14
static const int sys_advise_populate_write = 23;  // MADV_POPULATE_WRITE, Linux 5.14

static inline int sys_errno(void) { return errno; }
static inline void sys_set_errno(int value) { errno = value; }

static inline int sys_open(const char *path, int flags, mode_t mode) { return open(path, flags, mode); }

// glibc exports fstat and stat only since 2.33; the kernel's struct stat is libc's on 64-bit Linux.
static inline int sys_fstat(int fd, struct stat *result) { return (int)syscall(SYS_fstat, fd, result); }
static inline int sys_stat(const char *path, struct stat *result) {
  return (int)syscall(SYS_newfstatat, AT_FDCWD, path, result, 0);
}
static inline int sys_lstat(const char *path, struct stat *result) {
  return (int)syscall(SYS_newfstatat, AT_FDCWD, path, result, AT_SYMLINK_NOFOLLOW);
}

static inline _Bool sys_is_directory(mode_t mode) { return S_ISDIR(mode); }
static inline _Bool sys_is_regular(mode_t mode) { return S_ISREG(mode); }
static inline _Bool sys_is_block_device(mode_t mode) { return S_ISBLK(mode); }
static inline _Bool sys_is_fifo(mode_t mode) { return S_ISFIFO(mode); }
static inline _Bool sys_is_socket(mode_t mode) { return S_ISSOCK(mode); }

// Returns an address, or a negated errno: MAP_FAILED is a cast, and this way errno stays the caller's.
static inline intptr_t sys_mmap(uintptr_t address, size_t length, int protection, int flags, int fd, off_t offset) {
  void *result = mmap((void *)address, length, protection, flags, fd, offset);
  return result == MAP_FAILED ? -(intptr_t)errno : (intptr_t)result;
}

static inline void sys_futex_wait(const void *word, uint32_t expected) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}
static inline void sys_futex_wait_for(const void *word, uint32_t expected, long milliseconds) {
  struct timespec limit = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, &limit, NULL, 0);
}
static inline void sys_futex_wake_all(const void *word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

// The same for words that several processes have mapped: the kernel then knows a word by its file and place in it.
static inline void sys_futex_wake_shared(const void *word) {
  syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
// Returns 0 when woken, or an errno.
static inline int sys_futex_wait_shared(const void *word, uint32_t expected, long milliseconds) {
  struct timespec limit = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  return syscall(SYS_futex, word, FUTEX_WAIT, expected, &limit, NULL, 0) == 0 ? 0 : errno;
}
// What futex_waitv(2) waits for (Linux 5.16): words of 32 bits, private to the process or not.
typedef struct {
  uint64_t value, address;
  uint32_t flags, reserved;
} sys_futex_t;
static const uint32_t sys_futex_shared = 2;          // FUTEX_32
static const uint32_t sys_futex_private = 2 | 128;   // FUTEX_PRIVATE_FLAG
static const int sys_futex_most = 128;               // FUTEX_WAITV_MAX
// Waits until one of them is woken; returns its place, or a negated errno. EINVAL where it is asked for none.
static inline int sys_futex_wait_any(const sys_futex_t *words, unsigned count, long milliseconds) {
  struct timespec limit;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &limit);
  limit.tv_nsec += milliseconds % 1000 * 1000000;
  limit.tv_sec += milliseconds / 1000 + limit.tv_nsec / 1000000000;
  limit.tv_nsec %= 1000000000;
  long result = syscall(449 /* SYS_futex_waitv */, words, count, 0, &limit, CLOCK_MONOTONIC);
  return result < 0 ? -errno : (int)result;
}

// A sparse file in memory, without a name; closed on exec.
static inline int sys_memory_file(void) { return (int)syscall(SYS_memfd_create, "emmap", 1 /* MFD_CLOEXEC */); }

// Of the modes of fallocate(2): 0, which makes the file longer where needed, FALLOC_FL_KEEP_SIZE, that with
// FALLOC_FL_PUNCH_HOLE, or with FALLOC_FL_UNSHARE_RANGE.
static const int sys_keep_size = 1;
static const int sys_punch_hole = 3;
static const int sys_unshare = 0x41;
static inline int sys_fallocate(int fd, int mode, off_t offset, off_t length) {
  return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}
static inline int sys_start_writeback(int fd, off_t offset, off_t length) {
  return (int)syscall(SYS_sync_file_range, fd, offset, length, 2 /* SYNC_FILE_RANGE_WRITE */);
}

// Sets the lock of the whole file that belongs to the open file description (Linux 3.15): F_RDLCK, F_WRLCK, F_UNLCK.
// F_OFD_SETLK is 37; headers have it for _GNU_SOURCE alone.
static inline int sys_lock_file(int fd, short kind) {
  struct flock lock;
  memset(&lock, 0, sizeof lock);
  lock.l_type = kind;
  lock.l_whence = SEEK_SET;
  return (int)syscall(SYS_fcntl, fd, 37, &lock);
}
// The other one, which knows nothing of that: flock(2).
static inline int sys_flock(int fd, _Bool takes) {
  return (int)syscall(SYS_flock, fd, takes ? LOCK_EX | LOCK_NB : LOCK_UN);
}
// mlock2(2) with MLOCK_ONFAULT, Linux 4.4: what is in memory stays there, and so does what comes.
static inline int sys_lock_on_fault(const void *start, size_t length) {
  return (int)syscall(SYS_mlock2, start, length, 1);
}
static inline int sys_process(void) { return (int)syscall(SYS_getpid); }
// Sleeps for a tenth of a millisecond, so that those who wait for a lock of the kernel's can take it: who only yields
// has it again before they run.
static inline void sys_rest(void) {
  struct timespec time = {0, 100000};
  syscall(SYS_nanosleep, &time, NULL);
}
// Of a clock that only goes on. By the system call: clock_gettime() is in libc only since glibc 2.17.
static inline int64_t sys_nanoseconds(void) {
  struct timespec time;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}
static inline void sys_yield(void) { syscall(SYS_sched_yield); }

// Opens the file of a descriptor once more, whatever its name is by now.
static inline int sys_reopen(int fd, int flags) {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return open(path, flags);
}
// Whether the file has the byte, or it lies in a hole. The position of the descriptor itself stays.
static inline _Bool sys_has_data(int fd, off_t offset) {
  int other = sys_reopen(fd, O_RDONLY | O_CLOEXEC);
  if (other < 0) return 1;
  _Bool result = lseek(other, offset, 3 /* SEEK_DATA */) == offset;
  close(other);
  return result;
}
// The first byte from the offset on that is in no hole, or -1 and ENXIO; the position of the descriptor itself stays.
static inline off_t sys_next_data(int fd, off_t offset) {
  int other = sys_reopen(fd, O_RDONLY | O_CLOEXEC);
  if (other < 0) return -1;
  off_t result = lseek(other, offset, 3 /* SEEK_DATA */);
  int error = errno;
  close(other);
  errno = error;
  return result;
}
// Whether the user may write the file of a descriptor.
static inline _Bool sys_may_write(int fd) {
  char link[32];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  return access(link, W_OK) == 0;
}
// O_TMPFILE: a file without a name in the directory.
static inline int sys_open_unnamed(const char *directory, int flags, mode_t mode) {
  return open(directory, flags | 020000000 | O_DIRECTORY, mode);
}
// Gives a file without a name one, unless something has it already.
static inline int sys_link(int fd, const char *path) {
  char link[32];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  return linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}
// Puts the file of `fd` behind the number `number`, at once.
static inline int sys_replace(int fd, int number) { return (int)syscall(SYS_dup3, fd, number, O_CLOEXEC); }

// Sets the file's time of change to now.
static inline int sys_touch(int fd) {
  struct timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
  return (int)syscall(SYS_utimensat, fd, NULL, times, 0);
}

// Writes the path of the directory that has the file of a descriptor by now. False if it has no name, or none that fits.
static inline _Bool sys_directory_of(int fd, char *path, size_t size) {
  struct stat file, entry;
  char link[32];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, size - 1);
  if (length <= 0 || (size_t)length >= size - 1) return 0;
  path[length] = 0;
  if (sys_fstat(fd, &file) != 0 || sys_lstat(path, &entry) != 0) return 0;
  if (file.st_dev != entry.st_dev || file.st_ino != entry.st_ino) return 0;
  char *slash = strrchr(path, '/');
  if (slash == NULL) return 0;
  slash[slash == path ? 1 : 0] = 0;
  return 1;
}

// Whether the file system of a descriptor has no room for anybody but root. A system call, so that a signal handler
// may make it.
static inline _Bool sys_is_full(int fd) {
  struct statfs status;
  return syscall(SYS_fstatfs, fd, &status) == 0 && status.f_bavail == 0;
}

// Whether a page can be had that is mapped: for a signal handler, which must not touch it to find out. Where the system
// cannot tell, it can.
static inline _Bool sys_is_reachable(uintptr_t page, size_t bytes) {
  return syscall(SYS_madvise, page, bytes, sys_advise_populate_read) == 0 || errno == EINVAL;
}

// How many addresses the process may have, or few if the system does not tell. RLIMIT_AS has a type of glibc's own, which
// other C libraries lack.
static inline uint64_t sys_address_limit(void) {
  struct rlimit limit;
  return getrlimit(RLIMIT_AS, &limit) == 0 ? (uint64_t)limit.rlim_cur : 64 << 20;
}

// The kinds of file systems that behave in their own way, as statfs(2) names them, and their block size, which on
// hugetlbfs is the size of its pages.
static const long sys_tmpfs = 0x01021994;
static const long sys_ramfs = 0x858458f6;
static const long sys_overlay = 0x794c7630;
static const long sys_hugetlbfs = 0x958458f6;
typedef struct {
  long kind, block;
} sys_file_system_t;
static inline sys_file_system_t sys_file_system(int fd) {
  struct statfs status;
  sys_file_system_t result = {0, 0};
  if (syscall(SYS_fstatfs, fd, &status) == 0) {
    result.kind = (long)status.f_type;
    result.block = (long)status.f_bsize;
  }
  return result;
}

// Has 1024 bytes fetched, for stores that come soon.
static inline void sys_prefetch_kilobyte(const void *bytes) {
  for (int i = 0; i < 1024; i += 64) __builtin_prefetch((const char *)bytes + i, 1);
}

static inline void sys_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// Copies between mapped memory and private memory. Others may write the mapped side meanwhile, in this process or in
// another; the caller finds out afterwards (SequenceLock) or has agreed to it (nolock). Under the thread sanitizer the
// copy is made of atomic accesses, which say so.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define EMMAP_THREAD_SANITIZER 1
#endif
#endif
static inline void sys_copy(void *target, const void *source, size_t count) {
#ifdef EMMAP_THREAD_SANITIZER
  for (size_t i = 0; i < count; i++)
    __atomic_store_n((char *)target + i, __atomic_load_n((const char *)source + i, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
#else
  // The source may be a binary that points to the very bytes that are written.
  memmove(target, source, count);
#endif
}

// memmem(3), which headers have for _GNU_SOURCE alone.
extern void *memmem(const void *bytes, size_t count, const void *pattern, size_t length);
static inline const void *sys_find(const void *bytes, size_t count, const void *pattern, size_t length) {
  return memmem(bytes, count, pattern, length);
}

// Which of 64 bytes are newlines, a bit for each: one instruction for 16 of them, which Swift's vectors do not have.
typedef unsigned char sys_bytes_t __attribute__((vector_size(16)));
typedef _Bool sys_bits_t __attribute__((ext_vector_type(16)));
static inline uint64_t sys_newlines(const void *bytes) {
  uint64_t result = 0;
  for (int i = 0; i < 4; i++) {
    sys_bytes_t part;
    memcpy(&part, (const char *)bytes + 16 * i, sizeof part);
    sys_bits_t bits = __builtin_convertvector(part == '\n', sys_bits_t);
    uint16_t mask;
    memcpy(&mask, &bits, sizeof mask);
    result |= (uint64_t)mask << (16 * i);
  }
  return result;
}

// The signal's union members and handler union are out of Swift's sight.
typedef void (*sys_signal_handler)(int, siginfo_t *, void *);
static inline uintptr_t sys_fault_address(const siginfo_t *info) { return (uintptr_t)info->si_addr; }
static inline int sys_install_handler(int signal, sys_signal_handler handler) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  return sigaction(signal, &action, NULL);
}
// A signal whose default action ends the process, and that a system call also reports as an error.
static inline void sys_ignore_by_default(int signal) {
  struct sigaction action;
  if (sigaction(signal, NULL, &action) == 0 && !(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_DFL) {
    action.sa_handler = SIG_IGN;
    sigaction(signal, &action, NULL);
  }
}
// Does what the process would have done without us: calls the handler that was there before, or restores the default
// action. A fault then happens again on return and ends the process; a signal that somebody sent is raised again.
static inline void sys_chain_signal(const struct sigaction *previous, int signal, siginfo_t *info, void *context) {
  if (previous->sa_flags & SA_SIGINFO) {
    previous->sa_sigaction(signal, info, context);
  } else if (previous->sa_handler == SIG_DFL || (previous->sa_handler == SIG_IGN && info->si_code > 0)) {
    struct sigaction action;
    for (size_t i = 0; i < sizeof action; i++) ((volatile char *)&action)[i] = 0;
    action.sa_handler = SIG_DFL;
    sigaction(signal, &action, NULL);
    if (info->si_code <= 0) raise(signal);
  } else if (previous->sa_handler != SIG_IGN) {
    previous->sa_handler(signal);
  }
}

#endif
