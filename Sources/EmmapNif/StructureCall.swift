import CErlNif
import ErlNif
import MemoryMap
import Structures

/// Up to how many bytes a structure stores or reads on a normal scheduler.
let inlineBytes = 64 << 10
/// Beyond how many a binary is made that needs not end the VM where memory is out.
let largeBytes = 1 << 20
/// Up to how many messages or blocks.
let inlineCount = 1000
/// How many bytes are a hundredth of a time slice of a millisecond, and what a message or block costs beside its bytes.
private let bytesPerPercent = 16 << 10
private let bytesPerItem = 512

/// A call on a structure. Nil stands for a call that would have to wait.
protocol StructureCall: NifCall {
  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term?
}

extension StructureCall {
  @inline(__always)
  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    do throws(StructureError) {
      return try answer(call, mayBlock: patience != .none)
    } catch {
      if case .wouldWait = error { return nil }
      if case .badArgument = error { throw .badArgument }
      return call.env.tuple(call.atoms.error, call.reason(error))
    }
  }
}

extension Call {
  /// An integer from 0 on.
  @inline(__always)
  func number(_ index: Int) throws(StructureError) -> Int {
    guard let value = env.integer(self[index]), value >= 0 else { throw .badArgument }
    return value
  }

  /// The bytes of a binary.
  @inline(__always)
  func message(_ index: Int) throws(StructureError) -> UnsafeRawBufferPointer {
    guard let bytes = unsafe env.bytes(self[index]) else { throw .badArgument }
    return unsafe bytes
  }

  /// A binary that `fill` fills.
  @inline(__always)
  func binary(
    count: Int, _ fill: (UnsafeMutableRawPointer) throws(StructureError) -> Void
  ) throws(StructureError) -> Term {
    if count <= largeBytes { return try unsafe env.binary(count: count, fill) }
    guard let binary = try unsafe env.largeBinary(count: count, fill) else { throw .file(.noMemory) }
    return binary
  }

  /// A file that is to be opened, and made with `creates`: its name is a binary that ends with NUL.
  func storage(path: Int, mode: Int, creates: Bool = true) throws(StructureError) -> MappedStorage {
    let path = try unsafe message(path)
    guard unsafe path.last == 0, let start = path.baseAddress else { throw .badArgument }
    return try unsafe MappedStorage(
      start.assumingMemoryBound(to: CChar.self), mode: UInt32(truncatingIfNeeded: try number(mode)),
      creates: creates, memory: regionMemory)
  }

  /// 16 bytes that no other file has.
  func uuid(_ index: Int) throws(StructureError) -> (UInt64, UInt64) {
    let bytes = try unsafe message(index)
    guard bytes.count == 16 else { throw .badArgument }
    return unsafe (bytes.loadUnaligned(as: UInt64.self), bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
  }

  /// Tells the VM what a call on so many messages or blocks, with so many bytes, has cost.
  @inline(__always)
  func charge(_ items: Int, _ bytes: Int) {
    let cost = items &* bytesPerItem &+ bytes
    if cost >= bytesPerPercent { env.consumeTimeslice(percent: cost / bytesPerPercent) }
  }
}
