import CSystem
import Synchronization

/// Where the regions of `direct` handles lie. Bytes that are to be written and come from there need care; other binaries
/// of the VM, which lie among them, do not, and most writes ask.
///
/// The ranges stand in the order of their addresses, and are looked through without a lock. Whoever asks about an address
/// in a region owns a share of it, so it is there all the time; who meets a change is told that it may be.
enum DirectRanges {
  /// Tells whether an address may lie in a region that binaries point into.
  @inline(__always)
  static func mayHold(_ address: UInt) -> Bool {
    address < storage.high.load(ordering: .acquiring)
      && address >= storage.low.load(ordering: .relaxed) && isAmong(address)
  }

  @inline(never)
  private static func isAmong(_ address: UInt) -> Bool {
    let ticket = storage.lock.ticket
    // Acquiring: the list has room for as many.
    let count = storage.count.load(ordering: .acquiring)
    guard let list = unsafe list else { return true }
    // The first range that ends behind the address.
    var (first, end) = (0, count)
    while first < end {
      let middle = (first &+ end) / 2
      if unsafe list[2 &* middle &+ 1].load(ordering: .relaxed) <= address { first = middle &+ 1 } else { end = middle }
    }
    let holds = unsafe first < count && list[2 &* first].load(ordering: .relaxed) <= address
    // Acquiring: the ticket is looked at after the list.
    atomicMemoryFence(ordering: .acquiring)
    return holds || !storage.lock.isCurrent(ticket)
  }

  /// Notes that binaries may point into a range.
  static func add(_ from: UInt, _ to: UInt) {
    change { count in
      guard let list = unsafe listOf(count &+ 1) else { return nil }
      var index = count
      while unsafe index > 0 && list[2 &* index &- 2].load(ordering: .relaxed) > from {
        unsafe move(list, index &- 1, to: index)
        index &-= 1
      }
      unsafe list[2 &* index].store(from, ordering: .relaxed)
      unsafe list[2 &* index &+ 1].store(to, ordering: .relaxed)
      return count &+ 1
    }
  }

  /// Notes that the range from there ends later by now.
  static func extend(_ from: UInt, to: UInt) {
    change { count in
      guard let list = unsafe list, let index = unsafe index(of: from, list, count) else { return count }
      unsafe list[2 &* index &+ 1].store(to, ordering: .relaxed)
      return count
    }
  }

  /// Forgets the range from there.
  static func remove(_ from: UInt) {
    change { count in
      guard let list = unsafe list, let index = unsafe index(of: from, list, count) else { return count }
      for next in index &+ 1..<max(count, index &+ 1) { unsafe move(list, next, to: next &- 1) }
      return count &- 1
    }
  }

  /// Runs `body` on the number of ranges, which returns how many there are then; nil if memory was out. Any address may
  /// be in a range that could not be noted.
  private static func change(_ body: (Int) -> Int?) {
    storage.lock.lock()
    defer { storage.lock.unlock() }
    if storage.isIncomplete.load(ordering: .relaxed) { return }
    let count = body(storage.count.load(ordering: .relaxed))
    var (low, high) = (UInt.max, UInt(0))
    if let count, count > 0, let list = unsafe list {
      unsafe (low, high) = (list[0].load(ordering: .relaxed), list[2 &* count &- 1].load(ordering: .relaxed))
    } else if count == nil {
      storage.isIncomplete.store(true, ordering: .relaxed)
      storage.list.store(0, ordering: .releasing)
      (low, high) = (0, .max)
    }
    storage.count.store(count ?? 0, ordering: .releasing)
    storage.low.store(low, ordering: .relaxed)
    // Releasing: who sees the end of a range finds the range.
    storage.high.store(high, ordering: .releasing)
  }

  private typealias Bounds = UnsafeMutablePointer<Atomic<UInt>>

  /// From and to of each range, in turn. In front of them stands the list before, which was too short.
  private static var list: Bounds? { unsafe Bounds(bitPattern: storage.list.load(ordering: .acquiring)) }

  /// A list with room for so many ranges. The one before stays: somebody may be looking at it.
  private static func listOf(_ count: Int) -> Bounds? {
    let room = storage.room.load(ordering: .relaxed)
    let old = unsafe list
    if count <= room { return unsafe old }
    let wanted = max(2 &* room, 32)
    guard
      let block = unsafe calloc(2 &* wanted &+ 1, MemoryLayout<UInt>.stride)?.assumingMemoryBound(to: Atomic<UInt>.self)
    else { return nil }
    unsafe block.pointee.store(UInt(bitPattern: old), ordering: .relaxed)
    let new = unsafe block + 1
    if let old = unsafe old {
      for index in 0..<2 &* room { unsafe new[index].store(old[index].load(ordering: .relaxed), ordering: .relaxed) }
    }
    storage.room.store(wanted, ordering: .relaxed)
    storage.list.store(UInt(bitPattern: new), ordering: .releasing)
    return unsafe new
  }

  private static func index(of from: UInt, _ list: Bounds, _ count: Int) -> Int? {
    for index in 0..<count where unsafe list[2 &* index].load(ordering: .relaxed) == from { return index }
    return nil
  }

  private static func move(_ list: Bounds, _ from: Int, to: Int) {
    for bound in 0..<2 {
      unsafe list[2 &* to &+ bound].store(list[2 &* from &+ bound].load(ordering: .relaxed), ordering: .relaxed)
    }
  }

  @safe private struct Storage: ~Copyable {
    /// Held by who changes what follows.
    let lock = SequenceLock()
    let list = Atomic<UInt>(0)
    let count = Atomic<Int>(0)
    /// The bounds of all ranges together.
    let low = Atomic<UInt>(.max)
    let high = Atomic<UInt>(0)
    /// How many the list has room for.
    let room = Atomic<Int>(0)
    let isIncomplete = Atomic<Bool>(false)
  }

  private static let storage = Storage()
}
