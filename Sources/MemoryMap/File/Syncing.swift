import CSystem
import Synchronization

extension File {
  /// Returns when all data of the file is on disk, as fdatasync(2); nothing to do for private and anonymous mappings.
  ///
  /// Once a sync has failed the system may have dropped what it could not write, and does not say so twice: this handle
  /// answers that failure to every later sync. Only what is written through a new one can be relied on.
  public func syncData() throws(Failure) {
    try withSharedFile(isSync: true) { number in fdatasync(number) }
  }

  /// Returns when data and metadata are on disk, as fsync(2): the time of change, too, which a file system may leave
  /// alone when bytes are stored through a mapping. For a file that this handle made, also its directory entry.
  public func syncAll() throws(Failure) {
    try withSharedFile(isSync: true) { number in
      if traits.contains(.writable) && isTimeStale.exchange(false, ordering: .acquiringAndReleasing) {
        // Refused only where the file is none that we may write by now.
        _ = sys_touch(number)
      }
      return fsync(number)
    }
    if traits.contains(.shared) && !isEntryOnDisk.load(ordering: .acquiring) {
      try syncEntry()
      // Only now: two who sync at once both wait for it, and after a failure it is still to be done.
      isEntryOnDisk.store(true, ordering: .releasing)
    }
  }

  /// Brings the directory entry to disk, wherever it is by now. A directory that cannot be opened, or a name that is
  /// gone, is no failure of the file.
  private func syncEntry() throws(Failure) {
    let failure = try descriptor.withDescriptor { (number) throws(Failure) -> Failure? in
      let directory = unsafe withPage { name -> Int32 in
        // PATH_MAX is a page.
        let path = unsafe name.assumingMemoryBound(to: CChar.self)
        guard unsafe sys_directory_of(number, path, Int(PATH_MAX)) else { return -1 }
        return unsafe sys_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
      }
      if directory < 0 { return nil }
      defer { _ = CSystem.close(directory) }
      return fsync(directory) == 0 ? nil : .lastError
    }
    if let failure { throw failure }
  }

  /// Returns when `count` bytes from `offset` are on disk, as msync(2) with MS_SYNC. Bounds: within the mapping.
  public func syncRange(at offset: Int, count: Int) throws(Failure) {
    if isClosed { throw .closed }
    guard fits(offset, count, in: size) else { throw .outOfRange }
    let region = unsafe self.region
    let start = unsafe address(region, offset)
    let first = UInt(bitPattern: start) & ~UInt(mapping.page.bytes - 1)
    let bytes = Int(UInt(bitPattern: start) - first) + count
    // SAFETY: the range lies within the region, which stays mapped while the handle is used.
    try withSharedFile(isSync: true) { _ in
      unsafe msync(UnsafeMutableRawPointer(bitPattern: first), bytes, Int32(MS_SYNC))
    }
    if let fault = unsafe region.pointee.fault(start, count), traits.contains(.shared) {
      _ = try unsafe explain(fault, region, isOnlyRead: true, isLastTry: false, .none)
    }
  }

  /// Starts writing dirty pages to disk and returns at once, as sync_file_range(2) with SYNC_FILE_RANGE_WRITE.
  public func flush() throws(Failure) { try flush(at: 0, count: size) }

  /// The same for those of `count` bytes from `offset`, neither of them negative.
  public func flush(at offset: Int, count: Int) throws(Failure) {
    try withSharedFile(isSync: false) { number in
      sys_start_writeback(number, off_t(mapping.fileOffset + slack + offset), off_t(count))
    }
  }

  private func withSharedFile(isSync: Bool, _ call: (Int32) -> Int32) throws(Failure) {
    if isClosed { throw .closed }
    guard traits.contains(.shared), !traits.contains(.anonymous) else { return }
    try descriptor.withDescriptor { (number) throws(Failure) in
      while call(number) != 0 {
        let error = sys_errno()
        if error == EINTR { continue }
        if isSync && error != EBADF && error != EINVAL {
          _ = syncError.compareExchange(expected: 0, desired: error, ordering: .acquiringAndReleasing)
        }
        throw .system(error)
      }
    }
    let error = syncError.load(ordering: .acquiring)
    if isSync && error != 0 { throw .system(error) }
    // Who closes is told that all was done, or that it was not.
    if isClosed { throw .closed }
  }
}
