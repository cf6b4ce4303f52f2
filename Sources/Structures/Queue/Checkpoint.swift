import MemoryMap
import Synchronization

/// What the last sync has written down.
struct Checkpoint: ~Copyable {
  /// The newest superblock.
  var superblock: Superblock
  /// What the superblock on disk says is the oldest segment that is needed: those below can be used again.
  var flushedOldest: Int
  /// How long the file on disk is, at least.
  var syncedSize = 0

  init(_ superblock: Superblock) {
    self.superblock = superblock
    flushedOldest = Int(truncatingIfNeeded: superblock.oldest)
  }
}

/// What a sync brings to disk.
enum SyncExtent {
  case everything
  /// What some consumer has not passed: the rest is never read again, and the disk is spared it.
  case whatIsLeft
  /// Superblocks and places: all that is left is on disk already.
  case places
}

extension Queue where Store: ~Copyable {
  /// Returns when all that was done before is on disk. After a failure the queue answers that to every call.
  public func sync() throws(StructureError) {
    try check()
    try sync(from: pusher.locked { Place(position: $0.position, number: $0.number, epoch: epoch) })
  }

  /// The same by the holder of `pusher`, to whom less may be enough. What is before `tail` was pushed.
  func sync(from tail: Place, _ extent: SyncExtent = .everything) throws(StructureError) {
    try checkpoint.withLock { (checkpoint) throws(StructureError) in
      try check()
      try failing { () throws(StructureError) in try sync(from: tail, extent, &checkpoint) }
    }
  }

  /// Remembers where all are; syncs; then writes down what is on disk now. The superblock itself gets there with the
  /// next sync: until then the other one is good, and what that needs is still there.
  private func sync(
    from tail: Place, _ extent: SyncExtent, _ checkpoint: inout Checkpoint
  ) throws(StructureError) {
    // Not back: somebody else may have come later, and been first. Segments that were needed at `tail` may have been used
    // again since.
    let last = checkpoint.superblock
    var superblock = last
    superblock.isClean = false
    superblock.generation &+= 1
    superblock.epoch = UInt64(epoch)
    superblock.tail = max(last.tail, UInt64(tail.position))
    superblock.number = max(last.number, UInt64(tail.number))
    let first = max(firstNeeded(tail, willSync: true), Int(last.oldest) &<< shift)
    superblock.oldest = UInt64(first &>> shift)
    #if DEBUG
      if omits(.superblockLast) { try write(superblock) }
      if omits(.lateReuse) { table.locked { $0.release(below: Int(superblock.oldest)) } }
      if !omits(.syncData) { try syncData(extent, from: first, to: tail.position, &checkpoint) }
    #else
      try syncData(extent, from: first, to: tail.position, &checkpoint)
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
    // Now that it says what has to be there: what is not is found by whoever opens the file, and not taken for a tail
    // that a power failure has torn.
    try storage.checkLength()
    checkpoint.superblock = superblock
    let limit = checkpoint.flushedOldest
    table.locked { $0.release(below: limit) }
  }

  /// Brings to disk what a superblock needs that says that all is between two positions.
  private func syncData(
    _ extent: SyncExtent, from first: Int, to tail: Int, _ checkpoint: inout Checkpoint
  ) throws(StructureError) {
    let (size, segments) = (storage.size, (first &>> shift)..<max(first &>> shift, (tail &+ mask) &>> shift))
    // Each range is a wait for the disk.
    if extent == .everything || segments.count > 2 {
      try storage.syncData()
      checkpoint.syncedSize = size
      return
    }
    // A file that has grown has its length on disk when its last bytes are.
    if size > checkpoint.syncedSize { try storage.syncData(size &- 8..<size) }
    checkpoint.syncedSize = size
    if extent == .whatIsLeft {
      for segment in segments {
        let start = try offset(ofSegment: segment)
        let from = start &+ max(first &- segment &<< shift, 0)
        let to = start &+ min(tail &- segment &<< shift, segmentSize)
        // The header is needed, too.
        try storage.syncData(start..<start &+ Format.segmentHeader)
        #if DEBUG
          if omits(.syncWhatIsLeft) { continue }
        #endif
        if from < to { try storage.syncData(from..<to) }
      }
    }
    try storage.syncData(0..<Format.segments)
  }

  func write(_ superblock: Superblock) throws(StructureError) {
    #if DEBUG
      if omits(.twoSuperblocks) { return try superblock.write(to: storage, checksum, index: 0) }
    #endif
    try superblock.write(to: storage, checksum)
  }

  /// Where the consumer is that is last. `willSync` marks the copies that say so.
  func firstNeeded(_ tail: Place, willSync: Bool = false) -> Int {
    var first = tail.position
    for index in 0..<ConsumerSlot.count {
      consumers[index].locked { consumer in
        guard consumer.isInUse else { return }
        if willSync { consumer.pendingCopy = consumer.copy }
        first = min(first, consumer.place.position)
      }
    }
    return first
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
    try sync(from: tail, .everything, &checkpoint)
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
