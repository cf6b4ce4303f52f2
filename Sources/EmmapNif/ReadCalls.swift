import CErlNif
import ErlNif
import MemoryMap

/// Up to how many bytes a call does not ask whether they are in memory: asking about 64 KiB costs a quarter of copying
/// them.
private let smallCount = 64 << 10
/// From how many bytes up a read is charged to the process, and how many are a hundredth of its time slice of a
/// millisecond: 13 GB/s, between what caches and what memory gives.
private let chargeFrom = 32 << 10
private let bytesPerPercent = 128 << 10
/// Beyond how many bytes it moves to a dirty scheduler anyway: copying 1 MiB into fresh memory takes some 100
/// microseconds.
private let inlineLimit = 1 << 20

// Reads return the bare binary; emmap.erl puts `ok` to it, at less cost.

extension Call {
  /// Makes a binary of bytes of the file as `bytes` does, if nothing stands in the way: the shortest way there is. Nil at
  /// the end of the file, for many bytes, and where anything is wrong.
  @inline(__always)
  fileprivate func bytesAtOnce(_ handle: UnsafeMutablePointer<Handle>, at offset: Int, count: Int) -> Term? {
    guard let view = unsafe handle.pointee.file.viewInside(at: offset, count: count) else { return nil }
    if unsafe handle.pointee.file.traits.contains(.direct) {
      guard let (region, start) = unsafe handle.pointee.file.tryBorrow(view) else { return nil }
      return unsafe env.binary(of: region, start, count: view.count)
    }
    guard view.count < chargeFrom else { return nil }
    var isRead = false
    let term = unsafe env.binary(count: view.count) { unsafe isRead = handle.pointee.file.tryRead(view, into: $0) }
    return isRead ? term : nil
  }

  /// Makes a binary of bytes of the file, copied or, with `direct`, pointing to them.
  @inline(__always)
  fileprivate func bytes(
    _ handle: UnsafeMutablePointer<Handle>, _ view: File.View, mayBlock: Bool
  ) throws(Failure) -> Term {
    if unsafe handle.pointee.file.traits.contains(.direct) {
      let (region, start) = try unsafe handle.pointee.file.borrow(view)
      return unsafe env.binary(of: region, start, count: view.count)
    }
    if view.count > smallCount { return try unsafe manyBytes(handle, view, mayBlock: mayBlock) }
    if view.count >= chargeFrom { env.consumeTimeslice(percent: view.count / bytesPerPercent) }
    return unsafe try env.binary(count: view.count) { (target) throws(Failure) in
      try unsafe handle.pointee.file.read(view, into: target, mayWait: mayBlock)
    }
  }

  @inline(never)
  private func manyBytes(
    _ handle: UnsafeMutablePointer<Handle>, _ view: File.View, mayBlock: Bool
  ) throws(Failure) -> Term {
    if !mayBlock {
      if unsafe view.count > inlineLimit || !handle.pointee.file.isResident(at: view.offset, count: view.count) {
        throw .wouldWait
      }
      env.consumeTimeslice(percent: view.count / bytesPerPercent)
    }
    // However many were asked for, no more are allocated than the file has.
    return try unsafe allocated(count: view.count) { (target) throws(Failure) in
      try unsafe handle.pointee.file.read(view, into: target, mayWait: mayBlock)
    }
  }
}

/// `pread(Handle, Offset, Count)`
enum PRead: NifCall {
  static var name: StaticString { "pread" }
  static var blocking: NifFunction { { unsafe perform(PRead.self, $0, $1, $2, mayBlock: true) } }

  @inline(__always)
  static func run(_ call: Call, mayBlock: Bool) throws(Failure) -> Term {
    let handle = try unsafe call.handle()
    // As raw files do: a wrong kind of argument comes before a wrong number.
    let count: Int
    do throws(Failure) {
      count = try call.count(2)
    } catch {
      throw call.env.isNumber(call[1]) ? error : .badArgument
    }
    let offset = try call.offset(1)
    if let term = unsafe call.bytesAtOnce(handle, at: offset, count: count) { return term }
    return try unsafe carefully(call, handle, at: offset, count: count, mayBlock: mayBlock)
  }

  @inline(never)
  private static func carefully(
    _ call: Call, _ handle: UnsafeMutablePointer<Handle>, at offset: Int, count: Int, mayBlock: Bool
  ) throws(Failure) -> Term {
    while true {
      guard let view = try unsafe handle.pointee.file.view(at: offset, count: count) else { return call.atoms.eof }
      do throws(Failure) {
        return try unsafe call.bytes(handle, view, mayBlock: mayBlock)
      } catch .changed {
        continue
      }
    }
  }
}

