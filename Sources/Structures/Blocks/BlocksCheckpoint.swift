import MemoryMap
import Synchronization

/// What the last sync has written down.
struct BlocksCheckpoint: ~Copyable {
  /// The newest superblock.
  var superblock: Superblock
  /// Blocks that are free on disk, and whose descriptors may not be void there.
  var cleared = GrowableArray<FreedBlocks>()

  init(_ superblock: Superblock) { self.superblock = superblock }
}

extension Blocks where Store: ~Copyable {
  /// Returns when all that was done before is on disk. After a failure every call throws that.
  public func sync() throws(StructureError) {
    try checkpoint.withLock { (checkpoint) throws(StructureError) in
      try check()
      try health.failing { () throws(StructureError) in try sync(&checkpoint) }
    }
  }

  private func sync(_ checkpoint: inout BlocksCheckpoint) throws(StructureError) {
    var superblock = checkpoint.superblock
    superblock.generation &+= 1
    superblock.isClean = false
    superblock.places = 0
    superblock.epoch = UInt64(beginEpoch())
    // Acquiring: the bitmaps of all that there is room for are in the file, and come to disk now.
    superblock.number = UInt64(capacity.load(ordering: .acquiring))
    var freed = GrowableArray<FreedBlocks>()
    map.takeFreed(into: &freed)
    // What the sync before has brought to disk as free; this one brings it there as void.
    try makeVoid(checkpoint.cleared)
    #if DEBUG
      if omits(.lateVoid) { try makeVoid(freed) }
      if omits(.superblockLast) { try write(superblock) }
      if !omits(.syncData) { try storage.syncData() }
    #else
      try storage.syncData()
    #endif
    makeAvailable(checkpoint.cleared)
    checkpoint.cleared = freed
    #if DEBUG
      if omits(.lateVoid) {
        makeAvailable(checkpoint.cleared)
        checkpoint.cleared.removeAll()
      }
    #endif
    try write(superblock)
    // As in a queue: now whoever opens the file finds what is missing.
    try storage.checkLength()
    checkpoint.superblock = superblock
  }

  /// Begins an epoch, and returns the last one, when no store of that is under way any more.
  private func beginEpoch() -> Int {
    let last = epoch.load(ordering: .relaxed)
    #if DEBUG
      if !omits(.epochOfSync) { epoch.store(last &+ 1, ordering: .sequentiallyConsistent) }
    #else
      epoch.store(last &+ 1, ordering: .sequentiallyConsistent)
    #endif
    for index in 0..<16 { lanes[index].locked { _ in } }
    return last
  }

  private func makeAvailable(_ blocks: borrowing GrowableArray<FreedBlocks>) {
    for index in blocks.indices { map.makeAvailable(blocks[index].word, blocks[index].bits) }
  }

  func makeVoid(_ freed: borrowing GrowableArray<FreedBlocks>) throws(StructureError) {
    for index in freed.indices {
      let blocks = freed[index]
      var rest = blocks.bits
      while rest != 0 {
        let address = blocks.word &* BlockLayout.bitsPerWord &+ rest.trailingZeroBitCount
        try storage.storeWord(0, at: layout.offset(ofDescriptor: address) &+ 8)
        rest &= rest &- 1
      }
    }
  }

  func write(_ superblock: Superblock) throws(StructureError) {
    #if DEBUG
      if omits(.twoSuperblocks) { return try superblock.write(to: storage, checksum, index: 0) }
    #endif
    try superblock.write(to: storage, checksum)
  }

  /// How many blocks wait for a sync before they can be stored to again.
  public func waitingCount() throws(StructureError) -> Int {
    let cleared = try checkpoint.withLock { (checkpoint) throws(StructureError) in
      let cleared = unsafe checkpoint.cleared.elements
      return unsafe cleared.reduce(0) { $0 &+ $1.bits.nonzeroBitCount }
    }
    return cleared &+ map.freedCount
  }

  /// Brings everything to disk and closes the file. Calls in progress have ended when this returns, and later ones throw
  /// `closed`. Throws what goes wrong, or went wrong before; the file is closed all the same.
  public func close() throws(StructureError) {
    let before = try health.close()
    // All that are under way have their locks; who comes later finds the file closed.
    for index in 0..<16 { lanes[index].locked { _ in } }
    growth.locked { _ in }
    var error = before
    do throws(StructureError) {
      if before == nil { try checkpoint.withLock { (it) throws(StructureError) in try finish(&it) } }
    } catch let failure {
      error = failure
    }
    try storage.close()
    if let error { throw error }
  }

  private func finish(_ checkpoint: inout BlocksCheckpoint) throws(StructureError) {
    try sync(&checkpoint)
    #if DEBUG
      if omits(.syncData) { return }
    #endif
    // That superblock is on disk before the other one is touched.
    try storage.syncData()
    var superblock = checkpoint.superblock
    superblock.generation &+= 1
    superblock.isClean = true
    superblock.places = try bitmapsChecksum(groups: layout.groups(of: Int(superblock.number)))
    try write(superblock)
    try storage.syncData()
  }

  /// A checksum of all bitmap pages: after a clean close a bit that has changed shows.
  func bitmapsChecksum(groups: Int) throws(StructureError) -> UInt32 {
    var state = Checksum.State()
    try unsafe withPage { (page) throws(StructureError) in
      for group in 0..<groups {
        try unsafe storage.read(at: layout.offset(ofGroup: group), count: BlockLayout.page, into: page)
        unsafe checksum.add(page, count: BlockLayout.page, to: &state)
      }
    }
    return state.value
  }
}
