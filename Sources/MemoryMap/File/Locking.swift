import CSystem
import Synchronization

/// The advisory lock of a whole file, as a handle has it.
public enum FileLock: Int16, Sendable {
  /// Any number of handles may have it, while none has the exclusive one.
  case shared
  /// One handle has it.
  case exclusive
  /// The handle has none.
  case none

  fileprivate var kind: Int16 {
    switch self {
    case .shared: Int16(F_RDLCK)
    case .exclusive: Int16(F_WRLCK)
    case .none: Int16(F_UNLCK)
    }
  }
}

extension File {
  /// Sets the handle's lock of the file, which others ask for, too (fcntl(2), F_OFD_SETLK), in the place of the one that it
  /// has. False if somebody else has one in the way; the handle then keeps what it has. It goes with the handle's
  /// descriptor, so also when the process ends. Never waits for a lock; may block on a disk.
  ///
  /// - Parameter isWanted: asked when it is done; if not, all is as before.
  public func setLock(_ lock: FileLock, isWanted: () -> Bool) throws(Failure) -> Bool {
    if isClosed { throw .closed }
    // There is no file.
    if traits.contains(.anonymous) { throw .invalid }
    return try structure.withLock { () throws(Failure) in
      try descriptor.withDescriptor { (number) throws(Failure) in
        guard try Self.setLock(number, lock) else { return false }
        // What it had before, if nobody has taken that meanwhile.
        if !isWanted(), try Self.setLock(number, heldLock) { return false }
        locked.store(lock.rawValue, ordering: .relaxed)
        return true
      }
    }
  }

  /// Takes the file's other lock (flock(2)), which has nothing to do with that, or gives it back: whoever makes a file of
  /// counters has it meanwhile. False if somebody else has it. It goes with the handle's descriptor.
  public func setMakersLock(_ takes: Bool) throws(Failure) -> Bool {
    if isClosed { throw .closed }
    return try descriptor.withDescriptor { (number) throws(Failure) in
      if sys_flock(number, takes) == 0 { return true }
      if sys_errno() == EWOULDBLOCK { return false }
      throw .lastError
    }
  }

  /// What the handle has; known while `structure` is held.
  var heldLock: FileLock { FileLock(rawValue: locked.load(ordering: .relaxed)) ?? .none }

  /// To be done before the descriptor is closed: the lock would stay with mappings that binaries keep.
  static func giveBackLock(_ descriptor: Int32) { _ = sys_lock_file(descriptor, FileLock.none.kind) }

  /// False if somebody else has a lock in the way.
  static func setLock(_ descriptor: Int32, _ lock: FileLock) throws(Failure) -> Bool {
    while sys_lock_file(descriptor, lock.kind) != 0 {
      let error = sys_errno()
      if error == EAGAIN || error == EACCES { return false }
      if error != EINTR { throw .system(error) }
    }
    return true
  }
}
