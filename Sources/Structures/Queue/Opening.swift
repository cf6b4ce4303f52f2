import CSystem
import MemoryMap
import Synchronization

/// How a queue is opened.
public struct QueueOptions: Sendable {
  /// For a new file: the log2 of its segment size, from 16 to 29.
  public var shift = 24
  /// For a new file: what is in it.
  public var type: UInt32 = 0
  /// What the file may grow to.
  public var maximumSize = Int.max
  /// For a new file: 16 bytes that no other has.
  public var uuid: (UInt64, UInt64) = (0, 0)
  #if DEBUG
    /// What a test leaves out.
    public var omissions: Omissions = []
  #endif
  /// The defaults.
  public init() {}
}

extension Queue where Store: ~Copyable {
  /// Opens the queue in a file, or makes it where the file is empty. Throws `locked` if somebody else has it.
  ///
  /// What is found is on disk before the queue is used: consumers are where the file says, in an epoch of its own. So
  /// whatever lies behind the tail, from pushes that were not finished or did not reach the disk, never comes back.
  public static func open(
    _ storage: consuming Store, _ options: QueueOptions = QueueOptions()
  ) throws(StructureError) -> Queue {
    if try !storage.tryLock() { throw .locked }
    let found: Found
    do throws(StructureError) { found = try find(in: storage, options) } catch {
      storage.letGo()
      throw error
    }
    let (superblock, tail) = (found.superblock, found.tail)
    var opened = Opened(
      storage: storage, page: found.page, maximumSize: options.maximumSize, tail: tail, pusher: found.pusher,
      checkpoint: found.checkpoint, consumers: found.consumers, table: found.table)
    #if DEBUG
      opened.omissions = options.omissions
    #endif
    var queue = Queue(opened)
    do throws(StructureError) { try queue.recover(from: tail, superblock) } catch {
      queue.storage.letGo()
      throw error
    }
    return queue
  }

  private struct Found: ~Copyable {
    var page: StaticPage
    var superblock: Superblock
    var tail: Place
    var pusher: Guarded<Pusher>
    var checkpoint: Guarded<Checkpoint>
    var consumers: InlineArray<192, Guarded<Consumer>>
    var table: Guarded<SegmentTable>
  }

  /// What is in a file; in an empty one it is made.
  private static func find(
    in storage: borrowing Store, _ options: QueueOptions
  ) throws(StructureError) -> Found {
    let checksum = Checksum()
    var page = try StaticPage.read(from: storage, magic: Format.magic, checksum)
    if page == nil {
      try Self.make(storage, options, checksum)
      page = try StaticPage.read(from: storage, magic: Format.magic, checksum)
    }
    guard let page, Format.shifts.contains(Int(page.parameter)), storage.size >= Format.segments else {
      throw .corrupt(0)
    }
    guard let superblock = try Superblock.newest(in: storage, checksum) else { throw .corrupt(Superblock.offset(0)) }
    let tail = Place(
      position: Int(truncatingIfNeeded: superblock.tail), number: Int(truncatingIfNeeded: superblock.number),
      epoch: Int(truncatingIfNeeded: superblock.epoch))
    // A valid checksum does not make numbers from somewhere else good ones.
    let limit = 1 << 62
    guard tail.position >= 0, tail.position < limit, tail.number >= 0, tail.number < limit, tail.epoch >= 0,
      tail.epoch < Int(UInt32.max), superblock.oldest <= superblock.tail >> UInt64(page.parameter)
    else { throw .corrupt(Superblock.offset(0)) }
    let table = try Self.table(
      storage, shift: Int(page.parameter), first: Int(truncatingIfNeeded: superblock.oldest), checksum)
    return Found(
      page: page, superblock: superblock, tail: tail, pusher: try Guarded(Pusher(at: tail)),
      checkpoint: try Guarded(Checkpoint(superblock)),
      consumers: try InlineArray { (_) throws(StructureError) in try Guarded(Consumer()) }, table: try Guarded(table))
  }

