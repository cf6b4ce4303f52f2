import CSystem
import ErlNif
import Structures
import Synchronization

/// Sends letters; by a thread of its own where the call that has to send them belongs to a process that was killed
/// meanwhile: those who wait for them are not to wait for ever.
enum Postman {
  private struct Letters: ~Copyable {
    var all: [Letter] = []
  }

  // SAFETY: whatever is in it is behind a lock.
  nonisolated(unsafe) private static let left = Guarded(Letters())
  /// Changed whenever there are more.
  private static let changes = Atomic<Int>(0)

  static func send(_ letter: Letter, from env: Environment?) {
    guard let letter = letter.send(from: env) else { return }
    unsafe left.locked { $0.all.append(letter) }
    _ = changes.wrappingAdd(1, ordering: .releasing)
    unsafe withUnsafePointer(to: changes) { unsafe sys_futex_wake_all($0) }
  }

  /// Sends what is left, for ever. To be called by one thread.
  static func run() -> Never {
    while true {
      // Acquiring: what was left before the count changed is taken below.
      let count = changes.load(ordering: .acquiring)
      for letter in unsafe left.locked({ left in exchange(&left.all, with: []) }) { _ = letter.send(from: nil) }
      // SAFETY: the counter is a global; its lower 32 bits stand at its address on little-endian machines.
      unsafe withUnsafePointer(to: changes) { unsafe sys_futex_wait($0, UInt32(truncatingIfNeeded: count)) }
    }
  }
}
