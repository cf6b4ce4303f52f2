import CSystem
import Synchronization

/// What the fault handler knows of one region, in a table that is never freed, so that a handler may look at any slot
/// at any time.
///
///     state:  [ times claimed : 62 | locked : 1 | active : 1 ]
///
/// A slot is claimed by a region, made active once the region is mapped, and made inactive before it is unmapped. The
/// handler finds the slot by address and locks it by comparing the whole state, so a slot that was released and
/// claimed again in between is never taken for the one that was read.
///
/// While a slot is locked its holder touches no mapped memory: the handler may spin for the lock.
///
/// The bytes that no longer reach the file are `tail ..< base + length`, where the file ended before its mapping did,
/// and the holes: ranges of pages that the disk had no room for, or could not read. All bounds are addresses.
/// `low ..< high` spans all of them: calls look at `low` first, and nothing but `heal` raises it again. A page that is
/// marked is lost, so replacing it once more loses nothing: that is done whenever it faults again, because a heal that
/// was broken off has mapped it afresh, or memory ran out for the page in its place.
@safe struct FaultSlot: ~Copyable {
  private let state = Atomic<Int>(0)
  private let base = Atomic<UInt>(0)
  private let length = Atomic<Int>(0)
  private let fileOffset = Atomic<Int>(0)
  private let pageBytes = Atomic<Int>(0)
  /// Bytes of a device; -1 for files, whose length is asked for.
  private let deviceBytes = Atomic<Int>(-1)
  /// Bytes of a page below `base` that belongs to the region.
  private let guardBytes = Atomic<Int>(0)
  private let isWritable = Atomic<Bool>(false)
  private let descriptor = Atomic<Int32>(-1)
  /// Where the handle's bytes ended when the descriptor was taken away.
  private let closedEnd = Atomic<UInt>(0)
  private let low = Atomic<UInt>(.max)
  private let high = Atomic<UInt>(0)
  private let tail = Atomic<UInt>(.max)
  /// A page with the bounds of the holes, from and to in turn; mapped with the first hole, or 0.
  private let holes = Atomic<UInt>(0)
  private let holeCount = Atomic<Int>(0)
  /// Whether the disk was full when the last hole came up.
  private let isFull = Atomic<Bool>(false)
  /// Whether the last fault was answered with another try.
  private let isSecondTry = Atomic<Bool>(false)
  /// Faults of pages that were replaced before.
  private let repeated = Atomic<Int>(0)
  /// Whether pages were replaced by such that hold what is stored in them.
  private let isReplaced = Atomic<Bool>(false)
  /// The next slot in the list of free ones.
  let next = unsafe Atomic<UnsafeMutableRawPointer?>(nil)

  private static var active: Int { 1 }
  private static var locked: Int { 2 }
  private static var one: Int { 4 }
  private static var holesBytes: Int { 4096 }
  private static var maximumHoles: Int { holesBytes / (2 * MemoryLayout<UInt>.stride) }

  /// Why bytes do not reach the file.
  enum Fault {
    /// The file ended before them.
    case cut
    /// There was no room for the page at this address, or it could not be read.
    case hole(UInt, isFull: Bool)
  }

  // MARK: The region's side

  /// Describes a region that was just mapped, and lets the handler find it.
  func activate(_ mapping: Mapping, base: UInt, length: Int, guardBytes: Int, descriptor: Int32) {
    self.base.store(base, ordering: .relaxed)
    self.length.store(length, ordering: .relaxed)
    self.fileOffset.store(mapping.fileOffset, ordering: .relaxed)
    self.pageBytes.store(mapping.page.bytes, ordering: .relaxed)
    self.deviceBytes.store(mapping.deviceBytes ?? -1, ordering: .relaxed)
    self.guardBytes.store(guardBytes, ordering: .relaxed)
    self.isWritable.store(mapping.isWritable, ordering: .relaxed)
    self.descriptor.store(descriptor, ordering: .relaxed)
    self.closedEnd.store(0, ordering: .relaxed)
    self.isReplaced.store(false, ordering: .relaxed)
    // Releasing: a handler that sees the slot active sees all of the above.
    _ = state.wrappingAdd(Self.one + Self.active, ordering: .releasing)
    _ = unsafe Statistics.place?.pointee.regions.wrappingAdd(1, ordering: .relaxed)
    _ = unsafe Statistics.place?.pointee.mappedBytes.wrappingAdd(length, ordering: .relaxed)
    if guardBytes > 0 { DirectRanges.add(base, base &+ UInt(length)) }
  }

