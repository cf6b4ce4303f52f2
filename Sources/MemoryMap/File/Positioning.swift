import CSystem
import Synchronization

extension File {
  /// Where 0 is for a position that is to be set.
  public struct Origin {
    private let place: Int
    /// The first byte.
    public static var start: Origin { Origin(place: 0) }
    /// The present position.
    public static var current: Origin { Origin(place: 1) }
    /// The end of the handle's bytes.
    public static var end: Origin { Origin(place: 2) }

    fileprivate func base(current: Int, end: Int) -> Int { place == 0 ? 0 : place == 1 ? current : end }
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
      let base = origin.base(current: old, end: length.load(ordering: .acquiring))
      let (new, overflow) = base.addingReportingOverflow(offset)
      if overflow || new < 0 { throw .invalid }
      // The file system has its own idea of the last position; nothing else of ours uses the descriptor's position.
      if new > 1 << 40 && !traits.contains(.anonymous) {
        try descriptor.withDescriptor { (number) throws(Failure) in
          if lseek(number, off_t(new), SEEK_SET) < 0 { throw .lastError }
        }
      }
      if movePosition(from: old, to: new) { return new }
    }
  }

  /// Writes the pieces at the position and moves it behind them. In `lock` mode two writes never get the same place,
  /// and none is left out between them.
  public func write(_ pieces: UnsafeBufferPointer<iovec>, mayBlock: Bool) throws(Failure) {
    let count = unsafe pieces.reduce(0) { unsafe $0 &+ $1.iov_len }
    while true {
      let start = currentPosition
      let (end, overflow) = start.addingReportingOverflow(count)
      if overflow { throw .invalid }
      // Claiming the range first keeps others out of it. Whoever has claimed one must not give it up to wait.
      if mayBlock {
        guard movePosition(from: start, to: end) else { continue }
      } else {
        guard try lockAndClaim(start, end) else { continue }
      }
      defer { if !mayBlock && traits.contains(.locked) { data.unlock() } }
      do throws(Failure) {
        return mayBlock
          ? try unsafe write(pieces, at: start, mayBlock: true) : try unsafe copyInside(pieces, count, at: start)
      } catch {
        _ = movePosition(from: end, to: start)
        if error == .changed { throw .wouldWait }
        throw error
      }
    }
  }

  /// Moves the position for a write that lies within the mapping, with `data` held in `lock` mode. False, and the lock
  /// given back, if somebody else has moved it.
  private func lockAndClaim(_ start: Int, _ end: Int) throws(Failure) -> Bool {
    guard traits.contains(.writable), !isClosed else { throw .wouldWait }
    let isLocked = traits.contains(.locked)
    if isLocked && !data.tryLock() { throw .wouldWait }
    if fits(start, end &- start, in: length.load(ordering: .acquiring)) {
      if movePosition(from: start, to: end) { return true }
      if isLocked { data.unlock(hasWritten: false) }
      return false
    }
    if isLocked { data.unlock(hasWritten: false) }
    throw .wouldWait
  }
}
