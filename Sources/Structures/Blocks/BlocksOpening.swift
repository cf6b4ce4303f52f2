import CSystem
import MemoryMap
import Synchronization

/// How a file of blocks is opened.
public struct BlocksOptions: Sendable {
  /// The bytes of a block; 0 takes what the file says.
  public var blockSize = 0
  /// What the file may grow to.
  public var maximumSize = Int.max
  /// For a new file: 16 bytes that no other has.
  public var uuid: (UInt64, UInt64) = (0, 0)
  #if DEBUG
    /// What a test leaves out.
    public var omissions: Omissions = []
    /// How long the bitmap of a group is.
    var wordsPerGroup = BlockLayout.wordsPerGroup
  #endif
  /// The defaults.
  public init() {}
}

extension Blocks where Store: ~Copyable {
  /// Opens the blocks in a file, or makes it where the file is empty. Throws `locked` if somebody else has it, and
  /// `wrongBlockSize` if it is not the size that was asked for.
  ///
  /// What is found is on disk before the blocks are used, in an epoch of its own.
  public static func open(_ storage: consuming Store, _ options: BlocksOptions) throws(StructureError) -> Blocks {
    if try !storage.tryLock() { throw .locked }
    let (layout, superblock): (BlockLayout, Superblock)
    let parts: Parts
    do throws(StructureError) {
      (layout, superblock) = try find(in: storage, options)
      parts = Parts(
        map: try FreeMap(blocks: layout.capacity(of: max(options.maximumSize, storage.size))),
        lanes: try InlineArray { (_) throws(StructureError) in try Guarded(Lane()) },
        checkpoint: try Guarded(BlocksCheckpoint(superblock)), growth: try Guarded(Growth()))
    } catch {
      storage.letGo()
      throw error
    }
    var opened = Opened(
      storage: storage, layout: layout, maximumSize: options.maximumSize, parts: parts)
    #if DEBUG
      opened.omissions = options.omissions
    #endif
    var blocks = Blocks(opened)
    do throws(StructureError) { try blocks.recover(superblock) } catch {
      blocks.storage.letGo()
      throw error
    }
    return blocks
  }

  /// What the file says of itself; an empty one is made.
  private static func find(
    in storage: borrowing Store, _ options: BlocksOptions
  ) throws(StructureError) -> (BlockLayout, Superblock) {
    let checksum = Checksum()
    let magic = BlockLayout.magic
    var page = try StaticPage.read(from: storage, magic: magic, checksum)
    if page == nil {
      try Self.make(storage, options, checksum)
      page = try StaticPage.read(from: storage, magic: magic, checksum)
    }
    guard let page, BlockLayout.sizes.contains(Int(page.parameter)), storage.size >= BlockLayout.groups else {
      throw .corrupt(0)
    }
    #if DEBUG
      let layout = BlockLayout(blockSize: Int(page.parameter), wordsPerGroup: options.wordsPerGroup)
    #else
      let layout = BlockLayout(blockSize: Int(page.parameter))
    #endif
    if options.blockSize != 0 && options.blockSize != layout.blockSize { throw .wrongBlockSize(layout.blockSize) }
    guard let superblock = try Superblock.newest(in: storage, checksum) else { throw .corrupt(Superblock.offset(0)) }
    // A valid checksum does not make numbers from somewhere else good ones.
    guard superblock.epoch < 1 << 47, superblock.generation < 1 << 62 else { throw .corrupt(Superblock.offset(0)) }
    // Cut short by somebody.
    let size = storage.size
    guard superblock.number <= UInt64(layout.capacity(of: size)) else { throw .corrupt(size) }
    return (layout, superblock)
  }

