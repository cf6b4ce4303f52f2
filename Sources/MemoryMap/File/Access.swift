import CSystem
import Synchronization

// The one way to mapped bytes: see the table in File.swift.

/// What an access is, and so what it needs.
public struct Access: Sendable {
  /// It takes what there is of the bytes asked for; else all of them, or none.
  let clips: Bool
  /// It changes the bytes.
  let writes: Bool
  /// In `lock` mode it is to see no half of a write, or to be seen by no read by halves.
  let isWhole: Bool
  /// It must not be done twice.
  let isOnce: Bool

  /// Bytes are copied out, or looked through.
  public static var read: Access { Access(clips: true, writes: false, isWhole: true, isOnce: false) }
  /// The address of bytes is given out, and they are not touched.
  public static var borrow: Access { Access(clips: true, writes: false, isWhole: false, isOnce: false) }
  /// Bytes are copied in.
  public static var write: Access { Access(clips: false, writes: true, isWhole: true, isOnce: false) }
  /// A word is loaded, or bytes that say themselves whether they are whole.
  public static var load: Access { Access(clips: false, writes: false, isWhole: false, isOnce: false) }
  /// A word is changed.
  public static var change: Access { Access(clips: false, writes: true, isWhole: false, isOnce: true) }
  /// Bytes are stored as they are, to see whether that can be done.
  fileprivate static var touch: Access { Access(clips: false, writes: true, isWhole: false, isOnce: false) }
}

/// What became of an access.
public enum Outcome<Result> {
  /// It was done, and stands.
  case done(Result)
  /// The bytes do not lie within the mapping: for a read, none of them.
  case outside
  /// It would have to wait, or would take long, and the caller does not want that; nothing was done.
  case wouldWait
}

extension File {
  /// Runs `body` on `count` bytes from `offset`, and answers only what stands: `body` may run several times, unless the
  /// access is done at most once.
  ///
  /// - Parameters:
  ///   - besides: bytes before `offset` that `body` touches, too.
  ///   - limit: more bytes than this are `wouldWait`.
  ///   - body: is given the region, the first byte and the number of bytes; returns its result and how many of the
  ///     bytes it has touched. What lies behind those may be lost.
  ///
  /// Throws `closed`; `readOnly`; `truncated` or a reason of the system if any of the bytes touched does not reach the
  /// file. An access that is done at most once and throws has not changed the file, except that it may have where the
  /// handle was closed, or the file cut short or healed, at that moment.
  @inline(__always)
  public func access<R>(
    _ access: Access, at offset: Int, count: Int, besides: InlineArray<2, Extent> = [.none, .none], limit: Int = .max,
    _ patience: Patience,
    _ body: (UnsafeMutablePointer<Region>, UnsafeMutableRawPointer, Int) -> (R, touched: Int)
  ) throws(Failure) -> Outcome<R> {
    var holds = access.writes && access.isWhole && traits.contains(.locked)
    var refusals = Refusals()
    // Once: others may append for ever.
    if access.clips && traits.contains(.follow) {
      guard try takeOverGrowth(at: offset, count: count, patience) else { return .wouldWait }
    }
    while true {
      let seen = losses.version.load(ordering: .acquiring)
      let ticket = data.ticket
      if holds && !data.tryLock() {
        guard data.lock(patience) else { return .wouldWait }
      }
      // After the lock: in `lock` mode a write that begins before the end and ends past it is seen whole.
      let length = self.length.load(ordering: .acquiring)
      let fits = access.clips ? fits(offset, 1, in: length) && count > 0 : fits(offset, count, in: length)
      let count = access.clips ? min(count, length &- offset) : count
      guard seen >= 0 && fits && count <= limit && (!access.writes || traits.contains(.writable)) else {
        if holds { data.unlock(hasWritten: false) }
        if seen < 0 { throw .closed }
        if access.writes && !traits.contains(.writable) { throw .readOnly }
        if fits { return .wouldWait }
        return .outside
      }
      let region = unsafe self.region
      // SAFETY: the bytes lie within the length, which no region published with it, or later, is shorter than; and all
      // of them stay mapped while the handle is used.
      let start = unsafe address(region, offset)
      let (result, touched) = unsafe body(region, start, count)
      if holds { data.unlock(hasWritten: access.writes) }
      // Acquiring: the checks come after the access.
      atomicMemoryFence(ordering: .acquiring)
      let isUndisturbed = !access.isWhole || access.writes || holds || data.isCurrent(ticket)
      if unsafe isUndisturbed && !region.pointee.mayHaveFaulted(below: start + touched)
        && losses.version.load(ordering: .relaxed) == seen
      {
        if access.writes { noteChange() }
        return .done(result)
      }
      let places: InlineArray<3, Extent> = [Extent(offset, touched), besides[0], besides[1]]
      guard let stands = try unsafe stands(access, region, places, since: seen, &refusals, patience) else {
        return .wouldWait
      }
      if stands && isUndisturbed {
        if access.writes { noteChange() }
        return .done(result)
      }
      // Whoever always meets a writer waits for it, once; where nobody writes it costs nothing.
      holds = holds || access.isWhole
    }
  }

