import MemoryMap
import Synchronization

// Storing and freeing.

extension Blocks where Store: ~Copyable {
  /// Stores bytes in a free block, near the one that the caller has stored last, and returns its address.
  ///
  /// Throws `tooLong`; `full`, or what the system has against a longer file: nothing has changed then. With `mayBlock`
  /// false it throws `wouldWait` where it would have to wait for another thread, a sync or a longer file.
  ///
  /// - Parameter caller: a number of the caller; those of different ones get in each other's way less.
  @inline(__always)
  public func store(
    _ data: UnsafeRawBufferPointer, caller: UInt, mayBlock: Bool
  ) throws(StructureError) -> Int {
    guard data.count <= layout.blockSize else { throw .tooLong }
    while true {
      let address = try withLane(caller, mayBlock: mayBlock) { (lane) throws(StructureError) -> Int in
        try check()
        let epoch = epoch.load(ordering: .acquiring)
        if lane.bits == 0 || lane.epoch != epoch {
          guard try refill(&lane, epoch, mayBlock: mayBlock) else { return -1 }
        }
        let bit = lane.bits.trailingZeroBitCount
        let address = lane.word &* BlockLayout.bitsPerWord &+ bit
        lane.bits &= lane.bits &- 1
        try health.failing { () throws(StructureError) in
          try unsafe put(data, at: address, lane.word, 1 &<< UInt(bit), epoch)
        }
        lane.count &+= 1
        return address
      }
      if address >= 0 { return address }
      guard mayBlock else { throw .wouldWait }
      try makeRoom()
    }
  }

  @inline(__always)
  private func put(
    _ data: UnsafeRawBufferPointer, at address: Int, _ word: Int, _ bit: UInt, _ epoch: Int
  ) throws(StructureError) {
    #if DEBUG
      if omits(.bitLast) { try change(word, setting: bit) }
    #endif
    var state = Checksum.State()
    if let start = data.baseAddress {
      unsafe checksum.add(start, count: data.count, to: &state)
      if data.count > 0 { try unsafe storage.write(start, count: data.count, at: layout.offset(ofData: address)) }
    }
    let crc = checksum.block(state, address: address, length: data.count, epoch: epoch)
    var words = BlockDescriptor(crc: crc, length: data.count, epoch: epoch).words
    try unsafe storage.write(&words, count: BlockLayout.descriptor, at: layout.offset(ofDescriptor: address))
    #if DEBUG
      if omits(.bitLast) { return }
    #endif
    try change(word, setting: bit)
  }

  /// Sets a bit of a word that only the caller can set.
  @inline(__always)
  private func change(_ word: Int, setting bit: UInt) throws(StructureError) {
    _ = try storage.changeWord(at: layout.offset(ofWord: word)) { raw in
      let old = BitmapWord(raw)
      return old.with(old.bits | bit, epoch: tag(old))
    }
  }

  /// The epoch for the tag of a word that is being changed. Loaded behind the word: where somebody has changed that in
  /// a later epoch, the tag does not go back.
  @inline(__always)
  private func tag(_ old: BitmapWord) -> Int {
    #if DEBUG
      if omits(.tags) { return old.raw &>> BlockLayout.bitsPerWord }
    #endif
    return epoch.load(ordering: .acquiring)
  }

  /// Gives the lane another word of blocks. False if there is none.
  @inline(never)
  private func refill(_ lane: inout Lane, _ epoch: Int, mayBlock: Bool) throws(StructureError) -> Bool {
    release(&lane)
    // Each turn that finds nothing leaves nothing behind for another one to find.
    var turns = 0
    while let (word, bits) = map.take(&lane.line) {
      let leftover = try leftovers(word, bits, epoch)
      if leftover != 0 { map.addFreed(word, leftover) }
      (lane.word, lane.bits, lane.epoch) = (word, bits & ~leftover, epoch)
      if lane.bits != 0 { return true }
      turns += 1
      if turns > 64 && !mayBlock { throw .wouldWait }
    }
    return false
  }

  /// Gives back what the lane has left.
  func release(_ lane: inout Lane) {
    map.makeAvailable(lane.word, lane.bits)
    lane.bits = 0
  }

  /// Those of some free blocks of a word whose descriptors are neither void nor of this epoch.
  private func leftovers(_ word: Int, _ bits: UInt, _ epoch: Int) throws(StructureError) -> UInt {
    #if DEBUG
      if omits(.voidBeforeStore) { return 0 }
    #endif
    var found: UInt = 0
    try forEachEpoch(word, bits) { bit, other in if other != 0 && other != epoch { found |= bit } }
    return found
  }

  /// Calls `body` with each of some bits of a word and the epoch in its block's descriptor.
  func forEachEpoch(_ word: Int, _ bits: UInt, _ body: (UInt, Int) -> Void) throws(StructureError) {
    let first = word &* BlockLayout.bitsPerWord
    let bytes = BlockLayout.bitsPerWord &* BlockLayout.descriptor
    try unsafe withBytes(bytes) { (start) throws(StructureError) in
      try unsafe storage.read(at: layout.offset(ofDescriptor: first), count: bytes, into: start)
      var rest = bits
      while rest != 0 {
        let bit = rest.trailingZeroBitCount
        let place = bit &* BlockLayout.descriptor &+ 8
        body(1 &<< UInt(bit), Int(littleEndian: unsafe start.load(fromByteOffset: place, as: Int.self)))
        rest &= rest &- 1
      }
    }
  }

  /// Frees a block. Throws `notFound` if there is none.
  @inline(__always)
  public func free(_ address: Int, caller: UInt, mayBlock: Bool) throws(StructureError) {
    try withLane(caller, mayBlock: mayBlock) { (lane) throws(StructureError) in
      try check()
      guard address >= 0 && address < capacity.load(ordering: .acquiring) else { throw .notFound }
      let (word, rest) = address.quotientAndRemainder(dividingBy: BlockLayout.bitsPerWord)
      let bit: UInt = 1 &<< UInt(rest)
      let stored = try storage.loadWord(at: layout.offset(ofDescriptor: address) &+ 8)
      let isFreed = try health.failing { () throws(StructureError) in
        try storage.changeWord(at: layout.offset(ofWord: word)) { raw in
          let old = BitmapWord(raw)
          return old.bits & bit == 0 ? nil : old.with(old.bits & ~bit, epoch: tag(old))
        }
      }
      guard isFreed else { throw .notFound }
      lane.count &-= 1
      // Behind the change: what no sync has seen is free on disk already.
      if stored == epoch.load(ordering: .acquiring) {
        if word == lane.word && lane.epoch == stored { lane.bits |= bit } else { map.makeAvailable(word, bit) }
      } else {
        map.addFreed(word, bit)
      }
    }
  }
}