  /// Makes a file without blocks. The static page comes last: without it the next one who opens the file starts again.
  private static func make(
    _ storage: borrowing Store, _ options: BlocksOptions, _ checksum: Checksum
  ) throws(StructureError) {
    // A file of something else is left alone, also if it begins with zeroes.
    guard BlockLayout.sizes.contains(options.blockSize),
      try StaticPage.isMissing(from: storage, size: BlockLayout.groups, [Superblock.offset(0)])
    else { throw .badMagic }
    if options.maximumSize < BlockLayout.groups { throw .full }
    if storage.size < BlockLayout.groups { try storage.grow(from: 0, to: BlockLayout.groups) }
    try Superblock().write(to: storage, checksum)
    try storage.syncData()
    let page = StaticPage(
      magic: BlockLayout.magic, parameter: UInt32(options.blockSize), type: 0, uuid: options.uuid)
    try page.write(to: storage, checksum)
    try storage.syncData()
  }

  private mutating func recover(_ superblock: Superblock) throws(StructureError) {
    let room = capacity.load(ordering: .relaxed)
    let last = Int(superblock.epoch)
    var next = superblock
    next.generation &+= 1
    next.epoch = UInt64(last &+ BlockLayout.newest)
    #if DEBUG
      if omits(.newEpoch) { next.epoch = max(superblock.epoch, 1) &- 1 }
    #endif
    next.isClean = false
    next.places = 0
    next.number = UInt64(room)
    epoch.store(Int(next.epoch) &+ 1, ordering: .relaxed)

    let durable = layout.groups(of: Int(superblock.number))
    if superblock.isClean, try bitmapsChecksum(groups: durable) != superblock.places {
      throw .corrupt(BlockLayout.groups)
    }
    recovered.wasClean = superblock.isClean || superblock.generation == 0
    try map.add(blocks: room)
    // Free blocks of words that are newer than the superblock, whose descriptors are not void.
    var stale = GrowableArray<FreedBlocks>()
    for group in 0..<layout.groups(of: room) {
      let isDurable = group < durable
      try recover(group, last, isDurable: isDurable, isClean: superblock.isClean && isDurable, &stale)
    }
    try clearRest(ofGroup: layout.groups(of: room))
    // What the last owner had not synced is here, and may not be on disk: it must be, before a superblock says so, and
    // before the other superblock is written over.
    try syncUnless(.syncBeforeOpen)
    try makeVoid(stale)
    try write(next)
    try syncUnless(.syncAfterOpen)
    self.checkpoint.locked { $0 = BlocksCheckpoint(next) }
  }

  #if DEBUG
    private func syncUnless(_ rule: Omissions) throws(StructureError) {
      if !omits(rule) && !omits(.syncData) { try storage.syncData() }
    }
  #else
    private enum Rule { case syncBeforeOpen, syncAfterOpen }
    private func syncUnless(_ rule: Rule) throws(StructureError) { try storage.syncData() }
  #endif

