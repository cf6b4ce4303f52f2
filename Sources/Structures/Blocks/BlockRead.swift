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
    let (word, bit) = address.quotientAndRemainder(dividingBy: BlockLayout.bitsPerWord)
    var last: BlockDescriptor? = nil
    var tries = 0
    while true {
      guard BitmapWord(try storage.loadWord(at: layout.offset(ofWord: word))).bits &>> UInt(bit) & 1 == 1 else {
        throw .notFound
      }
      let descriptor = try descriptor(of: address)
      if descriptor.length <= layout.blockSize {
        var crc: UInt32 = 0
        let result = try unsafe make(descriptor.length) { (target) throws(StructureError) in
          try unsafe storage.read(at: layout.offset(ofData: address), count: descriptor.length, into: target)
          crc = unsafe self.crc(of: target, descriptor, address)
        }
        if crc == descriptor.crc { return result }
        #if DEBUG
          if omits(.checksum) { return result }
        #endif
      }
      // Stored anew meanwhile, perhaps more than once. Damage stays as it is.
      if last == descriptor { tries &+= 1 }
      if tries > 3 { throw .corrupt(address) }
      last = descriptor
    }
  }

  @inline(__always)
  func descriptor(of address: Int) throws(StructureError) -> BlockDescriptor {
    var words: (UInt, Int) = (0, 0)
    try unsafe storage.read(at: layout.offset(ofDescriptor: address), count: BlockLayout.descriptor, into: &words)
    return BlockDescriptor(UInt(littleEndian: words.0), Int(littleEndian: words.1))
  }

  @inline(__always)
  func crc(of data: UnsafeRawPointer, _ descriptor: BlockDescriptor, _ address: Int) -> UInt32 {
    var state = Checksum.State()
    unsafe checksum.add(data, count: descriptor.length, to: &state)
    return checksum.block(state, address: address, length: descriptor.length, epoch: descriptor.epoch)
  }

  /// Calls `body` with the address of each block from `address` on, in order, until it returns false or `most` words of
  /// bitmaps were looked at. Returns where to go on; nil if there are no more.
  public func forEach(
    from address: Int, words most: Int, _ body: (Int) throws(StructureError) -> Bool
  ) throws(StructureError) -> Int? {
    try check()
    var (word, first) = address.quotientAndRemainder(dividingBy: BlockLayout.bitsPerWord)
    for _ in 0..<most {
      guard word &* BlockLayout.bitsPerWord < capacity.load(ordering: .acquiring) else { return nil }
      var bits = BitmapWord(try storage.loadWord(at: layout.offset(ofWord: word))).bits & (UInt.max &<< UInt(first))
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
