import CErlNif
import ErlNif
import MemoryMap

/// Up to how many bytes a call does not ask whether they are in memory: asking about 64 KiB costs a quarter of copying
/// them.
private let smallCount = 64 << 10
/// How many bytes are a hundredth of a time slice.
private let bytesPerPercent = 32 << 10
/// Beyond how many bytes it moves to a dirty scheduler anyway: copying 1 MiB into fresh memory takes some 100
/// microseconds.
private let inlineLimit = 1 << 20

// Reads return the bare binary; emmap.erl puts `ok` to it, at less cost.

extension Call {
  /// Makes a binary of bytes of the file, copied or, with `direct`, pointing to them.
  @inline(__always)
  fileprivate func bytes(
    _ handle: UnsafeMutablePointer<Handle>, at offset: Int, count: Int, mayBlock: Bool
  ) throws(Failure) -> Term {
    if unsafe handle.pointee.file.traits.contains(.direct) {
      let (region, start) = try unsafe handle.pointee.file.borrow(at: offset, count: count)
      return unsafe env.binary(of: region, start, count: count)
    }
    if count > smallCount { return try unsafe manyBytes(handle, at: offset, count: count, mayBlock: mayBlock) }
    if count >= bytesPerPercent { env.consumeTimeslice(percent: count / bytesPerPercent) }
    return unsafe try env.binary(count: count) { (target) throws(Failure) in
      try unsafe handle.pointee.file.read(at: offset, count: count, into: target, mayWait: mayBlock)
    }
  }

  @inline(never)
  private func manyBytes(
    _ handle: UnsafeMutablePointer<Handle>, at offset: Int, count: Int, mayBlock: Bool
  ) throws(Failure) -> Term {
    if !mayBlock {
      if unsafe count > inlineLimit || !handle.pointee.file.isResident(at: offset, count: count) { throw .wouldWait }
      env.consumeTimeslice(percent: count / bytesPerPercent)
    }
    // However many were asked for, no more are allocated than the file has.
    let term = unsafe try env.largeBinary(count: count) { (target) throws(Failure) in
      try unsafe handle.pointee.file.read(at: offset, count: count, into: target, mayWait: mayBlock)
    }
    guard let term else { throw .noMemory }
    return term
  }
}

/// `pread_nif(Handle, Offset, Count)`
enum PRead: NifCall {
  static var name: StaticString { "pread_nif" }
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
    while true {
      guard let count = try unsafe handle.pointee.file.available(at: offset, count: count) else {
        return call.atoms.eof
      }
      do throws(Failure) {
        return try unsafe call.bytes(handle, at: offset, count: count, mayBlock: mayBlock)
      } catch .changed {
        continue
      }
    }
  }
}

/// `read_nif(Handle, Count)`
enum Read: NifCall {
  static var name: StaticString { "read_nif" }
  static var blocking: NifFunction { { unsafe perform(Read.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, mayBlock: Bool) throws(Failure) -> Term {
    let handle = try unsafe call.handle()
    let wanted = try call.count(1)
    while true {
      let start = unsafe handle.pointee.file.currentPosition
      guard let count = try unsafe handle.pointee.file.available(at: start, count: wanted) else {
        return unsafe wanted == 0 ? call.ok(call.env.binary(count: 0) { _ in }) : call.atoms.eof
      }
      do throws(Failure) {
        let bytes = try unsafe call.bytes(handle, at: start, count: count, mayBlock: mayBlock)
        // If somebody else has read meanwhile, these bytes are theirs.
        if unsafe handle.pointee.file.movePosition(from: start, to: start &+ count) { return bytes }
      } catch .changed {
        continue
      }
    }
  }
}

/// `read_line_nif(Handle)`
enum ReadLine: NifCall {
  static var name: StaticString { "read_line_nif" }
  static var blocking: NifFunction { { unsafe perform(ReadLine.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, mayBlock: Bool) throws(Failure) -> Term {
    let handle = try unsafe call.handle()
    while true {
      let start = unsafe handle.pointee.file.currentPosition
      let ticket = unsafe handle.pointee.file.writeTicket
      do throws(Failure) {
        let limit = mayBlock ? Int.max : smallCount
        guard let line = try unsafe handle.pointee.file.line(at: start, limit: limit) else { return call.atoms.eof }
        let bytes =
          line.isPlain
          ? try unsafe call.bytes(handle, at: start, count: line.extent, mayBlock: mayBlock)
          : try unsafe call.lineWithoutReturn(handle, at: start, line, mayBlock: mayBlock)
        // The end that was found must belong to the bytes that were read, and those to nobody else by now.
        if unsafe handle.pointee.file.writeTicket == ticket
          && handle.pointee.file.movePosition(from: start, to: start &+ line.extent)
        {
          return bytes
        }
      } catch .changed {
        continue
      }
    }
  }
}

extension Call {
  /// A line that ends with a carriage return and a newline is given with the newline alone, so it is always a copy.
  fileprivate func lineWithoutReturn(
    _ handle: UnsafeMutablePointer<Handle>, at start: Int, _ line: File.Line, mayBlock: Bool
  ) throws(Failure) -> Term {
    let fill = { (target: UnsafeMutableRawPointer) throws(Failure) in
      try unsafe handle.pointee.file.read(at: start, count: line.text, into: target, mayWait: mayBlock)
      unsafe (target + line.text).storeBytes(of: 0x0A, as: UInt8.self)
    }
    if line.text < smallCount { return unsafe try env.binary(count: line.text &+ 1, fill) }
    guard let term = unsafe try env.largeBinary(count: line.text &+ 1, fill) else { throw .noMemory }
    return term
  }
}

/// `position_nif(Handle, bof | cur | eof, Offset)`
enum Position: NifCall {
  static var name: StaticString { "position_nif" }
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
