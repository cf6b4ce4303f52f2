import Synchronization

extension File {
  /// Runs `body` on the 64-bit word at `position`, in native byte order. Takes no lock. For a body that writes,
  /// `written` tells from its result what the word is then.
  ///
  /// Throws `misaligned`, `outOfRange`, `readOnly` for what the caller got wrong; `closed`, `truncated` or a reason of
  /// the system if it cannot be said that the operation has reached the file.
  @inline(__always)
  public func withWord<R>(
    at position: Int, writing: Bool, _ body: (borrowing Atomic<Int>) -> R, written: (R) -> Int? = { _ in nil }
  ) throws(Failure) -> R {
    let generation = self.generation.load(ordering: .acquiring)
    if generation < 0 { throw .closed }
    if writing && !traits.contains(.writable) { throw .readOnly }
    if (position | slack) & 7 != 0 { throw .misaligned }
    guard fits(position, 8, in: length.load(ordering: .acquiring)) else { throw .outOfRange }
    let region = unsafe self.region
    // SAFETY: the word lies within the length; a region begins on a page, so slack and position make it aligned. Who
    // else uses the word, here or in another process, does so atomically too, or gets torn bytes as it chose.
    let start = unsafe address(region, position)
    let result = unsafe body(start.assumingMemoryBound(to: Atomic<Int>.self).pointee)
    // Acquiring: the checks come after the operation.
    atomicMemoryFence(ordering: .acquiring)
    if unsafe region.pointee.mayHaveFaulted(below: start + 8) { try unsafe check(region, start, 8) }
    if self.generation.load(ordering: .relaxed) != generation { throw isClosed ? .closed : .truncated }
    if !fits(position, 8, in: length.load(ordering: .acquiring)) {
      // The mapping became shorter meanwhile. What was written is not to come up again when it grows.
      if let value = written(result) { unsafe takeBack(start, value) }
      throw .outOfRange
    }
    return result
  }

  @inline(never)
  private func takeBack(_ start: UnsafeMutableRawPointer, _ value: Int) {
    // SAFETY: as in withWord: no region is unmapped while the handle is used.
    _ = unsafe start.assumingMemoryBound(to: Atomic<Int>.self).pointee
      .compareExchange(expected: value, desired: 0, ordering: .sequentiallyConsistent)
  }
}
