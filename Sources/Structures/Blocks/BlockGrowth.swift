import CSystem
import MemoryMap
import Synchronization

// Room for more blocks.

extension Blocks where Store: ~Copyable {
  /// Sees to it that there is something to store to: what lanes have and do not use, what was freed, or a longer file.
  /// Throws `full`, or what the system has against that.
  @inline(never)
  func makeRoom() throws(StructureError) {
    let part = try growth.withLock { (growth) throws(StructureError) -> Part? in
      try check()
      if map.hasFree { return nil }
      if let part = try nextPart(&growth) { return part }
      for index in 0..<16 { lanes[index].locked { lane in release(&lane) } }
      if map.hasFree { return nil }
      do throws(StructureError) { return try lengthen(&growth) } catch {
        guard try waitingCount() > 0, try reclaim() else { throw error }
        return nil
      }
    }
    guard let part else { return }
    do throws(StructureError) {
      try makeReady(part)
      partsUnderWay.wrappingSubtract(1, ordering: .relaxed)
    } catch {
      try growth.withLock { (growth) throws(StructureError) in
        _ = growth.unready.append(part)
        partsUnderWay.wrappingSubtract(1, ordering: .relaxed)
        guard try waitingCount() > 0, try reclaim() else { throw error }
      }
    }
  }

  private func lengthen(_ growth: inout Growth) throws(StructureError) -> Part? {
    guard let end = nextEnd() else { throw .full }
    // Syncs are slow: not for a few blocks, unless there is nothing else.
    let more = layout.capacity(of: end) &- capacity.load(ordering: .relaxed)
    let waiting = try waitingCount()
    if waiting > 0 && waiting >= more / 4, try reclaim() { return nil }
    try grow(&growth, to: end)
    return try nextPart(&growth)
  }

  /// Makes freed blocks available. A block that somebody was killed at needs three syncs: see BlockLayout.
  private func reclaim() throws(StructureError) -> Bool {
    for _ in 0..<3 {
      try sync()
      if map.hasFree { return true }
    }
    return false
  }

  /// How long the file is to be next; nil if it must not become longer. At most one group more than it is.
  private func nextEnd() -> Int? {
    let count = capacity.load(ordering: .relaxed)
    let first = layout.offset(ofData: count)
    let least = first &+ layout.blockSize
    if count >= BlockLayout.maximumCount || least > maximumSize { return nil }
    let step = min(max(first / 4, 1 << 20), 16 << 20)
    let group = layout.offset(ofGroup: count / layout.blocksPerGroup) &+ layout.groupSize
    return max(least, min(BlockLayout.roundUp(least &+ step), min(group, maximumSize)))
  }

  /// Makes the file longer, for blocks of one group. Of a new group the bitmap is there before anybody knows of it.
  private func grow(_ growth: inout Growth, to end: Int) throws(StructureError) {
    let count = capacity.load(ordering: .relaxed)
    let (group, rest) = count.quotientAndRemainder(dividingBy: layout.blocksPerGroup)
    let start = rest == 0 ? layout.offset(ofGroup: group) : layout.offset(ofData: count)
    // An error here changes nothing that was stored.
    if growth.end > 0 { try storage.readAhead(from: growth.start, to: growth.end) }
    try storage.allocate(from: start, to: end)
    if rest == 0 { try health.failing { () throws(StructureError) in try writeBitmap(ofGroup: group) } }
    (growth.start, growth.end) = (start, end)
  }

  /// Takes a part of what the file was made longer by, for the caller to make ready; nil if there is no more of it.
  private func nextPart(_ growth: inout Growth) throws(StructureError) -> Part? {
    if growth.unready.isEmpty && layout.capacity(of: growth.end) <= capacity.load(ordering: .relaxed) { return nil }
    // Whatever becomes of those that are under way, and of this one, can be noted.
    let underWay = partsUnderWay.load(ordering: .relaxed)
    guard growth.unready.reserve(underWay + 1) else { throw .file(.noMemory) }
    if let part = growth.unready.popLast() {
      partsUnderWay.wrappingAdd(1, ordering: .relaxed)
      return part
    }
    let count = capacity.load(ordering: .relaxed)
    let most = layout.capacity(of: growth.end)
    let words = (count &+ Self.partBytes / layout.blockSize) / BlockLayout.bitsPerWord &+ 1
    let part = Part(start: count, end: min(most, words &* BlockLayout.bitsPerWord))
    try map.add(blocks: part.end)
    capacity.store(part.end, ordering: .releasing)
    partsUnderWay.wrappingAdd(1, ordering: .relaxed)
    return part
  }

  private static var partBytes: Int { 64 << 10 }

  /// Lets blocks that are new be stored to. Most of the time that a longer file takes is spent here, by several threads at
  /// once.
  private func makeReady(_ part: Part) throws(StructureError) {
    let last = part.end &- 1
    try storage.populate(
      from: layout.offset(ofDescriptor: part.start), to: layout.offset(ofDescriptor: last) &+ BlockLayout.descriptor)
    try storage.populate(from: layout.offset(ofData: part.start), to: layout.offset(ofData: last) &+ layout.blockSize)
    makeAvailable(part)
  }

  private func makeAvailable(_ part: Part) {
    var address = part.start
    while address < part.end {
      let (word, bit) = address.quotientAndRemainder(dividingBy: BlockLayout.bitsPerWord)
      let count = min(part.end &- address, BlockLayout.bitsPerWord &- bit)
      map.makeAvailable(word, (1 &<< UInt(count) &- 1) &<< UInt(bit))
      address &+= count
    }
  }

  /// Writes the header of a group and a bitmap without blocks.
  private func writeBitmap(ofGroup group: Int) throws(StructureError) {
    try unsafe withPage { (bytes) throws(StructureError) in
      let count = unsafe fillHeader(bytes, group) &+ layout.wordsPerGroup &* 8
      for index in 0..<layout.wordsPerGroup {
        let word = emptyWord(group &* layout.wordsPerGroup &+ index)
        unsafe bytes.storeBytes(of: word.littleEndian, toByteOffset: BlockLayout.bitmap &+ index &* 8, as: UInt.self)
      }
      try unsafe storage.write(bytes, count: count, at: layout.offset(ofGroup: group))
    }
  }

  func writeHeader(ofGroup group: Int) throws(StructureError) {
    try unsafe withBytes(BlockLayout.bitmap) { (bytes) throws(StructureError) in
      let count = unsafe fillHeader(bytes, group)
      try unsafe storage.write(bytes, count: count, at: layout.offset(ofGroup: group))
    }
  }

  private func fillHeader(_ bytes: UnsafeMutableRawPointer, _ group: Int) -> Int {
    unsafe bytes.storeBytes(of: BlockLayout.groupMagic.littleEndian, as: UInt32.self)
    unsafe bytes.storeBytes(of: group.littleEndian, toByteOffset: 8, as: Int.self)
    let crc = unsafe checksum.of(bytes + 8, count: 8)
    unsafe bytes.storeBytes(of: crc.littleEndian, toByteOffset: 4, as: UInt32.self)
    return BlockLayout.bitmap
  }

  /// A word of a bitmap that has no blocks.
  func emptyWord(_ word: Int) -> UInt {
    sealed.word(BitmapWord(bits: 0, epoch: epoch.load(ordering: .relaxed)).value, place: word)
  }
}
