import CSystem
import Synchronization

/// Owns a file descriptor that calls on several threads use, and closes it when it is shut and the last of them is
/// done: a system call never meets a number that was closed, and perhaps given to somebody else, under its feet.
struct SharedDescriptor: ~Copyable {
  /// The descriptor; -1 for an anonymous mapping.
  let number: Int32
  /// One for the owner until `shut`, one for each call that is using the descriptor. 0: closed.
  private let users: Atomic<Int>

  init(_ number: Int32) {
    self.number = number
    self.users = Atomic(number < 0 ? 0 : 1)
  }

  /// Runs `body` with the descriptor, open throughout.
  func withDescriptor<R>(_ body: (Int32) throws(Failure) -> R) throws(Failure) -> R {
    guard retain() else { throw .closed }
    defer { release() }
    return try body(number)
  }

  /// Gives up the owner's share. To be called once.
  func shut() { if number >= 0 { release() } }

  private func retain() -> Bool {
    var count = users.load(ordering: .relaxed)
    while count > 0 {
      // Acquiring and releasing, here and below: what users do stays before the close.
      let (done, now) = users.compareExchange(expected: count, desired: count &+ 1, ordering: .acquiringAndReleasing)
      if done { return true }
      count = now
    }
    return false
  }

  private func release() {
    if users.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 { _ = close(number) }
  }
}
