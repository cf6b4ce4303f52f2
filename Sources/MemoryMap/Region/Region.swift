import CSystem
import Synchronization

/// One range of mapped memory. It is unmapped when the last owner lets go of it, and by nothing else: whoever can name
/// an address in it owns a share of it. Shares are counted by the one who allocates regions (`RegionMemory`).
@safe public struct Region: ~Copyable {
  /// The first byte of the mapping, on a page boundary.
  public let base: UnsafeMutableRawPointer
  /// Bytes mapped from `base`; the file may be shorter.
  let capacity: Int
  /// The region that the same handle had before this one; the handle owns a share of each.
  let previous: UnsafeMutablePointer<Region>?
  private let slot: FaultTable.Slot
  private let mapping: Mapping

  /// Maps `capacity` bytes, a multiple of the page size.
  init(
    _ mapping: Mapping, capacity: Int, descriptor: Int32, previous: UnsafeMutablePointer<Region>?
  ) throws(Failure) {
    guard let slot = unsafe FaultTable.claim() else { throw .system(ENOMEM) }
    let address = sys_mmap(
      mapping.address, capacity, mapping.protection, mapping.flags, descriptor, off_t(mapping.fileOffset))
    guard address > 0, let base = unsafe UnsafeMutableRawPointer(bitPattern: address) else {
      unsafe FaultTable.release(slot)
      throw .system(Int32(truncatingIfNeeded: -address))
    }
    if mapping.address != 0 && UInt(bitPattern: address) != mapping.address {
      // Before Linux 4.17 MAP_FIXED_NOREPLACE was no more than a hint.
      _ = unsafe munmap(base, capacity)
      unsafe FaultTable.release(slot)
      throw .system(EEXIST)
    }
    unsafe slot.pointee.activate(
      base: UInt(bitPattern: address), length: capacity, fileOffset: mapping.fileOffset, page: mapping.page,
      protection: mapping.protection, descriptor: descriptor)
    unsafe self.base = base
    self.capacity = capacity
    unsafe self.previous = previous
    unsafe self.slot = slot
    self.mapping = mapping
  }

  deinit {
    // A mapping takes its time to go that grows with its pages.
    if capacity <= 2 << 20 {
      unsafe Reaper.Chore.region(slot).run()
    } else {
      unsafe Reaper.later(.region(slot))
    }
  }

  /// Tells whether bytes that end at `end` may have faulted; see `FaultSlot.mayReach`.
  @inline(__always)
  func mayHaveFaulted(below end: UnsafeMutableRawPointer) -> Bool {
    unsafe slot.pointee.mayReach(UInt(bitPattern: end))
  }

  /// Tells what is wrong with `count` bytes from `start`, if anything; see `FaultSlot.fault`.
  func fault(_ start: UnsafeMutableRawPointer, _ count: Int) -> Failure? {
    let from = UInt(bitPattern: start)
    return unsafe slot.pointee.fault(from: from, to: from &+ UInt(bitPattern: count))
  }

  /// The span of faulted bytes, relative to `base`.
  var faultSpan: Range<Int>? {
    guard let (from, to) = unsafe slot.pointee.faultSpan else { return nil }
    let start = unsafe UInt(bitPattern: base)
    return Int(from &- start)..<Int(to &- start)
  }

  /// Maps what has faulted afresh from the file, if there is anything, and calls `announce` before the faults are
  /// forgotten; see `FaultSlot.heal`.
  func heal(descriptor: Int32, announce: () -> Void) throws(Failure) {
    guard unsafe slot.pointee.faultSpan != nil else { return }
    let flags = (mapping.flags | sys_map_fixed) & ~(sys_map_populate | sys_map_fixed_noreplace)
    var error: Int32 = 0
    let healed = unsafe slot.pointee.heal(
      { address, length, offset in
        let result = sys_mmap(address, length, mapping.protection, flags, descriptor, off_t(offset))
        if result < 0 { error = Int32(truncatingIfNeeded: -result) }
        return result > 0
      }, announce: announce)
    if !healed { throw .system(error) }
  }

  /// Takes the file's descriptor, which is about to be closed, away from the fault handler.
  func forgetDescriptor() { unsafe slot.pointee.forgetDescriptor() }

  /// Puts anonymous pages in the place of the file's, so that memory and disk space are free at once; where nobody may
  /// go on reading the bytes. The range stays mapped: a call that races with this reads zeroes, and sees afterwards
  /// that the handle is closed.
  func vacate() {
    let flags = sys_map_fixed | sys_map_private | sys_map_anonymous | sys_map_noreserve
    let start = unsafe UInt(bitPattern: base)
    var isDone = true
    inSlices(start, capacity, mapping.page) { start, length in
      if sys_mmap(start, length, PROT_READ | PROT_WRITE, flags, -1, 0) < 0 { isDone = false }
    }
    // Where the process has too many mappings already, all at once needs no more.
    while !isDone {
      isDone = sys_mmap(start, capacity, PROT_READ | PROT_WRITE, flags, -1, 0) > 0
      if !isDone && !SpareMappings.giveUp(keeping: SpareMappings.reserve) { return }
    }
  }
}

/// How a file is mapped: what all regions of one handle have in common.
struct Mapping {
  /// PROT_READ, perhaps with PROT_WRITE.
  let protection: Int32
  /// The flags of mmap(2).
  let flags: Int32
  /// Where in the file the regions begin; a multiple of the page size.
  let fileOffset: Int
  /// Where the mapping must be, or 0.
  let address: UInt
  let page: PageSize

  /// The same at an address that the system chooses.
  var anywhere: Mapping {
    Mapping(
      protection: protection, flags: flags & ~sys_map_fixed_noreplace, fileOffset: fileOffset, address: 0, page: page)
  }
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

/// Does something to a range of memory piece by piece: changing a mapping holds a lock that every page fault of the
/// process needs, for a time that grows with the pages in it. In 1,024 pieces at the most: where there are more bytes
/// than memory, most have no pages.
func inSlices(_ start: UInt, _ length: Int, _ page: PageSize, _ body: (UInt, Int) -> Void) {
  let slice = page.roundDown(max(16 << 20, length >> 10, page.bytes))
  var done = 0
  while done < length {
    let count = min(slice, length - done)
    body(start + UInt(done), count)
    done += count
  }
}