/// `read(Handle, Count)`
enum Read: NifCall {
  static var name: StaticString { "read" }
  static var blocking: NifFunction { { unsafe perform(Read.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, mayBlock: Bool) throws(Failure) -> Term {
    let handle = try unsafe call.handle()
    let count = try call.count(1)
    while true {
      let start = unsafe handle.pointee.file.currentPosition
      guard let view = try unsafe handle.pointee.file.view(at: start, count: count) else {
        return unsafe count == 0 ? call.ok(call.env.binary(count: 0) { _ in }) : call.atoms.eof
      }
      do throws(Failure) {
        let bytes = try unsafe call.bytes(handle, view, mayBlock: mayBlock)
        // If somebody else has read meanwhile, these bytes are theirs.
        if unsafe handle.pointee.file.movePosition(from: start, to: start &+ view.count) { return bytes }
      } catch .changed {
        continue
      }
    }
  }
}

/// `read_line(Handle)`
enum ReadLine: NifCall {
  static var name: StaticString { "read_line" }
  static var blocking: NifFunction { { unsafe perform(ReadLine.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, mayBlock: Bool) throws(Failure) -> Term {
    let handle = try unsafe call.handle()
    while true {
      let start = unsafe handle.pointee.file.currentPosition
      guard let view = try unsafe handle.pointee.file.view(at: start, count: .max &- start) else {
        return call.atoms.eof
      }
      do throws(Failure) {
        let line = try unsafe handle.pointee.file.line(in: view, limit: mayBlock ? .max : smallCount)
        let bytes =
          line.isPlain
          ? try unsafe call.bytes(handle, view.prefix(line.extent), mayBlock: mayBlock)
          : try unsafe call.lineWithoutReturn(view.prefix(line.text)) { (text, target) throws(Failure) in
            try unsafe handle.pointee.file.read(text, into: target, mayWait: mayBlock)
          }
        // The end that was found must belong to the bytes that were read, and those to nobody else by now.
        if unsafe handle.pointee.file.isCurrent(view) {
          if unsafe handle.pointee.file.movePosition(from: start, to: start &+ line.extent) { return bytes }
        } else if !mayBlock {
          throw .wouldWait
        } else if let bytes = try unsafe lockedLine(call, handle) {
          return bytes
        }
      } catch .changed {
        continue
      }
    }
  }

  /// Reads a line while nobody writes, however often they do. Nil if somebody else has read it meanwhile.
  private static func lockedLine(_ call: Call, _ handle: UnsafeMutablePointer<Handle>) throws(Failure) -> Term? {
    try unsafe handle.pointee.file.withLock { () throws(Failure) in
      let start = unsafe handle.pointee.file.currentPosition
      guard let view = try unsafe handle.pointee.file.view(at: start, count: .max &- start) else {
        return call.atoms.eof
      }
      let line = try unsafe handle.pointee.file.line(in: view, limit: .max)
      let bytes: Term
      if unsafe line.isPlain && handle.pointee.file.traits.contains(.direct) {
        bytes = try unsafe call.bytes(handle, view.prefix(line.extent), mayBlock: true)
      } else if line.isPlain {
        bytes = try unsafe call.allocated(count: line.extent) { (target) throws(Failure) in
          try unsafe handle.pointee.file.readHoldingLock(view.prefix(line.extent), into: target)
        }
      } else {
        bytes = try unsafe call.lineWithoutReturn(view.prefix(line.text)) { (text, target) throws(Failure) in
          try unsafe handle.pointee.file.readHoldingLock(text, into: target)
        }
      }
      return unsafe handle.pointee.file.movePosition(from: start, to: start &+ line.extent) ? bytes : nil
    }
  }
}

extension Call {
  /// A line that ends with a carriage return and a newline is given with the newline alone, so it is always a copy.
  fileprivate func lineWithoutReturn(
    _ text: File.View,
    _ read: (File.View, UnsafeMutableRawPointer) throws(Failure) -> Void
  ) throws(Failure) -> Term {
    try unsafe allocated(count: text.count &+ 1) { (target) throws(Failure) in
      try unsafe read(text, target)
      unsafe (target + text.count).storeBytes(of: 0x0A, as: UInt8.self)
    }
  }

  /// Makes a binary of `count` bytes that `fill` fills.
  fileprivate func allocated(
    count: Int, _ fill: (UnsafeMutableRawPointer) throws(Failure) -> Void
  ) throws(Failure) -> Term {
    if count <= smallCount { return unsafe try env.binary(count: count, fill) }
    guard let term = unsafe try env.largeBinary(count: count, fill) else { throw .noMemory }
    return term
  }
}

/// `position(Handle, bof | cur | eof, Offset)`
enum Position: NifCall {
  static var name: StaticString { "position" }
  static var blocking: NifFunction { { unsafe perform(Position.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, mayBlock: Bool) throws(Failure) -> Term {
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
