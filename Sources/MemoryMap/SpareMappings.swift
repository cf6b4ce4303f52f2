import CSystem
import Synchronization

/// Mappings that are kept to be given up. A process may have only so many (vm.max_map_count), and replacing a page in
/// the middle of one takes two more: the fault handler must always be able to.
enum SpareMappings {
  private static var count: Int { 16 }

  /// Sees to it that there are some, as far as the system allows.
  static func keep() {
    guard address.load(ordering: .relaxed) == 0 else { return }
    let page = PageSize.system.bytes
    let start = sys_mmap(0, count * page, PROT_NONE, sys_map_private | sys_map_anonymous | sys_map_noreserve, -1, 0)
    guard start > 0 else { return }
    // Every other page with other rights, so that each is a mapping of its own.
    for index in stride(from: 0, to: count, by: 2) {
      _ = unsafe mprotect(UnsafeMutableRawPointer(bitPattern: start + index * page), page, PROT_READ)
    }
    if !address.compareExchange(expected: 0, desired: start, ordering: .relaxed).exchanged {
      _ = unsafe munmap(UnsafeMutableRawPointer(bitPattern: start), count * page)
    }
    pageBytes.store(page, ordering: .relaxed)
  }

  /// Gives them up. False if there were none. May be called by a signal handler.
  static func giveUp() -> Bool {
    let start = address.exchange(0, ordering: .relaxed)
    guard start != 0 else { return false }
    return unsafe munmap(UnsafeMutableRawPointer(bitPattern: start), count &* pageBytes.load(ordering: .relaxed)) == 0
  }

  private static let address = Atomic<Int>(0)
  private static let pageBytes = Atomic<Int>(4096)
}
