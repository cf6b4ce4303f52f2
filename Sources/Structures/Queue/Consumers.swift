import MemoryMap
import Synchronization

extension Queue where Store: ~Copyable {
  /// The consumer of a name, which is made if there is none: it begins with the oldest message in the queue, or behind
  /// the newest. What is made is on disk when this returns. The first byte of a name says how it was written, and
  /// distinguishes nothing.
  public func consumer(_ name: UnsafeRawBufferPointer, fromOldest: Bool) throws(StructureError) -> ConsumerName {
    let tail = pusher.locked { Place(position: $0.position, number: $0.number, epoch: epoch) }
    return try unsafe consumer(name, fromOldest: fromOldest, tail)
  }

  /// The same by somebody who has seen `tail` behind the newest.
  func consumer(
    _ name: UnsafeRawBufferPointer, fromOldest: Bool, _ tail: Place
  ) throws(StructureError) -> ConsumerName {
    try checkpoint.withLock { (_) throws(StructureError) in
      try check()
      if let found = try unsafe find(name) { return found }
      var free = -1
      var oldest: Place? = nil
      for index in 0..<ConsumerSlot.count {
        consumers[index].locked { consumer in
          if !consumer.isInUse && free < 0 { free = index }
          if consumer.isInUse && consumer.place.position < oldest?.position ?? .max { oldest = consumer.place }
        }
      }
      // There always is a consumer: the last one stays.
      guard free >= 0, let oldest else { throw .full }
      // All may have passed `tail` meanwhile, and what is before them been used again.
      return try unsafe make(name, free, at: fromOldest || tail.position < oldest.position ? oldest : tail)
    }
  }

  private func find(_ name: UnsafeRawBufferPointer) throws(StructureError) -> ConsumerName? {
    for index in 0..<ConsumerSlot.count {
      let incarnation = consumers[index].locked { $0.isInUse ? $0.incarnation : 0 }
      if incarnation == 0 { continue }
      let isIt = unsafe try ConsumerSlot.withName(index, in: storage, checksum) { other in
        unsafe other.count == name.count && other.dropFirst().elementsEqual(name.dropFirst())
      }
      if isIt == true { return ConsumerName(index: index, incarnation: incarnation) }
    }
    return nil
  }

  private func make(
    _ name: UnsafeRawBufferPointer, _ index: Int, at place: Place
  ) throws(StructureError) -> ConsumerName {
    guard name.count <= ConsumerSlot.maximumName else { throw .notFound }
    let incarnation = newIncarnation()
    // The generation goes on from what was in the slot before: those copies may still be valid.
    var generation = 0
    for copy in 0..<ConsumerSlot.copies {
      if let found = try ConsumerSlot.read(index, copy: copy, from: storage, checksum) {
        generation = max(generation, found.generation)
      }
    }
    try failing { () throws(StructureError) in
      try ConsumerSlot.write(place, generation: generation &+ 1, index, copy: 0, to: storage, checksum)
      try unsafe ConsumerSlot.writeName(name, index, to: storage, checksum)
      try storage.syncData()
      try storage.storeWord(ConsumerSlot.inUse, at: ConsumerSlot.offset(index))
      try storage.syncData()
    }
    consumers[index].locked { consumer in
      consumer.isInUse = true
      consumer.incarnation = incarnation
      consumer.place = place
      consumer.cursor = place
      consumer.copy = 0
      consumer.generation = generation &+ 1
      consumer.safeCopy = 0
      consumer.pendingCopy = -1
      consumer.deliveries = epoch &<< 32
      consumer.outstanding.removeAll()
    }
    return ConsumerName(index: index, incarnation: incarnation)
  }

  /// Removes a consumer, and what is in the queue for it alone. Not the last one: throws `lastConsumer`.
  public func removeConsumer(_ name: UnsafeRawBufferPointer) throws(StructureError) {
    try checkpoint.withLock { (_) throws(StructureError) in
      try check()
      guard let found = try unsafe find(name) else { throw .notFound }
      guard consumerCount > 1 else { throw .lastConsumer }
      consumers[found.index].locked { consumer in
        consumer.isInUse = false
        consumer.outstanding.removeAll()
      }
      try failing { () throws(StructureError) in
        try storage.storeWord(0, at: ConsumerSlot.offset(found.index))
        try storage.syncData()
      }
    }
  }

  /// How many consumers there are.
  public var consumerCount: Int {
    (0..<ConsumerSlot.count).reduce(0) { count, index in count + (consumers[index].locked { $0.isInUse ? 1 : 0 }) }
  }

  /// Calls `body` with the name of each consumer, and itself.
  public func forEachConsumer(
    _ body: (UnsafeRawBufferPointer, ConsumerName) throws(StructureError) -> Void
  ) throws(StructureError) {
    try check()
    unsafe try forEachInUse { (name, index, _) throws(StructureError) in
      let incarnation = consumers[index].locked { $0.incarnation }
      try unsafe body(name, ConsumerName(index: index, incarnation: incarnation))
    }
  }

  /// Calls `body` with the name of each consumer, its index, and its place.
  func forEachInUse(
    _ body: (UnsafeRawBufferPointer, Int, Place) throws(StructureError) -> Void
  ) throws(StructureError) {
    for index in 0..<ConsumerSlot.count {
      guard let place = consumers[index].locked({ $0.isInUse ? $0.place : nil }) else { continue }
      _ = unsafe try ConsumerSlot.withName(index, in: storage, checksum) { (name) throws(StructureError) in
        try unsafe body(name, index, place)
      }
    }
  }
}
