import CSystem
import Synchronization

/// One range of mapped memory. It is unmapped when the last owner lets go of it, and by nothing else: whoever can name
/// an address in it owns a share of it. Shares are counted by the one who allocates regions (`RegionMemory`).
///
///     | guard | file .................... | not yet writable |
///             base                        base + capacity    base + reach
///
/// The guard is one readable page below the regions of `direct` handles. From OTP 27 on the VM matches up to eight bytes
/// of a binary with one load that ends with the last of them, and so may begin up to seven bytes before the binary; it
/// never loads bytes behind one (emit_read_bits in the JIT's instr_bs.cpp). The guard costs one of the mappings that the
/// process may have.
@safe public struct Region: ~Copyable {
  /// The first byte of the mapping, on a page boundary.
  public let base: UnsafeMutableRawPointer
  /// The region that the same handle had before this one; the handle owns a share of each.
  let previous: UnsafeMutablePointer<Region>?
  private let usable: Atomic<Int>
  private let slot: FaultTable.Slot
  private let mapping: Mapping

  /// Bytes from `base` that may be used; the file may be shorter.
  var capacity: Int { usable.load(ordering: .acquiring) }

  /// Maps as many bytes, a multiple of the page size, as the first of `sizes` that the system has room for. The last one
  /// is what is needed.
  static func map(
    _ mapping: Mapping, _ sizes: InlineArray<3, Int>, descriptor: Int32, previous: UnsafeMutablePointer<Region>?,
    isDirect: Bool
  ) throws(Failure) -> Region {
    guard let slot = unsafe FaultTable.claim() else { throw .noMemory }
    var error: Int32 = ENOMEM
    for index in 0..<3 where index == 0 || sizes[index] < sizes[index - 1] {
      let size = sizes[index]
      let result = reserve(mapping, size, usable: sizes[2], descriptor: descriptor, isDirect: isDirect)
      guard result > 0 else {
        error = Int32(truncatingIfNeeded: -result)
        continue
      }
      return unsafe Region(
        mapping, base: UInt(bitPattern: result), usable: mapping.isCharged ? sizes[2] : size, reach: size,
        guardBytes: isDirect ? PageSize.system.bytes : 0, slot: slot, descriptor: descriptor, previous: previous)
    }
    unsafe FaultTable.release(slot)
    throw .system(error)
  }

  private init(
    _ mapping: Mapping, base: UInt, usable: Int, reach: Int, guardBytes: Int, slot: FaultTable.Slot,
    descriptor: Int32, previous: UnsafeMutablePointer<Region>?
  ) {
    unsafe slot.pointee.activate(mapping, base: base, length: reach, guardBytes: guardBytes, descriptor: descriptor)
    // SAFETY: mmap has returned it.
    unsafe self.base = UnsafeMutableRawPointer(bitPattern: base).unsafelyUnwrapped
    self.usable = Atomic(usable)
    unsafe self.slot = slot
    self.mapping = mapping
    unsafe self.previous = previous
  }

  /// Maps a range and what has to lie before it. Returns the address of the range or a negated errno.
  private static func reserve(_ mapping: Mapping, _ size: Int, usable: Int, descriptor: Int32, isDirect: Bool) -> Int {
    // What is not needed yet must not be charged: it becomes writable when it is.
    let isCharged = mapping.isCharged && size > usable
    let protection = isCharged ? PROT_READ : mapping.protection
    var (address, flags, guarded) = (mapping.address, mapping.flags, 0)
    if isDirect {
      guarded = PageSize.system.bytes
      let place = reserveGuarded(mapping, size, guarded)
      if place < 0 { return place }
      address = UInt(bitPattern: place)
      flags = flags & ~sys_map_fixed_noreplace | sys_map_fixed
    }
    let result = mapping.map(size, at: address, distance: 0, protection: protection, flags: flags, descriptor)
    var error = result < 0 ? -result : 0
    if error == 0 && mapping.address != 0 && UInt(bitPattern: result) != mapping.address {
      // Before Linux 4.17 MAP_FIXED_NOREPLACE was no more than a hint.
      error = Int(EEXIST)
    }
    if error == 0 && isCharged {
      // SAFETY: the range was mapped just now.
      if unsafe mprotect(UnsafeMutableRawPointer(bitPattern: result), usable, mapping.protection) != 0 {
        error = Int(sys_errno())
      }
    }
    if error == 0 { return result }
    let start = isDirect ? Int(bitPattern: address) - guarded : result
    if start > 0 { unsafe munmap(UnsafeMutableRawPointer(bitPattern: start), size + guarded) }
    return -error
  }

