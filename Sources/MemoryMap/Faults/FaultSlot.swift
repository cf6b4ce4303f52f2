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
/// `low ..< high` spans all of them: calls look at `low` first, and nothing but `heal` raises it again.
@safe struct FaultSlot: ~Copyable {
  private let state = Atomic<Int>(0)
  private let base = Atomic<UInt>(0)
  private let length = Atomic<Int>(0)
  private let fileOffset = Atomic<Int>(0)
  private let pageBytes = Atomic<Int>(0)
  private let protection = Atomic<Int32>(0)
  private let descriptor = Atomic<Int32>(-1)
  private let low = Atomic<UInt>(.max)
  private let high = Atomic<UInt>(0)
  private let tail = Atomic<UInt>(.max)
  /// A page with the bounds of the holes, from and to in turn; mapped with the first hole, or 0.
  private let holes = Atomic<UInt>(0)
  private let holeCount = Atomic<Int>(0)
  /// Whether the disk was full when the last hole came up.
  private let isFull = Atomic<Bool>(false)
  /// Faults that were answered with another try, since the last hole.
  private let retries = Atomic<Int>(0)
  /// The next slot in the list of free ones, or of those whose regions are to be unmapped.
  let next = unsafe Atomic<UnsafeMutableRawPointer?>(nil)

  private static var active: Int { 1 }
  private static var locked: Int { 2 }
  private static var one: Int { 4 }
  private static var holesBytes: Int { 4096 }
  private static var maximumHoles: Int { holesBytes / (2 * MemoryLayout<UInt>.stride) }

  // MARK: The region's side

  /// Describes a region that was just mapped, and lets the handler find it.
  func activate(
    base: UInt, length: Int, fileOffset: Int, page: PageSize, protection: Int32, descriptor: Int32
  ) {
    self.base.store(base, ordering: .relaxed)
    self.length.store(length, ordering: .relaxed)
    self.fileOffset.store(fileOffset, ordering: .relaxed)
    self.pageBytes.store(page.bytes, ordering: .relaxed)
    self.protection.store(protection, ordering: .relaxed)
    self.descriptor.store(descriptor, ordering: .relaxed)
    forgetFaults()
    // Releasing: a handler that sees the slot active sees all of the above.
    _ = state.wrappingAdd(Self.one + Self.active, ordering: .releasing)
  }

  /// Hides the region from the handler; to be called before it is unmapped, when nobody can reach it any more.
  func deactivate() {
    forgetFaults()
    _ = state.bitwiseAnd(~Self.active, ordering: .releasing)
  }

  var mappedBase: UInt { base.load(ordering: .relaxed) }
  var mappedLength: Int { length.load(ordering: .relaxed) }
  var mappedPage: PageSize { PageSize(bytes: pageBytes.load(ordering: .relaxed)) }

  /// Tells whether any byte below the address `end` may have faulted. To be asked after touching the bytes, behind an
  /// acquire fence: whoever reads the zeroes of a replaced page then also sees the mark that was set before.
  // Acquiring: whoever sees that the mark was taken away sees that the handle's generation moved before.
  @inline(__always)
  func mayReach(_ end: UInt) -> Bool { low.load(ordering: .acquiring) < end }

  /// Tells what is wrong with the bytes `from ..< to`, if anything: `truncated`; ENOSPC for a hole on a full disk; EIO
  /// for another one, whose precise reason is for the caller to find out.
  func fault(from: UInt, to: UInt) -> Failure? {
    guard mayReach(to), from < to else { return nil }
    return withLock { () -> Failure? in
      if to > tail.load(ordering: .relaxed) { return .truncated }
      for index in 0..<holeCount.load(ordering: .relaxed)
      where from < hole(index).to && to > hole(index).from {
        return .system(isFull.load(ordering: .relaxed) ? ENOSPC : EIO)
      }
      return nil
    }
  }

  /// The span of all bytes that faulted, as addresses.
  var faultSpan: (from: UInt, to: UInt)? {
    withLock { () -> (from: UInt, to: UInt)? in
      let from = low.load(ordering: .relaxed)
      return from == .max ? nil : (from, high.load(ordering: .relaxed))
    }
  }

  /// Maps every faulted range again by calling `map(address, length, file offset)`, then calls `announce` and forgets
  /// the faults. Returns false, with the faults still marked, as soon as a mapping fails.
  ///
  /// `announce` must move the generation: a call that has read the zeroes, and comes too late to find the mark, then
  /// finds that.
  func heal(_ map: (UInt, Int, Int) -> Bool, announce: () -> Void) -> Bool {
    withLock {
      let start = mappedBase
      for index in 0..<holeCount.load(ordering: .relaxed) {
        let (from, to) = hole(index)
        if !map(from, Int(to &- from), offset(of: from)) { return false }
      }
      let from = tail.load(ordering: .relaxed)
      let end = start &+ UInt(mappedLength)
      if from < end && !map(from, Int(end &- from), offset(of: from)) { return false }
      announce()
      forgetFaults()
      return true
    }
  }

