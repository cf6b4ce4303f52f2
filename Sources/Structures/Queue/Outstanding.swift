import MemoryMap

/// The messages that were handed out and not acknowledged, in their order.
///
/// What was done in between stays until it is half of all: the memory is bounded by what is outstanding, and each
/// message is moved a constant number of times.
struct Outstanding: ~Copyable {
  enum State { case taken, returned, done }

  struct Entry: BitwiseCopyable {
    /// Where the message begins, and its number.
    var place: Place
    /// Which time a message was handed out: a receipt is good for that one alone.
    var delivery: Int
    /// Who has it.
    var owner: UInt
    var state: State
  }

  private var entries = GrowableArray<Entry>()
  /// Everything before this index is done.
  private var head = 0
  private var doneCount = 0
  private(set) var returnedCount = 0
  /// No entry before this index is returned.
  private var firstReturned = 0

  var isEmpty: Bool { head == entries.count }
  /// How many are taken or returned.
  var count: Int { entries.count - head - doneCount }

  /// The first message that is not done.
  var first: Place? { head < entries.count ? entries[head].place : nil }

  /// Adds a message. False when memory is out.
  mutating func append(_ place: Place, delivery: Int, owner: UInt) -> Bool {
    entries.append(Entry(place: place, delivery: delivery, owner: owner, state: .taken))
  }

  mutating func removeAll() {
    entries.removeAll()
    (head, doneCount, returnedCount, firstReturned) = (0, 0, 0, 0)
  }

  /// The index of the first message that came back.
  mutating func returned() -> Int? {
    guard returnedCount > 0 else { return nil }
    var index = max(firstReturned, head)
    while index < entries.count && entries[index].state != .returned { index += 1 }
    firstReturned = index
    return index < entries.count ? index : nil
  }

  func place(_ index: Int) -> Place { entries[index].place }

  /// Hands a message that came back out again.
  mutating func take(_ index: Int, delivery: Int, owner: UInt) {
    entries[index].delivery = delivery
    entries[index].owner = owner
    entries[index].state = .taken
    returnedCount -= 1
  }

  /// The index of a message that is taken, by its number and the delivery.
  func find(number: Int, delivery: Int) -> Int? {
    var (low, high) = (head, entries.count)
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].place.number < number { low = middle + 1 } else { high = middle }
    }
    guard low < entries.count else { return nil }
    let entry = entries[low]
    return entry.place.number == number && entry.delivery == delivery && entry.state == .taken ? low : nil
  }

  /// Forgets a message. True if it was the first.
  mutating func finish(_ index: Int) -> Bool {
    if entries[index].state == .returned { returnedCount -= 1 }
    entries[index].state = .done
    doneCount += 1
    let wasFirst = index == head
    while head < entries.count && entries[head].state == .done {
      head += 1
      doneCount -= 1
    }
    if head == entries.count {
      removeAll()
    } else if head + doneCount > 32 && head + doneCount > entries.count / 2 {
      compact()
    }
    return wasFirst
  }

  private mutating func compact() {
    var target = 0
    for index in head..<entries.count where entries[index].state != .done {
      entries[target] = entries[index]
      target += 1
    }
    entries.keep(first: target)
    (head, doneCount, firstReturned) = (0, 0, 0)
  }

  /// Gives a message back.
  mutating func giveBack(_ index: Int) {
    entries[index].state = .returned
    returnedCount += 1
    firstReturned = min(firstReturned, index)
  }

  /// Gives back all that `owner` has; returns how many that were.
  mutating func giveBack(of owner: UInt) -> Int {
    var count = 0
    for index in head..<entries.count where entries[index].owner == owner && entries[index].state == .taken {
      giveBack(index)
      count += 1
    }
    return count
  }
}
