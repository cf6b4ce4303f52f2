import CSystem
import MemoryMap
import Synchronization

// Room for more blocks.

extension Blocks where Store: ~Copyable {
  /// Sees to it that there is something to store to: what lanes have and do not use, what was freed, or a longer file.
  /// Throws `full`, or what the system has against that.
  @inline(never)
  func makeRoom() throws(StructureError) {
    try growth.withLock { (_) throws(StructureError) in
      try check()
      if map.hasFree { return }
      for index in 0..<16 { lanes[index].locked { lane in release(&lane) } }
      if map.hasFree { return }
      let end = nextEnd()
      let waiting = try waitingCount()
      // Syncs are slow: not for a few blocks, unless there is nothing else.
      let more = layout.capacity(of: end ?? 0) &- capacity.load(ordering: .relaxed)
      if waiting > 0 && waiting >= more / 4, try reclaim() { return }
      guard let end else { throw .full }
      do throws(StructureError) { try grow(to: end) } catch {
        if waiting > 0, try reclaim() { return }
        throw error
      }
    }
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
  private func grow(to end: Int) throws(StructureError) {
    let count = capacity.load(ordering: .relaxed)
    let (group, rest) = count.quotientAndRemainder(dividingBy: layout.blocksPerGroup)
    let new = layout.capacity(of: end)
    // An error here changes nothing that was stored. The file may be longer than there is room, after such an error.
    try map.add(words: (new &+ BlockLayout.bitsPerWord &- 1) / BlockLayout.bitsPerWord)
    try storage.grow(from: rest == 0 ? layout.offset(ofGroup: group) : layout.offset(ofData: count), to: end)
    if rest == 0 { try health.failing { () throws(StructureError) in try writeBitmap(ofGroup: group) } }
    capacity.store(new, ordering: .releasing)
    makeAvailable(from: count, to: new)
  }

  func makeAvailable(from first: Int, to end: Int) {
    var address = first
    while address < end {
      let (word, bit) = address.quotientAndRemainder(dividingBy: BlockLayout.bitsPerWord)
      let count = min(end &- address, BlockLayout.bitsPerWord &- bit)
      map.makeAvailable(word, (1 &<< UInt(count) &- 1) &<< UInt(bit))
      address &+= count
    }
  }

  /// Writes the header of a group and a bitmap without blocks.
  private func writeBitmap(ofGroup group: Int) throws(StructureError) {
    try unsafe withBytes(BlockLayout.page) { (bytes) throws(StructureError) in
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
