import CSystem
import ErlNif
import MemoryMap
import Synchronization

/// Sends letters; by a thread of its own where the call that has to send them belongs to a process that was killed
/// meanwhile: those who wait for them are not to wait for ever.
enum Postman {
  // SAFETY, of both: all of the lock is atomic, and what is left is touched with the lock held.
  nonisolated(unsafe) private static let lock = Lock()
  nonisolated(unsafe) private static var left = Letters()
  /// Changed whenever there are more.
  private static let changes = Atomic<Int>(0)

  static func send(_ letter: Letter, from env: Environment?) {
    guard let letter = letter.send(from: env) else { return }
    unsafe lock.withLock { unsafe left.append(letter) }
    _ = changes.wrappingAdd(1, ordering: .releasing)
    unsafe withUnsafePointer(to: changes) { unsafe sys_futex_wake_all($0) }
  }

  /// Sends what is left, for ever. To be called by one thread.
  static func run() -> Never {
    while true {
      // Acquiring: what was left before the count changed is taken below.
      let count = changes.load(ordering: .acquiring)
      while let letter = unsafe lock.withLock({ unsafe left.popFirst() }) { _ = letter.send(from: nil) }
      // SAFETY: the counter is a global; its lower 32 bits stand at its address on little-endian machines.
      unsafe withUnsafePointer(to: changes) { unsafe sys_futex_wait($0, UInt32(truncatingIfNeeded: count)) }
    }
  }
}
