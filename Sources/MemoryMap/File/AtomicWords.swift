import Synchronization

extension File {
  /// Runs `body` on the word of `Word`'s size at `position`, in native byte order. Takes no lock.
  ///
  /// Throws `misaligned`, `outOfRange`, `readOnly` for what the caller got wrong; `closed`, `truncated` or a reason of
  /// the system if the word cannot be reached. One that throws has changed nothing, except that it may have where the
  /// handle was closed, or the file cut short or healed (`remap`), at that very moment.
  @inline(__always)
  public func withWord<Word: AtomicRepresentable, R>(
    _ type: Word.Type, at position: Int, writing: Bool, _ body: (borrowing Atomic<Word>) -> R
  ) throws(Failure) -> R {
    try unsafe withWord(bytes: MemoryLayout<Word>.size, at: position, writing: writing) { start in
      // SAFETY: the word lies within the mapping; a region begins on a page, so slack and position make it aligned. Who
      // else uses the word, here or in another process, does so atomically too, or gets torn bytes as it chose.
      body(unsafe start.assumingMemoryBound(to: Atomic<Word>.self).pointee)
    }
  }

  /// The same, for a word of so many bytes, a power of two.
  @inline(__always)
  public func withWord<R>(
    bytes: Int, at position: Int, writing: Bool, _ body: (UnsafeMutableRawPointer) -> R
  ) throws(Failure) -> R {
    if (position | slack) & (bytes &- 1) != 0 {
      if isClosed { throw .closed }
      throw writing && !traits.contains(.writable) ? .readOnly : .misaligned
    }
    let outcome = try unsafe access(writing ? .change : .load, at: position, count: bytes, .unlimited) { _, start, _ in
      (unsafe body(start), touched: bytes)
    }
    guard case .done(let result) = outcome else { throw .outOfRange }
    return result
  }

  /// The same for words of 64 bits.
  @inline(__always)
  public func withWord<R>(
    at position: Int, writing: Bool, _ body: (borrowing Atomic<Int>) -> R
  ) throws(Failure) -> R {
    try withWord(Int.self, at: position, writing: writing, body)
  }
}
