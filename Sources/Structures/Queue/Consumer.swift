import MemoryMap
import Synchronization

/// One reader of the queue: what it has read is gone for it.
struct Consumer: ~Copyable {
  var isInUse = false
  /// Tells consumers that have had the same slot apart.
  var incarnation = 0
  /// What the file says: all before it is done with.
  var place = Place(position: 0, number: 0, epoch: 0)
  /// Which of the copies in the file says so, and what it counts.
  var copy = 0
  var generation = 0
  /// Copies that are not to be written to; see ConsumerSlot. -1: none.
  var safeCopy = -1
  var pendingCopy = -1
  /// The next message that was not handed out yet.
  var cursor = Place(position: 0, number: 0, epoch: 0)
  /// The tail as it was seen last: while there are messages before it, `pop` does not look at what pushes write all the
  /// time.
  var tail = 0
  var outstanding = Outstanding()
  var deliveries = 0
  var reader = Reader()
}

/// Names a consumer for as long as the queue is open.
public struct ConsumerName: Equatable, Sendable {
  /// Its slot in the file.
  public let index: Int
  /// Which consumer of that slot it is.
  public let incarnation: Int
  /// Takes both as they were.
  public init(index: Int, incarnation: Int) {
    self.index = index
    self.incarnation = incarnation
  }
}

/// What `take` gives beside a message, for `ack` and `nack`.
public struct Receipt: Equatable, Sendable {
  /// The number of the message.
  public let number: Int
  /// Which time it was handed out.
  public let delivery: Int
  /// Takes both as they were.
  public init(number: Int, delivery: Int) {
    self.number = number
    self.delivery = delivery
  }
}

extension Queue where Store: ~Copyable {
  @inline(__always)
  private func with<R>(
    _ name: ConsumerName, mayBlock: Bool, _ body: (inout Consumer) throws(StructureError) -> R
  ) throws(StructureError) -> R {
    guard name.index >= 0 && name.index < ConsumerSlot.count else { throw .notFound }
    return try consumers[name.index].withLock(mayWait: mayBlock) { (consumer) throws(StructureError) in
      try check()
      guard consumer.isInUse && consumer.incarnation == name.incarnation else { throw .notFound }
      if !ended[name.index].isEmpty { try giveBackOfEnded(&consumer, name.index, mayBlock: mayBlock) }
      consumer.reader.most = mayBlock ? .max : Reader.briefBytes
      return try body(&consumer)
    }
  }

  /// Gives back what those had who have ended: before anything else, so that nobody sees that it was not done at once.
  @inline(never)
  private func giveBackOfEnded(_ consumer: inout Consumer, _ index: Int, mayBlock: Bool) throws(StructureError) {
    if !mayBlock && ended[index].areMany(among: consumer.outstanding.span) { throw .wouldWait }
    let owners = unsafe ended[index].removeAll()
    unsafe consumer.outstanding.giveBack(of: owners)
    unsafe Owner.freeAll(owners)
  }

  /// Writes where the consumer is, into the copy whose turn it is.
  func writePlace(_ consumer: inout Consumer, _ index: Int) throws(StructureError) {
    var copy = consumer.copy
    repeat { copy = (copy &+ 1) & 3 } while mustStay(copy, consumer)
    let (place, generation) = (consumer.place, consumer.generation &+ 1)
    try failing { () throws(StructureError) in
      try ConsumerSlot.write(place, generation: generation, index, copy: copy, to: storage, checksum)
    }
    consumer.copy = copy
    consumer.generation = generation
  }

  @inline(__always)
  private func mustStay(_ copy: Int, _ consumer: borrowing Consumer) -> Bool {
    #if DEBUG
      if omits(.keepSafeCopy) { return copy > 1 }
      if omits(.keepPendingCopy) { return copy == consumer.safeCopy || (copy == 3 && consumer.safeCopy != 3) }
    #endif
    return copy == consumer.safeCopy || copy == consumer.pendingCopy
  }

  /// Moves the place to the first message that is not done with.
  private func settle(_ consumer: inout Consumer, _ index: Int) throws(StructureError) {
    consumer.place = consumer.outstanding.first ?? consumer.cursor
    try writePlace(&consumer, index)
  }

