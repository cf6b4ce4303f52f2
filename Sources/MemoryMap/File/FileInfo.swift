import CSystem

extension File {
  /// What `emmap:info/1` tells, beside the path.
  public struct Info {
    /// The byte of the file that is position 0.
    public let offset: Int
    /// Bytes of the handle.
    public let size: Int
    /// The position in bytes.
    public let position: Int
    /// What the handle was opened with.
    public let traits: Traits
    /// Where position 0 is in memory.
    public let address: UInt
    /// Positions that no longer reach the file.
    public let faulted: Range<Int>?
  }

  /// Describes the handle as it is now.
  public func info() throws(Failure) -> Info {
    if isClosed { throw .closed }
    let region = unsafe self.region
    let size = self.size
    var faulted: Range<Int>? = nil
    if let span = unsafe region.pointee.faultSpan {
      let (from, to) = (max(span.lowerBound - slack, 0), min(span.upperBound - slack, size))
      if from < to { faulted = from..<to }
    }
    return unsafe Info(
      offset: mapping.fileOffset + slack, size: size, position: currentPosition, traits: traits,
      address: UInt(bitPattern: address(region, 0)), faulted: faulted)
  }

  /// The file's status, as fstat(2).
  public func status() throws(Failure) -> stat {
    if isClosed { throw .closed }
    if traits.contains(.anonymous) { throw .invalid }
    return try descriptor.withDescriptor { (number) throws(Failure) in
      var status = stat()
      if unsafe sys_fstat(number, &status) != 0 { throw .lastError }
      return status
    }
  }
}
