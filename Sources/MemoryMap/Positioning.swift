import CSystem
import Synchronization

extension File {
  /// Where 0 is for a position that is to be set.
  public struct Origin {
    private let place: Int
    public static var start: Origin { Origin(place: 0) }
    public static var current: Origin { Origin(place: 1) }
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

  /// Writes at the position and moves it behind what was written. In `lock` mode two writes never get the same place.
  public func write(_ bytes: UnsafeRawBufferPointer, mayBlock: Bool) throws(Failure) {
    while true {
      let start = currentPosition
      let (end, overflow) = start.addingReportingOverflow(bytes.count)
      if overflow { throw .system(EFBIG) }
      // Claiming the range first keeps others out of it.
      guard movePosition(from: start, to: end) else { continue }
      do throws(Failure) {
        return try unsafe write(bytes, at: start, mayBlock: mayBlock)
      } catch {
        _ = movePosition(from: end, to: start)
        throw error
      }
    }
  }
}
