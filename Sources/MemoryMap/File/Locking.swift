import CSystem

extension File {
  /// Locks the whole file against other handles and other processes that ask for the lock, too (fcntl(2),
  /// F_OFD_SETLK). False if somebody else has it. It goes with the handle's descriptor, so also when the process ends.
  public func tryLock() throws(Failure) -> Bool {
    if isClosed { throw .closed }
    return try descriptor.withDescriptor { (number) throws(Failure) in
      if sys_lock_file(number) == 0 { return true }
      let error = sys_errno()
      if error == EAGAIN || error == EACCES { return false }
      throw .system(error)
    }
  }
}
