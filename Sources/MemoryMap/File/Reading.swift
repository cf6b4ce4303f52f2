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
    // No page could be had; there is nobody to ask why.
    if traits.contains(.anonymous) { throw .noMemory }
    guard case .hole(let address, let isFull) = fault else { throw .truncated }
    let fileOffset = unsafe mapping.fileOffset + Int(address &- UInt(bitPattern: region.pointee.base))
    let (failure, isThere) = try descriptor.withDescriptor { (number) throws(Failure) in
      try refusal(number, fileOffset, isFull: isFull, isOnlyRead: isOnlyRead)
    }
    // What there is no room for stays marked, until `remap`. Else the page can be read, so reading it goes on.
    if !isThere && (isFull || failure == .system(ENOSPC) || failure == .system(EDQUOT)) {
      throw failure ?? .system(ENOSPC)
    }
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

  /// Why the system refuses a page within the file, and whether the file has it, or it is a hole in it. The device says
  /// so when the page is read in the ordinary way; a full or read-only file system, an immutable file or a quota when it
  /// is to be allocated. Nil if it is not refused.
  private func refusal(
    _ number: Int32, _ fileOffset: Int, isFull: Bool, isOnlyRead: Bool
  ) throws(Failure) -> (failure: Failure?, isThere: Bool) {
    var byte: UInt8 = 0
    let count = unsafe pread(number, &byte, 1, off_t(fileOffset))
    if count < 0 { throw .system(EIO) }
    if count == 0 { throw .truncated }
    let isThere = sys_has_data(number, off_t(fileOffset))
    if isOnlyRead && isThere { return (nil, true) }
    guard traits.isSuperset(of: [.writable, .shared]) else { return (isFull ? .system(ENOSPC) : nil, isThere) }
    if sys_fallocate(number, sys_keep_size, off_t(fileOffset), 1) != 0, sys_errno() != EOPNOTSUPP,
      sys_errno() != ENOSYS
    {
      return (.lastError, isThere)
    }
    // Blocks that are shared with another file have to be copied when they are written to.
    let isCopied = sys_fallocate(number, sys_unshare, off_t(fileOffset), 1) == 0
    if !isCopied && (sys_errno() == ENOSPC || sys_errno() == EDQUOT) { return (.lastError, isThere) }
    return (isFull ? .system(ENOSPC) : nil, isThere)
  }

  /// Takes over what others have appended, if a read of `count` bytes from `offset` meets the end. False if there is
  /// something, and it would have to wait.
  @inline(never)
  func takeOverGrowth(at offset: Int, count: Int, _ patience: Patience) throws(Failure) -> Bool {
    let length = size
    if fits(offset, count, in: length) || window != nil || isClosed { return true }
    let end = try descriptor.withDescriptor { (number) throws(Failure) in try fileLength(number) }
    if end - mapping.fileOffset - slack <= length { return true }
    if patience == .none { return false }
    _ = try remap()
    return true
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
