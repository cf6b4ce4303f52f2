import MemoryMap

/// Where what is in a file of blocks, little-endian:
///
///     0       static page (StaticPage); its parameter is the block size
///     4096    superblock A; 8192: superblock B (Superblock): epoch: what has this one or a lower one is on disk;
///             tail: bytes of the file that are; number: groups that are; places: after a clean close, a checksum of all
///             bitmap pages
///     12288   groups of 24,192 blocks, the last one as far as the file goes:
///
///     0       header of 64 B: magic "GRP1" u32, crc u32 of the 8 bytes that follow, number u64
///     64      bitmap: 504 words u64. The lower 48 bits of each are blocks, the lowest first: set for one that is stored.
///             The upper 16 are its tag, the lower bits of the epoch in which it was changed last
///     4096    descriptors of 16 B: {crc u32, length u32, epoch u64}. Epoch 0: the block is void
///     393216  data, from block to block
///
/// The crc is of the data, the address u64, the epoch u64 and the length u64. Only the bits say what is stored. The tag
/// is in the same word, so that a word which reached the disk says itself whether it is newer than the last sync.
///
/// The rules:
///
/// - Store: data, descriptor, bit. The bit commits.
/// - Free: the bit. The block is stored to again when two syncs have passed: the first brings to disk that it is free;
///   then its descriptor is made void, and the second brings that there, too. So a bit that reaches the disk without its
///   descriptor finds none; and what was freed does not come back. A block that no sync has seen is free on disk as it
///   was before: it is stored to again at once.
/// - Whoever chooses a block looks whether its descriptor is void, or of this very epoch. If not (somebody was killed
///   between descriptor and bit) it is treated as freed.
/// - A sync takes a new epoch, and waits for stores of the old one, before it brings all to disk. The superblock that
///   says so reaches the disk with the next sync. So nothing in a file is more than three epochs newer than the
///   superblock that is found.
/// - Opening looks at the words with a tag of those three. A bit without matching data is dropped if its block's epoch is
///   void or newer than the superblock's: it was never stored. What is older and does not match is corrupt.
struct BlockLayout: Sendable {
  let blockSize: Int
  /// Bytes of a whole group.
  let groupSize: Int

  static let magic: UInt64 = 0x0A31_4250_414D_4D45  // "EMMAPB1\n"
  static let groupMagic: UInt32 = 0x3150_5247  // "GRP1"
  static let groups = 12288
  static let sizes = 1...(1 << 24)
  static let bitsPerWord = 48
  static let wordsPerGroup = 504
  static let blocksPerGroup = 24192
  static let page = 4096
  static let bitmap = 64
  static let descriptors = 4096
  static let descriptor = 16
  static let data = 393_216
  /// The most blocks in a file.
  static let maximumCount = 1 << 36
  /// The bits of a word that are blocks.
  static let allBits: UInt = 1 << 48 - 1
  /// How much newer than the superblock what is in a file can be.
  static let newest = 3

  init(blockSize: Int) {
    self.blockSize = blockSize
    groupSize = Self.data &+ Self.roundUp(Self.blocksPerGroup &* blockSize)
  }

  static func roundUp(_ bytes: Int) -> Int { (bytes &+ page &- 1) & ~(page &- 1) }

  /// Where a group begins.
  @inline(__always)
  func offset(ofGroup group: Int) -> Int { Self.groups &+ group &* groupSize }

  /// Where a word of the bitmaps is; words are counted through all groups.
  @inline(__always)
  func offset(ofWord word: Int) -> Int {
    let (group, rest) = word.quotientAndRemainder(dividingBy: Self.wordsPerGroup)
    return offset(ofGroup: group) &+ Self.bitmap &+ rest &* 8
  }

  /// Where a block's descriptor is.
  @inline(__always)
  func offset(ofDescriptor address: Int) -> Int {
    let (group, rest) = address.quotientAndRemainder(dividingBy: Self.blocksPerGroup)
    return offset(ofGroup: group) &+ Self.descriptors &+ rest &* Self.descriptor
  }

  /// Where a block's data is.
  @inline(__always)
  func offset(ofData address: Int) -> Int {
    let (group, rest) = address.quotientAndRemainder(dividingBy: Self.blocksPerGroup)
    return offset(ofGroup: group) &+ Self.data &+ rest &* blockSize
  }

  /// How many groups have their bitmap and descriptors in a file of so many bytes, and how many blocks it has room for.
  func capacity(of size: Int) -> (groups: Int, blocks: Int) {
    if size < Self.groups { return (0, 0) }
    let (whole, rest) = (size &- Self.groups).quotientAndRemainder(dividingBy: groupSize)
    if rest < Self.data { return (whole, whole &* Self.blocksPerGroup) }
    let more = min((rest &- Self.data) / blockSize, Self.blocksPerGroup)
    return (whole &+ 1, whole &* Self.blocksPerGroup &+ more)
  }
}

/// What stands beside a block.
struct BlockDescriptor: Equatable {
  var crc: UInt32
  var length: Int
  var epoch: Int

  /// The two words of it.
  @inline(__always)
  init(_ first: UInt, _ second: Int) {
    crc = UInt32(truncatingIfNeeded: first)
    length = Int(first &>> 32)
    epoch = second
  }

  @inline(__always)
  init(crc: UInt32, length: Int, epoch: Int) {
    self.crc = crc
    self.length = length
    self.epoch = epoch
  }

  @inline(__always)
  var words: (UInt, Int) { ((UInt(crc) | UInt(length) &<< 32).littleEndian, epoch.littleEndian) }
}

extension Checksum {
  /// Ends the checksum of a block whose data were added already.
  @inline(__always)
  func block(_ data: State, address: Int, length: Int, epoch: Int) -> UInt32 {
    var state = data
    add(
      UInt64(truncatingIfNeeded: address), UInt64(truncatingIfNeeded: epoch), UInt64(truncatingIfNeeded: length),
      to: &state)
    return state.value
  }
}

/// A word of a bitmap.
struct BitmapWord {
  let raw: Int

  @inline(__always)
  init(_ raw: Int) { self.raw = raw }

  @inline(__always)
  var bits: UInt { UInt(bitPattern: raw) & BlockLayout.allBits }

  /// The same word with other bits, changed in an epoch.
  @inline(__always)
  func with(_ bits: UInt, epoch: Int) -> Int {
    Int(bitPattern: bits | UInt(bitPattern: epoch) &<< UInt(BlockLayout.bitsPerWord))
  }

  /// Tells whether it may have been changed after an epoch. Words that were not changed for 65,536 epochs may look as if.
  func isNewer(than epoch: Int) -> Bool {
    let tag = UInt16(truncatingIfNeeded: raw &>> BlockLayout.bitsPerWord)
    let distance = Int(tag &- UInt16(truncatingIfNeeded: epoch))
    return (1...BlockLayout.newest).contains(distance)
  }
}
