import CSystem
import Synchronization

extension File {
  /// Writes `bytes` at `offset` if nothing stands in the way. False if the bytes do not lie within the mapping, somebody
  /// else has the lock, or anything is wrong: the caller then has `write` do it, or say what it is.
  @inline(__always)
  public func tryWrite(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Bool {
    let generation = self.generation.load(ordering: .acquiring)
    guard generation >= 0 && traits.contains(.writable), let source = bytes.baseAddress else { return false }
    let isLocked = traits.contains(.locked)
    // Without the lock somebody may shorten the mapping meanwhile, who holds it.
    let ticket = data.ticket
    if isLocked && !data.tryLock() { return false }
    // After the lock is taken: nobody shortens the mapping while it is held.
    guard bytes.count > 0 && fits(offset, bytes.count, in: length.load(ordering: .acquiring)) else {
      if isLocked { data.unlock(hasWritten: false) }
      return false
    }
    let region = unsafe self.region
    // SAFETY: offset and count lie within the length, and the region is at least as long.
    let target = unsafe address(region, offset)
    unsafe sys_copy(target, source, bytes.count)
    if isLocked { data.unlock() }
    // Acquiring: the checks come after the copy.
    atomicMemoryFence(ordering: .acquiring)
    return unsafe (isLocked || data.isCurrent(ticket)) && !region.pointee.mayHaveFaulted(below: target + bytes.count)
      && self.generation.load(ordering: .relaxed) == generation
  }

  @inline(__always)
  private func copy(_ bytes: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer) {
    guard let source = bytes.baseAddress else { return }
    unsafe sys_copy(target, source, bytes.count)
  }

  /// Runs `body` with the bytes as a vector of one piece.
  public static func withPiece(
    _ bytes: UnsafeRawBufferPointer, _ body: (UnsafeBufferPointer<iovec>) throws(Failure) -> Void
  ) throws(Failure) {
    // SAFETY: pieces are only read from, and not after `body`.
    var piece = unsafe iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
    try unsafe withUnsafePointer(to: &piece) { (pointer) throws(Failure) in
      try unsafe body(UnsafeBufferPointer(start: pointer, count: 1))
    }
  }

  /// Writes the pieces one after the other at `offset`, as one write. Past the end, the file grows if it can.
  ///
  /// Throws `system(EBADF)` without `write`, `system(ENOSPC)` past the end of a mapping that cannot grow. A write that
  /// throws `truncated` or an error of the disk may have landed in part. With `mayBlock` false it throws `wouldWait`
  /// where it would have to wait for a lock, or make the file longer.
  public func write(_ pieces: UnsafeBufferPointer<iovec>, at offset: Int, mayBlock: Bool) throws(Failure) {
    if isClosed { throw .closed }
    var count = 0
    for index in pieces.indices {
      let piece = unsafe pieces[index]
      let (sum, overflow) = unsafe count.addingReportingOverflow(piece.iov_len)
      if overflow { throw .system(EFBIG) }
      count = sum
    }
    if count == 0 { return }
    guard traits.contains(.writable) else { throw .system(EBADF) }
    if fits(offset, count, in: length.load(ordering: .acquiring)) {
      do throws(Failure) {
        return try unsafe writeInside(pieces, count, at: offset, mayWait: mayBlock)
      } catch .changed {
        // The file became shorter meanwhile: the write goes past its end.
      }
    }
    guard traits.contains(.growable) else { throw .system(ENOSPC) }
    guard mayBlock else { throw .wouldWait }
    try unsafe append(pieces, count, at: offset)
  }

  private func writeInside(
    _ pieces: UnsafeBufferPointer<iovec>, _ count: Int, at offset: Int, mayWait: Bool
  ) throws(Failure) {
    let isLocked = traits.contains(.locked)
    if isLocked && !data.tryLock() {
      guard mayWait else { throw .wouldWait }
      data.lock()
    }
    defer { if isLocked { data.unlock() } }
    try unsafe copyInside(pieces, count, at: offset)
  }

  /// Copies the pieces into the mapping; to be called with `data` held in `lock` mode.
  func copyInside(_ pieces: UnsafeBufferPointer<iovec>, _ count: Int, at offset: Int) throws(Failure) {
    unsafe try withBytes(at: offset, count: count) { start in
      var target = unsafe start
      for index in pieces.indices {
        let piece = unsafe pieces[index]
        unsafe copy(UnsafeRawBufferPointer(start: piece.iov_base, count: piece.iov_len), to: target)
        unsafe target += piece.iov_len
      }
    }
    // Without the lock somebody may have shortened the mapping: the write then goes past its end.
    if !traits.contains(.locked) && !fits(offset, count, in: length.load(ordering: .acquiring)) { throw .changed }
  }

  /// Writes past the end, through the file: its length is then exact at any moment, and a full disk is an error, not a
  /// signal. The mapping shows the same pages.
  private func append(_ pieces: UnsafeBufferPointer<iovec>, _ count: Int, at offset: Int) throws(Failure) {
    let (end, overflow) = offset.addingReportingOverflow(count)
    // As pwrite(2), which looks at the end of the range first.
    if overflow { throw .invalid }
    if end > Int.max - mapping.fileOffset - slack { throw .system(EFBIG) }
    try grow(to: end, writingFrom: offset) { (number, _) throws(Failure) in
      var done = 0
      var failure: Failure? = nil
      for index in pieces.indices where failure == nil {
        let piece = unsafe pieces[index]
        let bytes = unsafe UnsafeRawBufferPointer(start: piece.iov_base, count: piece.iov_len)
        let (count, error) = unsafe writeAll(bytes, number, mapping.fileOffset + slack + offset + done)
        done += count
        failure = error
      }
      // As much as has landed is there for all to see, as with write(2).
      return (done > 0 ? offset + done : 0, failure)
    }
  }

  /// Makes the file longer by calling `extend(descriptor, present length)`, which returns how long the handle then is
  /// and why it is not as long as it was to be. If it also writes, `offset` is where it begins.
  func grow(
    to end: Int, writingFrom offset: Int = .max,
    _ extend: (Int32, Int) throws(Failure) -> (length: Int, failure: Failure?)
  ) throws(Failure) {
    try structure.withLock { () throws(Failure) in
      try descriptor.withDescriptor { (number) throws(Failure) in
        if isClosed { throw .closed }
        let length = self.length.load(ordering: .relaxed)
        try checkFaults(descriptor: number)
        var longer = try unsafe longerRegion(end, descriptor: number)
        // Where the file has not become longer the addresses are given back.
        defer { if let longer = unsafe longer { unsafe memory.release(longer) } }
        // A write that begins inside changes what somebody may be reading, who is to see all of it, or nothing.
        let overlaps = offset < length && traits.contains(.locked)
        if overlaps { data.lock() }
        defer { if overlaps { data.unlock() } }
        let (reached, failure) = try extend(number, length)
        // A call that began before the file was last cut may have touched what is now inside again.
        try heal(descriptor: number)
        if reached > length {
          if let region = unsafe longer { unsafe publish(region: region) }
          unsafe longer = nil
          publish(length: reached)
        }
        if let failure { throw failure }
      }
    }
  }

  /// Before the file grows: looks whether it is still as long as we know it, if anything has faulted. To be called with
  /// `structure` held.
  private func checkFaults(descriptor: Int32) throws(Failure) {
    guard unsafe region.pointee.faultSpan != nil else { return }
    if try fileLength(descriptor) < mapping.fileOffset + slack + length.load(ordering: .relaxed) { throw .truncated }
    try heal(descriptor: descriptor)
  }

  // Releasing: who sees the length sees the region that holds it.
  func publish(length: Int) { self.length.store(length, ordering: .releasing) }

  /// The length of the file by now.
  func fileLength(_ descriptor: Int32) throws(Failure) -> Int {
    var status = stat()
    if unsafe sys_fstat(descriptor, &status) != 0 { throw .lastError }
    return Int(status.st_size)
  }

  /// Writes until all is written or an error comes; returns how much was.
  private func writeAll(
    _ bytes: UnsafeRawBufferPointer, _ descriptor: Int32, _ fileOffset: Int
  ) -> (done: Int, failure: Failure?) {
    var done = 0
    while done < bytes.count, let start = bytes.baseAddress {
      let count = unsafe pwrite(descriptor, start + done, bytes.count - done, off_t(fileOffset + done))
      if count > 0 {
        done += count
      } else if count == 0 {
        return (done, .system(ENOSPC))
      } else if sys_errno() != EINTR {
        return (done, .lastError)
      }
    }
    return (done, nil)
  }
}
