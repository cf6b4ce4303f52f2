import CSystem

extension File {
  /// Returns the first position from `offset` on that is in no hole of the file, the size if there is none, and `offset`
  /// where the system does not say.
  public func nextData(from offset: Int) throws(Failure) -> Int {
    if isClosed { throw .closed }
    if traits.contains(.anonymous) { throw .invalid }
    let start = mapping.fileOffset + slack
    let (place, isOutside) = start.addingReportingOverflow(offset)
    if isOutside { throw .invalid }
    return try descriptor.withDescriptor { (number) throws(Failure) in
      let found = sys_next_data(number, off_t(place))
      if found >= 0 { return Int(found) - start }
      return sys_errno() == ENXIO ? max(size, offset) : offset
    }
  }
}
