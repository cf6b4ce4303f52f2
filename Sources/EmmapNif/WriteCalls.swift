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
  /// Decides whether `count` bytes from `offset` are written here.
  fileprivate func mayWrite(
    _ handle: UnsafeMutablePointer<Handle>, at offset: Int, count: Int, _ patience: Patience
  ) -> Bool {
    if patience != .none || count <= quickCount { return true }
    if count > smallCount {
      if unsafe count > inlineLimit || !handle.pointee.file.isResident(at: offset, count: count) { return false }
    }
    env.consumeTimeslice(percent: count / bytesPerPercent)
    return true
  }

  /// The pieces to write: one binary, or a list of them.
  fileprivate func pieces(
    _ index: Int, _ body: (UnsafeBufferPointer<iovec>) throws(Failure) -> Bool
  ) throws(Failure) -> Bool {
    if let bytes = unsafe env.bytes(self[index]) {
      return try unsafe File.withPiece(bytes, body)
    }
    guard let vector = unsafe env.vector(self[index]) else { throw .badArgument }
    // SAFETY: SysIOVec is struct iovec under the VM's own name.
    let start = unsafe UnsafeRawPointer(vector.baseAddress)?.assumingMemoryBound(to: iovec.self)
    return try unsafe body(UnsafeBufferPointer(start: start, count: vector.count))
  }
}

/// `pwrite(Handle, Offset, Binary)`
enum PWrite: NifCall {
  static var name: StaticString { "pwrite" }
  static var blocking: NifFunction { { unsafe perform(PWrite.self, $0, $1, $2, mayBlock: true) } }

  @inline(__always)
  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    let offset = try call.offset(1)
    let bytes = try unsafe call.bytes(2)
    if unsafe bytes.count <= quickCount && handle.pointee.file.writeAtOnce(bytes, at: offset) { return call.atoms.ok }
    return try unsafe carefully(call, handle, offset, patience)
  }

  @inline(never)
  private static func carefully(
    _ call: Call, _ handle: UnsafeMutablePointer<Handle>, _ offset: Int, _ patience: Patience
  ) throws(Failure) -> Term? {
    let bytes = try unsafe call.bytes(2)
    guard unsafe call.mayWrite(handle, at: offset, count: bytes.count, patience) else { return nil }
    let isDone = try unsafe File.withPiece(bytes) { (pieces) throws(Failure) in
      try unsafe handle.pointee.file.write(pieces, at: offset, patience)
    }
    return isDone ? call.atoms.ok : nil
  }
}

/// `pwritev(Handle, Offset, [Binary])`: for data too large to be made one binary.
enum PWriteVector: NifCall {
  static var name: StaticString { "pwritev" }
  static var blocking: NifFunction { { unsafe perform(PWriteVector.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    let offset = try call.offset(1)
    let isDone = try unsafe call.pieces(2) { (pieces) throws(Failure) in
      try unsafe handle.pointee.file.write(pieces, at: offset, patience)
    }
    return isDone ? call.atoms.ok : nil
  }
}

/// `write(Handle, Binary | [Binary])`
enum Write: NifCall {
  static var name: StaticString { "write" }
  static var blocking: NifFunction { { unsafe perform(Write.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    if patience == .none {
      let start = unsafe handle.pointee.file.currentPosition
      guard let bytes = unsafe call.env.bytes(call[1]),
        unsafe call.mayWrite(handle, at: start, count: bytes.count, patience)
      else { return nil }
    }
    let isDone = try unsafe call.pieces(1) { (pieces) throws(Failure) in
      try unsafe handle.pointee.file.write(pieces, patience)
    }
    return isDone ? call.atoms.ok : nil
  }
}
