import CSystem
import Synchronization

/// A mutex. A little spinning, then futex(2): 0 is free, 1 locked, 2 locked with somebody asleep.
struct Lock: ~Copyable {
  private let word = Atomic<UInt32>(0)

  private static var spins: Int { 200 }

  /// Takes the lock, spinning a little but never sleeping. False if somebody else keeps it.
  @inline(__always)
  func tryLock() -> Bool {
    // Acquiring: what the last holder did is seen.
    word.compareExchange(expected: 0, desired: 1, ordering: .acquiring).exchanged || trySpinning()
  }

  @inline(never)
  private func trySpinning() -> Bool {
    for _ in 0..<Self.spins {
      if word.load(ordering: .relaxed) == 0
        && word.compareExchange(expected: 0, desired: 1, ordering: .acquiring).exchanged
      {
        return true
      }
      sys_pause()
    }
    return false
  }

  /// Takes the lock, sleeping while somebody else has it.
  func lock() {
    if tryLock() { return }
    while word.exchange(2, ordering: .acquiring) != 0 {
      // SAFETY: the lock stands in memory that does not move (Guarded), for as long as it is used.
      unsafe withUnsafePointer(to: self) { unsafe sys_futex_wait(UnsafeRawPointer($0), 2) }
    }
  }

  @inline(__always)
  func unlock() {
    // Releasing: the next holder sees what this one did.
    if word.exchange(0, ordering: .releasing) == 2 { wake() }
  }

  @inline(never)
  private func wake() {
    // SAFETY: as in lock(); a spurious wake of what comes to lie there later does no harm.
    unsafe withUnsafePointer(to: self) { unsafe sys_futex_wake_all(UnsafeRawPointer($0)) }
  }
}

/// A value that is reached with its lock held, and no other way.
@safe struct Guarded<Value: ~Copyable>: ~Copyable {
  private struct Cell: ~Copyable {
    let lock = Lock()
    var value: Value
  }
  private let cell: UnsafeMutablePointer<Cell>

  init(_ value: consuming Value) {
    // A cache line or more apart, so that locks of different values do not slow each other down.
    unsafe cell = UnsafeMutableRawPointer.allocate(byteCount: MemoryLayout<Cell>.size + 128, alignment: 128)
      .bindMemory(to: Cell.self, capacity: 1)
    unsafe cell.initialize(to: Cell(value: value))
  }

  deinit {
    unsafe cell.deinitialize(count: 1)
    unsafe cell.deallocate()
  }

  /// Runs `body` with the lock held. Throws `wouldWait` if it had to sleep for the lock and `mayWait` is false.
  @inline(__always)
  func withLock<R: ~Copyable>(
    mayWait: Bool = true, _ body: (inout Value) throws(StructureError) -> R
  ) throws(StructureError) -> R {
    // SAFETY: the cell lives as long as self, and the value is touched by the holder of the lock alone.
    let cell = unsafe self.cell
    if unsafe !cell.pointee.lock.tryLock() {
      guard mayWait else { throw .wouldWait }
      unsafe cell.pointee.lock.lock()
    }
    defer { unsafe cell.pointee.lock.unlock() }
    return try unsafe body(&cell.pointee.value)
  }

  /// The same for a body that cannot fail.
  @inline(__always)
  func locked<R: ~Copyable>(_ body: (inout Value) -> R) -> R {
    let cell = unsafe self.cell
    unsafe cell.pointee.lock.lock()
    defer { unsafe cell.pointee.lock.unlock() }
    return unsafe body(&cell.pointee.value)
  }
}
