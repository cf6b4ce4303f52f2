import CSystem
import Synchronization

// The bytes to write, as the caller gives them.

extension File {
  /// Runs `body` on bytes as the one piece of a write.
  @inline(__always)
  public static func withPiece<R>(
    _ bytes: UnsafeRawBufferPointer, _ body: (UnsafeBufferPointer<iovec>) throws(Failure) -> R
  ) throws(Failure) -> R {
    var piece = unsafe iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
    return try unsafe withUnsafePointer(to: &piece) { (pointer) throws(Failure) in
      try unsafe body(UnsafeBufferPointer(start: pointer, count: 1))
    }
  }

  /// How many bytes the pieces have together; nil on overflow.
  static func total(_ pieces: UnsafeBufferPointer<iovec>) -> Int? {
    var count = 0
    for index in pieces.indices {
      let (sum, overflow) = unsafe count.addingReportingOverflow(pieces[index].iov_len)
      if overflow { return nil }
      count = sum
    }
    return count
  }

  /// Tells whether bytes may lie in a mapping: those of a binary of a `direct` handle.
  @inline(__always)
  static func mayBeMapped(_ source: UnsafeRawPointer) -> Bool { DirectRanges.mayHold(UInt(bitPattern: source)) }

  /// Runs `body` on the pieces, none of which lies in a mapping: what does is copied before. It may be part of the very
  /// bytes that are written to, through this mapping or another of the same file; or be lost, and then `truncated` or a
  /// reason of the system comes before anything is written.
  static func withUnmapped<R>(
    _ pieces: UnsafeBufferPointer<iovec>, _ count: Int, _ body: (UnsafeBufferPointer<iovec>) throws(Failure) -> R
  ) throws(Failure) -> R {
    let isMapped = unsafe pieces.contains { piece in
      let start = UInt(bitPattern: unsafe piece.iov_base)
      guard DirectRanges.mayHold(start) else { return false }
      return unsafe FaultTable.withSlot(holding: start) { _ in true } == true
    }
    if !isMapped { return try unsafe body(pieces) }
    return try unsafe withCopy(pieces, count, body)
  }

  /// Tells whether bytes that were copied may have been zeroes in the place of lost ones; `checkNotLost` then says.
  public static var mayHaveLost: Bool { FaultTable.hasLost }

  /// Throws `truncated` or a reason of the system if any of these bytes lies in a mapping and is lost.
  public static func checkNotLost(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
    let from = UInt(bitPattern: bytes.baseAddress)
    guard DirectRanges.mayHold(from) else { return }
    let to = from &+ UInt(bytes.count)
    guard let fault = unsafe FaultTable.withSlot(holding: from, { unsafe $0.pointee.fault(from: from, to: to) }) ?? nil
    else { return }
    guard case .hole(_, let isFull) = fault else { throw .truncated }
    throw .system(isFull ? ENOSPC : EIO)
  }

  private static func withCopy<R>(
    _ pieces: UnsafeBufferPointer<iovec>, _ count: Int, _ body: (UnsafeBufferPointer<iovec>) throws(Failure) -> R
  ) throws(Failure) -> R {
    guard let buffer = unsafe malloc(count) else { throw .noMemory }
    defer { unsafe free(buffer) }
    var done = 0
    for index in pieces.indices {
      let piece = unsafe pieces[index]
      guard let source = unsafe piece.iov_base else { continue }
      unsafe sys_copy(buffer + done, source, piece.iov_len)
      // Acquiring: the mark is looked for after the copy.
      atomicMemoryFence(ordering: .acquiring)
      try unsafe checkNotLost(UnsafeRawBufferPointer(start: source, count: piece.iov_len))
      unsafe done += piece.iov_len
    }
    return try unsafe withPiece(UnsafeRawBufferPointer(start: buffer, count: count), body)
  }

  /// Runs `body` on no more pieces than a system call takes at once: more are copied together.
  static func withFewPieces<R>(
    _ pieces: UnsafeBufferPointer<iovec>, _ body: (UnsafeBufferPointer<iovec>) throws(Failure) -> R
  ) throws(Failure) -> R {
    // IOV_MAX.
    if pieces.count <= 1024 { return try unsafe body(pieces) }
    guard let count = unsafe total(pieces) else { throw .system(EFBIG) }
    return try unsafe withCopy(pieces, count, body)
  }
}
