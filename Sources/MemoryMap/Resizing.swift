import CSystem
import Synchronization

extension File {
  /// Bytes of the handle.
  public var size: Int { length.load(ordering: .acquiring) }

  /// Sets the length of the file so that the handle has `size` bytes; nil doubles it, by no more than the step that
  /// the handle was opened with. Returns the new size. May block.
  public func resize(to size: Int?) throws(Failure) -> Int {
    try changeLength { old in size ?? old + Self.stride(from: old, maximumStep: maximumStep) }
  }

  /// Cuts the file at the position, or fills it with zeroes up to there. May block.
  public func truncateAtPosition() throws(Failure) {
    _ = try changeLength { _ in currentPosition }
  }

  private func changeLength(_ newLength: (Int) -> Int) throws(Failure) -> Int {
    try structure.withLock { () throws(Failure) in
      if isClosed { throw .closed }
      guard traits.contains(.writable) else { throw .invalid }
      guard traits.contains(.growable) else { throw .fixedSize }
      return try descriptor.withDescriptor { (number) throws(Failure) in
        let old = length.load(ordering: .relaxed)
        let new = newLength(old)
        guard new >= 0 else { throw .invalid }
        guard new <= Int.max - mapping.fileOffset - slack else { throw .system(EFBIG) }
        if new > old {
          try prepareToGrow(to: new, descriptor: number)
          try Self.resize(number, mapping.fileOffset + slack + new)
          publish(length: new)
        } else if new < old {
          try shrink(from: old, to: new, descriptor: number)
        }
        return new
      }
    }
  }

  private func shrink(from old: Int, to new: Int, descriptor: Int32) throws(Failure) {
    data.lock()
    defer { data.unlock() }
    // First the length: a call that begins now stays clear of what goes. One that is at it faults, and finds out.
    publish(length: new)
    do throws(Failure) {
      try Self.resize(descriptor, mapping.fileOffset + slack + new)
    } catch {
      publish(length: old)
      throw error
    }
  }

  /// Fits the handle to the file as it is now: takes over a new length (a window stays within the one it was opened
  /// with) and maps afresh what has faulted. Returns the size. On a private mapping, changes to pages that faulted are
  /// gone with them; all others stay. May block.
  public func remap() throws(Failure) -> Int {
    try structure.withLock { () throws(Failure) in
      if isClosed { throw .closed }
      let old = length.load(ordering: .relaxed)
      if traits.contains(.anonymous) { return old }
      return try descriptor.withDescriptor { (number) throws(Failure) in
        let rest = try fileLength(number) - mapping.fileOffset - slack
        if rest < 0 { throw .tooShort }
        let new = min(rest, window ?? rest)
        try reserve(new, descriptor: number)
        data.lock()
        defer { data.unlock() }
        if new < old { publish(length: new) }
        try heal(descriptor: number)
        publish(length: new)
        return new
      }
    }
  }

  /// Has the file system set disk space aside for `count` bytes from `offset`, as `file:allocate/3`: without changing
  /// the length of the file. May block.
  public func allocate(at offset: Int, count: Int) throws(Failure) {
    guard offset >= 0, count > 0 else { throw .invalid }
    if isClosed { throw .closed }
    guard traits.contains(.writable) else { throw .system(EBADF) }
    guard traits.contains(.shared), !traits.contains(.anonymous) else { throw .fixedSize }
    let (end, overflow) = offset.addingReportingOverflow(count)
    if overflow || end > Int.max - mapping.fileOffset - slack { throw .system(EFBIG) }
    guard traits.contains(.growable) || end <= size else { throw .fixedSize }
    try descriptor.withDescriptor { (number) throws(Failure) in
      while sys_fallocate_keeping_size(number, off_t(mapping.fileOffset + slack + offset), off_t(count)) != 0 {
        if sys_errno() != EINTR { throw .lastError }
      }
    }
  }
}
