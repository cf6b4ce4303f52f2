import MemoryMap
import Synchronization

// Reading, which takes no lock: what somebody frees or stores meanwhile shows in the descriptor.

extension Blocks where Store: ~Copyable {
  /// Reads a block to where `target`, which is given the number of its bytes, says; returns that number. Its bytes are
  /// those that were stored: else `target` is called again, or this throws. What that throws itself goes through.
  ///
  /// Throws `notFound` if there is no such block, and `corrupt` if its bytes are not what was stored. With `mayBlock` false
  /// it throws `wouldWait` where it would have to wait for those who store to say which.
  @inline(__always)
  public func read(
    _ address: Int, mayBlock: Bool, into target: (_ count: Int) throws(StructureError) -> UnsafeMutableRawPointer
  ) throws(StructureError) -> Int {
    try check()
    guard address >= 0 && address < capacity.load(ordering: .acquiring) else { throw .notFound }
    if let count = try unsafe tryRead(address, target) { return count }
    return try unsafe readAlone(address, mayBlock: mayBlock, target)
  }

  /// Tells a block that is stored anew all the time from a damaged one.
  @inline(never)
  private func readAlone(
    _ address: Int, mayBlock: Bool, _ target: (_ count: Int) throws(StructureError) -> UnsafeMutableRawPointer
  ) throws(StructureError) -> Int {
    for _ in 0..<3 {
      if let count = try unsafe tryRead(address, target) { return count }
    }
    return try withAllLanes(mayBlock: mayBlock) { () throws(StructureError) in
      guard let count = try unsafe tryRead(address, target) else { throw .corrupt(address) }
      return count
    }
  }

  /// Nil if the bytes do not match: damaged, or stored anew meanwhile.
  @inline(__always)
  private func tryRead(
    _ address: Int, _ target: (_ count: Int) throws(StructureError) -> UnsafeMutableRawPointer
  ) throws(StructureError) -> Int? {
    let (word, bit) = Self.place(of: address)
    let offsets = layout.offsets(of: address)
    var descriptor = BlockDescriptor(0, 0)
    var bytes = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
    try unsafe storage.read(
      word: offsets.word, head: offsets.descriptor, data: offsets.data, count: layout.blockSize
    ) { (raw, head) throws(StructureError) in
      guard let value = value(raw, place: word) else { throw .corrupt(word &* BlockLayout.bitsPerWord) }
      guard BitmapWord(value).bits & bit != 0 else { throw .notFound }
      descriptor = BlockDescriptor(head.0, head.1)
      let isSound = descriptor.length <= layout.blockSize
      unsafe bytes = UnsafeMutableRawBufferPointer(
        start: isSound ? try target(descriptor.length) : nil, count: isSound ? descriptor.length : 0)
      return unsafe bytes
    }
    guard let start = bytes.baseAddress else { return nil }
    #if DEBUG
      if omits(.checksum) { return descriptor.length }
    #endif
    return unsafe crc(of: start, descriptor, address) == descriptor.crc ? descriptor.length : nil
  }

  @inline(__always)
  func descriptor(of address: Int) throws(StructureError) -> BlockDescriptor {
    var words: (UInt, UInt) = (0, 0)
    try unsafe storage.read(at: layout.offset(ofDescriptor: address), count: BlockLayout.descriptor, into: &words)
    return BlockDescriptor(UInt(littleEndian: words.0), UInt(littleEndian: words.1))
  }

  @inline(__always)
  func crc(of data: UnsafeRawPointer, _ descriptor: BlockDescriptor, _ address: Int) -> UInt32 {
    var state = Checksum.State()
    unsafe checksum.add(data, count: descriptor.length, to: &state)
    return crc(state, address: address, length: descriptor.length, mark: descriptor.mark)
  }

  /// Ends the checksum of a block whose data were added already.
  @inline(__always)
  func crc(_ data: Checksum.State, address: Int, length: Int, mark: UInt) -> UInt32 {
    var state = data
    checksum.add(UInt64(truncatingIfNeeded: address), to: &state)
    checksum.add(UInt64(mark), to: &state)
    checksum.add(UInt64(truncatingIfNeeded: length), to: &state)
    return state.value
  }

  /// Calls `body` with the address of each block from `address` on, in order, until it returns false or `most` words of
  /// bitmaps were looked at. Returns where to go on; nil if there are no more. Throws `corrupt` where nobody knows.
  public func forEach(
    from address: Int, words most: Int, _ body: (Int) throws(StructureError) -> Bool
  ) throws(StructureError) -> Int? {
    try check()
    guard address >= 0 else { throw .badArgument }
    var (word, first) = address.quotientAndRemainder(dividingBy: BlockLayout.bitsPerWord)
    for _ in 0..<most {
      guard word &* BlockLayout.bitsPerWord < capacity.load(ordering: .acquiring) else { return nil }
      var bits = try bitmapWord(word).bits & (UInt.max &<< UInt(first))
      while bits != 0 {
        let address = word &* BlockLayout.bitsPerWord &+ bits.trailingZeroBitCount
        if try !body(address) { return address &+ 1 }
        bits &= bits &- 1
      }
      (word, first) = (word &+ 1, 0)
    }
    return word &* BlockLayout.bitsPerWord
  }
}
