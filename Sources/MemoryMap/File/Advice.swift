import CSystem

/// How a range is going to be used; the advice of `file:advise/4`.
public enum Advice: Sendable {
  /// In no special way: takes back what was said before.
  case normal
  /// In no order: do not read ahead.
  case random
  /// From the start to the end: read ahead.
  case sequential
  /// Soon: begin to read.
  case willNeed
  /// Not soon: the pages may be given back.
  case dontNeed
  /// Once: the pages may be the first to go.
  case noReuse
  /// In huge pages, where the system can.
  case hugePage
  /// In no huge pages.
  case noHugePage
  /// Not soon: the pages are the first to go.
  case cold
  /// Not soon: the pages go now, to the file or to swap.
  case pageOut

  /// The values for madvise(2) and posix_fadvise(2). What may be nowhere but in the mapping is never dropped.
  fileprivate func values(isInFile: Bool) -> (memory: Int32, file: Int32?) {
    switch self {
    case .normal: (Int32(MADV_NORMAL), nil)
    case .random: (Int32(MADV_RANDOM), nil)
    case .sequential: (Int32(MADV_SEQUENTIAL), nil)
    case .willNeed: (Int32(MADV_WILLNEED), nil)
    case .dontNeed: (isInFile ? Int32(MADV_DONTNEED) : sys_advise_cold, Int32(POSIX_FADV_DONTNEED))
    case .noReuse, .cold: (sys_advise_cold, nil)
    case .hugePage: (sys_advise_huge, nil)
    case .noHugePage: (sys_advise_no_huge, nil)
    case .pageOut: (sys_advise_page_out, nil)
    }
  }
}

extension File {
  /// Tells the system how `count` bytes from `offset` (0: all that follow) are going to be used, as madvise(2) and
  /// posix_fadvise(2). Never drops data. May block.
  public func advise(at offset: Int, count: Int, _ advice: Advice) throws(Failure) {
    if isClosed { throw .closed }
    guard offset >= 0, count >= 0 else { throw .invalid }
    let size = self.size
    guard offset < size else { return }
    let count = count == 0 ? size - offset : min(count, size - offset)
    let isInFile = traits.contains(.shared) || !traits.contains(.writable)
    let values = advice.values(isInFile: isInFile && !traits.contains(.anonymous))
    let error = adviseMemory(at: offset, count: count, values.memory, slice: mapping.page.bytes * 4096)
    // EINVAL: an older system does not know the advice, which is then not taken.
    if error != 0 && error != EINVAL { throw .system(error) }
    guard let value = values.file, !traits.contains(.anonymous) else { return }
    try descriptor.withDescriptor { (number) throws(Failure) in
      // Refused where the file is not of that kind; there is nothing to give back, then.
      _ = posix_fadvise(number, off_t(mapping.fileOffset + slack + offset), off_t(count), value)
    }
  }

  /// Brings all pages into memory, as MAP_POPULATE: those of a private mapping that can be written as copies of its
  /// own. Returns the errno of what cannot be had, or 0. Before Linux 5.14, only what is to be read from the file.
  func populate(at offset: Int, count: Int) -> Int32 {
    let isPrivate = !traits.contains(.shared) || traits.contains(.anonymous)
    let value =
      isPrivate && traits.contains(.writable) ? sys_advise_populate_write : sys_advise_populate_read
    let error = adviseMemory(at: offset, count: count, value, slice: 1 << 20)
    if error != EINVAL { return error }
    return adviseMemory(at: offset, count: count, Int32(MADV_WILLNEED), slice: 1 << 20)
  }

  /// Gives advice on a range in slices; returns the first errno, or 0.
  private func adviseMemory(at offset: Int, count: Int, _ value: Int32, slice: Int) -> Int32 {
    // SAFETY: the range lies within the region, which stays mapped while the handle is used.
    unsafe withSlices(address(region, offset), count, slice: slice) { unsafe madvise($0, $1, value) }
  }

  /// Calls the system for the pages of a range in slices, so that nobody who allocates memory waits long, until the handle
  /// is closed; returns the first errno, or 0.
  func withSlices(
    _ start: UnsafeMutableRawPointer, _ count: Int, slice: Int, page: PageSize? = nil,
    _ call: (UnsafeMutableRawPointer?, Int) -> Int32
  ) -> Int32 {
    let page = page ?? mapping.page
    // The system wants the begin of a page.
    let first = page.roundDown(Int(bitPattern: start))
    let length = Int(bitPattern: start) - first + count
    var (error, tries) = (Int32(0), 0)
    inSlices(UInt(bitPattern: first), length, largest: slice, page) { from, length in
      if isClosed { return false }
      while unsafe call(UnsafeMutableRawPointer(bitPattern: from), length) != 0 {
        // Again: others are at the same pages.
        if sys_errno() == EINTR { continue }
        if sys_errno() == EAGAIN && tries < 100 {
          tries += 1
          continue
        }
        error = sys_errno()
        return false
      }
      return true
    }
    return error
  }
}