  /// The region goes on behind its end by now.
  func extend(to length: Int) {
    let old = withLock { self.length.exchange(length, ordering: .relaxed) }
    _ = unsafe Statistics.place?.pointee.mappedBytes.wrappingAdd(length &- old, ordering: .relaxed)
    if guardBytes.load(ordering: .relaxed) > 0 { DirectRanges.extend(mappedBase, to: mappedBase &+ UInt(length)) }
  }

  /// Pages were replaced that nobody is to reach any more.
  func noteReplaced() { isReplaced.store(true, ordering: .relaxed) }

  /// Hides the region from the handler; to be called before it is unmapped, when nobody can reach it any more.
  func deactivate() {
    forgetFaults()
    _ = state.bitwiseAnd(~Self.active, ordering: .releasing)
    _ = unsafe Statistics.place?.pointee.regions.wrappingSubtract(1, ordering: .relaxed)
    _ = unsafe Statistics.place?.pointee.mappedBytes.wrappingSubtract(mappedLength, ordering: .relaxed)
    if guardBytes.load(ordering: .relaxed) > 0 { DirectRanges.remove(mappedBase) }
    if isReplaced.load(ordering: .relaxed) && isWritable.load(ordering: .relaxed) {
      Replacement.giveBack(mappedBase, mappedBase &+ UInt(mappedLength))
    }
  }

  /// All that is to be unmapped, from the guard on.
  var mappedRange: (from: UInt, length: Int) {
    let below = guardBytes.load(ordering: .relaxed)
    return (mappedBase &- UInt(below), mappedLength &+ below)
  }
  var mappedBase: UInt { base.load(ordering: .relaxed) }
  var mappedLength: Int { length.load(ordering: .relaxed) }
  var mappedPage: PageSize { PageSize(bytes: pageBytes.load(ordering: .relaxed)) }

  /// Tells whether any byte below the address `end` may have faulted. To be asked after touching the bytes, behind an
  /// acquire fence: whoever reads the zeroes of a replaced page then also sees the mark that was set before.
  // Acquiring: whoever sees that the mark was taken away sees that the version of the handle's losses moved before.
  @inline(__always)
  func mayReach(_ end: UInt) -> Bool { low.load(ordering: .acquiring) < end }

  /// Tells what is wrong with the bytes `from ..< to`, if anything.
  func fault(from: UInt, to: UInt) -> Fault? {
    guard mayReach(to), from < to else { return nil }
    return withLock { () -> Fault? in
      for index in 0..<holeCount.load(ordering: .relaxed)
      where from < hole(index).to && to > hole(index).from {
        return .hole(max(from, hole(index).from), isFull: isFull.load(ordering: .relaxed))
      }
      return to > tail.load(ordering: .relaxed) ? .cut : nil
    }
  }

  /// The span of all bytes that faulted, as addresses.
  var faultSpan: (from: UInt, to: UInt)? {
    withLock { () -> (from: UInt, to: UInt)? in
      let from = low.load(ordering: .relaxed)
      return from == .max ? nil : (from, high.load(ordering: .relaxed))
    }
  }

  /// Maps every faulted range afresh by calling `map(from, to)`, which returns an errno if that was refused. Each is
  /// announced by its bounds from the start of the region, and forgotten, as it is mapped: what was refused stays
  /// marked. With `all` the whole region is mapped afresh.
  ///
  /// `announce` must remember the loss: a call that has read the zeroes, and comes too late to find the mark, then
  /// finds that.
  func heal(all: Int?, _ map: (UInt, UInt) -> Int32?, _ announce: (Int, Int) -> Void) -> Int32? {
    withLock {
      let start = mappedBase
      let end = start &+ UInt(mappedLength)
      if let all {
        if let error = renew(start, start &+ UInt(all), map, announce) { return error }
        tail.store(max(tail.load(ordering: .relaxed), start &+ UInt(all)), ordering: .relaxed)
        holeCount.store(0, ordering: .relaxed)
      }
      while holeCount.load(ordering: .relaxed) > 0 {
        if let error = renewHole(holeCount.load(ordering: .relaxed) &- 1, map, announce) { return error }
      }
      let from = tail.load(ordering: .relaxed)
      if from < end, let error = renew(from, end, map, announce) { return error }
      forgetFaults()
      return nil
    }
  }

