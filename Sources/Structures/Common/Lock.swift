import CSystem
import MemoryMap
import Synchronization

/// A mutex. A little spinning, then futex(2): 0 is free, 1 locked, 2 locked with somebody asleep.
struct Lock: ~Copyable {
  private let word = Atomic<UInt32>(0)

  private static var looks: Int { 16 }

  /// Takes the lock if nobody has it.
  @inline(__always)
  func tryOnce() -> Bool {
    // Acquiring: what the last holder did is seen.
    word.compareExchange(expected: 0, desired: 1, ordering: .acquiring).exchanged
  }

  /// Takes the lock, spinning a little but never sleeping. False if somebody else keeps it.
  @inline(__always)
  func tryLock() -> Bool { tryOnce() || trySpinning() }

  @inline(never)
  private func trySpinning() -> Bool {
    // Seldom, and then more seldom: each look takes the line of memory away from the holder, and who comes again at once
    // finds all that the lock guards still in its own cache. Some 700 pauses, of 10 to 50 ns each.
    var pauses = 1
    for _ in 0..<Self.looks {
      for _ in 0..<pauses { sys_pause() }
      pauses = min(pauses &* 2, 64)
      if word.load(ordering: .relaxed) == 0 && tryOnce() { return true }
    }
    return false
  }

  /// Takes the lock, sleeping while somebody else has it.
  func lock() {
    if tryLock() { return }
    while word.exchange(2, ordering: .acquiring) != 0 {
      // SAFETY: the lock is part of an object (Guarded) and does not move for as long as it is used.
      unsafe withUnsafePointer(to: self) { unsafe sys_futex_wait(UnsafeRawPointer($0), 2) }
    }
  }

  @inline(__always)
  func unlock() {
    // The next holder sees what this one did. And no later load comes before it: a push looks behind it for those who
    // wait (QueueHandle).
    if word.exchange(0, ordering: .sequentiallyConsistent) == 2 { wake() }
  }

  @inline(never)
  private func wake() {
    // SAFETY: as in lock(); a spurious wake of what comes to lie there later does no harm.
    unsafe withUnsafePointer(to: self) { unsafe sys_futex_wake_all(UnsafeRawPointer($0)) }
  }
}

/// Memory of a value that ends with it. Not a generic type: what one does at its end Embedded Swift leaves out.
@safe public struct GuardedMemory: ~Copyable {
  let start: UnsafeMutableRawPointer
  private let end: (UnsafeMutableRawPointer) -> Void

  init(_ start: UnsafeMutableRawPointer, end: @escaping (UnsafeMutableRawPointer) -> Void) {
    unsafe self.start = start
    unsafe self.end = end
  }

  deinit {
    unsafe end(start)
    unsafe free(start)
  }
}

/// A value that is reached with its lock held, and no other way. It stands elsewhere in memory, so that the lock never
/// moves.
@safe public struct Guarded<Value: ~Copyable>: ~Copyable {
  struct Content: ~Copyable {
    let lock = Lock()
    var value: Value
    // What is allocated behind it is not on the lock's cache line.
    let padding = InlineArray<8, Int>(repeating: 0)
  }

  private let memory: GuardedMemory

  /// Takes the value. Throws `noMemory`.
  public init(_ value: consuming Value) throws(StructureError) {
    // On a cache line's border, so that what belongs together is on as few as it can be.
    guard let content = unsafe allocateMemory(for: Content.self, alignment: 64) else { throw .file(.noMemory) }
    unsafe content.initialize(to: Content(value: value))
    unsafe memory = GuardedMemory(content) { unsafe $0.assumingMemoryBound(to: Content.self).deinitialize(count: 1) }
  }

  @inline(__always)
  private var content: UnsafeMutablePointer<Content> { unsafe memory.start.assumingMemoryBound(to: Content.self) }

  /// Runs `body` with the lock held. Throws `wouldWait` if it had to sleep for the lock and `mayWait` is false.
  @inline(__always)
  public func withLock<R: ~Copyable>(
    mayWait: Bool = true, _ body: (inout Value) throws(StructureError) -> R
  ) throws(StructureError) -> R {
    if unsafe !content.pointee.lock.tryLock() {
      guard mayWait else { throw .wouldWait }
      unsafe content.pointee.lock.lock()
    }
    defer { unsafe content.pointee.lock.unlock() }
    return try unsafe body(&content.pointee.value)
  }

  /// Runs `body` if nobody has the lock; nil if somebody has it.
  @inline(__always)
  func ifUnlocked<R>(_ body: (inout Value) throws(StructureError) -> R) throws(StructureError) -> R? {
    guard unsafe content.pointee.lock.tryOnce() else { return nil }
    defer { unsafe content.pointee.lock.unlock() }
    return try unsafe body(&content.pointee.value)
  }

  /// The same as `withLock` for a body that cannot fail.
  @inline(__always)
  public func locked<R: ~Copyable>(_ body: (inout Value) -> R) -> R {
    unsafe content.pointee.lock.lock()
    defer { unsafe content.pointee.lock.unlock() }
    return unsafe body(&content.pointee.value)
  }
}
