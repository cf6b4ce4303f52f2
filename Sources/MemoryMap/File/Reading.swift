import CSystem
import Synchronization

extension File {
  /// Bytes that lay within the mapping at one moment, and what tells whether they still are what they were.
  public struct View {
    /// The position of the first byte.
    public let offset: Int
    /// How many bytes there are.
    public let count: Int
    /// Whether the handle ended where the view does.
    fileprivate let reachesEnd: Bool
    fileprivate let generation: Int
    fileprivate let ticket: Int

    /// The first bytes of the view: as many as it has, at most.
    @inline(__always)
    public func prefix(_ count: Int) -> View {
      View(
        offset: offset, count: min(count, self.count), reachesEnd: reachesEnd && count >= self.count,
        generation: generation, ticket: ticket)
    }
  }

  /// The bytes that a read of `count` bytes from `offset` finds; nil at or past the end.
  ///
  /// Both numbers must not be negative. Throws `closed`, and `system(EINVAL)` if there is no such range in any file.
  @inline(__always)
  public func view(at offset: Int, count: Int) throws(Failure) -> View? {
    if let view = viewInside(at: offset, count: count) { return view }
    if isClosed { throw .closed }
    // As pread(2), which looks at the end of the range first.
    if offset.addingReportingOverflow(count).overflow { throw .invalid }
    return nil
  }

  /// The same; nil also if the handle is closed, or there is no such range.
  @inline(__always)
  public func viewInside(at offset: Int, count: Int) -> View? {
    let generation = self.generation.load(ordering: .acquiring)
    // Before the length: whoever shortens the mapping holds `data`, so a ticket that is still current later says that
    // the bytes are still within.
    let ticket = data.ticket
    let length = self.length.load(ordering: .acquiring)
    guard generation >= 0 && offset < length && count > 0 else { return nil }
    let rest = length &- offset
    return View(
      offset: offset, count: min(count, rest), reachesEnd: count >= rest, generation: generation, ticket: ticket)
  }

  /// Copies the bytes of a view to `target`.
  ///
  /// Throws `changed` if the bytes are no longer all within the mapping, or the view ended where the handle did and that
  /// has grown since; `truncated` or a reason of the system if some of the bytes do not reach the file any more;
  /// `wouldWait` if a write is in progress and `mayWait` is false. Whatever is thrown, `target` may have been written to.
  @inline(__always)
  public func read(_ view: View, into target: UnsafeMutableRawPointer, mayWait: Bool) throws(Failure) {
    if unsafe tryRead(view, into: target) { return }
    try unsafe readCarefully(view, into: target, mayWait: mayWait)
  }

  /// Copies the bytes of a view to `target`. False if anything has got in the way: then `read` tells what.
  @inline(__always)
  public func tryRead(_ view: View, into target: UnsafeMutableRawPointer) -> Bool {
    let region = unsafe self.region
    // SAFETY: the bytes lay within the length, no later region is shorter than one before it, and all of them stay
    // mapped while the handle is used.
    let source = unsafe address(region, view.offset)
    unsafe sys_copy(target, source, view.count)
    // Acquiring: the checks come after the copy.
    atomicMemoryFence(ordering: .acquiring)
    return unsafe isCurrent(view) && !region.pointee.mayHaveFaulted(below: source + view.count)
      && self.generation.load(ordering: .relaxed) == view.generation
  }

  /// Tells whether no write in `lock` mode, and nothing that shortens the mapping, has overlapped with the view's life
  /// so far. The caller fences its reads before.
  @inline(__always)
  public func isCurrent(_ view: View) -> Bool { data.isCurrent(view.ticket) }

  @inline(never)
  private func readCarefully(
    _ view: View, into target: UnsafeMutableRawPointer, mayWait: Bool
  ) throws(Failure) {
    try data.withLock(mayWait: mayWait, writing: false) { () throws(Failure) in
      // A write that went past the end is to be seen whole: the view is too short for it.
      if view.reachesEnd && length.load(ordering: .acquiring) > view.offset &+ view.count { throw .changed }
      try unsafe copy(at: view.offset, count: view.count, to: target)
    }
  }

