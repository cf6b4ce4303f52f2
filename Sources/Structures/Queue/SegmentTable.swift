/// Which segment of the file holds which segment of the queue.
struct SegmentTable: ~Copyable {
  /// The number of the first segment that is in the file.
  private(set) var first = 0
  /// Where it and those that follow are, counted from the first in the file.
  private var slots: [Int] = []
  /// Segments of the file that hold nothing; the lowest one last.
  private(set) var free: [Int] = []
  /// How many segments the file has.
  private(set) var count = 0

  /// The number behind the last segment.
  var end: Int { first &+ slots.count }

  func slot(of number: Int) -> Int? {
    number >= first && number < end ? slots[number &- first] : nil
  }

  /// Starts with `slots` from segment `first`, in a file of `count` segments.
  mutating func start(first: Int, slots: [Int], count: Int) {
    self.first = first
    self.slots = slots
    self.count = count
    var isUsed = [Bool](repeating: false, count: count)
    for slot in slots { isUsed[slot] = true }
    for slot in stride(from: count - 1, through: 0, by: -1) where !isUsed[slot] { free.append(slot) }
  }

  /// Adds free segments that the file has got.
  mutating func grow(by more: Int) {
    free.insert(contentsOf: count..<count + more, at: 0)
    count += more
  }

  /// Gives the next segment a place; false if none is free.
  mutating func append() -> Bool {
    guard let slot = free.popLast() else { return false }
    slots.append(slot)
    return true
  }

  /// Takes back the places of the segments from `number`, which were never written.
  mutating func removeLast(from number: Int) {
    while end > number, let slot = slots.popLast() { free.append(slot) }
  }

  /// Frees the segments below `limit`.
  mutating func release(below limit: Int) {
    let gone = min(max(limit - first, 0), slots.count)
    if gone == 0 {
      if slots.isEmpty { first = max(first, limit) }
      return
    }
    free.insert(contentsOf: slots[..<gone].reversed(), at: 0)
    slots.removeFirst(gone)
    first += gone
    if slots.isEmpty { first = max(first, limit) }
  }
}
