import CErlNif
import ErlNif
import MemoryMap

/// Beyond how many bytes a write moves to a dirty scheduler: at a gigabyte a second, which is what a write into pages
/// that must first be made costs, this is a quarter of a millisecond.
private let inlineLimit = 256 << 10

extension Call {
  /// The bytes to write, unless there are too many to write here.
  @inline(__always)
  fileprivate func bytesToWrite(_ index: Int, mayBlock: Bool) throws(Failure) -> UnsafeRawBufferPointer {
    let bytes = try unsafe bytes(index)
    if bytes.count > inlineLimit && !mayBlock { throw .wouldWait }
    return unsafe bytes
  }
}

/// `pwrite_nif(Handle, Offset, Bytes)`
enum PWrite: NifCall {
  static var name: StaticString { "pwrite_nif" }
  static var blocking: NifFunction { { unsafe perform(PWrite.self, $0, $1, $2, mayBlock: true) } }

  @inline(__always)
  static func run(_ call: Call, mayBlock: Bool) throws(Failure) -> Term {
    let handle = try unsafe call.handle()
    let offset = try call.offset(1)
    let bytes = try unsafe call.bytesToWrite(2, mayBlock: mayBlock)
    try unsafe handle.pointee.file.write(bytes, at: offset, mayBlock: mayBlock)
    return call.atoms.ok
  }
}

/// `write_nif(Handle, Bytes)`
enum Write: NifCall {
  static var name: StaticString { "write_nif" }
  static var blocking: NifFunction { { unsafe perform(Write.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, mayBlock: Bool) throws(Failure) -> Term {
    let handle = try unsafe call.handle()
    let bytes = try unsafe call.bytesToWrite(1, mayBlock: mayBlock)
    try unsafe handle.pointee.file.write(bytes, mayBlock: mayBlock)
    return call.atoms.ok
  }
}