  private func copy(at offset: Int, count: Int, to target: UnsafeMutableRawPointer) throws(Failure) {
    try unsafe withBytes(at: offset, count: count) { source in unsafe sys_copy(target, source, count) }
  }

  /// Runs `body` while no write in `lock` mode is in progress, waiting for those that are. The body reads with
  /// `readHoldingLock`.
  public func withLock<R>(_ body: () throws(Failure) -> R) throws(Failure) -> R {
    try data.withLock(writing: false, body)
  }

  /// Copies the bytes of a view to `target`, as `read`, within `withLock`.
  public func readHoldingLock(_ view: View, into target: UnsafeMutableRawPointer) throws(Failure) {
    try unsafe copy(at: view.offset, count: view.count, to: target)
  }

  /// Runs `body` with the address of `count` bytes from `offset`, until it ran with none of them replaced under it;
  /// then reports whether any of them had faulted.
  @inline(__always)
  func withBytes<R>(
    at offset: Int, count: Int, _ body: (UnsafeMutableRawPointer) -> R
  ) throws(Failure) -> R {
    unsafe try withBytes(at: offset, upTo: count) { unsafe (body($0), count) }
  }

  /// The same for a body that may stop early: it also returns how many of the bytes it has touched. What lies behind
  /// them may have faulted.
  @inline(__always)
  func withBytes<R>(
    at offset: Int, upTo count: Int, _ body: (UnsafeMutableRawPointer) -> (R, touched: Int)
  ) throws(Failure) -> R {
    while true {
      let generation = self.generation.load(ordering: .acquiring)
      if generation < 0 { throw .closed }
      guard fits(offset, count, in: length.load(ordering: .acquiring)) else { throw .changed }
      let region = unsafe self.region
      // SAFETY: offset and count lie within the length, and the region is at least as long.
      let start = unsafe address(region, offset)
      let (result, touched) = unsafe body(start)
      // Acquiring: the checks come after the access.
      atomicMemoryFence(ordering: .acquiring)
      if unsafe region.pointee.mayHaveFaulted(below: start + touched) { try unsafe check(region, start, touched) }
      // After the faults: whoever takes their marks away moves the generation before.
      let now = self.generation.load(ordering: .acquiring)
      if now == generation { return result }
      if now < 0 { unsafe vacateAgain(region, touched) }
    }
  }

  /// Gives back what a long copy has put into a region after its handle was closed.
  @inline(never)
  func vacateAgain(_ region: UnsafeMutablePointer<Region>, _ count: Int) {
    if count > 1 << 20 && !traits.contains(.direct) { unsafe region.pointee.vacate() }
  }

  /// Throws if any of `count` bytes from `start` does not reach the file any more, and says why.
  @inline(never)
  func check(
    _ region: UnsafeMutablePointer<Region>, _ start: UnsafeMutableRawPointer, _ count: Int
  ) throws(Failure) {
    guard let failure = unsafe region.pointee.fault(start, count) else { return }
    SpareMappings.keep()
    guard failure == .system(EIO) else { throw failure }
    // No page could be had; there is nobody to ask why.
    if traits.contains(.anonymous) { throw .noMemory }
    throw unsafe unreadableReason(at: start - region.pointee.base + mapping.fileOffset)
  }

  /// Finds out why a page within the file could not be had: the device says so when it is read in the ordinary way, a
  /// quota when the page is to be allocated. Otherwise the file was too short for the page, and no longer is.
  private func unreadableReason(at fileOffset: Int) -> Failure {
    do throws(Failure) {
      try descriptor.withDescriptor { (number) throws(Failure) in
        var byte: UInt8 = 0
        if unsafe pread(number, &byte, 1, off_t(fileOffset)) < 0 { throw .lastError }
        if traits.isSuperset(of: [.writable, .shared])
          && sys_fallocate(number, sys_keep_size, off_t(fileOffset), 1) != 0
          && (sys_errno() == EDQUOT || sys_errno() == ENOSPC)
        {
          throw .lastError
        }
      }
    } catch {
      return error
    }
    return .truncated
  }

