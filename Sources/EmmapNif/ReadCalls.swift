import CErlNif
import CSystem
import ErlNif
import MemoryMap

/// Up to how many bytes a call does not ask whether they are in memory: asking about 64 KiB costs a quarter of copying
/// them.
let smallReadBytes = 64 << 10
/// From how many bytes up a read is charged to the process, and how many are a hundredth of its time slice of a
/// millisecond: 13 GB/s, between what caches and what memory gives.
private let chargeFrom = 32 << 10
private let bytesPerPercent = 128 << 10
/// Beyond how many bytes it moves to a dirty scheduler anyway: copying 1 MiB into fresh memory takes some 100
/// microseconds.
private let inlineLimit = 1 << 20

// Reads return the bare binary; emmap.erl puts `ok` to it, at less cost.

/// A binary of bytes of a file, and how many of the file's bytes it stands for.
struct Bytes {
  let term: Term
  let count: Int
}

extension Call {
  /// Makes a binary of bytes of the file, copied or, with `direct`, pointing to them.
  @inline(__always)
  fileprivate func bytes(
    _ handle: UnsafeMutablePointer<Handle>, at offset: Int, count: Int, _ patience: Patience, copies: Bool = false
  ) throws(Failure) -> Outcome<Bytes> {
    if unsafe handle.pointee.file.traits.contains(.direct) && !copies {
      return try unsafe handle.pointee.file.access(.borrow, at: offset, count: count, patience) {
        region, start, count in
        (Bytes(term: unsafe env.binary(of: region, start, count: count), count: count), touched: count)
      }
    }
    // The shortest way, for few bytes, first.
    let outcome = try unsafe handle.pointee.file.access(
      .read, at: offset, count: count, limit: chargeFrom &- 1, .none
    ) { _, start, count in
      let term = unsafe env.binary(count: count) { unsafe sys_copy($0, start, count) }
      return (Bytes(term: term, count: count), touched: count)
    }
    guard case .wouldWait = outcome else { return outcome }
    return try unsafe manyBytes(handle, at: offset, count: count, patience)
  }

  @inline(never)
  private func manyBytes(
    _ handle: UnsafeMutablePointer<Handle>, at offset: Int, count: Int, _ patience: Patience
  ) throws(Failure) -> Outcome<Bytes> {
    if patience == .none {
      let count = unsafe min(count, max(handle.pointee.file.size - offset, 0))
      if unsafe count > smallReadBytes
        && (count > inlineLimit || !handle.pointee.file.isResident(at: offset, count: count))
      {
        return .wouldWait
      }
      env.consumeTimeslice(percent: count / bytesPerPercent)
    }
    let limit = patience == .none ? inlineLimit : .max
    let outcome = try unsafe handle.pointee.file.access(.read, at: offset, count: count, limit: limit, patience) {
      region, start, count in
      // However many were asked for, no more are allocated than the file has.
      let term = unsafe allocated(count: count) { target in
        unsafe handle.pointee.file.copy(target, start, count, region, start)
      }
      return (term.map { Bytes(term: $0, count: count) }, touched: count)
    }
    return try orNoMemory(outcome)
  }

  /// Makes a binary of `count` bytes that `fill` fills; nil when memory is out.
  func allocated(count: Int, _ fill: (UnsafeMutableRawPointer) -> Void) -> Term? {
    count <= smallReadBytes ? unsafe env.binary(count: count, fill) : unsafe env.largeBinary(count: count, fill)
  }

  func orNoMemory(_ outcome: Outcome<Bytes?>) throws(Failure) -> Outcome<Bytes> {
    switch outcome {
    case .done(let bytes?): return .done(bytes)
    case .done(nil): throw .noMemory
    case .outside: return .outside
    case .wouldWait: return .wouldWait
    }
  }

  /// Makes a binary of the line at `offset`, with its newline; `\r\n` comes as `\n`, and so always as a copy.
  @inline(__always)
  func line(
    _ handle: UnsafeMutablePointer<Handle>, at offset: Int, _ patience: Patience
  ) throws(Failure) -> Outcome<Bytes> {
    // A file that is followed is asked how long it is only where a line meets the end.
    if unsafe handle.pointee.file.isFollowed, case let known = unsafe handle.pointee.file.size &- offset, known > 0,
      let outcome = try unsafe line(handle, at: offset, within: known, mayMeetEnd: false, patience)
    {
      return outcome
    }
    return try unsafe line(handle, at: offset, within: .max &- offset, mayMeetEnd: true, patience) ?? .wouldWait
  }

