import CErlNif
import CSystem
import ErlNif
import MemoryMap

/// Up to how many bytes a write does not ask whether the pages are in memory.
private let smallCount = 64 << 10
/// Beyond how many bytes it moves to a dirty scheduler anyway: writing 1 MiB into pages that are in memory, and have to
/// be copied or noted as changed first, takes some 200 microseconds.
private let inlineLimit = 1 << 20
/// From how many bytes up a write is charged to the process, and how many are a hundredth of its time slice.
private let chargeFrom = 4 << 10
private let bytesPerPercent = 16 << 10

extension Call {
  /// Decides where `count` bytes from `offset` are written.
  @inline(__always)
  fileprivate func schedule(
    _ handle: UnsafeMutablePointer<Handle>, at offset: Int, count: Int, mayBlock: Bool
  ) throws(Failure) {
    if count < chargeFrom || mayBlock { return }
    try unsafe scheduleMany(handle, at: offset, count: count)
  }

  @inline(never)
  private func scheduleMany(_ handle: UnsafeMutablePointer<Handle>, at offset: Int, count: Int) throws(Failure) {
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

/// `pwrite_nif(Handle, Offset, Binary)`
enum PWrite: NifCall {
  static var name: StaticString { "pwrite_nif" }
  static var blocking: NifFunction { { unsafe perform(PWrite.self, $0, $1, $2, mayBlock: true) } }

  @inline(__always)
  static func run(_ call: Call, mayBlock: Bool) throws(Failure) -> Term {
    let handle = try unsafe call.handle()
    let offset = try call.offset(1)
    let bytes = try unsafe call.bytes(2)
    try unsafe call.schedule(handle, at: offset, count: bytes.count, mayBlock: mayBlock)
    try unsafe handle.pointee.file.write(bytes, at: offset, mayBlock: mayBlock)
    return call.atoms.ok
  }
}

/// `pwritev_nif(Handle, Offset, [Binary])`: for data too large to be made one binary.
enum PWriteVector: NifCall {
  static var name: StaticString { "pwritev_nif" }
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

/// `write_nif(Handle, Binary | [Binary])`
enum Write: NifCall {
  static var name: StaticString { "write_nif" }
  static var blocking: NifFunction { { unsafe perform(Write.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, mayBlock: Bool) throws(Failure) -> Term {
    let handle = try unsafe call.handle()
    if let bytes = unsafe call.env.bytes(call[1]) {
      let start = unsafe handle.pointee.file.currentPosition
      try unsafe call.schedule(handle, at: start, count: bytes.count, mayBlock: mayBlock)
    } else if !mayBlock {
      throw .wouldWait
    }
    try unsafe call.pieces(1) { (pieces) throws(Failure) in
      try unsafe handle.pointee.file.write(pieces, mayBlock: mayBlock)
    }
    return call.atoms.ok
  }
}
