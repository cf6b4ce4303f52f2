import MemoryMap

/// The messages that were handed out and not acknowledged, in their order.
///
/// What was done in between stays until it is half of all: the memory is bounded by what is outstanding, and each
/// message is moved a constant number of times.
struct Outstanding: ~Copyable {
  enum State { case taken, returned, done }

  @safe struct Entry: BitwiseCopyable {
    /// Where the message begins, and its number.
    var place: Place
    /// Which time a message was handed out: a receipt is good for that one alone.
    var delivery: Int
    /// Who has it. Is there for as long as the message is taken, and no longer.
    var owner: UnsafeMutablePointer<Owner>
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
  mutating func append(_ place: Place, delivery: Int, owner: UnsafeMutablePointer<Owner>) -> Bool {
    let entry = unsafe Entry(place: place, delivery: delivery, owner: owner, state: .taken)
    guard entries.append(entry) else { return false }
    unsafe owner.pointee.add(1)
    return true
  }

  mutating func removeAll() {
    for index in head..<entries.count where entries[index].state == .taken {
      unsafe entries[index].owner.pointee.add(-1)
    }
    clear()
  }

  private mutating func clear() {
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
  mutating func take(_ index: Int, delivery: Int, owner: UnsafeMutablePointer<Owner>) {
    entries[index].delivery = delivery
    unsafe entries[index].owner = owner
    unsafe owner.pointee.add(1)
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
    if entries[index].state == .returned { returnedCount -= 1 } else { unsafe entries[index].owner.pointee.add(-1) }
    entries[index].state = .done
    doneCount += 1
    let wasFirst = index == head
    while head < entries.count && entries[head].state == .done {
      head += 1
      doneCount -= 1
    }
    if head == entries.count {
      clear()
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
    unsafe entries[index].owner.pointee.add(-1)
    firstReturned = returnedCount == 0 ? index : min(firstReturned, index)
    returnedCount += 1
  }

  /// How many messages are looked at where that may not take long.
  static var brief: Int { 4096 }
  /// How many have to be looked at to give back what somebody has.
  var span: Int { entries.count - head }

  /// Gives back all that those have who have ended.
  mutating func giveBack(of ended: UnsafeMutablePointer<Owner>?) {
    var left = 0
    var next = unsafe ended
    while let owner = unsafe next {
      unsafe owner.pointee.hasEnded = true
      left &+= unsafe owner.pointee.count
      unsafe next = owner.pointee.next
    }
    var index = head
    while left > 0 && index < entries.count {
      if unsafe entries[index].state == .taken && entries[index].owner.pointee.hasEnded {
        giveBack(index)
        left &-= 1
      }
      index += 1
    }
  }
}
