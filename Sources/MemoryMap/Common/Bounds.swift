import CSystem

/// Tells whether `count` bytes from `offset` lie within `length` bytes. The one bounds check of the project.
///
/// None of the numbers may be negative, or rather: a negative one is a number past any length, and does not fit.
@inline(__always)
public func fits(_ offset: Int, _ count: Int, in length: Int) -> Bool {
  let (offset, count, length) = (UInt(bitPattern: offset), UInt(bitPattern: count), UInt(bitPattern: length))
  return !(offset > length || count > length &- offset)
}

/// Sizes and addresses in whole pages.
public struct PageSize: Sendable {
  /// Bytes in a page; a power of two.
  public let bytes: Int

  /// The page size of the system.
  public static var system: PageSize { PageSize(bytes: sysconf(Int32(_SC_PAGESIZE))) }

  func roundDown(_ value: Int) -> Int { value & ~(bytes &- 1) }

  /// Rounds up; nil on overflow.
  func roundUp(_ value: Int) -> Int? {
    let (sum, overflow) = value.addingReportingOverflow(bytes &- 1)
    return overflow ? nil : sum & ~(bytes &- 1)
  }
}
