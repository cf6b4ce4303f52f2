import CSystem
import Synchronization

/// The pages that stand in for those of a file that cannot be reached, or that nobody may reach any more. They read as
/// zeroes and cost nothing until somebody writes to them: neither the limits of a process (RLIMIT_DATA) nor a system
/// that promises no more memory than it has (vm.overcommit_memory = 2) count them.
///
/// Where stores must land they are pages of one sparse file in memory, each at the offset of its own address, so that no
/// two share bytes. Where nobody writes they are anonymous pages without the right to.
enum Replacement {
  /// Makes the file; to be called before the fault handler is installed.
  static func prepare() {
    let number = sys_memory_file()
    guard number >= 0 else { return }
    // Past every address. Refused under a limit of file sizes; then there are the pages below.
    if ftruncate(number, 1 << 56) != 0 {
      _ = close(number)
      return
    }
    file.store(number, ordering: .releasing)
  }

  /// Puts such pages in the place of a range. False if the system refuses. Async-signal-safe.
  static func map(_ from: UInt, _ to: UInt, isWritable: Bool) -> Bool {
    let length = Int(to &- from)
    guard isWritable else {
      let flags = sys_map_fixed | sys_map_private | sys_map_anonymous | sys_map_noreserve
      return sys_mmap(from, length, PROT_READ, flags, -1, 0) > 0
    }
    let number = file.load(ordering: .acquiring)
    let (flags, rights) = (sys_map_fixed | sys_map_shared | sys_map_noreserve, PROT_READ | PROT_WRITE)
    if number >= 0 && sys_mmap(from, length, rights, flags, number, off_t(from)) > 0 { return true }
    return sys_mmap(from, length, rights, flags | sys_map_anonymous, -1, 0) > 0
  }

  /// Puts a private page in the place of one of those, which could not be had when it was written to.
  static func mapPrivate(_ from: UInt, _ to: UInt, isWritable: Bool) -> Bool {
    let flags = sys_map_fixed | sys_map_private | sys_map_anonymous | sys_map_noreserve
    return sys_mmap(from, Int(to &- from), isWritable ? PROT_READ | PROT_WRITE : PROT_READ, flags, -1, 0) > 0
  }

  /// Gives back what was stored in the pages of a range, once they are mapped no more, or nobody can reach them.
  static func giveBack(_ from: UInt, _ to: UInt) {
    let number = file.load(ordering: .acquiring)
    if number >= 0 { _ = sys_fallocate(number, sys_punch_hole, off_t(from), off_t(to &- from)) }
  }

  private static let file = Atomic<Int32>(-1)
}
