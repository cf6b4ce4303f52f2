import CSystem
import Synchronization

extension File {
  /// Returns when all data of the file is on disk, as fdatasync(2); nothing to do for private and anonymous mappings.
  public func syncData() throws(Failure) {
    try withSharedFile { number in fdatasync(number) }
  }

  /// Returns when data and metadata are on disk, as fsync(2); for a file that this handle made, its directory entry
  /// too.
  public func syncAll() throws(Failure) {
    try withSharedFile { number in fsync(number) }
    guard let directory = unsafe newIn, !isEntryOnDisk.load(ordering: .acquiring) else { return }
    try unsafe Self.sync(directory: directory)
    // Only now: two who sync at once both wait for it, and after a failure it is still to be done.
    isEntryOnDisk.store(true, ordering: .releasing)
  }

  private static func sync(directory: UnsafePointer<CChar>) throws(Failure) {
    let number = unsafe sys_open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
    if number < 0 { throw .lastError }
    defer { _ = CSystem.close(number) }
    if fsync(number) != 0 { throw .lastError }
  }

  /// Returns when `count` bytes from `offset` are on disk, as msync(2) with MS_SYNC. Bounds: within the mapping.
  public func syncRange(at offset: Int, count: Int) throws(Failure) {
    if isClosed { throw .closed }
    guard fits(offset, count, in: size) else { throw .outOfRange }
    guard traits.contains(.shared), !traits.contains(.anonymous) else { return }
    let start = unsafe address(region, offset)
    let first = UInt(bitPattern: start) & ~UInt(mapping.page.bytes - 1)
    let bytes = Int(UInt(bitPattern: start) - first) + count
    // SAFETY: the range lies within the region, which stays mapped while the handle is used.
    if unsafe msync(UnsafeMutableRawPointer(bitPattern: first), bytes, Int32(MS_SYNC)) != 0 { throw .lastError }
    if isClosed { throw .closed }
    try unsafe check(region, start, count)
  }

  /// Starts writing dirty pages to disk and returns at once, as sync_file_range(2) with SYNC_FILE_RANGE_WRITE.
  public func flush() throws(Failure) {
    try withSharedFile { number in
      sys_start_writeback(number, off_t(mapping.fileOffset + slack), off_t(size))
    }
  }

  private func withSharedFile(_ call: (Int32) -> Int32) throws(Failure) {
    if isClosed { throw .closed }
    guard traits.contains(.shared), !traits.contains(.anonymous) else { return }
    try descriptor.withDescriptor { (number) throws(Failure) in
      while call(number) != 0 {
        if sys_errno() != EINTR { throw .lastError }
      }
    }
  }

  /// How a range is going to be used; the advice of `file:advise/4`.
  public struct Advice {
    /// The value for madvise(2) where the file keeps what is written, and elsewhere.
    fileprivate let shared, other: Int32

    private init(_ value: Int32) { (shared, other) = (value, value) }
    private init(shared: Int32, other: Int32) { (self.shared, self.other) = (shared, other) }

    /// No advice: takes back what was given before.
    public static var normal: Advice { Advice(Int32(MADV_NORMAL)) }
    /// In no order: do not read ahead.
    public static var random: Advice { Advice(Int32(MADV_RANDOM)) }
    /// From the start to the end: read ahead.
    public static var sequential: Advice { Advice(Int32(MADV_SEQUENTIAL)) }
    /// Soon: begin to read.
    public static var willNeed: Advice { Advice(Int32(MADV_WILLNEED)) }
    /// Not soon: the pages may be given back.
    public static var dontNeed: Advice { Advice(shared: Int32(MADV_DONTNEED), other: sys_advise_cold) }
    /// Once: the pages may be the first to go.
    public static var noReuse: Advice { Advice(sys_advise_cold) }
  }

  /// Tells the system how `count` bytes from `offset` (0: all that follow) are going to be used, as madvise(2). Never
  /// drops data: on a private or anonymous mapping `dontNeed` only makes the pages the first to go.
  public func advise(at offset: Int, count: Int, _ advice: Advice) throws(Failure) {
    if isClosed { throw .closed }
    guard offset >= 0, count >= 0 else { throw .invalid }
    let size = self.size
    guard offset < size else { return }
    let count = count == 0 ? size - offset : min(count, size - offset)
    let keeps = traits.contains(.shared) && !traits.contains(.anonymous)
    let value = keeps ? advice.shared : advice.other
    let start = unsafe UInt(bitPattern: address(region, offset))
    let first = start & ~UInt(mapping.page.bytes - 1)
    let bytes = Int(start - first) + count
    // SAFETY: the range lies within the region, which stays mapped while the handle is used.
    if unsafe madvise(UnsafeMutableRawPointer(bitPattern: first), bytes, value) != 0 {
      // EINVAL: an older system does not know the advice, which is then not taken.
      if sys_errno() != EINVAL { throw .lastError }
    }
  }
}