  /// Reads the bitmap of a group, and drops the blocks that were never stored.
  private mutating func recover(
    _ group: Int, _ last: Int, isDurable: Bool, isClean: Bool,
    _ stale: inout GrowableArray<FreedBlocks>
  ) throws(StructureError) {
    let offset = layout.offset(ofGroup: group)
    let end = capacity.load(ordering: .relaxed)
    var (count, dropped) = (0, 0)
    try unsafe withPage { (page) throws(StructureError) in
      try unsafe storage.read(at: offset, count: BlockLayout.page, into: page)
      let crc = UInt32(littleEndian: unsafe page.load(fromByteOffset: 4, as: UInt32.self))
      let isValid =
        unsafe UInt32(littleEndian: page.load(as: UInt32.self)) == BlockLayout.groupMagic
        && crc == checksum.of(page + 8, count: 8)
        && Int(littleEndian: page.load(fromByteOffset: 8, as: Int.self)) == group
      if !isValid {
        // A group that was new when the power failed.
        if isDurable { throw .corrupt(offset) }
        try writeHeader(ofGroup: group)
      }
      for index in 0..<layout.wordsPerGroup {
        let place = BlockLayout.bitmap + index * 8
        let word = group * layout.wordsPerGroup + index
        var raw = UInt(littleEndian: unsafe page.load(fromByteOffset: place, as: UInt.self))
        if raw == 0 && !isDurable {
          raw = emptyWord(word)
          try storage.storeWord(Int(bitPattern: raw), at: layout.offset(ofWord: word))
        }
        guard let value = value(raw, place: word) else { throw .corrupt(layout.offset(ofWord: word)) }
        var found = BitmapWord(value)
        let isNew = !isClean && found.isNewer(than: last)
        if isNew {
          let kept = try kept(word, found.bits, last)
          if kept != found.bits {
            dropped += (found.bits & ~kept).nonzeroBitCount
            found = found.with(kept)
            let raw = sealed.word(found.value, place: word)
            try storage.storeWord(Int(bitPattern: raw), at: layout.offset(ofWord: word))
          }
        }
        count += found.bits.nonzeroBitCount
        let first = word * BlockLayout.bitsPerWord
        let room: UInt = end <= first ? 0 : (1 &<< UInt(min(end - first, BlockLayout.bitsPerWord))) &- 1
        // Blocks that there is no room for.
        if found.bits & ~room != 0 { throw .corrupt(layout.offset(ofWord: word)) }
        let unused = ~found.bits & room
        map.makeAvailable(word, unused)
        if isNew && unused != 0 {
          var found: UInt = 0
          try forEachMark(word, unused) { bit, mark in if mark != 0 { found |= bit } }
          if found != 0 && !stale.append(FreedBlocks(word: word, bits: found)) { throw .file(.noMemory) }
        }
      }
    }
    recovered.dropped += dropped
    lanes[0].locked { $0.count += count }
  }

  /// Those of some stored blocks of a word that are what they should be, or damaged, which shows when they are read; not
  /// those that were never stored.
  private func kept(_ word: Int, _ bits: UInt, _ last: Int) throws(StructureError) -> UInt {
    #if DEBUG
      if omits(.dropTorn) { return bits }
    #endif
    var kept = bits
    var rest = bits
    while rest != 0 {
      let bit = rest.trailingZeroBitCount
      rest &= rest &- 1
      let address = word &* BlockLayout.bitsPerWord &+ bit
      let descriptor = try descriptor(of: address)
      if descriptor.mark != 0 {
        guard let epoch = value(descriptor.mark, place: address),
          (1...BlockLayout.newest).contains(Int(epoch) &- last)
        else { continue }
        if try isWhole(address, descriptor) { continue }
      }
      kept &= ~(1 &<< UInt(bit))
    }
    return kept
  }

  private func isWhole(_ address: Int, _ descriptor: BlockDescriptor) throws(StructureError) -> Bool {
    guard descriptor.length <= layout.blockSize, address < capacity.load(ordering: .relaxed) else { return false }
    #if DEBUG
      if omits(.checksum) { return true }
    #endif
    var state = Checksum.State()
    try unsafe withPage { (bytes) throws(StructureError) in
      for done in stride(from: 0, to: descriptor.length, by: BlockLayout.page) {
        let count = min(descriptor.length - done, BlockLayout.page)
        try unsafe storage.read(at: layout.offset(ofData: address) + done, count: count, into: bytes)
        unsafe checksum.add(bytes, count: count, to: &state)
      }
    }
    return crc(state, address: address, length: descriptor.length, mark: descriptor.mark) == descriptor.crc
  }

  /// Of the group behind the last one no more than a part is in the file, without any block: but bits may have come to
  /// disk before the file was as long as they need it.
  private func clearRest(ofGroup group: Int) throws(StructureError) {
    #if DEBUG
      if omits(.clearRest) { return }
    #endif
    let start = layout.offset(ofGroup: group)
    let count = min(storage.size &- start, BlockLayout.page)
    if count <= 0 { return }
    try unsafe withPage { (page) throws(StructureError) in
      try unsafe storage.write(page, count: count, at: start)
    }
  }
}
