import MemoryMap
import Synchronization

// Reading, which takes no lock: what somebody frees or stores meanwhile shows in the descriptor.

extension Blocks where Store: ~Copyable {
  /// Reads a block: `make` is given the number of its bytes and has `fill` copy them somewhere. Its result stands only if
  /// the bytes are those that were stored; else it is run again, or this throws. What it throws itself goes through.
  ///
  /// Throws `notFound` if there is no such block, and `corrupt` if its bytes are not what was stored.
  @inline(__always)
  public func read<R>(
    _ address: Int,
    _ make: (_ count: Int, _ fill: (UnsafeMutableRawPointer) throws(StructureError) -> Void) throws(StructureError) -> R
  ) throws(StructureError) -> R {
    try check()
    guard address >= 0 && address < capacity.load(ordering: .acquiring) else { throw .notFound }
    if let result = try unsafe tryRead(address, make) { return result }
    return try unsafe readAlone(address, make)
  }

  /// Tells a block that is stored anew all the time from a damaged one.
  @inline(never)
  private func readAlone<R>(
    _ address: Int,
    _ make: (_ count: Int, _ fill: (UnsafeMutableRawPointer) throws(StructureError) -> Void) throws(StructureError) -> R
  ) throws(StructureError) -> R {
    for _ in 0..<3 {
      if let result = try unsafe tryRead(address, make) { return result }
    }
    return try withAllLanes { () throws(StructureError) in
      guard let result = try unsafe tryRead(address, make) else { throw .corrupt(address) }
      return result
    }
  }

  /// Nil if the bytes do not match: damaged, or stored anew meanwhile.
  @inline(__always)
  private func tryRead<R>(
    _ address: Int,
    _ make: (_ count: Int, _ fill: (UnsafeMutableRawPointer) throws(StructureError) -> Void) throws(StructureError) -> R
  ) throws(StructureError) -> R? {
    let (word, bit) = Self.place(of: address)
    guard try bitmapWord(word).bits & bit != 0 else { throw .notFound }
    let descriptor = try descriptor(of: address)
    guard descriptor.length <= layout.blockSize else { return nil }
    var crc: UInt32 = 0
    let result = try unsafe make(descriptor.length) { (target) throws(StructureError) in
      try unsafe storage.read(at: layout.offset(ofData: address), count: descriptor.length, into: target)
      crc = unsafe self.crc(of: target, descriptor, address)
    }
    #if DEBUG
      if omits(.checksum) { return result }
    #endif
    return crc == descriptor.crc ? result : nil
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
