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
      let (end, blocks) = nextEnd()
      let waiting = try waitingCount()
      // Syncs are slow: not for a few blocks, unless there is nothing else.
      if end >= 0 && waiting < blocks / 4 { return try grow(to: end) }
      if waiting > 0, try reclaim() { return }
      guard end >= 0 else { throw .full }
      try grow(to: end)
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

  /// How long the file is to be next, for how many more blocks; -1 if it must not be.
  private func nextEnd() -> (end: Int, blocks: Int) {
    let (size, count) = (storage.size, capacity.load(ordering: .relaxed))
    let start = layout.offset(ofGroup: count / BlockLayout.blocksPerGroup)
    let first = layout.offset(ofData: count)
    let least = max(first &+ layout.blockSize, size &+ 1)
    if count >= BlockLayout.maximumCount || least > maximumSize { return (-1, 0) }
    let step = min(max(size / 4, 1 << 20), 16 << 20)
    let most = min(start &+ layout.groupSize, maximumSize)
    let end = max(least, min(BlockLayout.roundUp(least &+ step), most))
    return (end, layout.capacity(of: end).blocks &- count)
  }

  private func grow(to end: Int) throws(StructureError) {
    let (size, count) = (storage.size, capacity.load(ordering: .relaxed))
    let (groups, _) = layout.capacity(of: size)
    let group = count / BlockLayout.blocksPerGroup
    try map.add(group: group)
    // An error here changes nothing that was stored.
    try storage.grow(from: min(BlockLayout.roundUp(size), end &- 1), to: end)
    if groups == group { try health.failing { () throws(StructureError) in try writeHeader(ofGroup: group) } }
    let new = layout.capacity(of: end).blocks
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

  func writeHeader(ofGroup group: Int) throws(StructureError) {
    try unsafe withBytes(16) { (bytes) throws(StructureError) in
      unsafe bytes.storeBytes(of: BlockLayout.groupMagic.littleEndian, as: UInt32.self)
      unsafe bytes.storeBytes(of: group.littleEndian, toByteOffset: 8, as: Int.self)
      let crc = unsafe checksum.of(bytes + 8, count: 8)
      unsafe bytes.storeBytes(of: crc.littleEndian, toByteOffset: 4, as: UInt32.self)
      try unsafe storage.write(bytes, count: 16, at: layout.offset(ofGroup: group))
    }
  }
}
