import MemoryMap

/// Which segment of the file holds which segment of the queue.
struct SegmentTable: ~Copyable {
  /// The number of the first segment that is in the file.
  private(set) var first = 0
  /// Where it and those that follow are, counted from the first in the file.
  private var slots = GrowableArray<Int>()
  /// Segments of the file that hold nothing; the lowest one last.
  private(set) var free = GrowableArray<Int>()
  /// How many segments the file has. There is room for as many above, so that nothing but a longer file needs memory.
  private(set) var count = 0

  /// The number behind the last segment.
  var end: Int { first &+ slots.count }

  func slot(of number: Int) -> Int? {
    number >= first && number < end ? slots[number &- first] : nil
  }

  /// Starts with `slots` from segment `first`, in a file of `count` segments.
  mutating func start(first: Int, slots: consuming GrowableArray<Int>, count: Int) throws(StructureError) {
    guard var isUsed = GrowableArray(repeating: false, count: count) else { throw .file(.noMemory) }
    for index in slots.indices { isUsed[slots[index]] = true }
    self.first = first
    self.slots = slots
    try reserve(count)
    self.count = count
    for slot in stride(from: count - 1, through: 0, by: -1) where !isUsed[slot] { _ = free.append(slot) }
  }

  /// Sees to it that there is memory for so many more segments.
  mutating func reserve(_ more: Int) throws(StructureError) {
    let (all, overflow) = count.addingReportingOverflow(more)
    guard !overflow, slots.reserve(all - slots.count), free.reserve(all - free.count) else { throw .file(.noMemory) }
  }

  /// Adds free segments that the file has got, for which there is memory.
  mutating func grow(by more: Int) {
    let count = count
    _ = free.insert(more, at: 0) { count + $0 }
    self.count += more
  }

  /// Gives the next segment a place; false if none is free.
  mutating func append() -> Bool {
    guard let slot = free.popLast() else { return false }
    return slots.append(slot)
  }

  /// Takes back the places of the segments from `number`, which were never written.
  mutating func removeLast(from number: Int) {
    while end > number, let slot = slots.popLast() { _ = free.append(slot) }
  }

  /// Frees the segments below `limit`.
  mutating func release(below limit: Int) {
    let gone = min(max(limit - first, 0), slots.count)
    if gone == 0 {
      if slots.isEmpty { first = max(first, limit) }
      return
    }
    let released = unsafe slots.elements
    _ = free.insert(gone, at: 0) { unsafe released[gone - 1 - $0] }
    slots.remove(gone, at: 0)
    first += gone
    if slots.isEmpty { first = max(first, limit) }
  }
}
