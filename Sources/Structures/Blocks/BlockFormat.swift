import MemoryMap

/// Where what is in a file of blocks, little-endian:
///
///     0       static page (StaticPage); its parameter is the block size
///     4096    superblock A; 8192: superblock B (Superblock): epoch: what has this one or a lower one is on disk;
///             number: how many blocks the file has room for; places: after a clean close, a checksum of all bitmap pages
///     12288   groups of 16,128 blocks, the last one as far as the file goes:
///
///     0       header of 64 B: magic "GRP1" u32, crc u32 of the 8 bytes that follow, number u64
///     64      bitmap: 504 words u64, each a bit for each of 32 blocks, the lowest first: set for one that is stored; a tag
///             u16, the lower bits of the epoch in which the word was changed last; and a check u16 (Sealed)
///     4096    descriptors of 16 B: {crc u32, length u32, mark u64}. The mark is the epoch in which the block was stored
///             and its check; 0: the block is void
///     262144  data, from block to block
///
/// The crc is of the data, the address u64, the mark u64 and the length u64. Only the bits say what is stored. Tag and
/// check are in the same word, so that a word which reached the disk says itself whether it is newer than the last sync,
/// and whether it is what was stored.
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
/// - A group's bitmap is written before there is room in it: only a group that no sync has seen has words that are zero.
/// - Opening looks at the words with a tag of those three. A bit without matching data is dropped if its block is void or
///   newer than the superblock: it was never stored. What is older and does not match is corrupt.
///
/// What is found of damage:
///
/// - A flipped bit, zeroes, or bytes from elsewhere in a bitmap: by the check of each word, when the file is opened, and
///   whenever the word is used. Of random words one in 65,536 has a right check.
/// - The same in a block's data or descriptor: when it is read. Until then other blocks can be used.
/// - A block that is missing: after a clean close always. For then the superblock knows the bitmaps.
///
/// What is not found:
///
/// - In a file that was not closed: a whole word that is back to what it was at an earlier time, because the disk has lost
///   a write that it had promised. Blocks stored since are missing then.
/// - What is newer than the superblock that opening finds, and was damaged, is taken for what a power failure has left: it
///   is dropped. Opening tells how many blocks were (`recovered.dropped`). So it is with a block in a word of that age
///   whose descriptor was overwritten with zeroes.
struct BlockLayout: Sendable {
  let blockSize: Int
  /// Bytes of a whole group.
  let groupSize: Int
  #if DEBUG
    /// Tests make do with less.
    let wordsPerGroup: Int
  #else
    var wordsPerGroup: Int { Self.wordsPerGroup }
  #endif

  static let magic: UInt64 = 0x0A31_4250_414D_4D45  // "EMMAPB1\n"
  static let groupMagic: UInt32 = 0x3150_5247  // "GRP1"
  static let groups = 12288
  static let sizes = 1...(1 << 24)
  static let bitsPerWord = 32
  static let wordsPerGroup = 504
  static let page = 4096
  static let bitmap = 64
  static let descriptors = 4096
  static let descriptor = 16
  /// The most blocks in a file.
  static let maximumCount = 1 << 36
  /// The bits of a word that are blocks.
  static let allBits: UInt = 1 << 32 - 1
  /// How much newer than the superblock what is in a file can be.
  static let newest = 3

  init(blockSize: Int, wordsPerGroup: Int = Self.wordsPerGroup) {
    self.blockSize = blockSize
    let blocks = wordsPerGroup &* Self.bitsPerWord
    groupSize = Self.data(blocks) &+ Self.roundUp(blocks &* blockSize)
    #if DEBUG
      self.wordsPerGroup = wordsPerGroup
    #endif
  }

  static func roundUp(_ bytes: Int) -> Int { (bytes &+ page &- 1) & ~(page &- 1) }

  @inline(__always)
  var blocksPerGroup: Int { wordsPerGroup &* Self.bitsPerWord }

  /// Where in a group its data is.
  @inline(__always)
  var data: Int { Self.data(blocksPerGroup) }

  @inline(__always)
  private static func data(_ blocks: Int) -> Int { roundUp(descriptors &+ blocks &* descriptor) }

  /// Where a group begins.
  @inline(__always)
  func offset(ofGroup group: Int) -> Int { Self.groups &+ group &* groupSize }

  /// Where a word of the bitmaps is; words are counted through all groups.
  @inline(__always)
  func offset(ofWord word: Int) -> Int {
    let (group, rest) = word.quotientAndRemainder(dividingBy: wordsPerGroup)
    return offset(ofGroup: group) &+ Self.bitmap &+ rest &* 8
  }