  /// Takes a range of addresses, readable, with a guard below; returns where the range begins behind it.
  private static func reserveGuarded(_ mapping: Mapping, _ size: Int, _ guarded: Int) -> Int {
    let flags = sys_map_private | sys_map_anonymous | sys_map_noreserve
    if mapping.address != 0 {
      let wanted = mapping.address &- UInt(guarded)
      let (total, overflow) = size.addingReportingOverflow(guarded)
      if overflow { return -Int(ENOMEM) }
      let result = sys_mmap(wanted, total, PROT_READ, flags | sys_map_fixed_noreplace, -1, 0)
      if result > 0 && UInt(bitPattern: result) != wanted {
        unsafe munmap(UnsafeMutableRawPointer(bitPattern: result), total)
        return -Int(EEXIST)
      }
      return result < 0 ? result : result + guarded
    }
    // Huge pages want a boundary of their own.
    let alignment = mapping.page.bytes
    let (total, overflow) = size.addingReportingOverflow(alignment > guarded ? alignment + guarded : guarded)
    if overflow { return -Int(ENOMEM) }
    let result = sys_mmap(0, total, PROT_READ, flags, -1, 0)
    if result < 0 || alignment == guarded { return result < 0 ? result : result + guarded }
    let start = (result + guarded + alignment - 1) & ~(alignment - 1)
    if start - guarded > result {
      unsafe munmap(UnsafeMutableRawPointer(bitPattern: result), start - guarded - result)
    }
    let (end, last) = (start + size, result + total)
    if last > end { unsafe munmap(UnsafeMutableRawPointer(bitPattern: end), last - end) }
    return start
  }

  deinit { unsafe Reaper.later(.region(slot)) }

  /// Has the region go on behind its present end, up to `size` bytes of which `needed` are to be used, both multiples of
  /// the page size. False if the system refuses, or other memory lies there.
  func extend(to size: Int, usable needed: Int, descriptor: Int32) -> Bool {
    let (old, start) = (capacity, unsafe UInt(bitPattern: base))
    let reach = unsafe slot.pointee.mappedLength
    let wanted = mapping.isCharged ? needed : size
    if wanted > reach {
      let flags = mapping.flags | sys_map_fixed_noreplace
      let end = start &+ UInt(reach)
      let protection = mapping.isCharged ? PROT_READ : mapping.protection
      let result = mapping.map(
        size - reach, at: end, distance: reach, protection: protection, flags: flags, descriptor)
      if result <= 0 { return false }
      if UInt(bitPattern: result) != end {
        unsafe munmap(UnsafeMutableRawPointer(bitPattern: result), size - reach)
        return false
      }
      unsafe slot.pointee.extend(to: size)
    }
    if mapping.isCharged {
      // SAFETY: the range is part of the region.
      guard unsafe mprotect(base + old, needed - old, mapping.protection) == 0 else { return false }
    }
    // Releasing: who sees the capacity finds it mapped.
    usable.store(wanted, ordering: .releasing)
    return true
  }

  /// Tells whether bytes that end at `end` may have faulted; see `FaultSlot.mayReach`.
  @inline(__always)
  public func mayHaveFaulted(below end: UnsafeMutableRawPointer) -> Bool {
    unsafe slot.pointee.mayReach(UInt(bitPattern: end))
  }

  /// Tells what is wrong with `count` bytes from `start`, if anything.
  func fault(_ start: UnsafeMutableRawPointer, _ count: Int) -> FaultSlot.Fault? {
    let from = UInt(bitPattern: start)
    return unsafe slot.pointee.fault(from: from, to: from &+ UInt(bitPattern: count))
  }

  /// The span of faulted bytes, relative to `base`.
  var faultSpan: Range<Int>? {
    guard let (from, to) = unsafe slot.pointee.faultSpan else { return nil }
    let start = unsafe UInt(bitPattern: base)
    return Int(from &- start)..<Int(to &- start)
  }

  /// Maps what has faulted afresh from the file, if there is anything, or all of it if `all`. For each range `announce`
  /// is called with its bounds, relative to `base`, before its faults are forgotten; see `FaultSlot.heal`.
  func heal(descriptor: Int32, all: Bool = false, announce: (Int, Int) -> Void) throws(Failure) {
    guard unsafe all || slot.pointee.faultSpan != nil else { return }
    let error = unsafe slot.pointee.heal(all: all ? capacity : nil, { mapAfresh($0, $1, descriptor) }, announce)
    if let error { throw .system(error) }
  }

