import CSystem
import MemoryMap

/// Reads records, ahead as far as its window goes: what was pushed never changes.
struct Reader: ~Copyable {
  /// Bytes of the queue from position `start` to `end`.
  var window = Buffer()
  var start = 0
  var end = 0
  /// The segment that was read last, and where it is in the file.
  var segment = -1
  var segmentOffset = 0
  /// A message that does not fit in the window, or is made of pieces.
  var assembly = Buffer()
  /// Of a longer message nothing is read: it has to be read where it may take long.
  var most = Int.max

  /// Up to how many bytes are read where that may not take long.
  static var briefBytes: Int { 64 << 10 }
  static var windowBytes: Int { 16 << 10 }
  /// Beyond this an assembly is not kept.
  static var keptBytes: Int { 1 << 20 }
}

/// One record.
@safe struct Record {
  let kind: UInt32
  /// The place behind it.
  let next: Place
  /// The payload: in the window, or at the end of the assembly.
  let payload: UnsafeRawBufferPointer
  let isAssembled: Bool
}

extension Queue where Store: ~Copyable {
  /// Reads the record at a place below `limit`; nil if there is no valid one. It is checked, and private: nobody can
  /// change its bytes any more.
  ///
  /// - Parameter assembled: how many bytes of the assembly are to be kept.
  @inline(__always)
  func record(
    at place: Place, limit: Int, _ reader: inout Reader, assembled: Int
  ) throws(StructureError) -> Record? {
    var position = place.position
    if segmentSize &- (position & mask) < Format.leastRecord { position = (position | mask) &+ 1 }
    if position & mask == 0 { position &+= Format.segmentHeader }
    if position &>> shift != reader.segment {
      let segment = position &>> shift
      guard let slot = table.locked({ $0.slot(of: segment) }) else { return nil }
      reader.segment = segment
      reader.segmentOffset = slotOffset(slot)
    }
    let rest = segmentSize &- (position & mask)
    guard position < limit else { return nil }
    var header = unsafe try bytes(Format.recordHeader, at: position, limit: limit, &reader)
    let crc = UInt32(littleEndian: unsafe header.load(as: UInt32.self))
    let tag = UInt32(littleEndian: unsafe header.load(fromByteOffset: 4, as: UInt32.self))
    let (kind, count) = (tag & 7, Int(tag &>> 3))
    let size = Format.recordHeader &+ padded(count)
    // Checked before: a length that was never stored is not to make us read elsewhere.
    guard crc != 0, kind <= Kind.epoch, kind != 3, size <= rest, position &+ size <= limit else { return nil }
    var payload: UnsafeRawPointer
    let isAssembled = size > Reader.windowBytes
    if isAssembled {
      if assembled &+ count > reader.most { throw .wouldWait }
      let target = unsafe try reader.assembly.reserve(assembled &+ padded(count))
      let source = reader.segmentOffset &+ (position & mask) &+ Format.recordHeader
      try unsafe storage.read(at: source, count: padded(count), into: target + assembled)
      unsafe payload = UnsafeRawPointer(target + assembled)
    } else {
      unsafe header = try bytes(size, at: position, limit: limit, &reader)
      unsafe payload = header + Format.recordHeader
    }
    var epoch = place.epoch
    if kind == Kind.epoch {
      guard count == 8 else { return nil }
      let found = Int(littleEndian: unsafe payload.loadUnaligned(as: Int.self))
      guard found >= 0, found < Int(UInt32.max) else { return nil }
      #if DEBUG
        if !(omits(.epochsAscend) || found >= epoch) { return nil }
      #else
        guard found >= epoch else { return nil }
      #endif
      epoch = found
    }
    var state = Checksum.State()
    unsafe checksum.add(payload, count: count, to: &state)
    var covered = epoch
    #if DEBUG
      if omits(.epochInChecksum) { covered = 0 }
    #endif
    if checksum.record(state, epoch: covered, position: position, number: place.number, tag: tag) != crc {
      #if DEBUG
        if !omits(.checksum) { return nil }
      #else
        return nil
      #endif
    }
    let isLast = kind == Kind.message || kind == Kind.batch
    let next = Place(position: position &+ size, number: place.number &+ (isLast ? 1 : 0), epoch: epoch)
    return unsafe Record(
      kind: kind, next: next, payload: UnsafeRawBufferPointer(start: payload, count: count), isAssembled: isAssembled)
  }

  /// Bytes of one segment, in the window.
  @inline(__always)
  private func bytes(
    _ count: Int, at position: Int, limit: Int, _ reader: inout Reader
  ) throws(StructureError) -> UnsafeRawPointer {
    if position < reader.start || position &+ count > reader.end {
      let rest = segmentSize &- (position & mask)
      let most = min(Reader.windowBytes, rest, limit &- position)
      let window = unsafe try reader.window.reserve(Reader.windowBytes)
      // Nothing, in case the read fails.
      reader.end = reader.start
      try unsafe storage.read(at: reader.segmentOffset &+ (position & mask), count: most, into: window)
      (reader.start, reader.end) = (position, position &+ most)
      if most < count { throw .corrupt(position) }
    }
    // SAFETY: the bytes lie between start and end, which the window holds.
    guard let window = unsafe reader.window.start else { throw .file(.noMemory) }
    return unsafe UnsafeRawPointer(window + (position &- reader.start))
  }

  /// Runs `body` with the message at a place, and returns the place behind it; nil if there is none below `limit`.
  /// Throws `corrupt` for anything else there.
  func message<R>(
    at place: Place, limit: Int, _ reader: inout Reader,
    _ body: (UnsafeRawBufferPointer) throws(StructureError) -> R
  ) throws(StructureError) -> (result: R, next: Place)? {
    var place = place
    var assembled = 0
    while place.position < limit {
      guard let record = try record(at: place, limit: limit, &reader, assembled: assembled) else {
        throw .corrupt(place.position)
      }
      place = record.next
      switch record.kind {
      case Kind.message, Kind.batch:
        if assembled == 0 && !record.isAssembled { return (try unsafe body(record.payload), place) }
        let whole = unsafe try assemble(record, &reader, &assembled)
        let result = try unsafe body(UnsafeRawBufferPointer(start: whole, count: assembled))
        if reader.assembly.capacity > Reader.keptBytes { reader.assembly.release() }
        return (result, place)
      case Kind.piece: _ = unsafe try assemble(record, &reader, &assembled)
      default: break
      }
    }
    if assembled > 0 { throw .corrupt(place.position) }
    return nil
  }

  @inline(never)
  private func assemble(
    _ record: Record, _ reader: inout Reader, _ assembled: inout Int
  ) throws(StructureError) -> UnsafeMutableRawPointer {
    let start = unsafe try reader.assembly.reserve(assembled &+ record.payload.count)
    if !record.isAssembled, let source = unsafe record.payload.baseAddress {
      unsafe (start + assembled).copyMemory(from: source, byteCount: record.payload.count)
    }
    unsafe assembled &+= record.payload.count
    return unsafe start
  }
}