  /// Maps the hole around an address afresh, if there is one. False if that was refused.
  func heal(hole address: UInt, _ map: (UInt, UInt) -> Int32?, _ announce: (Int, Int) -> Void) -> Bool {
    withLock {
      for index in 0..<holeCount.load(ordering: .relaxed) where hole(index).from <= address && address < hole(index).to
      {
        if renewHole(index, map, announce) != nil { return false }
        if holeCount.load(ordering: .relaxed) == 0 && tail.load(ordering: .relaxed) == .max { forgetFaults() }
        return true
      }
      return true
    }
  }

  private func renewHole(_ index: Int, _ map: (UInt, UInt) -> Int32?, _ announce: (Int, Int) -> Void) -> Int32? {
    let (from, to) = hole(index)
    if let error = renew(from, to, map, announce) { return error }
    let last = holeCount.load(ordering: .relaxed) &- 1
    if index != last { setHole(index, hole(last).from, hole(last).to) }
    holeCount.store(last, ordering: .relaxed)
    return nil
  }

  private func renew(
    _ from: UInt, _ to: UInt, _ map: (UInt, UInt) -> Int32?, _ announce: (Int, Int) -> Void
  ) -> Int32? {
    if let error = map(from, to) {
      // Where the file system itself refuses, the system has taken away before what was there.
      if from < tail.load(ordering: .relaxed) && marked(from, to) == nil { tail.store(from, ordering: .relaxed) }
      _ = replace(from, to) || replaceAll(mappedBase, mappedBase &+ UInt(mappedLength))
      return error
    }
    announce(Int(from &- mappedBase), Int(to &- mappedBase))
    _ = unsafe Statistics.place?.pointee.heals.wrappingAdd(1, ordering: .relaxed)
    if isWritable.load(ordering: .relaxed) { Replacement.giveBack(from, to) }
    return nil
  }

  /// Takes the descriptor away from the handler, which is about to be closed. The handle's bytes end at `end`.
  func forgetDescriptor(end: UInt) {
    withLock {
      descriptor.store(-1, ordering: .relaxed)
      // A handle's older regions end before its bytes do.
      closedEnd.store(min(end, mappedBase &+ UInt(mappedLength)), ordering: .relaxed)
    }
  }

  // MARK: The handler's side. Nothing here may call anything but system calls.

  /// Tells whether the slot's region holds the address; if so, the slot is locked.
  func lockIfHolding(_ address: UInt) -> Bool {
    var spins = 0
    while true {
      // Acquiring: the region's description is at least as new as this state.
      let seen = state.load(ordering: .acquiring)
      let start = base.load(ordering: .relaxed)
      guard seen & Self.active != 0, address >= start, address &- start < UInt(bitPattern: mappedLength) else {
        return false
      }
      if seen & Self.locked == 0
        && state.compareExchange(expected: seen, desired: seen | Self.locked, ordering: .acquiring).exchanged
      {
        return true
      }
      spins = Self.wait(spins)
      if Self.isAbandoned(spins) { return true }
    }
  }

  /// Waits a little for the lock, and lets its holder run if it must be off the processor.
  private static func wait(_ spins: Int) -> Int {
    if spins < 64 { sys_pause() } else { sys_yield() }
    return spins &+ 1
  }

  /// Tells whether the holder of a lock is not there any more: after a fork, in the child, no other thread is.
  private static func isAbandoned(_ spins: Int) -> Bool { spins & 0xFFFF == 0xFFFF && FaultTable.isForked }

