import CSystem
import Synchronization

extension File {
  /// Finds out what is wrong with bytes that do not reach the file, and throws it. Returns if nothing is wrong any more:
  /// a page that was refused when it was written to may well be read, and one that was refused before may be had now.
  /// False if it has to be mapped afresh once somebody else is done with changing the mapping.
  @inline(never)
  func explain(
    _ fault: FaultSlot.Fault, _ region: UnsafeMutablePointer<Region>, isOnlyRead: Bool, isLastTry: Bool,
    _ patience: Patience
  ) throws(Failure) -> Bool {
    SpareMappings.keep()
    guard case .hole(let address, let isFull) = fault else { throw .truncated }
    // No page could be had; there is nobody to ask why.
    if traits.contains(.anonymous) { throw .noMemory }
    let distance = unsafe Int(address &- UInt(bitPattern: region.pointee.base))
    let failure = refusal(of: mapping.fileOffset + distance, isFull: isFull, isOnlyRead: isOnlyRead)
    if failure == .system(EIO) { throw .system(EIO) }
    // The file has the page, so reading it goes on.
    guard structure.lock(failure == nil ? patience : .none) else {
      if let failure { throw failure }
      return false
    }
    defer { structure.unlock() }
    if isClosed { throw .closed }
    let isMapped = try descriptor.withDescriptor { (number) throws(Failure) in
      unsafe region.pointee.heal(hole: address, descriptor: number) { losses.add($0, $1) }
    }
    if isMapped && failure == nil && !isLastTry { return true }
    throw failure ?? .system(isFull ? ENOSPC : EIO)
  }

  /// Why the system refuses a page within the file: the device says so when it is read in the ordinary way; a full or
  /// read-only file system, an immutable file or a quota when the page is to be allocated. Nil if it does not refuse it.
  private func refusal(of fileOffset: Int, isFull: Bool, isOnlyRead: Bool) -> Failure? {
    do throws(Failure) {
      return try descriptor.withDescriptor { (number) throws(Failure) -> Failure? in
        var byte: UInt8 = 0
        let count = unsafe pread(number, &byte, 1, off_t(fileOffset))
        if count < 0 { return .system(EIO) }
        if count == 0 { return .truncated }
        if isOnlyRead || !traits.isSuperset(of: [.writable, .shared]) { return nil }
        if sys_fallocate(number, sys_keep_size, off_t(fileOffset), 1) != 0 && sys_errno() != EOPNOTSUPP {
          return .lastError
        }
        // Blocks that are shared with another file have to be copied when they are written to.
        let isCopied = sys_fallocate(number, sys_unshare, off_t(fileOffset), 1) == 0
        if !isCopied && (sys_errno() == ENOSPC || sys_errno() == EDQUOT) { return .lastError }
        return isFull ? .system(ENOSPC) : nil
      }
    } catch {
      return error
    }
  }

  /// Takes over what others have appended since the handle had `length` bytes. False if that is nothing.
  @inline(never)
  func takeOverGrowth(since length: Int, _ patience: Patience) throws(Failure) -> Bool {
    guard window == nil, !traits.contains(.anonymous) else { return false }
    let end = try descriptor.withDescriptor { (number) throws(Failure) in try fileLength(number) }
    if end - mapping.fileOffset - slack <= length { return false }
    return try remap() > length
  }

  /// Tells whether the bytes are in memory, as far as they lie within the mapping, so that touching them waits for no
  /// disk. Looks at the first MiB. False where the system does not say.
  public func isResident(at offset: Int, count: Int) -> Bool {
    guard traits.contains(.tellsResidence) else { return false }
    let length = self.length.load(ordering: .acquiring)
    // Nothing there is to be waited for.
    guard offset < length else { return true }
    let page = PageSize.system
    let region = unsafe self.region
    let start = unsafe UInt(bitPattern: address(region, offset))
    let first = start & ~UInt(page.bytes - 1)
    let bytes = Int(start - first) + min(count, length - offset, 1 << 20)
    return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 257) { vector in
      let pages = min((bytes + page.bytes - 1) / page.bytes, vector.count)
      guard
        unsafe mincore(UnsafeMutableRawPointer(bitPattern: first), pages * page.bytes, vector.baseAddress) == 0
      else { return false }
      return unsafe vector.prefix(pages).allSatisfy { $0 & 1 == 1 }
    }
  }
}
