import CSystem
import Synchronization

// Where the bytes of a range are: in memory, kept there, or on no disk. All of it may block.

extension File {
  /// Returns how many of the bytes are in memory, as mincore(2). `EPERM` where the system tells that only to those who own
  /// the file or may write it.
  public func resident(at offset: Int, count: Int) throws(Failure) -> Int {
    let start = try unsafe range(offset, count)
    guard traits.contains(.tellsResidence) else { throw .system(EPERM) }
    let (page, end) = (PageSize.system.bytes, UInt(bitPattern: start) + UInt(count))
    let from = UInt(bitPattern: start)
    var resident = 0
    let error = unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Self.pagesPerLook) { vector in
      unsafe withSlices(start, count, slice: vector.count * page, page: .system) { first, length in
        guard unsafe mincore(first, length, vector.baseAddress) == 0 else { return -1 }
        for index in 0..<(length + page - 1) / page where unsafe vector[index] & 1 == 1 {
          let place = UInt(bitPattern: first) + UInt(index * page)
          // Of the first and the last page, what lies in the range; with huge pages nothing may.
          let (low, high) = (max(place, from), min(place + UInt(page), end))
          if high > low { resident += Int(high - low) }
        }
        return 0
      }
    }
    if error != 0 { throw .system(error) }
    try unsafe checkReached(start, count)
    return resident
  }

  /// As many as Swift has room for on the stack: beyond them it allocates.
  private static var pagesPerLook: Int { 1024 }

  /// Brings all pages of a range into memory, as the option does.
  public func populateRange(at offset: Int, count: Int) throws(Failure) {
    let start = try unsafe range(offset, count)
    try check(populate(at: offset, count: count), offset, count)
    try unsafe checkReached(start, count)
  }

  /// Brings all pages of a range into memory and keeps them there, as mlock(2), until `unlockMemory`; what fails has
  /// locked none of them.
  public func lockMemory(at offset: Int, count: Int) throws(Failure) {
    let start = try unsafe range(offset, count)
    if count == 0 { return }
    // First of all the limits, for the whole range. Before Linux 4.4 they show on the way.
    var error: Int32 = unsafe sys_lock_on_fault(start, count) == 0 ? 0 : sys_errno()
    if error == 0 || error == ENOSYS {
      error = unsafe withSlices(start, count, slice: 4 << 20) { unsafe mlock($0, $1) }
      // SAFETY: as above, the range lies within the region.
      if error != 0 { _ = unsafe munlock(start, count) }
    }
    try check(error, offset, count)
    try unsafe checkReached(start, count)
  }

  /// Lets the pages of a range go again, as munlock(2).
  public func unlockMemory(at offset: Int, count: Int) throws(Failure) {
    _ = try unsafe range(offset, count)
    if count == 0 { return }
    // They may have been locked in a region that the handle had before.
    var next: UnsafeMutablePointer<Region>? = unsafe region
    while let region = unsafe next {
      unsafe next = region.pointee.previous
      let inRegion = unsafe min(count, region.pointee.capacity - slack - offset)
      guard inRegion > 0 else { continue }
      let error = unsafe withSlices(address(region, offset), inRegion, slice: 16 << 20) { unsafe munlock($0, $1) }
      if error != 0 { throw .system(error) }
    }
  }

  /// Gives the disk space, or the memory, of a range back; its bytes are zeroes then. As fallocate(2) with
  /// FALLOC_FL_PUNCH_HOLE: what lies past the end is left out, and no length changes.
  public func punchHole(at offset: Int, count: Int, _ patience: Patience) throws(Failure) -> Bool {
    if isClosed { throw .closed }
    guard traits.contains(.writable) else { throw .readOnly }
    let count = min(count, size - offset)
    if count <= 0 { return true }
    let isAnonymous = traits.contains(.anonymous)
    // What is only in the mapping would come back as it is in the file.
    guard isAnonymous || traits.contains(.shared) else { throw .system(EOPNOTSUPP) }
    let outcome =
      if isAnonymous {
        try unsafe overwrite(at: offset, count: count, patience) { unsafe punchAnonymous($0, $1) }
      } else {
        try descriptor.withDescriptor { (number) throws(Failure) in
          try unsafe overwrite(at: offset, count: count, patience) { start, count in
            punch(number, offset: offset, count: count)
          }
        }
      }
    switch outcome {
    case .done(0): return true
    case .done(let error): throw .system(error)
    // Cut short meanwhile: then there is nothing to give back.
    case .outside: return true
    case .wouldWait: return false
    }
  }

  /// A write of bytes that is none: returns an errno, or 0.
  @inline(never)
  private func overwrite(
    at offset: Int, count: Int, _ patience: Patience, _ body: (UnsafeMutableRawPointer, Int) -> Int32
  ) throws(Failure) -> Outcome<Int32> {
    try unsafe access(.write, at: offset, count: count, patience) { (unsafe body($1, $2), touched: 0) }
  }

  private func punch(_ descriptor: Int32, offset: Int, count: Int) -> Int32 {
    let place = off_t(mapping.fileOffset + slack + offset)
    while sys_fallocate(descriptor, sys_punch_hole, place, off_t(count)) != 0 {
      let error = sys_errno()
      // Whether the file system cannot or the whole system: to the caller that is the same.
      if error == ENOSYS { return EOPNOTSUPP }
      if error != EINTR { return error }
    }
    return 0
  }

  /// Whole pages go, and what else is in the range is overwritten.
  private func punchAnonymous(_ start: UnsafeMutableRawPointer, _ count: Int) -> Int32 {
    let (page, value) = (UInt(mapping.page.bytes), traits.contains(.shared) ? sys_advise_remove : Int32(MADV_DONTNEED))
    let (from, to) = (UInt(bitPattern: start), UInt(bitPattern: start) + UInt(count))
    let (first, last) = ((from + page - 1) & ~(page - 1), to & ~(page - 1))
    // SAFETY: all of it lies within the range, which is mapped.
    guard first < last else {
      unsafe memset(start, 0, count)
      return 0
    }
    unsafe memset(start, 0, Int(first - from))
    unsafe memset(start + Int(last - from), 0, Int(to - last))
    return unsafe withSlices(start + Int(first - from), Int(last - first), slice: 16 << 20) {
      unsafe madvise($0, $1, value)
    }
  }

  /// The first byte of a range that has to lie within the mapping.
  private func range(_ offset: Int, _ count: Int) throws(Failure) -> UnsafeMutableRawPointer {
    if isClosed { throw .closed }
    guard fits(offset, count, in: size) else { throw .outOfRange }
    return unsafe address(region, offset)
  }

  /// Says why pages of a range could not be had: mostly because the file ends before.
  private func check(_ error: Int32, _ offset: Int, _ count: Int) throws(Failure) {
    if error == 0 { return }
    if !traits.contains(.anonymous) && (error == EFAULT || error == ENOMEM) {
      let end = try descriptor.withDescriptor { (number) throws(Failure) in try fileLength(number) }
      if !fits(mapping.fileOffset + slack + offset, count, in: end) { throw .truncated }
      if error == EFAULT { throw .system(EIO) }
    }
    throw .system(error)
  }

  /// Throws what is wrong with bytes that no longer reach the file.
  private func checkReached(_ start: UnsafeMutableRawPointer, _ count: Int) throws(Failure) {
    if isClosed { throw .closed }
    let region = unsafe self.region
    if let fault = unsafe region.pointee.fault(start, count) {
      _ = try unsafe explain(fault, region, isOnlyRead: true, isLastTry: false, .none)
    }
  }
}
