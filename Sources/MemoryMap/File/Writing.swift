import CSystem
import Synchronization

extension File {
  /// Writes `bytes` at `offset` if they lie within the mapping and nothing stands in the way. False if not: `write` then
  /// says what it is, or does it; some of the bytes may have been written, and are then written again.
  @inline(__always)
  public func writeAtOnce(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Bool {
    guard !traits.contains(.append), let source = bytes.baseAddress, unsafe !Self.mayBeMapped(source) else {
      return false
    }
    do throws(Failure) {
      let outcome = try unsafe access(.write, at: offset, count: bytes.count, .none) { _, target, count in
        (unsafe sys_copy(target, source, count), touched: count)
      }
      if case .done = outcome { return bytes.count > 0 }
      return false
    } catch {
      return false
    }
  }

  /// Writes the pieces one after the other at `offset`, as pwritev(2). Past the end the file grows if it can: else it is
  /// `system(ENOSPC)`, and nothing is written.
  ///
  /// False if the call would have to wait; nothing was written then.
  public func write(
    _ pieces: UnsafeBufferPointer<iovec>, at offset: Int, _ patience: Patience
  ) throws(Failure) -> Bool {
    if isClosed { throw .closed }
    guard let count = unsafe Self.total(pieces) else { throw .system(EFBIG) }
    if count == 0 { return true }
    guard traits.contains(.writable) else { throw .system(EBADF) }
    return try unsafe Self.withUnmapped(pieces, count) { (pieces) throws(Failure) in
      if traits.contains(.append) { return try unsafe append(pieces, patience, movesPosition: false) }
      switch try unsafe copyIn(pieces, count, at: offset, patience, { true }) {
      case .done: return true
      case .wouldWait: return false
      case .outside:
        if patience == .none && traits.contains(.growable) { return false }
        try unsafe writePastEnd(pieces, count, at: offset) { _ in }
        return true
      }
    }
  }

  /// Copies the pieces into the mapping if all of them lie within. Before the first byte `claim` is asked whether to go
  /// on; the answer is what it said.
  func copyIn(
    _ pieces: UnsafeBufferPointer<iovec>, _ count: Int, at offset: Int, _ patience: Patience, _ claim: () -> Bool
  ) throws(Failure) -> Outcome<Bool> {
    try unsafe access(.write, at: offset, count: count, patience) { region, start, count in
      guard claim() else { return (false, touched: 0) }
      var target = unsafe start
      for index in pieces.indices {
        let piece = unsafe pieces[index]
        if let source = unsafe piece.iov_base { unsafe copy(target, source, piece.iov_len, region, target) }
        unsafe target += piece.iov_len
      }
      return (true, touched: count)
    }
  }

  /// Writes past the end, through the file: its length is then exact at any moment, and a full disk is an error, not a
  /// signal. The mapping shows the same pages. `landed` is told how many of the bytes are there if not all are.
  func writePastEnd(
    _ pieces: UnsafeBufferPointer<iovec>, _ count: Int, at offset: Int, _ landed: (Int) -> Void
  ) throws(Failure) {
    guard traits.contains(.growable) else { throw .system(ENOSPC) }
    let (end, overflow) = offset.addingReportingOverflow(count)
    // As pwrite(2), which looks at the end of the range first.
    if overflow { throw .invalid }
    if end > Int.max - mapping.fileOffset - slack { throw .system(EFBIG) }
    try grow(to: end, writingFrom: offset) { (number, _) throws(Failure) in
      let (done, failure) = unsafe writeAll(pieces, number, mapping.fileOffset + slack + offset)
      if failure != nil { landed(done) }
      // As much as has landed is there for all to see, as with write(2).
      return (done > 0 ? offset + done : 0, failure)
    }
  }

  /// Writes the pieces to the end of the file, whole, whoever else appends, as write(2) with O_APPEND, and
  /// moves the position behind what has landed, if that is wanted. False if the call would have to wait.
  func append(
    _ pieces: UnsafeBufferPointer<iovec>, _ patience: Patience, movesPosition: Bool
  ) throws(Failure) -> Bool {
    guard traits.contains(.growable) else { throw .system(ENOSPC) }
    if patience == .none { return false }
    guard let count = unsafe Self.total(pieces), count <= Self.maximumAppend else { throw .system(EFBIG) }
    return try unsafe Self.withFewPieces(pieces) { (pieces) throws(Failure) in
      let (wanted, overflow) = try end().addingReportingOverflow(count)
      if overflow { throw .system(EFBIG) }
      try grow(to: wanted) { (number, _) throws(Failure) in
        var done = 0
        repeat {
          done = unsafe writev(number, pieces.baseAddress, Int32(pieces.count))
        } while done < 0 && sys_errno() == EINTR
        if done < 0 { throw .lastError }
        // Nobody else moves the descriptor's own position: `structure` is held.
        let behind = Int(lseek(number, 0, SEEK_CUR)) - mapping.fileOffset - slack
        if movesPosition { position.store(behind, ordering: .releasing) }
        return (behind, done == count ? nil : .system(ENOSPC))
      }
      return true
    }
  }

  /// What a system call writes at the most.
  private static var maximumAppend: Int { 0x7fff_f000 }

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
        if traits.contains(.keepsTail) { try clearTail(descriptor: number) }
        let (reached, failure) = try extend(number, length)
        // A call that began before the file was last cut may have touched what is now inside again.
        try heal(descriptor: number)
        if reached > length {
          // An append may have come behind those of others.
          if unsafe longer == nil { unsafe longer = try longerRegion(reached, descriptor: number) }
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

  /// Where the file system keeps what was stored behind the end of the file, within its last page: growth is to show
  /// zeroes. Byte by byte, and only where it still is what was found there: others may be appending.
  private func clearTail(descriptor: Int32) throws(Failure) {
    let end = try fileLength(descriptor)
    let distance = end - mapping.fileOffset
    let region = unsafe self.region
    guard distance >= 0, let pageEnd = mapping.page.roundUp(end),
      unsafe pageEnd - end <= region.pointee.capacity - distance
    else { return }
    let count = pageEnd - end
    let first = unsafe region.pointee.base + distance
    // SAFETY: the page that has the end is mapped as a whole, if any of it is.
    let isEmpty = unsafe count == 0 || (first.load(as: UInt8.self) == 0 && memcmp(first, first + 1, count - 1) == 0)
    if isEmpty { return }
    for offset in 0..<count {
      let byte = unsafe (first + offset).assumingMemoryBound(to: Atomic<UInt8>.self)
      let found = unsafe byte.pointee.load(ordering: .relaxed)
      if found != 0 { _ = unsafe byte.pointee.compareExchange(expected: found, desired: 0, ordering: .relaxed) }
    }
  }

  /// The length of the file by now, or of the device.
  func fileLength(_ descriptor: Int32) throws(Failure) -> Int {
    if let bytes = mapping.deviceBytes { return bytes }
    var status = stat()
    if unsafe sys_fstat(descriptor, &status) != 0 { throw .lastError }
    return Int(status.st_size)
  }

  /// Writes the pieces one after the other until all are written or an error comes; returns how many bytes were.
  private func writeAll(
    _ pieces: UnsafeBufferPointer<iovec>, _ descriptor: Int32, _ fileOffset: Int
  ) -> (done: Int, failure: Failure?) {
    var total = 0
    for index in pieces.indices {
      let piece = unsafe pieces[index]
      guard let start = unsafe piece.iov_base else { continue }
      var done = 0
      while unsafe done < piece.iov_len {
        let count = unsafe pwrite(descriptor, start + done, piece.iov_len - done, off_t(fileOffset + total))
        if count > 0 {
          done += count
          total += count
        } else if count == 0 {
          return (total, .system(ENOSPC))
        } else if sys_errno() != EINTR {
          return (total, .lastError)
        }
      }
    }
    return (total, nil)
  }
}
