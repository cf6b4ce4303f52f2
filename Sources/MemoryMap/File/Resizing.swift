import CSystem
import Synchronization

extension File {
  /// Bytes of the handle.
  public var size: Int { length.load(ordering: .acquiring) }

  /// Sets the length of the file so that the handle has `size` bytes; nil doubles it, by no more than the step that
  /// the handle was opened with, or makes an empty one a page long. Returns the new size. May block.
  public func resize(to size: Int?) throws(Failure) -> Int {
    try changeLength { old in size ?? old + min(old > 0 ? old : mapping.page.bytes, maximumStep) }
  }

  /// Cuts the file at the position, or fills it with zeroes up to there. May block.
  public func truncateAtPosition() throws(Failure) {
    _ = try changeLength { _ in currentPosition }
  }

  private func changeLength(_ newLength: (Int) -> Int) throws(Failure) -> Int {
    try checkResizable()
    while true {
      let old = size
      let new = newLength(old)
      guard new >= 0 else { throw .invalid }
      guard new <= Int.max - mapping.fileOffset - slack else { throw .system(EFBIG) }
      if new > old {
        try grow(to: new) { (number, length) throws(Failure) in
          if new > length { try Self.resize(number, mapping.fileOffset + slack + new) }
          return (new, nil)
        }
        return new
      }
      if try shrink(from: old, to: new) { return new }
    }
  }

  private func checkResizable() throws(Failure) {
    if isClosed { throw .closed }
    guard traits.contains(.writable) else { throw .invalid }
    guard traits.contains(.growable) else { throw .fixedSize }
  }

  /// Returns false if the length was no longer `old`.
  private func shrink(from old: Int, to new: Int) throws(Failure) -> Bool {
    try structure.withLock { () throws(Failure) in
      try descriptor.withDescriptor { (number) throws(Failure) in
        if isClosed { throw .closed }
        if length.load(ordering: .relaxed) != old { return false }
        if new == old { return true }
        data.lock()
        defer { data.unlock() }
        // First the length: a call that begins now stays clear of what goes. One that is at it faults, and finds out.
        publish(length: new)
        do throws(Failure) {
          try Self.resize(number, mapping.fileOffset + slack + new)
        } catch {
          publish(length: old)
          throw error
        }
        return true
      }
    }
  }

  /// Fits the handle to the file as it is now: takes over a new length (a window stays within the one it was opened
  /// with) and maps afresh what has faulted. Returns the size. May block.
  ///
  /// On a private mapping, changes to pages that faulted are gone with them; all others stay, but for those that are
  /// made while this runs, if not under the lock.
  public func remap() throws(Failure) -> Int {
    try structure.withLock { () throws(Failure) in
      if isClosed { throw .closed }
      let old = length.load(ordering: .relaxed)
      if traits.contains(.anonymous) { return old }
      return try descriptor.withDescriptor { (number) throws(Failure) in
        let rest = try fileLength(number) - mapping.fileOffset - slack
        if rest < 0 { throw .tooShort }
        let new = min(rest, window ?? rest)
        let longer = try unsafe longerRegion(new, descriptor: number)
        data.lock()
        defer { data.unlock() }
        if new < old { publish(length: new) }
        do throws(Failure) {
          try heal(descriptor: number)
        } catch {
          if let longer = unsafe longer { unsafe memory.release(longer) }
          throw error
        }
        if let region = unsafe longer {
          if traits.contains(.writable) && !traits.contains(.shared) { unsafe takeOverChanges(region, old) }
          unsafe publish(region: region)
          moveGeneration()
        }
        if new > old && !traits.contains(.shared) { try fillLastPage(from: old, to: new, descriptor: number) }
        publish(length: new)
        return new
      }
    }
  }

  /// Copies the pages of the present region that are not what the file has into the one that is to take its place.
  private func takeOverChanges(_ region: UnsafeMutablePointer<Region>, _ length: Int) {
    let old = unsafe self.region
    let (pageBytes, end) = (mapping.page.bytes, slack + length)
    for offset in stride(from: 0, to: end, by: pageBytes) {
      let count = min(pageBytes, end - offset)
      // SAFETY: both regions are at least as long as the present length.
      let (source, target) = unsafe (old.pointee.base + offset, region.pointee.base + offset)
      let isChanged = unsafe memcmp(source, target, count) != 0
      if unsafe isChanged && old.pointee.fault(source, count) == nil { unsafe sys_copy(target, source, count) }
    }
  }

  /// Takes over what the file now has past the old end in that page: if the page was changed it is a copy by now, and
  /// shows zeroes there. A page that already shows it is left alone: writing to it would make it a copy.
  private func fillLastPage(from old: Int, to new: Int, descriptor: Int32) throws(Failure) {
    guard traits.contains(.writable) else { return }
    let start = unsafe address(region, old)
    let rest = Int(bitPattern: start) & (mapping.page.bytes - 1)
    guard rest != 0 else { return }
    let count = min(new - old, mapping.page.bytes - rest)
    let offset = off_t(mapping.fileOffset + slack + old)
    let failure = unsafe withUnsafeTemporaryAllocation(byteCount: count, alignment: 1) { buffer -> Failure? in
      guard let bytes = buffer.baseAddress else { return nil }
      let read = unsafe pread(descriptor, bytes, count, offset)
      if read < 0 { return .lastError }
      // SAFETY: the bytes lie within the page that holds the last byte of the old length.
      if unsafe memcmp(start, bytes, read) != 0 { unsafe sys_copy(start, bytes, read) }
      return nil
    }
    if let failure { throw failure }
  }

  /// Has the file system set disk space aside for `count` bytes from `offset`, and makes the file longer where they lie
  /// past its end, as `file:allocate/3`. May block.
  public func allocate(at offset: Int, count: Int) throws(Failure) {
    guard offset >= 0, count > 0 else { throw .invalid }
    if isClosed { throw .closed }
    guard traits.contains(.writable) else { throw .system(EBADF) }
    guard traits.contains(.shared), !traits.contains(.anonymous) else { throw .fixedSize }
    let (end, overflow) = offset.addingReportingOverflow(count)
    if overflow || end > Int.max - mapping.fileOffset - slack { throw .system(EFBIG) }
    if fits(offset, count, in: size) {
      return try descriptor.withDescriptor { (number) throws(Failure) in try allocate(number, offset, count) }
    }
    guard traits.contains(.growable) else { throw .fixedSize }
    try grow(to: end) { (number, _) throws(Failure) in
      try allocate(number, offset, count)
      return (end, nil)
    }
  }

  private func allocate(_ descriptor: Int32, _ offset: Int, _ count: Int) throws(Failure) {
    while sys_fallocate(descriptor, 0, off_t(mapping.fileOffset + slack + offset), off_t(count)) != 0 {
      if sys_errno() != EINTR { throw .lastError }
    }
  }
}
