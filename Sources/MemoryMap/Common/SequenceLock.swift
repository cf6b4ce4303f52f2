import CSystem
import Synchronization

/// A lock for writers that readers need not take: they read, and then ask whether a writer was there meanwhile.
///
///     word:  [ count of writes : 62 | somebody waits : 1 | locked : 1 ]
///
/// A reader takes a `ticket`, copies, and keeps the copy only if `isCurrent(ticket)`; it writes no shared memory, so
/// readers on different cores do not slow each other down. A reader that finds the word locked or changed takes the
/// lock itself. Waiting is by futex(2) on the lower half of the word.
struct SequenceLock: ~Copyable {
  private let word = Atomic<Int>(0)

  private static var locked: Int { 1 }
  private static var waited: Int { 2 }
  private static var one: Int { 4 }
  private static var spins: Int { 200 }

  init() {}

  /// The state to compare with after reading; odd while a writer is inside.
  // Acquiring: what is read afterwards is at least as new as the writes counted here.
  @inline(__always)
  var ticket: Int { word.load(ordering: .acquiring) }

  /// Tells whether no writer has been inside since `ticket` was taken. The caller fences its reads before.
  @inline(__always)
  func isCurrent(_ ticket: Int) -> Bool {
    // The lock bit of the ticket itself counts as a writer. Relaxed: the caller's acquire fence orders it.
    word.load(ordering: .relaxed) == ticket && ticket & Self.locked == 0
  }

  /// Takes the lock, spinning a little but never sleeping. False if somebody else keeps it.
  @inline(__always)
  func tryLock() -> Bool {
    let state = word.load(ordering: .relaxed)
    if state & Self.locked == 0
      && word.compareExchange(expected: state, desired: state | Self.locked, ordering: .acquiring).exchanged
    {
      // Readers must see the lock bit before any byte that is written under it.
      atomicMemoryFence(ordering: .releasing)
      return true
    }
    return trySpinning()
  }

  @inline(never)
  private func trySpinning() -> Bool {
    for _ in 0..<Self.spins {
      let state = word.load(ordering: .relaxed)
      if state & Self.locked == 0
        && word.compareExchange(expected: state, desired: state | Self.locked, ordering: .acquiring).exchanged
      {
        atomicMemoryFence(ordering: .releasing)
        return true
      }
      sys_pause()
    }
    return false
  }

  /// Takes the lock, sleeping while somebody else has it.
  func lock() { _ = lock(.unlimited) }

  /// Takes the lock, waiting for it as long as `patience` allows. False if somebody else still has it then.
  func lock(_ patience: Patience) -> Bool {
    if tryLock() { return true }
    switch patience {
    case .none: return false
    case .some:
      sleep(milliseconds: 2)
      return tryLock()
    case .unlimited:
      while !tryLock() { sleep(milliseconds: 1000) }
      return true
    }
  }

  /// Sleeps until the lock is given back, or for so long.
  private func sleep(milliseconds: Int) {
    let state = word.load(ordering: .relaxed)
    guard state & Self.locked != 0 else { return }
    if state & Self.waited == 0
      && !word.compareExchange(expected: state, desired: state | Self.waited, ordering: .relaxed).exchanged
    {
      return
    }
    // SAFETY: the word lives as long as the lock; both supported machines are little-endian, so its address is
    // that of its lower 32 bits.
    unsafe sys_futex_wait_for(address, UInt32(truncatingIfNeeded: state | Self.waited), milliseconds)
  }

  /// Gives the lock back and counts one write, unless the holder has only read.
  @inline(__always)
  func unlock(hasWritten: Bool = true) {
    // Only the waiter bit can change under the holder's feet.
    let state = word.load(ordering: .relaxed)
    let next = (state & ~(Self.locked | Self.waited)) &+ (hasWritten ? Self.one : 0)
    // Releasing: all that was written comes before the new count.
    if word.exchange(next, ordering: .releasing) & Self.waited != 0 { wake() }
  }

  @inline(never)
  private func wake() {
    // SAFETY: as in lock().
    unsafe sys_futex_wake_all(address)
  }

  private var address: UnsafeRawPointer {
    // SAFETY: a SequenceLock stands in a File in raw memory and never moves while it is in use.
    unsafe withUnsafePointer(to: self) { unsafe UnsafeRawPointer($0) }
  }

  /// Runs `body` with the lock held.
  @inline(__always)
  func withLock<R>(_ body: () throws(Failure) -> R) throws(Failure) -> R {
    _ = lock(.unlimited)
    defer { unlock() }
    return try body()
  }
}
