import CSystem
import MemoryMap
import Synchronization

/// Where the next record goes.
struct Pusher: ~Copyable {
  var position: Int
  var number: Int
  /// Whether this epoch has no record yet.
  var needsEpochRecord = true
  /// The offset in the file of the segment that `position` is in, unless that is where a segment begins.
  var segmentOffset = -1
  /// Records that are not in the file yet: `filled` bytes that go to `target`.
  var buffer = Buffer()
  var filled = 0
  var target = 0

  static var bufferBytes: Int { 64 << 10 }

  init(at tail: Place) {
    position = tail.position
    number = tail.number
  }
}

extension Queue where Store: ~Copyable {
  /// Pushes `count` messages: all of them or none, whatever happens. `message` is asked for each twice.
  ///
  /// Throws `full`, or what the system has against a longer file; the queue is then as it was. With `mayBlock` false it
  /// throws `wouldWait` where it would have to wait for another thread or to get a new segment.
  public func push(
    _ count: Int, mayBlock: Bool, _ message: (Int) -> UnsafeRawBufferPointer
  ) throws(StructureError) {
    try pusher.withLock(mayWait: mayBlock) { (pusher) throws(StructureError) in
      try check()
      if count == 0 { return }
      // The segments that are needed, before anything is written.
      var end = pusher.position
      if pusher.needsEpochRecord { end = advance(end, by: 8) }
      for index in 0..<count { end = unsafe advance(end, by: message(index).count) }
      let last = (end &- 1) &>> shift
      let present = (pusher.position &- 1) &>> shift
      if last > present {
        guard mayBlock else { throw .wouldWait }
        try makeRoom(through: last, &pusher)
      }
      // Before anything fails that is for good.
      let start = unsafe try pusher.buffer.reserve(Pusher.bufferBytes)
      try failing { () throws(StructureError) in
        if pusher.segmentOffset < 0 && pusher.position & mask != 0 {
          pusher.segmentOffset = try offset(ofSegment: pusher.position &>> shift)
        }
        var (position, number) = (pusher.position, pusher.number)
        pusher.filled = 0
        if pusher.needsEpochRecord {
          var payload = UInt64(truncatingIfNeeded: epoch).littleEndian
          try unsafe withUnsafeBytes(of: &payload) { (bytes) throws(StructureError) in
            try unsafe put(bytes, lastKind: Kind.epoch, &position, number, &pusher, start)
          }
        }
        for index in 0..<count {
          let kind = index == count &- 1 ? Kind.message : Kind.batch
          try unsafe put(message(index), lastKind: kind, &position, number, &pusher, start)
          number &+= 1
        }
        try unsafe flush(&pusher, start)
        pusher.position = position
        pusher.number = number
        pusher.needsEpochRecord = false
        var hint = (position.littleEndian, number.littleEndian)
        try unsafe storage.write(&hint, count: 16, at: Format.hint)
        // Releasing: who sees the tail sees the records before it. It is what commits them.
        self.number.store(number, ordering: .releasing)
        tail.store(position, ordering: .releasing)
      }
    }
  }

  /// The position behind a message of `count` bytes that is pushed at `position`: what `put` will do.
  @inline(__always)
  private func advance(_ position: Int, by count: Int) -> Int {
    let rest = segmentSize &- (position & mask)
    let needed = Format.recordHeader &+ padded(count)
    if position & mask != 0 && needed <= rest && rest >= Format.leastRecord { return position &+ needed }
    return advanceFar(position, by: count)
  }

  @inline(never)
  private func advanceFar(_ position: Int, by count: Int) -> Int {
    var (position, count) = (position, count)
    while true {
      if position & mask == 0 { position &+= Format.segmentHeader }
      let rest = segmentSize &- (position & mask)
      if rest < Format.leastRecord {
        position &+= rest
        continue
      }
      if Format.recordHeader &+ padded(count) <= rest { return position &+ Format.recordHeader &+ padded(count) }
      position &+= rest
      count &-= rest &- Format.recordHeader
    }
  }

  /// Puts a message, or an epoch record, at `position`, in as many pieces as it takes.
  private func put(
    _ payload: UnsafeRawBufferPointer, lastKind: UInt32, _ position: inout Int, _ number: Int,
    _ pusher: inout Pusher, _ start: UnsafeMutableRawPointer
  ) throws(StructureError) {
    var done = 0
    while true {
      if position & mask == 0 { try unsafe beginSegment(&position, number, &pusher, start) }
      let rest = segmentSize &- (position & mask)
      if rest < Format.leastRecord {
        position &+= rest
        continue
      }
      let left = payload.count &- done
      let part = min(left, rest &- Format.recordHeader)
      let kind = part == left ? lastKind : Kind.piece
      let bytes = unsafe UnsafeRawBufferPointer(start: payload.baseAddress.map { unsafe $0 + done }, count: part)
      try unsafe putRecord(bytes, kind, &position, number, &pusher, start)
      done &+= part
      if part == left { return }
    }
  }

  @inline(never)
  private func beginSegment(
    _ position: inout Int, _ number: Int, _ pusher: inout Pusher, _ start: UnsafeMutableRawPointer
  ) throws(StructureError) {
    try unsafe flush(&pusher, start)
    let segment = position &>> shift
    pusher.segmentOffset = try offset(ofSegment: segment)
    pusher.target = pusher.segmentOffset
    unsafe start.initializeMemory(as: UInt8.self, repeating: 0, count: Format.segmentHeader)
    unsafe start.storeBytes(of: Format.segmentMagic.littleEndian, as: UInt32.self)
    unsafe start.storeBytes(of: segment.littleEndian, toByteOffset: 8, as: Int.self)
    unsafe start.storeBytes(of: epoch.littleEndian, toByteOffset: 16, as: Int.self)
    unsafe start.storeBytes(of: number.littleEndian, toByteOffset: 24, as: Int.self)
    let crc = unsafe checksum.of(start + 8, count: 24)
    unsafe start.storeBytes(of: crc.littleEndian, toByteOffset: 4, as: UInt32.self)
    pusher.filled = Format.segmentHeader
    position &+= Format.segmentHeader
  }

