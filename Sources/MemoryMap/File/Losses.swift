import CSystem
import Synchronization

/// Which bytes of a handle were replaced, and when: cut off by us, or mapped afresh after a fault. What has only grown
/// is no loss.
///
///     version:  [ closed : 1 | count of losses : 63 ]
///
/// A call looks at the version before and after its access. Where it has moved, `concern` says whether any of the
/// bytes that the call is about were among those replaced meanwhile; all others may count on what they saw.
///
/// The last losses are kept one by one, older ones as one span. Bytes are counted from the start of the regions.
@safe struct Losses: ~Copyable {
  /// How many losses there were; negative once the handle is closed.
  let version = Atomic<Int>(0)
  /// The lock is held for some loads and stores.
  private let lock = SequenceLock()
  /// The list, made with the first loss.
  private let list = Atomic<UInt>(0)

  /// From, to, and the version that the loss made.
  private typealias Loss = (from: Int, to: Int, version: Int)
  private static var kept: Int { 8 }

  init() {}

  deinit { unsafe free(losses) }

  var isClosed: Bool { version.load(ordering: .acquiring) < 0 }

  /// Marks the handle as closed, for good.
  // Sequentially consistent: no later step may be seen before the mark.
  func close() { version.store(-1, ordering: .sequentiallyConsistent) }

  /// The last losses, each at its version modulo their number, and behind them the span of all older ones.
  private var losses: UnsafeMutablePointer<Loss>? {
    unsafe UnsafeMutablePointer(bitPattern: list.load(ordering: .relaxed))
  }

  /// Remembers that the bytes `from ..< to` are about to be, or were, replaced. To be called by one at a time, while
  /// the handle is open.
  ///
  /// Whoever cuts calls it before; whoever maps afresh afterwards, but before the marks of the faults are taken away:
  /// a call that has read zeroes, and comes too late to find the mark, then finds this.
  func add(_ from: Int, _ to: Int) {
    lock.lock()
    defer { lock.unlock() }
    let now = version.load(ordering: .relaxed) &+ 1
    if unsafe losses == nil, let made = unsafe malloc((Self.kept + 1) * MemoryLayout<Loss>.stride) {
      let made = unsafe made.assumingMemoryBound(to: Loss.self)
      unsafe made.initialize(repeating: (.max, 0, 0), count: Self.kept + 1)
      // Losses before this one could not be remembered: they may have been anywhere.
      if now > 1 { unsafe made[Self.kept] = (0, .max, now &- 1) }
      list.store(UInt(bitPattern: made), ordering: .relaxed)
    }
    if let losses = unsafe losses {
      let (last, older) = unsafe (losses[now % Self.kept], losses[Self.kept])
      unsafe losses[Self.kept] = (min(last.from, older.from), max(last.to, older.to), max(last.version, older.version))
      unsafe losses[now % Self.kept] = (from, to, now)
    }
    version.store(now, ordering: .sequentiallyConsistent)
  }

  /// Tells whether any of the bytes `from ..< to` was replaced since the version `seen`.
  func concern(_ from: Int, _ to: Int, since seen: Int) -> Bool {
    lock.lock()
    defer { lock.unlock() }
    if version.load(ordering: .acquiring) == seen { return false }
    // Where they could not be remembered they may have been anywhere.
    guard let losses = unsafe losses, !isClosed else { return true }
    for index in 0...Self.kept {
      let loss = unsafe losses[index]
      if loss.version > seen && from < loss.to && to > loss.from { return true }
    }
    return false
  }
}