  /// Takes up to `most` messages away. `body` is given each before it is gone; where it throws, those that it was given
  /// stay, too. Messages that were taken and came back are first, one at a time. Returns how many there were.
  ///
  /// While others are taken and not acknowledged, what is taken away behind them comes again after a crash.
  public func pop(
    _ most: Int, _ name: ConsumerName, mayBlock: Bool,
    _ body: (UnsafeRawBufferPointer) throws(StructureError) -> Void
  ) throws(StructureError) -> Int {
    try with(name, mayBlock: mayBlock) { (consumer) throws(StructureError) in
      if most > 0 && consumer.outstanding.returnedCount > 0 {
        return unsafe try popReturned(&consumer, name.index, body)
      }
      var cursor = consumer.cursor
      var count = 0
      while count < most {
        do throws(StructureError) {
          guard let (_, next) = unsafe try message(at: cursor, limit: consumer.tail, &consumer.reader, body) else {
            // Acquiring: the records before the tail are there.
            let tail = self.tail.load(ordering: .acquiring)
            if tail == consumer.tail { break }
            consumer.tail = tail
            continue
          }
          cursor = next
          count &+= 1
        } catch {
          // Those before a damaged message are whole; it is told the next time.
          switch error {
          case .corrupt, .undecodable: if count == 0 { throw error }
          default: throw error
          }
          break
        }
      }
      if count > 0 {
        consumer.cursor = cursor
        if consumer.outstanding.isEmpty {
          consumer.place = cursor
          try writePlace(&consumer, name.index)
        }
      }
      return count
    }
  }

  @inline(never)
  private func popReturned(
    _ consumer: inout Consumer, _ index: Int, _ body: (UnsafeRawBufferPointer) throws(StructureError) -> Void
  ) throws(StructureError) -> Int {
    guard let entry = consumer.outstanding.returned() else { return 0 }
    let place = consumer.outstanding.place(entry)
    guard unsafe try message(at: place, limit: consumer.cursor.position, &consumer.reader, body) != nil else {
      throw .corrupt(place.position)
    }
    if consumer.outstanding.finish(entry) { try settle(&consumer, index) }
    return 1
  }

  /// Runs `body` with the next message and leaves it where it is; nil if there is none.
  public func peek<R>(
    _ name: ConsumerName, mayBlock: Bool, _ body: (UnsafeRawBufferPointer) throws(StructureError) -> R
  ) throws(StructureError) -> R? {
    try with(name, mayBlock: mayBlock) { (consumer) throws(StructureError) in
      var place = consumer.cursor
      if let entry = consumer.outstanding.returned() { place = consumer.outstanding.place(entry) }
      return unsafe try message(at: place, limit: tail.load(ordering: .acquiring), &consumer.reader, body)?.result
    }
  }

  /// Hands the next message to `owner`, until it is acknowledged or given back; nil if there is none. `owner` is asked for
  /// with the consumer's lock held: who ends from then on gives the message back, too. Throws `noMemory` and what `owner`
  /// does, and has then handed out nothing.
  public func take<R>(
    _ name: ConsumerName, owner: () throws(StructureError) -> UnsafeMutablePointer<Owner>, mayBlock: Bool,
    _ body: (UnsafeRawBufferPointer) throws(StructureError) -> R
  ) throws(StructureError) -> (R, Receipt)? {
    try with(name, mayBlock: mayBlock) { (consumer) throws(StructureError) in
      let delivery = consumer.deliveries &+ 1
      if let entry = consumer.outstanding.returned() {
        let place = consumer.outstanding.place(entry)
        guard let found = unsafe try message(at: place, limit: consumer.cursor.position, &consumer.reader, body) else {
          throw .corrupt(place.position)
        }
        unsafe consumer.outstanding.take(entry, delivery: delivery, owner: try owner())
        consumer.deliveries = delivery
        return (found.result, Receipt(number: place.number, delivery: delivery))
      }
      let tail = self.tail.load(ordering: .acquiring)
      let place = consumer.cursor
      guard let found = unsafe try message(at: place, limit: tail, &consumer.reader, body) else { return nil }
      guard unsafe consumer.outstanding.append(place, delivery: delivery, owner: try owner()) else {
        throw .file(.noMemory)
      }
      consumer.deliveries = delivery
      consumer.cursor = found.next
      return (found.result, Receipt(number: place.number, delivery: delivery))
    }
  }