  /// Notes that the file's time of change is to follow.
  @inline(__always)
  func noteChange() {
    // Mostly it is noted already, and the line of memory stays shared.
    if !isTimeStale.load(ordering: .relaxed) { isTimeStale.store(true, ordering: .relaxed) }
  }

  /// Tells whether an access stands that something has got in the way of; else it is to be done again. Nil if it would
  /// have to wait before. Throws what is wrong with the bytes.
  @inline(never)
  private func stands(
    _ access: Access, _ region: UnsafeMutablePointer<Region>, _ places: InlineArray<3, Extent>, since seen: Int,
    _ refusals: inout Refusals, _ patience: Patience
  ) throws(Failure) -> Bool? {
    for index in places.indices where index == 0 || places[index].count > 0 {
      let stands = try unsafe stands(access, region, places[index], since: seen, &refusals, patience)
      if stands != true { return stands }
    }
    return true
  }

  private func stands(
    _ access: Access, _ region: UnsafeMutablePointer<Region>, _ place: Extent, since seen: Int,
    _ refusals: inout Refusals, _ patience: Patience
  ) throws(Failure) -> Bool? {
    let (from, touched) = (slack &+ place.offset, place.count)
    let start = unsafe address(region, place.offset)
    // Before the marks: what we have cut off ourselves is no fault. And after them: they may have gone meanwhile.
    for isLast in [false, true] {
      if isClosed {
        // What a long copy has put into the region meanwhile is given back.
        if touched > 1 << 20 && !traits.contains(.direct) { unsafe region.pointee.vacate(from + touched) }
        throw .closed
      }
      if losses.concern(from, from + touched, since: seen) {
        guard access.isOnce else { return false }
        throw fits(from - slack, touched, in: length.load(ordering: .acquiring)) ? .truncated : .outOfRange
      }
      if isLast { break }
      if let fault = unsafe region.pointee.fault(start, touched) {
        if access.isOnce { throw try whyLost(place, patience) }
        let isKnown = try unsafe explain(
          fault, region, isOnlyRead: !access.writes, isLastTry: refusals.areEnough(fault), patience)
        return isKnown ? false : nil
      }
    }
    return true
  }

  /// Why bytes could not be had that were to be changed once. What can be changed now was lost for a moment: the file
  /// was cut, and is long enough again.
  private func whyLost(_ place: Extent, _ patience: Patience) throws(Failure) -> Failure {
    _ = try unsafe access(.touch, at: place.offset, count: 1, patience) { _, start, _ in
      // SAFETY: any byte can be seen as an atomic one.
      let byte = unsafe start.assumingMemoryBound(to: Atomic<UInt8>.self)
      // Not by adding zero, of which a compiler makes a load. Where it fails somebody else has stored.
      let value = unsafe byte.pointee.load(ordering: .relaxed)
      _ = unsafe byte.pointee.compareExchange(expected: value, desired: value, ordering: .relaxed)
      return ((), touched: 1)
    }
    return .truncated
  }

  /// Copies mapped bytes of a region out, or others into it. Many in slices, and no more of them where the handle is
  /// closed meanwhile or a slice has faulted: the access then does not stand.
  @inline(__always)
  public func copy(
    _ target: UnsafeMutableRawPointer, _ source: UnsafeRawPointer, _ count: Int,
    _ region: UnsafeMutablePointer<Region>, _ mapped: UnsafeMutableRawPointer
  ) {
    if count <= sliceBytes { return unsafe sys_copy(target, source, count) }
    unsafe copyInSlices(target, source, count, region, mapped)
  }

  @inline(never)
  private func copyInSlices(
    _ target: UnsafeMutableRawPointer, _ source: UnsafeRawPointer, _ count: Int,
    _ region: UnsafeMutablePointer<Region>, _ mapped: UnsafeMutableRawPointer
  ) {
    var done = 0
    while done < count {
      let slice = min(sliceBytes, count - done)
      unsafe sys_copy(target + done, source + done, slice)
      // Acquiring: the checks come after the copy.
      atomicMemoryFence(ordering: .acquiring)
      if unsafe isClosed || region.pointee.fault(mapped + done, slice) != nil { return }
      done += slice
    }
  }
}

/// Bytes of a file.
public struct Extent: Sendable {
  let offset: Int
  let count: Int

  /// So many from `offset` on.
  @inline(__always)
  public init(_ offset: Int, _ count: Int) { (self.offset, self.count) = (offset, count) }

  /// No bytes.
  @inline(__always)
  public static var none: Extent { Extent(0, 0) }
}

/// How often the same page was found missing. One that can be read in the ordinary way may still be refused to a
/// mapping, for good. Others who cut the file and fill it again make it look so, but not as often.
private struct Refusals {
  private var address: UInt = 0
  private var count = 0

  mutating func areEnough(_ fault: FaultSlot.Fault) -> Bool {
    guard case .hole(let address, _) = fault else { return false }
    count = address == self.address ? count &+ 1 : 1
    self.address = address
    return count >= 8
  }
}

/// How many bytes are copied between two looks at what has become of the mapping.
private var sliceBytes: Int { 1 << 20 }
