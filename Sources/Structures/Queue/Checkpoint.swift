import MemoryMap
import Synchronization

/// What the last sync has written down.
struct Checkpoint: ~Copyable {
  /// The newest superblock.
  var superblock: Superblock
  /// What the superblock on disk says is the oldest segment that is needed: those below can be used again.
  var flushedOldest: Int

  init(_ superblock: Superblock) {
    self.superblock = superblock
    flushedOldest = Int(truncatingIfNeeded: superblock.oldest)
  }
}

extension Queue where Store: ~Copyable {
  /// Returns when all that was done before is on disk. After a failure the queue answers that to every call.
  public func sync() throws(StructureError) {
    try check()
    try sync(from: pusher.locked { Place(position: $0.position, number: $0.number, epoch: epoch) })
  }

  /// The same by the holder of `pusher`. What is before `tail` was pushed.
  func sync(from tail: Place) throws(StructureError) {
    try checkpoint.withLock { (checkpoint) throws(StructureError) in
      try check()
      try failing { () throws(StructureError) in try sync(from: tail, &checkpoint) }
    }
  }

  /// Remembers where all are; syncs; then writes down what is on disk now. The superblock itself gets there with the
  /// next sync: until then the other one is good, and what that needs is still there.
  private func sync(from tail: Place, _ checkpoint: inout Checkpoint) throws(StructureError) {
    // Not back: somebody else may have come later, and been first.
    let last = checkpoint.superblock
    var superblock = last
    superblock.isClean = false
    superblock.generation &+= 1
    superblock.epoch = UInt64(epoch)
    superblock.tail = max(last.tail, UInt64(tail.position))
    superblock.number = max(last.number, UInt64(tail.number))
    superblock.oldest = UInt64(oldestNeeded(tail, willSync: true))
    #if DEBUG
      if omits(.superblockLast) { try write(superblock) }
      if omits(.lateReuse) { table.locked { $0.release(below: Int(superblock.oldest)) } }
      if !omits(.syncData) { try storage.syncData() }
    #else
      try storage.syncData()
    #endif
    // The superblock before this one has come to disk, too.
    checkpoint.flushedOldest = Int(last.oldest)
    for index in 0..<ConsumerSlot.count {
      consumers[index].locked { consumer in
        // A consumer that came meanwhile has no pending copy, and one that went is none any more.
        if consumer.pendingCopy >= 0 { consumer.safeCopy = consumer.pendingCopy }
        consumer.pendingCopy = -1
      }
    }
    try write(superblock)
    checkpoint.superblock = superblock
    let limit = checkpoint.flushedOldest
    table.locked { $0.release(below: limit) }
  }

  func write(_ superblock: Superblock) throws(StructureError) {
    #if DEBUG
      if omits(.twoSuperblocks) { return try superblock.write(to: storage, checksum, index: 0) }
    #endif
    try superblock.write(to: storage, checksum)
  }

  /// The segment that the consumer which is last needs first. `willSync` marks the copies that say so.
  func oldestNeeded(_ tail: Place, willSync: Bool = false) -> Int {
    var oldest = tail.position
    for index in 0..<ConsumerSlot.count {
      consumers[index].locked { consumer in
        guard consumer.isInUse else { return }
        if willSync { consumer.pendingCopy = consumer.copy }
        oldest = min(oldest, consumer.place.position)
      }
    }
    return oldest &>> shift
  }

  /// Brings everything to disk and closes the file. Calls in progress have ended when this returns, and later ones throw
  /// `closed`. Throws what goes wrong, or went wrong before; the file is closed all the same.
  public func close() throws(StructureError) {
    let before = try health.close()
    // All that are under way have their locks; who comes later finds the queue closed.
    let tail = pusher.locked { Place(position: $0.position, number: $0.number, epoch: epoch) }
    for index in 0..<ConsumerSlot.count { consumers[index].locked { _ in } }
    var error = before
    do throws(StructureError) {
      if before == nil { try checkpoint.withLock { (it) throws(StructureError) in try finish(tail, &it) } }
    } catch let failure {
      error = failure
    }
    try storage.close()
    if let error { throw error }
  }

  private func finish(_ tail: Place, _ checkpoint: inout Checkpoint) throws(StructureError) {
    try sync(from: tail, &checkpoint)
    // That superblock is on disk before the other one is touched.
    #if DEBUG
      if !omits(.syncData) { try storage.syncData() }
    #else
      try storage.syncData()
    #endif
    var superblock = checkpoint.superblock
    superblock.generation &+= 1
    superblock.isClean = true
    superblock.places = try placesChecksum()
    try write(superblock)
    #if DEBUG
      if omits(.syncData) { return }
    #endif
    try storage.syncData()
  }

  /// A checksum of who the consumers are, and where: after a clean close a place that is not the newest shows. It is of
  /// what the newest copies say and not of their bytes, because the next one who opens writes others that say the same.
  func placesChecksum() throws(StructureError) -> UInt32 {
    var state = Checksum.State()
    unsafe try forEachInUse { (name, index, place) throws(StructureError) in
      if let start = name.baseAddress { unsafe checksum.add(start, count: name.count, to: &state) }
      var words = (place.position.littleEndian, place.number.littleEndian, place.epoch.littleEndian, index.littleEndian)
      unsafe withUnsafeBytes(of: &words) { bytes in
        if let start = bytes.baseAddress { unsafe checksum.add(start, count: 32, to: &state) }
      }
    }
    return state.value
  }
}