  /// Lets a taken message go for good. Throws `notFound` if it is not taken (any more) under this receipt.
  public func acknowledge(_ receipt: Receipt, _ name: ConsumerName, mayBlock: Bool) throws(StructureError) {
    try with(name, mayBlock: mayBlock) { (consumer) throws(StructureError) in
      guard let entry = consumer.outstanding.find(number: receipt.number, delivery: receipt.delivery) else {
        throw .notFound
      }
      if consumer.outstanding.finish(entry) { try settle(&consumer, name.index) }
    }
  }

  /// Gives a taken message back: it is the next to come. Throws `notFound` as `acknowledge`.
  public func giveBack(_ receipt: Receipt, _ name: ConsumerName, mayBlock: Bool) throws(StructureError) {
    try with(name, mayBlock: mayBlock) { (consumer) throws(StructureError) in
      guard let entry = consumer.outstanding.find(number: receipt.number, delivery: receipt.delivery) else {
        throw .notFound
      }
      consumer.outstanding.giveBack(entry)
    }
  }

  /// Nobody is behind an owner any more: whoever comes to its consumer next finds that it has given back what it had.
  /// Returns how many messages that were, without one that it is just being handed. Never waits, and needs no memory; the
  /// owner is not the caller's any more.
  public func end(_ owner: UnsafeMutablePointer<Owner>) -> Int {
    let count = unsafe owner.pointee.count
    unsafe ended[owner.pointee.consumer].add(owner)
    return count
  }

  /// Drops all that is in the queue for this consumer, taken or not.
  public func purge(_ name: ConsumerName) throws(StructureError) {
    try pusher.withLock { (pusher) throws(StructureError) in
      let end = Place(position: pusher.position, number: pusher.number, epoch: epoch)
      try with(name, mayBlock: true) { (consumer) throws(StructureError) in
        consumer.outstanding.removeAll()
        consumer.cursor = end
        consumer.place = end
        try writePlace(&consumer, name.index)
      }
    }
  }

  /// Calls `body` with messages from the one of number `from`, or the first that is not taken, until it returns false or
  /// there are none. Returns the number of the next message. Nothing is taken away.
  public func read(
    from place: Place?, _ name: ConsumerName, mayBlock: Bool,
    _ body: (UnsafeRawBufferPointer) throws(StructureError) -> Bool
  ) throws(StructureError) -> Place {
    try with(name, mayBlock: mayBlock) { (consumer) throws(StructureError) in
      // What the consumer has passed meanwhile may be gone.
      var place = place ?? consumer.cursor
      if place.position < consumer.cursor.position { place = consumer.cursor }
      let tail = self.tail.load(ordering: .acquiring)
      while let (goesOn, next) = unsafe try message(at: place, limit: tail, &consumer.reader, body) {
        place = next
        if !goesOn { break }
      }
      return place
    }
  }

  /// How many messages are there for the consumer, those that are taken not counted; and how many bytes they and those
  /// that are taken use in the file.
  public func length(_ name: ConsumerName, mayBlock: Bool) throws(StructureError) -> (messages: Int, bytes: Int) {
    try with(name, mayBlock: mayBlock) { (consumer) throws(StructureError) in
      // In this order, so that neither is negative.
      let messages = number.load(ordering: .acquiring) &- consumer.cursor.number &+ consumer.outstanding.returnedCount
      return (messages, tail.load(ordering: .acquiring) &- consumer.place.position)
    }
  }

  /// How many messages of a consumer are taken and not acknowledged.
  public func takenCount(_ name: ConsumerName) throws(StructureError) -> Int {
    try with(name, mayBlock: true) { (consumer) throws(StructureError) in
      consumer.outstanding.count &- consumer.outstanding.returnedCount
    }
  }
}