  /// The address of a view's bytes for a binary that points to them, and the region to keep alive with it. Takes no
  /// lock.
  @inline(__always)
  public func borrow(
    _ view: View
  ) throws(Failure) -> (region: UnsafeMutablePointer<Region>, start: UnsafeMutableRawPointer) {
    let region = unsafe self.region
    // SAFETY: as in read.
    let start = unsafe address(region, view.offset)
    if unsafe region.pointee.mayHaveFaulted(below: start + view.count) { try unsafe check(region, start, view.count) }
    if isClosed { throw .closed }
    return unsafe (region, start)
  }

  /// The same; nil if anything is wrong with the bytes, or the handle is closed.
  @inline(__always)
  public func tryBorrow(
    _ view: View
  ) -> (region: UnsafeMutablePointer<Region>, start: UnsafeMutableRawPointer)? {
    let region = unsafe self.region
    // SAFETY: as in read.
    let start = unsafe address(region, view.offset)
    return unsafe region.pointee.mayHaveFaulted(below: start + view.count) || isClosed ? nil : (region, start)
  }

  /// A line in the file.
  public struct Line {
    /// Bytes from the start of the line to the start of the next one.
    public let extent: Int
    /// Bytes of the line before its end: `extent` for the last line of a file that ends without a newline.
    public let text: Int
    /// Whether the line ends with a newline, after a carriage return or not.
    public let hasNewline: Bool

    /// Whether the newline follows the text at once, or there is none: the line can be given out as it stands.
    public var isPlain: Bool { text &+ (hasNewline ? 1 : 0) == extent }
  }

  /// Finds the line that a view begins with, looking at `limit` bytes at most. Throws `wouldWait` if the line does not
  /// end within the limit, `changed` if the view no longer lies within the mapping.
  @inline(__always)
  public func line(in view: View, limit: Int) throws(Failure) -> Line {
    let count = min(view.count, limit)
    let found = unsafe try withBytes(at: view.offset, upTo: count) { start -> (Line?, touched: Int) in
      guard let end = unsafe memchr(start, 0x0A, count) else { return (nil, count) }
      let extent = unsafe UnsafeRawPointer(end) - UnsafeRawPointer(start) &+ 1
      // SAFETY: of the bytes of the line, extent of them, this is the last but one.
      let hasReturn = unsafe extent > 1 && start.load(fromByteOffset: extent &- 2, as: UInt8.self) == 0x0D
      return (Line(extent: extent, text: extent &- (hasReturn ? 2 : 1), hasNewline: true), extent)
    }
    if let found { return found }
    if count < view.count { throw .wouldWait }
    return Line(extent: count, text: count, hasNewline: false)
  }

  /// Tells whether the bytes are in memory, so that reading them waits for no disk. Looks at the first 4 MiB.
  public func isResident(at offset: Int, count: Int) -> Bool {
    guard fits(offset, count, in: length.load(ordering: .acquiring)) else { return true }
    let page = PageSize.system
    let region = unsafe self.region
    let start = unsafe UInt(bitPattern: address(region, offset))
    let first = start & ~UInt(page.bytes - 1)
    let bytes = min(Int(start - first) + count, 4 << 20)
    return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 1025) { vector in
      let pages = min((bytes + page.bytes - 1) / page.bytes, vector.count)
      guard
        unsafe mincore(UnsafeMutableRawPointer(bitPattern: first), pages * page.bytes, vector.baseAddress) == 0
      else { return true }
      return unsafe vector.prefix(pages).allSatisfy { $0 & 1 == 1 }
    }
  }
}