  /// Where a block's descriptor is.
  @inline(__always)
  func offset(ofDescriptor address: Int) -> Int {
    let (group, rest) = address.quotientAndRemainder(dividingBy: blocksPerGroup)
    return offset(ofGroup: group) &+ Self.descriptors &+ rest &* Self.descriptor
  }

  /// Where a block's data is.
  @inline(__always)
  func offset(ofData address: Int) -> Int {
    let (group, rest) = address.quotientAndRemainder(dividingBy: blocksPerGroup)
    return offset(ofGroup: group) &+ data &+ rest &* blockSize
  }

  /// Where a block's word, its descriptor and its data are.
  @inline(__always)
  func offsets(of address: Int) -> (word: Int, descriptor: Int, data: Int) {
    let (group, rest) = address.quotientAndRemainder(dividingBy: blocksPerGroup)
    let start = offset(ofGroup: group)
    return (
      start &+ Self.bitmap &+ rest / Self.bitsPerWord &* 8, start &+ Self.descriptors &+ rest &* Self.descriptor,
      start &+ data &+ rest &* blockSize
    )
  }

  /// How many blocks a file of so many bytes has room for.
  func capacity(of size: Int) -> Int {
    if size < Self.groups { return 0 }
    let (whole, rest) = (size &- Self.groups).quotientAndRemainder(dividingBy: groupSize)
    let more = rest < data ? 0 : min((rest &- data) / blockSize, blocksPerGroup)
    return min(whole &* blocksPerGroup &+ more, Self.maximumCount)
  }

  /// How many groups so many blocks are in.
  func groups(of blocks: Int) -> Int { (blocks &+ blocksPerGroup &- 1) / blocksPerGroup }
}

/// What stands beside a block.
struct BlockDescriptor: Equatable {
  var crc: UInt32
  var length: Int
  var mark: UInt

  /// The two words of it.
  @inline(__always)
  init(_ first: UInt, _ second: UInt) {
    crc = UInt32(truncatingIfNeeded: first)
    length = Int(first &>> 32)
    mark = second
  }

  @inline(__always)
  init(crc: UInt32, length: Int, mark: UInt) {
    self.crc = crc
    self.length = length
    self.mark = mark
  }

  @inline(__always)
  var words: (UInt, UInt) { ((UInt(crc) | UInt(length) &<< 32).littleEndian, mark.littleEndian) }
}

/// What a word of a bitmap says.
struct BitmapWord {
  /// The lower 32 bits: blocks. The 16 above: the tag.
  let value: UInt

  @inline(__always)
  init(_ value: UInt) { self.value = value }

  @inline(__always)
  init(bits: UInt, epoch: Int) {
    value = bits | UInt(UInt16(truncatingIfNeeded: epoch)) &<< UInt(BlockLayout.bitsPerWord)
  }

  @inline(__always)
  var bits: UInt { value & BlockLayout.allBits }

  /// The same word with other bits.
  func with(_ bits: UInt) -> BitmapWord { BitmapWord(value & ~BlockLayout.allBits | bits) }

  /// Tells whether it may have been changed after an epoch. Words that were not changed for 65,536 epochs may look as if.
  func isNewer(than epoch: Int) -> Bool {
    let tag = UInt16(truncatingIfNeeded: value &>> UInt(BlockLayout.bitsPerWord))
    let distance = Int(tag &- UInt16(truncatingIfNeeded: epoch))
    return (1...BlockLayout.newest).contains(distance)
  }
}

/// Words of 48 bits with a check of 16 above them, which is never 0: so that a word is changed in one piece with its
/// check, zeroes have none, and two words of the same place differ in two bits at least.
struct Sealed {
  let checksum: Checksum

  /// The lower 48 bits of a word.
  static let valueBits: UInt = 1 << 48 - 1

  /// The word for a value of 48 bits at a place: the number of a word, or the address of a block.
  @inline(__always)
  func word(_ value: UInt, place: Int) -> UInt { value | check(value, place) &<< 48 }

  /// The value of a word; nil if that was not made by `word`.
  @inline(__always)
  func value(_ word: UInt, place: Int) -> UInt? {
    let value = word & Self.valueBits
    return check(value, place) == word &>> 48 ? value : nil
  }

  @inline(__always)
  private func check(_ value: UInt, _ place: Int) -> UInt {
    var state = Checksum.State()
    checksum.add(UInt64(value), to: &state)
    checksum.add(UInt64(truncatingIfNeeded: place), to: &state)
    let folded = (state.register ^ state.register &>> 16) & 0xFFFF
    return folded == 0 ? 1 : UInt(folded)
  }
}
