import CSystem
import Synchronization

/// Mappings that are kept to be given up. A process may have only so many (vm.max_map_count), and replacing a page in
/// the middle of one takes two more: the fault handler must always be able to.
///
///     pages:  | none | read | none | read | ... | none |
///
/// Each page that can be read is a mapping of its own between two that cannot be touched. Taking its rights away makes
/// one mapping of the three, which the system does even where no further mapping may be made.
enum SpareMappings {
  private static var count: Int { 16 }
  /// How many are for the last resort.
  static var reserve: Int { 8 }

  /// Tells whether nothing but the reserve is left.
  static var areScarce: Bool { held.load(ordering: .relaxed).nonzeroBitCount <= reserve }

  /// Sees to it that there are all of them, as far as the system allows.
  static func keep() {
    guard held.load(ordering: .relaxed) != all, !isFilling.exchange(true, ordering: .acquiring) else { return }
    defer { isFilling.store(false, ordering: .releasing) }
    if start.load(ordering: .relaxed) == 0 {
      let flags = sys_map_private | sys_map_anonymous | sys_map_noreserve
      let address = sys_mmap(0, (2 * count + 1) * pageBytes, PROT_NONE, flags, -1, 0)
      guard address > 0 else { return }
      start.store(address, ordering: .releasing)
    }
    for index in 0..<count
    where (held.load(ordering: .acquiring) | leaving.load(ordering: .acquiring)) & (1 << index) == 0 {
      guard setRights(index, PROT_READ) else { return }
      _ = held.bitwiseOr(1 << index, ordering: .releasing)
    }
  }

  /// Gives one up, if there are more than `kept`. May be called by a signal handler.
  static func giveUp(keeping kept: Int) -> Bool {
    var seen = held.load(ordering: .acquiring)
    while seen.nonzeroBitCount > kept {
      let index = seen.trailingZeroBitCount
      // First, so that who fills leaves the page alone until its rights are gone.
      if leaving.bitwiseOr(1 << index, ordering: .acquiringAndReleasing).oldValue & (1 << index) == 0 {
        let done = held.bitwiseAnd(~(1 << index), ordering: .acquiringAndReleasing).oldValue & (1 << index) != 0
        let isGone = done && setRights(index, PROT_NONE)
        _ = leaving.bitwiseAnd(~(1 << index), ordering: .releasing)
        if isGone { return true }
      } else {
        sys_yield()
      }
      seen = held.load(ordering: .acquiring)
    }
    return false
  }

  private static func setRights(_ index: Int, _ rights: Int32) -> Bool {
    let address = start.load(ordering: .acquiring) &+ (2 &* index &+ 1) &* pageBytes
    // SAFETY: the page is one of ours, which nobody ever touches.
    return unsafe mprotect(UnsafeMutableRawPointer(bitPattern: address), pageBytes, rights) == 0
  }

  private static var all: Int { (1 << count) - 1 }
  /// Of 64 KiB, whatever the system's pages are: a multiple of their size.
  private static var pageBytes: Int { 64 << 10 }
  private static let start = Atomic<Int>(0)
  /// A bit for each mapping that is there to be given up.
  private static let held = Atomic<Int>(0)
  /// A bit for each that is being given up at this moment.
  private static let leaving = Atomic<Int>(0)
  private static let isFilling = Atomic<Bool>(false)
}
