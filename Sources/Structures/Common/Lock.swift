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

/// A value that is reached with its lock held, and no other way. Both stand elsewhere in memory, so that the lock never
/// moves.
@safe public struct Guarded<Value: ~Copyable>: ~Copyable {
  private let memory: GuardedMemory

  /// Takes the value. Throws `noMemory`.
  public init(_ value: consuming Value) throws(StructureError) {
    // On a cache line's border, so that what belongs together is on as few as it can be; and what is allocated behind it
    // is on none of them.
    let bytes = valueOffset + MemoryLayout<Value>.size + cacheLineBytes
    guard let memory = unsafe allocateMemory(bytes: bytes, alignment: cacheLineBytes) else { throw .file(.noMemory) }
    unsafe memory.bindMemory(to: Lock.self, capacity: 1).initialize(to: Lock())
    unsafe (memory + valueOffset).bindMemory(to: Value.self, capacity: 1).initialize(to: value)
    unsafe self.memory = GuardedMemory(memory) {
      unsafe ($0 + valueOffset).assumingMemoryBound(to: Value.self).deinitialize(count: 1)
    }
  }

  @inline(__always)
  private var lock: UnsafeMutablePointer<Lock> { unsafe memory.start.assumingMemoryBound(to: Lock.self) }

  @inline(__always)
  private var value: UnsafeMutablePointer<Value> {
    unsafe (memory.start + valueOffset).assumingMemoryBound(to: Value.self)
  }

  /// Runs `body` with the lock held. Throws `wouldWait` if it had to sleep for the lock and `mayWait` is false.
  @inline(__always)
  public func withLock<R: ~Copyable>(
    mayWait: Bool = true, _ body: (inout Value) throws(StructureError) -> R
  ) throws(StructureError) -> R {
    if unsafe !lock.pointee.tryLock() {
      guard mayWait else { throw .wouldWait }
      unsafe lock.pointee.lock()
    }
    defer { unsafe lock.pointee.unlock() }
    return try unsafe body(&value.pointee)
  }

  /// Runs `body` if nobody has the lock; nil if somebody has it.
  @inline(__always)
  func ifUnlocked<R>(_ body: (inout Value) throws(StructureError) -> R) throws(StructureError) -> R? {
    guard unsafe lock.pointee.tryOnce() else { return nil }
    defer { unsafe lock.pointee.unlock() }
    return try unsafe body(&value.pointee)
  }

  /// The same as `withLock` for a body that cannot fail.
  @inline(__always)
  public func locked<R: ~Copyable>(_ body: (inout Value) -> R) -> R {
    unsafe lock.pointee.lock()
    defer { unsafe lock.pointee.unlock() }
    return unsafe body(&value.pointee)
  }
}

private var cacheLineBytes: Int { 64 }
/// Where a value begins behind its lock: as aligned as any.
private var valueOffset: Int { 16 }