  /// The same, of the line that begins within `count` bytes; nil if it has no newline in them, and may not go without.
  @inline(never)
  private func line(
    _ handle: UnsafeMutablePointer<Handle>, at offset: Int, within count: Int, mayMeetEnd: Bool, _ patience: Patience
  ) throws(Failure) -> Outcome<Bytes>? {
    var (isTooLong, meetsEnd) = (false, false)
    let outcome = try unsafe handle.pointee.file.access(.read, at: offset, count: count, patience) {
      region, start, count -> (Bytes?, touched: Int) in
      let limit = patience == .none ? min(count, smallReadBytes) : count
      var (extent, text, isPlain) = (count, count, true)
      if let end = unsafe memchr(start, 0x0A, limit) {
        extent = unsafe UnsafeRawPointer(end) - UnsafeRawPointer(start) &+ 1
        // SAFETY: of the bytes of the line, extent of them, this is the last but one.
        isPlain = unsafe extent == 1 || start.load(fromByteOffset: extent &- 2, as: UInt8.self) != 0x0D
        text = isPlain ? extent : extent &- 2
      } else if limit < count {
        isTooLong = true
        return (nil, touched: limit)
      } else if !mayMeetEnd {
        meetsEnd = true
        return (nil, touched: 0)
      }
      if unsafe isPlain && handle.pointee.file.traits.contains(.direct) {
        return (Bytes(term: unsafe env.binary(of: region, start, count: extent), count: extent), touched: extent)
      }
      let term = unsafe allocated(count: isPlain ? text : text &+ 1) { target in
        unsafe handle.pointee.file.copy(target, start, text, region, start)
        if !isPlain { unsafe target.storeBytes(of: 0x0A, toByteOffset: text, as: UInt8.self) }
      }
      return (term.map { Bytes(term: $0, count: extent) }, touched: extent)
    }
    if isTooLong { return .wouldWait }
    return meetsEnd ? nil : try orNoMemory(outcome)
  }

  /// Reads from the position with `read(position)`, and moves it behind what was read; what somebody else has read
  /// meanwhile is theirs. Nil if the call would have to wait.
  @inline(__always)
  func atPosition(
    _ handle: UnsafeMutablePointer<Handle>, atEnd: Term, _ read: (Int) throws(Failure) -> Outcome<Bytes>
  ) throws(Failure) -> Term? {
    while true {
      let start = unsafe handle.pointee.file.currentPosition
      switch try read(start) {
      case .done(let bytes):
        if unsafe handle.pointee.file.movePosition(from: start, to: start &+ bytes.count) { return bytes.term }
      case .outside: return atEnd
      case .wouldWait: return nil
      }
    }
  }

  /// Tells whether there can be such a range in any file, as pread(2), which looks at its end first.
  fileprivate func check(_ offset: Int, _ count: Int) throws(Failure) {
    if offset.addingReportingOverflow(count).overflow { throw .invalid }
  }

  @inline(__always)
  fileprivate func pread(_ patience: Patience, copies: Bool) throws(Failure) -> Term? {
    guard let handle = try unsafe copies ? handle(patience) : reader(patience) else { return nil }
    // As raw files do: a wrong kind of argument comes before a wrong number.
    let count: Int
    do throws(Failure) {
      count = try self.count(2)
    } catch {
      throw env.isNumber(self[1]) ? error : .badArgument
    }
    let offset = try self.offset(1)
    switch try unsafe bytes(handle, at: offset, count: count, patience, copies: copies) {
    case .done(let bytes): return bytes.term
    case .wouldWait: return nil
    case .outside:
      try check(offset, count)
      return atoms.eof
    }
  }

  /// The handle of a read, which touches the mapping unless it is `direct`.
  @inline(__always)
  private func reader(_ patience: Patience) throws(Failure) -> UnsafeMutablePointer<Handle>? {
    let handle = try unsafe self.handle()
    let traits = unsafe handle.pointee.file.traits
    if patience == .none && traits.contains(.dirty) && !traits.contains(.direct) { return nil }
    return unsafe handle
  }
}

/// `pread(Handle, Offset, Count)`
enum PRead: NifCall {
  static var name: StaticString { "pread" }
  static var blocking: NifFunction { { unsafe perform(PRead.self, $0, $1, $2, mayBlock: true) } }

  @inline(__always)
  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    try call.pread(patience, copies: false)
  }
}

/// `snapshot(Handle, Offset, Count)`: as `pread`, but always a copy.
enum Snapshot: NifCall {
  static var name: StaticString { "snapshot" }
  static var blocking: NifFunction { { unsafe perform(Snapshot.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    try call.pread(patience, copies: true)
  }
}

/// `read(Handle, Count)`
enum Read: NifCall {
  static var name: StaticString { "read" }
  static var blocking: NifFunction { { unsafe perform(Read.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    let count = try call.count(1)
    let empty = count == 0 ? call.ok(unsafe call.env.binary(count: 0) { _ in }) : call.atoms.eof
    return try unsafe call.atPosition(handle, atEnd: empty) { (start) throws(Failure) in
      let outcome = try unsafe call.bytes(handle, at: start, count: count, patience)
      if case .outside = outcome { try call.check(start, count) }
      return outcome
    }
  }
}

/// `read_line(Handle)`
enum ReadLine: NifCall {
  static var name: StaticString { "read_line" }
  static var blocking: NifFunction { { unsafe perform(ReadLine.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    return try unsafe call.atPosition(handle, atEnd: call.atoms.eof) { (start) throws(Failure) in
      try unsafe call.line(handle, at: start, patience)
    }
  }
}

/// `position(Handle, bof | cur | eof, Offset)`
enum Position: NifCall {
  static var name: StaticString { "position" }
  static var blocking: NifFunction { { unsafe perform(Position.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    let atoms = call.atoms
    let origin: File.Origin
    switch call[1] {
    case atoms.bof: origin = .start
    case atoms.cur: origin = .current
    case atoms.eof: origin = .end
    default: throw .badArgument
    }
    guard let offset = call.env.integer(call[2]) else { throw .badArgument }
    return call.ok(call.env.integer(try unsafe handle.pointee.file.setPosition(origin, offset)))
  }
}