  /// Puts empty pages in the place of the page at `address` and of whatever else cannot be reached for the same reason,
  /// marks them first, and gives the slot back. False if the system has refused.
  func replaceAndUnlock(_ address: UInt) -> Bool {
    defer { unlock() }
    _ = unsafe Statistics.place?.pointee.faults.wrappingAdd(1, ordering: .relaxed)
    let pageBytes = UInt(pageBytes.load(ordering: .relaxed))
    let page = address & ~(pageBytes &- 1)
    let (start, end) = (mappedBase, mappedBase &+ UInt(mappedLength))
    if let (from, to) = marked(page, end) {
      // After some times it is the page in its place that cannot be had.
      let count = repeated.load(ordering: .relaxed) &+ 1
      repeated.store(count, ordering: .relaxed)
      if count < 8 && replace(from, to) { return true }
      let isWritable = isWritable.load(ordering: .relaxed)
      repeat {
        if Replacement.mapPrivate(page, page &+ pageBytes, isWritable: isWritable) { return true }
      } while SpareMappings.giveUp(keeping: 0)
      return false
    }
    if let from = cutOff(page, pageBytes) {
      tail.store(from, ordering: .relaxed)
      return (!SpareMappings.areScarce && replace(from, end)) || replaceAll(start, end)
    }
    // The file may have ended before the page when the instruction ran, and have grown since.
    if !isSecondTry.exchange(true, ordering: .relaxed) { return true }
    isSecondTry.store(false, ordering: .relaxed)
    isFull.store(sys_is_full(descriptor.load(ordering: .relaxed)), ordering: .relaxed)
    if !SpareMappings.areScarce, let (from, to) = addHole(page, page &+ pageBytes), replace(from, to) { return true }
    return replaceAll(start, end)
  }

  /// The range that was marked and replaced together with a page, if it was.
  private func marked(_ page: UInt, _ end: UInt) -> (from: UInt, to: UInt)? {
    let from = tail.load(ordering: .relaxed)
    if page >= from { return (from, end) }
    for index in 0..<holeCount.load(ordering: .relaxed) where page >= hole(index).from && page < hole(index).to {
      return hole(index)
    }
    return nil
  }

  /// Where the file ends, or nil if that is not before the page.
  private func cutOff(_ page: UInt, _ pageBytes: UInt) -> UInt? {
    let number = descriptor.load(ordering: .relaxed)
    if number < 0 && deviceBytes.load(ordering: .relaxed) < 0 {
      // Nobody to ask, after a close. If the last page is gone as well, all between them is.
      let end = closedEnd.load(ordering: .relaxed)
      let last = (end &- 1) & ~(pageBytes &- 1)
      return end > 0 && page < last && !sys_is_reachable(last, Int(pageBytes)) ? page : nil
    }
    guard let end = fileEnd(number, pageBytes) else { return nil }
    return page >= end ? end : nil
  }

  /// Replaces the whole region, where a part of it cannot be had alone, or would take one of the last mappings: that
  /// takes no more of them than there were, if there are not too many already.
  private func replaceAll(_ start: UInt, _ end: UInt) -> Bool {
    tail.store(start, ordering: .relaxed)
    if replace(start, end) { return true }
    while SpareMappings.giveUp(keeping: 0) {
      if replace(start, end) { return true }
    }
    return false
  }

  /// The address at which the mapping leaves the file, rounded up to a page; nil if that cannot be asked.
  private func fileEnd(_ number: Int32, _ pageBytes: UInt) -> UInt? {
    var size = deviceBytes.load(ordering: .relaxed)
    if size < 0 {
      var status = stat()
      guard unsafe sys_fstat(number, &status) == 0 else { return nil }
      size = Int(status.st_size)
    }
    let bytes = max(size &- fileOffset.load(ordering: .relaxed), 0)
    let rounded = (UInt(bitPattern: bytes) &+ pageBytes &- 1) & ~(pageBytes &- 1)
    return mappedBase &+ min(rounded, UInt(mappedLength))
  }