  /// Maps the hole around an address afresh from the file; see `heal`. False if that was refused.
  func heal(hole: UInt, descriptor: Int32, announce: (Int, Int) -> Void) -> Bool {
    unsafe slot.pointee.heal(hole: hole, { mapAfresh($0, $1, descriptor) }, announce)
  }

  /// Maps a range afresh; returns the errno if that is refused. It is tried before, with its first page, elsewhere: a
  /// file system that refuses (one that was shut down after an error) does so after the system has taken away what was
  /// there.
  private func mapAfresh(_ from: UInt, _ to: UInt, _ descriptor: Int32) -> Int32? {
    let page = mapping.page.bytes
    let distance = Int(from &- (unsafe UInt(bitPattern: base)))
    let trial = mapping.anywhere.map(
      page, at: 0, distance: distance, protection: mapping.isCharged ? PROT_READ : mapping.protection,
      flags: mapping.anywhere.flags, descriptor)
    if trial < 0 { return Int32(truncatingIfNeeded: -trial) }
    unsafe munmap(UnsafeMutableRawPointer(bitPattern: trial), page)
    let flags = (mapping.flags | sys_map_fixed) & ~sys_map_fixed_noreplace
    let start = unsafe UInt(bitPattern: base)
    let end = mapping.isCharged ? min(to, max(from, start &+ UInt(capacity))) : to
    for (from, to, protection) in [(from, end, mapping.protection), (end, to, PROT_READ)] where from < to {
      let result = mapping.map(
        Int(to &- from), at: from, distance: Int(from &- start), protection: protection, flags: flags, descriptor)
      if result < 0 { return Int32(truncatingIfNeeded: -result) }
    }
    return nil
  }

  /// Takes the file's descriptor, which is about to be closed, away from the fault handler. The bytes end at `end`.
  func forgetDescriptor(end: UnsafeMutableRawPointer) {
    unsafe slot.pointee.forgetDescriptor(end: UInt(bitPattern: end))
  }

  /// Puts empty pages in the place of the file's, so that memory and disk space are free at once; where nobody may go on
  /// reading the bytes. The range stays mapped: a call that races with this reads zeroes, and sees afterwards that the
  /// handle is closed. Behind the first `count` bytes there are no pages, however far the region reaches.
  func vacate(_ count: Int) {
    let start = unsafe UInt(bitPattern: base)
    let reach = unsafe slot.pointee.mappedLength
    let used = min(mapping.page.roundUp(count) ?? reach, reach)
    let (end, isWritable) = (start &+ UInt(reach), mapping.isWritable)
    var isDone = true
    inSlices(start, used, largest: Self.slice(used), mapping.page) { from, count in
      if !Replacement.map(from, from &+ UInt(count), isWritable: isWritable) { isDone = false }
      return true
    }
    if used < reach && !Replacement.map(start &+ UInt(used), end, isWritable: isWritable) { isDone = false }
    // Where the process has too many mappings already, all at once needs no more.
    while !isDone {
      isDone = Replacement.map(start, end, isWritable: isWritable)
      if !isDone && !SpareMappings.giveUp(keeping: SpareMappings.reserve) { break }
    }
    unsafe slot.pointee.noteReplaced()
  }

  /// Bytes of a mapping of `length` to take away at once: where there are more bytes than memory, most have no pages.
  static func slice(_ length: Int) -> Int { max(16 << 20, length >> 10) }
}

/// Allocates the memory that regions live in and counts their owners: resources of the VM, or a test's own.
@safe public struct RegionMemory: Sendable {
  /// Returns memory for one region, with one owner; or nil.
  let allocate: @Sendable () -> UnsafeMutablePointer<Region>?
  /// Takes one owner away; with the last one, deinitialises the region and frees the memory.
  let release: @Sendable (UnsafeMutablePointer<Region>) -> Void

  /// Describes where regions live.
  public init(
    allocate: @escaping @Sendable () -> UnsafeMutablePointer<Region>?,
    release: @escaping @Sendable (UnsafeMutablePointer<Region>) -> Void
  ) {
    unsafe self.allocate = allocate
    unsafe self.release = release
  }
}