  @inline(__always)
  private func putRecord(
    _ payload: UnsafeRawBufferPointer, _ kind: UInt32, _ position: inout Int, _ number: Int,
    _ pusher: inout Pusher, _ start: UnsafeMutableRawPointer
  ) throws(StructureError) {
    let count = payload.count
    let tag = UInt32(truncatingIfNeeded: count &<< 3) | kind
    let bytes = Format.recordHeader &+ padded(count)
    if pusher.filled &+ bytes > Pusher.bufferBytes { try unsafe flush(&pusher, start) }
    if pusher.filled == 0 { pusher.target = pusher.segmentOffset &+ (position & mask) }
    if bytes > Pusher.bufferBytes {
      try unsafe putLarge(payload, tag, position, number, &pusher, start)
    } else {
      // SAFETY: there is room for the whole record. The checksum is of the copy: the bytes that were given may change.
      let record = unsafe start + pusher.filled
      unsafe record.storeBytes(of: 0, toByteOffset: bytes &- 8, as: UInt64.self)
      if let source = payload.baseAddress { unsafe (record + 8).copyMemory(from: source, byteCount: count) }
      var state = Checksum.State()
      unsafe checksum.add(record + 8, count: count, to: &state)
      let crc = checksum.record(state, epoch: coveredEpoch(tag), position: position, number: number, tag: tag)
      unsafe record.storeBytes(of: crc.littleEndian, as: UInt32.self)
      unsafe record.storeBytes(of: tag.littleEndian, toByteOffset: 4, as: UInt32.self)
      pusher.filled &+= bytes
    }
    position &+= bytes
  }

  /// Puts a record that is longer than the buffer: payload first, piece by piece, then the header.
  @inline(never)
  private func putLarge(
    _ payload: UnsafeRawBufferPointer, _ tag: UInt32, _ position: Int, _ number: Int, _ pusher: inout Pusher,
    _ start: UnsafeMutableRawPointer
  ) throws(StructureError) {
    let target = pusher.segmentOffset &+ (position & mask)
    var state = Checksum.State()
    var done = 0
    while done < payload.count, let source = payload.baseAddress {
      let part = min(payload.count &- done, Pusher.bufferBytes &- 8)
      unsafe start.storeBytes(of: 0, toByteOffset: padded(part) &- 8, as: UInt64.self)
      unsafe start.copyMemory(from: source + done, byteCount: part)
      unsafe checksum.add(start, count: part, to: &state)
      try unsafe storage.write(start, count: padded(part), at: target &+ Format.recordHeader &+ done)
      done &+= part
    }
    let crc = checksum.record(state, epoch: coveredEpoch(tag), position: position, number: number, tag: tag)
    unsafe start.storeBytes(of: crc.littleEndian, as: UInt32.self)
    unsafe start.storeBytes(of: tag.littleEndian, toByteOffset: 4, as: UInt32.self)
    try unsafe storage.write(start, count: Format.recordHeader, at: target)
  }

  @inline(__always)
  private func coveredEpoch(_ tag: UInt32) -> Int {
    #if DEBUG
      if omits(.epochInChecksum) { return 0 }
    #endif
    return epoch
  }

  private func flush(_ pusher: inout Pusher, _ start: UnsafeMutableRawPointer) throws(StructureError) {
    if pusher.filled == 0 { return }
    let count = pusher.filled
    pusher.filled = 0
    try unsafe storage.write(start, count: count, at: pusher.target)
  }

  // MARK: Room

  /// Gives all segments through `last` a place in the file, or none of them.
  @inline(never)
  private func makeRoom(through last: Int, _ pusher: inout Pusher) throws(StructureError) {
    let tail = Place(position: pusher.position, number: pusher.number, epoch: epoch)
    var syncs = 0
    while true {
      let (missing, first) = table.locked { table -> (Int, Int) in
        while table.end <= last && table.append() {}
        return (last &+ 1 &- table.end, table.first)
      }
      if missing <= 0 { return }
      do throws(StructureError) {
        // What all consumers have passed can be used again, once that is on disk: two syncs. What they have passed need
        // not be, and so its pages stay as they are, ready to be written to.
        if syncs < 2 && firstNeeded(tail) &>> shift > first {
          try sync(from: tail, syncs == 0 ? .whatIsLeft : .places)
          syncs += 1
        } else {
          try growTable(by: missing)
        }
      } catch {
        table.locked { $0.removeLast(from: (pusher.position &+ mask) &>> shift) }
        throw error
      }
    }
  }

  private func growTable(by missing: Int) throws(StructureError) {
    let count = table.locked { $0.count }
    let old = slotOffset(count)
    let (bytes, overflow) = missing.multipliedReportingOverflow(by: segmentSize)
    let (new, tooLong) = old.addingReportingOverflow(bytes)
    if overflow || tooLong || new > maximumSize { throw .full }
    try table.withLock { (table) throws(StructureError) in try table.reserve(missing) }
    // An error here changes nothing that was stored.
    try storage.grow(from: old, to: new)
    table.locked { $0.grow(by: missing) }
  }
}
