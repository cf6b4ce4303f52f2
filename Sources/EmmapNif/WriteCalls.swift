import CErlNif
import CSystem
import ErlNif
import MemoryMap

/// Up to how many bytes a write is tried before anything else, and not charged to the process.
private let quickCount = 8 << 10
/// Up to how many bytes a write does not ask whether the pages are in memory.
private let smallCount = 64 << 10
/// Beyond how many bytes it moves to a dirty scheduler anyway: writing 1 MiB into pages that are in memory, and have to
/// be copied or noted as changed first, takes some 200 microseconds.
private let inlineLimit = 1 << 20
/// How many bytes are a hundredth of a time slice of a millisecond: 6.5 GB/s.
private let bytesPerPercent = 64 << 10

extension Call {
  /// Decides where `count` bytes from `offset` are written.
  fileprivate func schedule(_ handle: UnsafeMutablePointer<Handle>, at offset: Int, count: Int) throws(Failure) {
    if count <= quickCount { return }
    if count > smallCount {
      if unsafe count > inlineLimit || !handle.pointee.file.isResident(at: offset, count: count) { throw .wouldWait }
    }
    env.consumeTimeslice(percent: count / bytesPerPercent)
  }

  /// The pieces to write: one binary, or a list of them.
  fileprivate func pieces(
    _ index: Int, _ body: (UnsafeBufferPointer<iovec>) throws(Failure) -> Void
  ) throws(Failure) {
    if let bytes = unsafe env.bytes(self[index]) {
      return try unsafe File.withPiece(bytes, body)
    }
    guard let vector = unsafe env.vector(self[index]) else { throw .badArgument }
    // SAFETY: SysIOVec is struct iovec under the VM's own name.
    let start = unsafe UnsafeRawPointer(vector.baseAddress)?.assumingMemoryBound(to: iovec.self)
    try unsafe body(UnsafeBufferPointer(start: start, count: vector.count))
  }
}

/// `pwrite(Handle, Offset, Binary)`
enum PWrite: NifCall {
  static var name: StaticString { "pwrite" }
  static var blocking: NifFunction { { unsafe perform(PWrite.self, $0, $1, $2, mayBlock: true) } }

  @inline(__always)
  static func run(_ call: Call, mayBlock: Bool) throws(Failure) -> Term {
    let handle = try unsafe call.handle()
    let offset = try call.offset(1)
    let bytes = try unsafe call.bytes(2)
    if unsafe bytes.count <= quickCount && handle.pointee.file.tryWrite(bytes, at: offset) { return call.atoms.ok }
    return try unsafe carefully(call, handle, offset, mayBlock: mayBlock)
  }

  @inline(never)
  private static func carefully(
    _ call: Call, _ handle: UnsafeMutablePointer<Handle>, _ offset: Int, mayBlock: Bool
  ) throws(Failure) -> Term {
    let bytes = try unsafe call.bytes(2)
    if !mayBlock { try unsafe call.schedule(handle, at: offset, count: bytes.count) }
    try unsafe File.withPiece(bytes) { (pieces) throws(Failure) in
      try unsafe handle.pointee.file.write(pieces, at: offset, mayBlock: mayBlock)
    }
    return call.atoms.ok
  }
}

/// `pwritev(Handle, Offset, [Binary])`: for data too large to be made one binary.
enum PWriteVector: NifCall {
  static var name: StaticString { "pwritev" }
  static var blocking: NifFunction { { unsafe perform(PWriteVector.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, mayBlock: Bool) throws(Failure) -> Term {
    let handle = try unsafe call.handle()
    let offset = try call.offset(1)
    try unsafe call.pieces(2) { (pieces) throws(Failure) in
      try unsafe handle.pointee.file.write(pieces, at: offset, mayBlock: mayBlock)
    }
    return call.atoms.ok
  }
}

/// `write(Handle, Binary | [Binary])`
enum Write: NifCall {
  static var name: StaticString { "write" }
  static var blocking: NifFunction { { unsafe perform(Write.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, mayBlock: Bool) throws(Failure) -> Term {
    let handle = try unsafe call.handle()
    if !mayBlock {
      guard let bytes = unsafe call.env.bytes(call[1]) else { throw .wouldWait }
      try unsafe call.schedule(handle, at: handle.pointee.file.currentPosition, count: bytes.count)
    }
    try unsafe call.pieces(1) { (pieces) throws(Failure) in
      try unsafe handle.pointee.file.write(pieces, mayBlock: mayBlock)
    }
    return call.atoms.ok
  }
}