  /// Takes the descriptor away from the handler, which is about to be closed.
  func forgetDescriptor() {
    withLock { descriptor.store(-1, ordering: .relaxed) }
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
    }
  }

  /// Waits a little for the lock, and lets its holder run if it must be off the processor.
  private static func wait(_ spins: Int) -> Int {
    if spins < 64 { sys_pause() } else { sys_yield() }
    return spins &+ 1
  }

  /// Puts anonymous memory, which reads as zeroes, in the place of the page at `address` and of whatever else cannot
  /// be reached for the same reason, marks it first, and gives the slot back. False if the system had no memory.
  func replaceAndUnlock(_ address: UInt) -> Bool {
    defer { unlock() }
    let pageBytes = UInt(pageBytes.load(ordering: .relaxed))
    let page = address & ~(pageBytes &- 1)
    if page >= tail.load(ordering: .relaxed) { return true }
    let start = base.load(ordering: .relaxed)
    let end = start &+ UInt(mappedLength)
    if let fileEnd = fileEnd(pageBytes) {
      if page >= fileEnd {
        tail.store(fileEnd, ordering: .relaxed)
        return (!SpareMappings.areScarce && replace(fileEnd, end)) || replaceAll(start, end)
      } else if retries.load(ordering: .relaxed) < 3 {
        // The file may have ended before the page when the instruction ran, and have grown since.
        retries.store(retries.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
        return true
      }
    }
    retries.store(0, ordering: .relaxed)
    for index in 0..<holeCount.load(ordering: .relaxed) where page >= hole(index).from && page < hole(index).to {
      return true
    }
    isFull.store(sys_is_full(descriptor.load(ordering: .relaxed)), ordering: .relaxed)
    if !SpareMappings.areScarce, let (from, to) = addHole(page, page &+ pageBytes), replace(from, to) { return true }
    return replaceAll(start, end)
  }

  /// Replaces the whole region, where a part of it cannot be had alone, or would take one of the last mappings: that
  /// takes no more of them than there were, if there are not too many already.
  private func replaceAll(_ start: UInt, _ end: UInt) -> Bool {
    tail.store(start, ordering: .relaxed)
    return replace(start, end) || (SpareMappings.giveUp(keeping: 0) && replace(start, end))
  }

  /// The address at which the mapping leaves the file, rounded up to a page; nil if that cannot be asked.
  private func fileEnd(_ pageBytes: UInt) -> UInt? {
    let number = descriptor.load(ordering: .relaxed)
    var status = stat()
    guard number >= 0, unsafe sys_fstat(number, &status) == 0 else { return nil }
    let start = base.load(ordering: .relaxed)
    let bytes = max(Int(status.st_size) &- fileOffset.load(ordering: .relaxed), 0)
    let rounded = (UInt(bitPattern: bytes) &+ pageBytes &- 1) & ~(pageBytes &- 1)
    return start &+ min(rounded, UInt(mappedLength))
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
    high.store(max(to, high.load(ordering: .relaxed)), ordering: .relaxed)
    // Releasing, and before the pages change: see mayReach.
    low.store(min(from, low.load(ordering: .relaxed)), ordering: .releasing)
    let flags = sys_map_fixed | sys_map_private | sys_map_anonymous | sys_map_noreserve
    let protection = protection.load(ordering: .relaxed)
    if sys_mmap(from, Int(to &- from), protection, flags, -1, 0) > 0 { return true }
    return SpareMappings.giveUp(keeping: SpareMappings.reserve)
      && sys_mmap(from, Int(to &- from), protection, flags, -1, 0) > 0
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
    retries.store(0, ordering: .relaxed)
    tail.store(.max, ordering: .relaxed)
    holeCount.store(0, ordering: .relaxed)
    let page = holes.exchange(0, ordering: .relaxed)
    if page != 0 { _ = unsafe munmap(UnsafeMutableRawPointer(bitPattern: page), Self.holesBytes) }
    high.store(0, ordering: .relaxed)
    // Releasing: see mayReach.
    low.store(.max, ordering: .releasing)
  }

  private func offset(of address: UInt) -> Int { fileOffset.load(ordering: .relaxed) &+ Int(address &- mappedBase) }

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
    }
    defer { unlock() }
    return body()
  }

  private func unlock() { _ = state.bitwiseAnd(~Self.locked, ordering: .releasing) }
}
