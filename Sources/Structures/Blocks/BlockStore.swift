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
        try unsafe put(data, at: address, lane.word, 1 &<< UInt(bit), epoch)
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
      if omits(.bitLast) { _ = try change(word) { $0 | bit } }
    #endif
    try health.failing { () throws(StructureError) in
      var state = Checksum.State()
      if let start = data.baseAddress, data.count > 0 {
        unsafe checksum.add(start, count: data.count, to: &state)
        try unsafe storage.write(start, count: data.count, at: layout.offset(ofData: address))
      }
      let mark = sealed.word(UInt(bitPattern: epoch), place: address)
      let crc = crc(state, address: address, length: data.count, mark: mark)
      var words = BlockDescriptor(crc: crc, length: data.count, mark: mark).words
      try unsafe storage.write(&words, count: BlockLayout.descriptor, at: layout.offset(ofDescriptor: address))
    }
    #if DEBUG
      if omits(.bitLast) { return }
    #endif
    // Only the caller can set it.
    _ = try change(word) { $0 | bit }
  }

  /// Changes the bits of a word; nil leaves them. Returns whether they were changed. Throws `corrupt`, and changes
  /// nothing, if the word is not what was stored: with a new check nobody would know.
  @inline(__always)
  private func change(_ word: Int, _ body: (UInt) -> UInt?) throws(StructureError) -> Bool {
    var isSound = true
    let isChanged = try health.failing { () throws(StructureError) in
      try storage.changeWord(at: layout.offset(ofWord: word)) { raw in
        let value = value(UInt(bitPattern: raw), place: word)
        isSound = value != nil
        guard let value, let bits = body(BitmapWord(value).bits) else { return nil }
        return Int(bitPattern: sealed.word(self.word(bits, BitmapWord(value)).value, place: word))
      }
    }
    guard isSound else { throw .corrupt(word &* BlockLayout.bitsPerWord) }
    return isChanged
  }

  /// A word that is being changed, with its new bits. The epoch is loaded behind the word: where somebody has changed that
  /// in a later epoch, the tag does not go back.
  @inline(__always)
  private func word(_ bits: UInt, _ old: BitmapWord) -> BitmapWord {
    #if DEBUG
      if omits(.tags) { return old.with(bits) }
    #endif
    return BitmapWord(bits: bits, epoch: epoch.load(ordering: .acquiring))
  }

  /// Gives the lane another word of blocks. False if there is none.
  @inline(never)
  private func refill(_ lane: inout Lane, _ epoch: Int, mayBlock: Bool) throws(StructureError) -> Bool {
    release(&lane)
    // Each turn that finds nothing leaves nothing behind for another one to find.
    var turns = 0
    while let (word, bits) = map.take(&lane.line) {
      let leftover: UInt
      do throws(StructureError) {
        guard try bitmapWord(word).bits & bits == 0 else { throw .corrupt(word &* BlockLayout.bitsPerWord) }
        leftover = try leftovers(word, bits, epoch)
      } catch {
        // What is damaged is left out from now on.
        if case .corrupt = error { throw error }
        map.makeAvailable(word, bits)
        throw error
      }
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
    let first = word &* BlockLayout.bitsPerWord
    var found: UInt = 0
    try forEachMark(word, bits) { bit, mark in
      if mark == 0 { return }
      let address = first &+ bit.trailingZeroBitCount
      if mark != sealed.word(UInt(bitPattern: epoch), place: address) { found |= bit }
    }
    return found
  }

  /// Calls `body` with each of some bits of a word and the mark in its block's descriptor.
  func forEachMark(_ word: Int, _ bits: UInt, _ body: (UInt, UInt) -> Void) throws(StructureError) {
    let first = word &* BlockLayout.bitsPerWord
    let bytes = BlockLayout.bitsPerWord &* BlockLayout.descriptor
    try unsafe withBytes(bytes) { (start) throws(StructureError) in
      try unsafe storage.read(at: layout.offset(ofDescriptor: first), count: bytes, into: start)
      var rest = bits
      while rest != 0 {
        let bit = rest.trailingZeroBitCount
        let place = bit &* BlockLayout.descriptor &+ 8
        body(1 &<< UInt(bit), UInt(littleEndian: unsafe start.load(fromByteOffset: place, as: UInt.self)))
        rest &= rest &- 1
      }
    }
  }

  /// Frees a block. Throws `notFound` if there is none, and `corrupt` if that cannot be said.
  @inline(__always)
  public func free(_ address: Int, caller: UInt, mayBlock: Bool) throws(StructureError) {
    try withLane(caller, mayBlock: mayBlock) { (lane) throws(StructureError) in
      try check()
      guard address >= 0 && address < capacity.load(ordering: .acquiring) else { throw .notFound }
      let (word, bit) = Self.place(of: address)
      let mark = UInt(bitPattern: try storage.loadWord(at: layout.offset(ofDescriptor: address) &+ 8))
      guard try change(word, { $0 & bit == 0 ? nil : $0 & ~bit }) else { throw .notFound }
      lane.count &-= 1
      // Behind the change: what no sync has seen is free on disk already.
      let epoch = epoch.load(ordering: .acquiring)
      if mark == sealed.word(UInt(bitPattern: epoch), place: address) {
        if word == lane.word && lane.epoch == epoch { lane.bits |= bit } else { map.makeAvailable(word, bit) }
      } else {
        map.addFreed(word, bit)
      }
    }
  }
}
