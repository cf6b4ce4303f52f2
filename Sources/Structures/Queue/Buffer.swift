import CSystem
import MemoryMap

/// Memory that grows and never shrinks by itself.
@safe public struct Buffer: ~Copyable {
  private(set) var start: UnsafeMutableRawPointer? = nil
  private(set) var capacity = 0

  init() {}

  deinit { unsafe free(start) }

  /// Makes room for `count` bytes; the first `kept` stay.
  mutating func reserve(_ count: Int) throws(StructureError) -> UnsafeMutableRawPointer {
    if count <= capacity, let start = unsafe start { return unsafe start }
    let wanted = max(count, min(capacity &* 2, count &+ (64 << 20)))
    guard let grown = unsafe reallocateMemory(start, bytes: wanted) else { throw .file(.noMemory) }
    unsafe start = grown
    capacity = wanted
    return unsafe grown
  }

  mutating func release() {
    unsafe free(start)
    unsafe start = nil
    capacity = 0
  }
}
