import CSystem
import Synchronization

extension File {
  /// Bytes of the handle.
  public var size: Int { length.load(ordering: .acquiring) }

  /// Sets the length of the file so that the handle has `size` bytes; nil doubles it, by no more than the step that
  /// the handle was opened with, or makes an empty one a page long. Returns the new size: where the file was made longer
  /// than that by others, all of it. Growing never makes a file shorter. May block.
  public func resize(to size: Int?) throws(Failure) -> Int {
    try checkResizable()
    while true {
      let old = self.size
      let (new, overflow) = old.addingReportingOverflow(min(old > 0 ? old : mapping.page.bytes, maximumStep))
      guard let result = try setLength(size ?? (overflow ? .max : new), from: old, isExact: false) else { continue }
      return result
    }
  }

  /// Cuts the file at the position, or fills it with zeroes up to there. May block.
  public func truncateAtPosition() throws(Failure) {
    try checkResizable()
    while true {
      if try setLength(currentPosition, from: size, isExact: true) != nil { return }
    }
  }

  private func checkResizable() throws(Failure) {
    if isClosed { throw .closed }
    guard traits.contains(.writable) else { throw .invalid }
    guard traits.contains(.growable) else { throw .fixedSize }
  }

  /// Sets the length from `old`, and returns it; nil if it is no longer that. Where it is to be longer, and the file is
  /// longer still, `isExact` says that it is to be cut.
  private func setLength(_ new: Int, from old: Int, isExact: Bool) throws(Failure) -> Int? {
    guard new >= 0 else { throw .invalid }
    guard new <= Int.max - mapping.fileOffset - slack else { throw .system(EFBIG) }
    let fileSize = try isExact ? end() : new
    if new < old || new < fileSize { return try shrink(from: old, to: new) ? new : nil }
    var result = new
    try grow(to: new) { (number, length) throws(Failure) in
      // What others have made longer meanwhile becomes no shorter.
      let end = mapping.fileOffset + slack + new
      if try fileLength(number) < end { try Self.extend(number, end) }
      result = max(new, length, try fileLength(number) - mapping.fileOffset - slack)
      return (result, nil)
    }
    return result
  }

  /// Returns false if the length was no longer `old`.
  private func shrink(from old: Int, to new: Int) throws(Failure) -> Bool {
    try structure.withLock { () throws(Failure) in
      try descriptor.withDescriptor { (number) throws(Failure) in
        if isClosed { throw .closed }
        if length.load(ordering: .relaxed) != old { return false }
        // A position may lie between the handle's end and the file's.
        let isLonger = new > old
        if isLonger, let region = try unsafe longerRegion(new, descriptor: number) { unsafe publish(region: region) }
        data.lock()
        defer { data.unlock() }
        // First the length: a call that begins now stays clear of what goes. One that is at it finds the loss.
        if !isLonger { publish(length: new) }
        losses.add(slack + new, .max)
        do throws(Failure) {
          try Self.resize(number, mapping.fileOffset + slack + new)
        } catch {
          // Reads meanwhile have seen the end that was to be.
          if !isLonger { publish(length: old) }
          throw error
        }
        publish(length: new)
        return true
      }
    }
  }

  /// Fits the handle to the file as it is now: takes over a new length (a window stays within the one it was opened
  /// with) and maps afresh what has faulted. Returns the size. May block.
  ///
  /// On a private mapping, changes to pages that faulted are gone with them; all others stay.
  public func remap() throws(Failure) -> Int {
    try structure.withLock { () throws(Failure) in
      if isClosed { throw .closed }
      let old = length.load(ordering: .relaxed)
      if traits.contains(.anonymous) { return old }
      return try descriptor.withDescriptor { (number) throws(Failure) in
        let isReplaced = traits.contains(.layered) ? try reopen(number) : false
        let rest = try fileLength(number) - mapping.fileOffset - slack
        if rest < 0 { throw .tooShort }
        let new = min(rest, window ?? rest)
        let longer = try unsafe longerRegion(new, descriptor: number)
        data.lock()
        defer { data.unlock() }
        if new < old {
          publish(length: new)
          losses.add(slack + new, .max)
        }
        do throws(Failure) {
          try heal(descriptor: number, all: isReplaced)
        } catch {
          if let longer = unsafe longer { unsafe memory.release(longer) }
          throw error
        }
        if let region = unsafe longer { unsafe publish(region: region) }
        if new > old && !traits.contains(.shared) { try fillLastPage(from: old, to: new, descriptor: number) }
        publish(length: new)
        return new
      }
    }
  }

  /// On an overlay a file that is opened only for reading is exchanged for a copy when somebody writes to it. The
  /// descriptor follows by itself, a mapping does not: it shows what was there before. Opens the file anew under the same
  /// number, and tells whether the mapping may be mapped afresh: one with changes of its own goes on with the old file.
  private func reopen(_ descriptor: Int32) throws(Failure) -> Bool {
    let other = sys_reopen(descriptor, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    if other < 0 { return false }
    defer { _ = CSystem.close(other) }
    // A lock belongs to what was opened.
    if heldLock != .none { _ = try Self.setLock(other, heldLock) }
    if sys_replace(other, descriptor) < 0 { throw .lastError }
    return !traits.contains(.writable)
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
    guard let bytes = unsafe allocateMemory(for: UInt8.self, count: count) else { throw .noMemory }
    defer { unsafe free(bytes) }
    let read = unsafe pread(descriptor, bytes, count, offset)
    if read < 0 { throw .lastError }
    // SAFETY: the bytes lie within the page that holds the last byte of the old length.
    if unsafe memcmp(start, bytes, read) != 0 { unsafe sys_copy(start, bytes, read) }
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

  /// A file system that cannot set space aside (ext2, for one) makes the file longer all the same.
  private func allocate(_ descriptor: Int32, _ offset: Int, _ count: Int) throws(Failure) {
    let start = mapping.fileOffset + slack + offset
    while sys_fallocate(descriptor, 0, off_t(start), off_t(count)) != 0 {
      let error = sys_errno()
      if error == EINTR { continue }
      guard error == EOPNOTSUPP || error == ENOSYS else { throw .system(error) }
      return try Self.extend(descriptor, start + count)
    }
  }
}