  /// Adds a range to the holes and returns what is to be replaced for it: more than the range where no place was left
  /// and it was joined with the nearest hole. Nil if there is no memory to note it in.
  private func addHole(_ from: UInt, _ to: UInt) -> (from: UInt, to: UInt)? {
    if holes.load(ordering: .relaxed) == 0 {
      let flags = sys_map_private | sys_map_anonymous
      let page = sys_mmap(0, Self.holesBytes, PROT_READ | PROT_WRITE, flags, -1, 0)
      if page <= 0 { return nil }
      holes.store(UInt(bitPattern: page), ordering: .relaxed)
    }
    let count = holeCount.load(ordering: .relaxed)
    var nearest = 0
    var distance = UInt.max
    for index in 0..<count {
      let other = hole(index)
      let between = from >= other.to ? from &- other.to : other.from &- to
      if between < distance { (nearest, distance) = (index, between) }
    }
    if distance != 0 && count < Self.maximumHoles {
      setHole(count, from, to)
      holeCount.store(count &+ 1, ordering: .relaxed)
      return (from, to)
    }
    let other = hole(nearest)
    setHole(nearest, min(from, other.from), max(to, other.to))
    return from >= other.to ? (other.to, to) : (from, other.from)
  }

  /// Marks a range as faulted, and then replaces it. Where the process has as many mappings as it may, one that is kept
  /// for this is given up, but none of the reserve: that is for replacing whole regions.
  private func replace(_ from: UInt, _ to: UInt) -> Bool {
    if low.load(ordering: .relaxed) == .max && guardBytes.load(ordering: .relaxed) > 0 { FaultTable.countLost(1) }
    high.store(max(to, high.load(ordering: .relaxed)), ordering: .relaxed)
    // Releasing, and before the pages change: see mayReach.
    low.store(min(from, low.load(ordering: .relaxed)), ordering: .releasing)
    isReplaced.store(true, ordering: .relaxed)
    let isWritable = isWritable.load(ordering: .relaxed)
    if Replacement.map(from, to, isWritable: isWritable) { return true }
    return SpareMappings.giveUp(keeping: SpareMappings.reserve)
      && Replacement.map(from, to, isWritable: isWritable)
  }

  // MARK: Parts

  // SAFETY, of both: the page is mapped while there are holes, index is below maximumHoles, and the slot is locked.
  private func hole(_ index: Int) -> (from: UInt, to: UInt) {
    guard let bounds = unsafe UnsafePointer<UInt>(bitPattern: holes.load(ordering: .relaxed)) else { return (0, 0) }
    return unsafe (bounds[2 &* index], bounds[2 &* index &+ 1])
  }

  private func setHole(_ index: Int, _ from: UInt, _ to: UInt) {
    guard let bounds = unsafe UnsafeMutablePointer<UInt>(bitPattern: holes.load(ordering: .relaxed)) else { return }
    unsafe bounds[2 &* index] = from
    unsafe bounds[2 &* index &+ 1] = to
  }

  private func forgetFaults() {
    isSecondTry.store(false, ordering: .relaxed)
    repeated.store(0, ordering: .relaxed)
    tail.store(.max, ordering: .relaxed)
    holeCount.store(0, ordering: .relaxed)
    let page = holes.exchange(0, ordering: .relaxed)
    if page != 0 { _ = unsafe munmap(UnsafeMutableRawPointer(bitPattern: page), Self.holesBytes) }
    high.store(0, ordering: .relaxed)
    if low.load(ordering: .relaxed) != .max && guardBytes.load(ordering: .relaxed) > 0 { FaultTable.countLost(-1) }
    // Releasing: see mayReach.
    low.store(.max, ordering: .releasing)
  }

  private func withLock<R>(_ body: () -> R) -> R {
    var spins = 0
    while true {
      let seen = state.load(ordering: .relaxed)
      if seen & Self.locked == 0
        && state.compareExchange(expected: seen, desired: seen | Self.locked, ordering: .acquiring).exchanged
      {
        break
      }
      spins = Self.wait(spins)
      if Self.isAbandoned(spins) { break }
    }
    defer { unlock() }
    return body()
  }

  func unlock() { _ = state.bitwiseAnd(~Self.locked, ordering: .releasing) }
}