  /// Makes an empty queue. The static page comes last: without it the next one who opens the file starts again.
  private static func make(
    _ storage: borrowing Store, _ options: QueueOptions, _ checksum: Checksum
  ) throws(StructureError) {
    // A file of something else is left alone, also if it begins with zeroes.
    let made = [Superblock.offset(0), Format.consumers]
    guard try StaticPage.isMissing(from: storage, size: Format.segments, made) else { throw .badMagic }
    if options.maximumSize < Format.segments { throw .full }
    if storage.size < Format.segments { try storage.grow(from: 0, to: Format.segments) }
    try Superblock().write(to: storage, checksum)
    let start = Place(position: 0, number: 0, epoch: 0)
    try ConsumerSlot.write(start, generation: 1, 0, copy: 0, to: storage, checksum)
    try unsafe ConsumerSlot.writeName(UnsafeRawBufferPointer(start: nil, count: 0), 0, to: storage, checksum)
    try storage.storeWord(ConsumerSlot.inUse, at: ConsumerSlot.offset(0))
    try storage.syncData()
    let page = StaticPage(
      magic: Format.magic, parameter: UInt32(options.shift), type: options.type, uuid: options.uuid)
    try page.write(to: storage, checksum)
    try storage.syncData()
  }

  /// Finds the segments from `first` by their headers. Of two that say that they are the same the later one counts.
  private static func table(
    _ storage: borrowing Store, shift: Int, first: Int, _ checksum: Checksum
  ) throws(StructureError) -> SegmentTable {
    let count = (storage.size &- Format.segments) &>> shift
    let none: (slot: Int, epoch: Int) = (-1, -1)
    guard var found = GrowableArray(repeating: none, count: count) else { throw .file(.noMemory) }
    for slot in 0..<count {
      try unsafe withBytes(Format.segmentHeader) { (bytes) throws(StructureError) in
        try unsafe storage.read(at: Format.segments &+ slot &<< shift, count: 32, into: bytes)
        guard unsafe UInt32(littleEndian: bytes.load(as: UInt32.self)) == Format.segmentMagic,
          unsafe UInt32(littleEndian: bytes.load(fromByteOffset: 4, as: UInt32.self))
            == checksum.of(bytes + 8, count: 24)
        else { return }
        let number = Int(littleEndian: unsafe bytes.load(fromByteOffset: 8, as: Int.self))
        let epoch = Int(littleEndian: unsafe bytes.load(fromByteOffset: 16, as: Int.self))
        guard number >= first, number &- first < count, epoch > found[number &- first].epoch else { return }
        found[number &- first] = (slot, epoch)
      }
    }
    var slots = GrowableArray<Int>()
    for index in found.indices {
      if found[index].slot < 0 { break }
      guard slots.append(found[index].slot) else { throw .file(.noMemory) }
    }
    var table = SegmentTable()
    try table.start(first: first, slots: slots, count: count)
    return table
  }

  private mutating func recover(from checkpoint: Place, _ superblock: Superblock) throws(StructureError) {
    guard table.locked({ $0.end }) >= (checkpoint.position &+ mask) &>> shift else {
      throw .corrupt(table.locked { $0.end } &<< shift)
    }
    let (tail, lastEpoch) = superblock.isClean ? (checkpoint, checkpoint.epoch) : try scan(from: checkpoint)
    let firstUnused = (tail.position &+ mask) &>> shift
    table.locked { $0.removeLast(from: firstUnused) }
    try findConsumers(tail, oldest: Int(truncatingIfNeeded: superblock.oldest))
    if superblock.isClean {
      if try placesChecksum() != superblock.places { throw .corrupt(Format.consumers) }
    } else if superblock.generation > 0 {
      recovered.wasClean = false
      recovered.bytes = max(0, try storage.loadWord(at: Format.hint) &- tail.position)
      recovered.messages = max(0, try storage.loadWord(at: Format.hint &+ 8) &- tail.number)
    }

    epoch = lastEpoch &+ 1
    #if DEBUG
      if omits(.newEpoch) { epoch = max(lastEpoch, 1) }
    #endif
    self.tail.store(tail.position, ordering: .relaxed)
    number.store(tail.number, ordering: .relaxed)
    pusher.locked { $0 = Pusher(at: tail) }
    // What the last owner had not synced is here, and may not be on disk: it must be, before a superblock says so, and
    // before the other superblock is written over.
    try syncUnless(.syncBeforeOpen)
    for index in 0..<ConsumerSlot.count {
      try consumers[index].withLock { (consumer) throws(StructureError) in
        if consumer.isInUse { try writePlace(&consumer, index) }
      }
    }
    var next = superblock
    next.generation &+= 1
    next.epoch = UInt64(epoch)
    next.tail = UInt64(tail.position)
    next.number = UInt64(tail.number)
    next.isClean = false
    next.places = 0
    try write(next)
    try syncUnless(.syncAfterOpen)
    for index in 0..<ConsumerSlot.count { consumers[index].locked { $0.safeCopy = $0.isInUse ? $0.copy : -1 } }
    self.checkpoint.locked { $0 = Checkpoint(next) }
  }

