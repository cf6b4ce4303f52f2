import CSystem

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
  /// Bytes of a device, which fstat(2) does not know; nil for files.
  let deviceBytes: Int?

  /// The same at an address that the system chooses.
  var anywhere: Mapping { at(0, flags & ~sys_map_fixed_noreplace) }

  /// The same at an address and with other flags.
  func at(_ address: UInt, _ flags: Int32) -> Mapping {
    Mapping(
      protection: protection, flags: flags, fileOffset: fileOffset, address: address, page: page,
      deviceBytes: deviceBytes)
  }

  var isWritable: Bool { protection & PROT_WRITE != 0 }
  /// What is written becomes memory of the process, and is charged to it from the beginning.
  var isCharged: Bool { isWritable && flags & sys_map_type == sys_map_private && flags & sys_map_anonymous == 0 }

  /// Maps `length` bytes that lie `distance` bytes from the start of the regions, exactly at `address`.
  func map(_ length: Int, at address: UInt, distance: Int, protection: Int32, flags: Int32, _ descriptor: Int32) -> Int
  {
    sys_mmap(address, length, protection, flags, descriptor, off_t(fileOffset &+ distance))
  }
}
