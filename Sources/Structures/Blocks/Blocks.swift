import MemoryMap
import Synchronization

/// Blocks of one size at addresses in a file; see BlockLayout for the file, and its rules.
///
/// Any number of threads may use it at once. Those who store or free each go through a lane, one of 16, whose lock they
/// have meanwhile: a lane has a word of blocks to store to, and its stores are all in one epoch. Locks are taken in this
/// order:
///
/// 1. `growth`: the file gets longer.
/// 2. `checkpoint`: syncs, one at a time.
/// 3. a lane; of several the one with the lower number first.
///
/// Reads take none: the checksum tells what was read while somebody stored.
@safe public struct Blocks<Store: Storage & ~Copyable>: ~Copyable {
  let storage: Store
  let checksum = Checksum()
  let sealed = Sealed(checksum: Checksum())
  let layout: BlockLayout
  let maximumSize: Int
  /// What opening found.
  public internal(set) var recovered = Recovered()

  let health = Health()
  /// What is stored from now on belongs to.
  let epoch: Atomic<Int>
  /// How many blocks the file has room for.
  let capacity: Atomic<Int>

  let map: FreeMap
  let lanes: InlineArray<16, Guarded<Lane>>
  let checkpoint: Guarded<BlocksCheckpoint>
  let growth: Guarded<Growth>
  /// Parts that are being made ready.
  let partsUnderWay = Atomic<Int>(0)

  #if DEBUG
    let omissions: Omissions
  #endif

  /// What opening found behind the last sync, where the file was not closed.
  public struct Recovered: Sendable {
    /// Whether the file had been closed.
    public var wasClean = true
    /// Blocks that had begun to be stored, and were not.
    public var dropped = 0
  }

  /// What one at a time stores to.
  struct Lane: ~Copyable {
    /// The blocks of a word that are next, and the epoch for which they are.
    var word = 0
    var bits: UInt = 0
    var epoch = 0
    /// The line that it stores in; -1: none yet.
    var line = -1
    /// How many blocks were stored here, less those that were freed here.
    var count = 0
  }

  /// What whoever makes the file longer has.
  struct Growth: ~Copyable {
    /// What it was made longer by, of which not all may be part of `capacity` yet.
    var start = 0
    var end = 0
    /// Parts of `capacity` that could not be made ready. There is room for those that are under way.
    var unready = GrowableArray<Part>()
  }

  /// Addresses of blocks.
  struct Part: BitwiseCopyable {
    let start: Int
    let end: Int
  }

  /// What takes memory.
  struct Parts: ~Copyable {
    let map: FreeMap
    let lanes: InlineArray<16, Guarded<Lane>>
    let checkpoint: Guarded<BlocksCheckpoint>
    let growth: Guarded<Growth>
  }

  struct Opened: ~Copyable {
    var storage: Store
    var layout: BlockLayout
    var maximumSize: Int
    var parts: Parts
    #if DEBUG
      var omissions: Omissions = []
    #endif
  }

  init(_ opened: consuming Opened) {
    layout = opened.layout
    map = opened.parts.map
    lanes = opened.parts.lanes
    checkpoint = opened.parts.checkpoint
    growth = opened.parts.growth
    maximumSize = opened.maximumSize
    epoch = Atomic(0)
    capacity = Atomic(layout.capacity(of: opened.storage.size))
    #if DEBUG
      omissions = opened.omissions
    #endif
    storage = opened.storage
  }

  // MARK: Parts

  /// The word of the bitmaps that a block is in, and its bit.
  @inline(__always)
  static func place(of address: Int) -> (word: Int, bit: UInt) {
    (address / BlockLayout.bitsPerWord, 1 &<< UInt(address % BlockLayout.bitsPerWord))
  }

  /// A word of the bitmaps. Throws `corrupt` if it is not what was stored there.
  @inline(__always)
  func bitmapWord(_ word: Int) throws(StructureError) -> BitmapWord {
    let raw = UInt(bitPattern: try storage.loadWord(at: layout.offset(ofWord: word)))
    guard let value = value(raw, place: word) else { throw .corrupt(word &* BlockLayout.bitsPerWord) }
    return BitmapWord(value)
  }

  /// What a word with a check says; nil if the check is wrong.
  @inline(__always)
  func value(_ word: UInt, place: Int) -> UInt? {
    #if DEBUG
      if omits(.seals) { return word & Sealed.valueBits }
    #endif
    return sealed.value(word, place: place)
  }

  /// Throws what has gone wrong before.
  @inline(__always)
  public func check() throws(StructureError) { try health.check() }

  #if DEBUG
    @inline(__always)
    func omits(_ rule: Omissions) -> Bool { omissions.contains(rule) }
  #endif

  /// Runs `body` with a lane: the caller's, or any that nobody has.
  @inline(__always)
  func withLane<R>(
    _ caller: UInt, mayBlock: Bool, _ body: (inout Lane) throws(StructureError) -> R
  ) throws(StructureError) -> R {
    let first = Int(truncatingIfNeeded: caller & 15)
    if let result = try lanes[first].ifUnlocked(body) { return result }
    return try withOtherLane(first, mayBlock: mayBlock, body)
  }

  @inline(never)
  private func withOtherLane<R>(
    _ first: Int, mayBlock: Bool, _ body: (inout Lane) throws(StructureError) -> R
  ) throws(StructureError) -> R {
    for step in 1..<16 {
      if let result = try lanes[(first &+ step) & 15].ifUnlocked(body) { return result }
    }
    return try lanes[first].withLock(mayWait: mayBlock, body)
  }

  /// Runs `body` while nobody stores or frees.
  @inline(never)
  func withAllLanes<R>(
    from index: Int = 0, mayBlock: Bool, _ body: () throws(StructureError) -> R
  ) throws(StructureError) -> R {
    if index == 16 { return try body() }
    return try lanes[index].withLock(mayWait: mayBlock) { (_) throws(StructureError) in
      try withAllLanes(from: index + 1, mayBlock: mayBlock, body)
    }
  }

  // MARK: Figures

  /// How many blocks are stored.
  public func count(mayBlock: Bool) throws(StructureError) -> Int {
    try check()
    return try count(from: 0, mayBlock: mayBlock)
  }

  /// With all lanes at once: who stores a block and who frees it may have different ones.
  private func count(from index: Int, mayBlock: Bool) throws(StructureError) -> Int {
    if index == 16 { return 0 }
    return try lanes[index].withLock(mayWait: mayBlock) { (lane) throws(StructureError) in
      try lane.count &+ count(from: index + 1, mayBlock: mayBlock)
    }
  }

  /// Bytes of a block.
  public var blockSize: Int { layout.blockSize }
  /// Bytes of the file.
  public var fileSize: Int { storage.size }
  /// How many blocks the file has room for as it is.
  public var room: Int { capacity.load(ordering: .relaxed) }
}