  #if DEBUG
    private func syncUnless(_ rule: Omissions) throws(StructureError) {
      if !omits(rule) && !omits(.syncData) { try storage.syncData() }
    }
  #else
    private enum Rule { case syncBeforeOpen, syncAfterOpen }
    private func syncUnless(_ rule: Rule) throws(StructureError) { try storage.syncData() }
  #endif

  /// Goes over the records from the checkpoint as long as they are valid. Returns where they end, without a batch or a
  /// message that is not complete, and the highest epoch that there is any trace of.
  private func scan(from checkpoint: Place) throws(StructureError) -> (tail: Place, lastEpoch: Int) {
    var reader = Reader()
    var (place, tail, lastEpoch) = (checkpoint, checkpoint, checkpoint.epoch)
    var (isInBatch, isInMessage) = (false, false)
    var begun = checkpoint.position
    // With no limit a record that claims to be long is read as far as its segment goes.
    while let record = try record(at: place, limit: 1 << 62, &reader, assembled: 0) {
      place = record.next
      lastEpoch = max(lastEpoch, place.epoch)
      switch record.kind {
      case Kind.message: (isInBatch, isInMessage) = (false, false)
      case Kind.batch: (isInBatch, isInMessage) = (true, false)
      case Kind.piece: isInMessage = true
      default: break
      }
      #if DEBUG
        if omits(.wholeBatches) { isInBatch = false }
        if omits(.wholeMessages) { isInMessage = false }
      #endif
      if !isInBatch && !isInMessage { tail = place }
      if place.position >= begun { begun = beginSync(at: place.position) }
    }
    return (tail, lastEpoch)
  }

  /// Has the disk write what is around a position while the records there are looked at: all of it has to be on disk
  /// before the queue is used. Not too much at once, because that waits for the disk. Returns where it ends.
  private func beginSync(at position: Int) -> Int {
    let count = min(segmentSize, 1 << 20)
    let start = position & ~(count &- 1)
    if let slot = table.locked({ $0.slot(of: position &>> shift) }) {
      let offset = slotOffset(slot) &+ (start & mask)
      storage.beginSync(offset..<offset &+ count)
    }
    return start &+ count
  }

  private func findConsumers(_ tail: Place, oldest: Int) throws(StructureError) {
    for index in 0..<ConsumerSlot.count {
      let isInUse = unsafe try ConsumerSlot.withName(index, in: storage, checksum) { _ in true }
      guard isInUse == true else { continue }
      var newest: (place: Place, generation: Int, copy: Int)? = nil
      for copy in 0..<ConsumerSlot.copies {
        guard let found = try ConsumerSlot.read(index, copy: copy, from: storage, checksum) else { continue }
        if found.generation > newest?.generation ?? -1 { newest = (found.place, found.generation, copy) }
      }
      // One of them is not written to until another one is on disk.
      guard let newest, newest.place.position >> shift >= oldest else { throw .corrupt(ConsumerSlot.offset(index)) }
      var place = newest.place
      #if DEBUG
        if place.position > tail.position && !omits(.consumersBelowTail) { place = tail }
      #else
        if place.position > tail.position { place = tail }
      #endif
      let incarnation = newIncarnation()
      consumers[index].locked { consumer in
        consumer.isInUse = true
        consumer.incarnation = incarnation
        consumer.place = place
        consumer.cursor = place
        consumer.copy = newest.copy
        consumer.generation = newest.generation
        consumer.safeCopy = newest.copy
        consumer.deliveries = (tail.epoch &+ 1) &<< 32
      }
    }
    if consumerCount == 0 { throw .corrupt(Format.consumers) }
  }
}
