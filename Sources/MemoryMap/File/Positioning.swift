import CSystem
import Synchronization

extension File {
  /// Where 0 is for a position that is to be set.
  public enum Origin: Sendable {
    /// The first byte.
    case start
    /// The present position.
    case current
    /// The end: of the file as it is now, if the handle can make it longer or follows it; else of the handle's bytes.
    case end
  }

  /// The position in bytes.
  @inline(__always)
  public var currentPosition: Int { position.load(ordering: .acquiring) }

  /// Moves the position from `old`, where an operation began, to `new`. False if somebody else has moved it meanwhile.
  @inline(__always)
  public func movePosition(from old: Int, to new: Int) -> Bool {
    position.compareExchange(expected: old, desired: new, ordering: .acquiringAndReleasing).exchanged
  }

  /// Sets the position to `offset` from `origin` and returns it. It may lie past the end, not before the start.
  public func setPosition(_ origin: Origin, _ offset: Int) throws(Failure) -> Int {
    while true {
      if isClosed { throw .closed }
      let old = currentPosition
      let base: Int
      switch origin {
      case .start: base = 0
      case .current: base = old
      case .end: base = try end()
      }
      let (new, overflow) = base.addingReportingOverflow(offset)
      if overflow || new < 0 { throw .invalid }
      // The file system has its own idea of the last position; nothing else of ours uses the descriptor's position, but
      // for appends.
      if new > 1 << 40 && traits.isDisjoint(with: [.anonymous, .append]) {
        try descriptor.withDescriptor { (number) throws(Failure) in
          if lseek(number, off_t(new), SEEK_SET) < 0 { throw .lastError }
        }
      }
      if movePosition(from: old, to: new) { return new }
    }
  }

  /// Where the bytes end: see `Origin.end`.
  public func end() throws(Failure) -> Int {
    let length = size
    if traits.isDisjoint(with: [.growable, .follow]) { return length }
    let end = try descriptor.withDescriptor { (number) throws(Failure) in try fileLength(number) }
    return max(end - mapping.fileOffset - slack, 0)
  }

  /// Writes the pieces at the position and moves it behind them, or behind as many as have landed. In `lock` mode two
  /// writes never get the same place. False if the call would have to wait; nothing was done then.
  public func write(_ pieces: UnsafeBufferPointer<iovec>, _ patience: Patience) throws(Failure) -> Bool {
    if isClosed { throw .closed }
    guard let count = unsafe Self.total(pieces) else { throw .system(EFBIG) }
    guard traits.contains(.writable) else { throw .system(EBADF) }
    if count == 0 { return true }
    return try unsafe Self.withUnmapped(pieces, count) { (pieces) throws(Failure) in
      if traits.contains(.append) {
        return try unsafe append(pieces, patience, movesPosition: true)
      }
      return try unsafe writeAtPosition(pieces, count, patience)
    }
  }

  private func writeAtPosition(
    _ pieces: UnsafeBufferPointer<iovec>, _ count: Int, _ patience: Patience
  ) throws(Failure) -> Bool {
    while true {
      let start = currentPosition
      let (end, overflow) = start.addingReportingOverflow(count)
      if overflow { throw .invalid }
      // The range is claimed when nothing has to be waited for any more: nobody else then writes to it, and a claim that
      // was given up would leave a gap.
      var isClaimed = false
      do throws(Failure) {
        let outcome = try unsafe copyIn(pieces, count, at: start, patience) {
          if !isClaimed { isClaimed = movePosition(from: start, to: end) }
          return isClaimed
        }
        switch outcome {
        case .done(true): return true
        case .done(false): continue
        case .outside where patience != .none || !traits.contains(.growable): break
        case .wouldWait, .outside:
          // What was claimed before somebody got in the way is given back: the call claims its place anew.
          if isClaimed { _ = movePosition(from: end, to: start) }
          return false
        }
        if !isClaimed { isClaimed = movePosition(from: start, to: end) }
        guard isClaimed else { continue }
        var landed = 0
        defer { if landed > 0 { _ = movePosition(from: end, to: start + landed) } }
        try unsafe writePastEnd(pieces, count, at: start) { landed = $0 }
        return true
      } catch {
        if isClaimed { _ = movePosition(from: end, to: start) }
        throw error
      }
    }
  }
}
