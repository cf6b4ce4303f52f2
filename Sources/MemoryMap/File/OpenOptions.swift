import CSystem

/// The options of `emmap:open`, decoded. The raw values of `Flags` are shared with emmap_options.erl.
public struct OpenOptions {
  /// Options without an argument.
  public struct Flags: OptionSet, Sendable {
    /// The bits.
    public let rawValue: Int
    /// Takes the bits as they are.
    public init(rawValue: Int) { self.rawValue = rawValue }

    static let write = Flags(rawValue: 1 << 0)
    static let create = Flags(rawValue: 1 << 1)
    static let truncate = Flags(rawValue: 1 << 2)
    static let shared = Flags(rawValue: 1 << 3)
    static let sharedValidate = Flags(rawValue: 1 << 4)
    static let anonymous = Flags(rawValue: 1 << 5)
    static let direct = Flags(rawValue: 1 << 6)
    static let noLock = Flags(rawValue: 1 << 7)
    static let populate = Flags(rawValue: 1 << 8)
    static let noReserve = Flags(rawValue: 1 << 9)
    static let sync = Flags(rawValue: 1 << 10)
    static let uninitialized = Flags(rawValue: 1 << 11)
    static let autoUnlink = Flags(rawValue: 1 << 12)
    static let debug = Flags(rawValue: 1 << 13)
    static let fit = Flags(rawValue: 1 << 14)
    static let fixedSize = Flags(rawValue: 1 << 15)
    static let hugeTLB = Flags(rawValue: 1 << 16)
    static let huge2MB = Flags(rawValue: 1 << 17)
    static let huge1GB = Flags(rawValue: 1 << 18)
    static let nonBlock = Flags(rawValue: 1 << 19)
    static let append = Flags(rawValue: 1 << 20)
    static let exclusive = Flags(rawValue: 1 << 21)
    static let dirty = Flags(rawValue: 1 << 22)
    static let follow = Flags(rawValue: 1 << 23)
    static let unlink = Flags(rawValue: 1 << 24)
  }

  let flags: Flags
  /// Where the mapping must begin; 0 leaves it to the system.
  let address: Int
  /// Permissions of a file that is created; nil if the caller has not given any.
  let mode: UInt32?
  /// Bytes that a new file, or the mapping of an existing one, is to have; 0 if not given.
  let size: Int
  /// The step in bytes past which growth stops doubling.
  let maximumStep: Int

  /// Takes decoded options; none of the numbers may be negative.
  public init(flags: Flags, address: Int, mode: UInt32?, size: Int, maximumStep: Int) {
    self.flags = flags
    self.address = address
    self.mode = mode
    self.size = size
    self.maximumStep = maximumStep
  }

  var isWritable: Bool { flags.contains(.write) }
  var isAnonymous: Bool { flags.contains(.anonymous) }
  var populates: Bool { flags.contains(.populate) && !flags.contains(.nonBlock) }
  var isShared: Bool { flags.contains(.shared) || flags.contains(.sharedValidate) }

  var protection: Int32 { isWritable ? PROT_READ | PROT_WRITE : PROT_READ }

  var pageSize: PageSize {
    if flags.contains(.huge1GB) { return PageSize(bytes: 1 << 30) }
    if flags.contains(.huge2MB) || flags.contains(.hugeTLB) { return PageSize(bytes: 2 << 20) }
    return .system
  }

  /// The flags of mmap(2).
  var mapFlags: Int32 {
    var result = sys_map_private
    if flags.contains(.shared) { result = sys_map_shared }
    // The system has MAP_SHARED_VALIDATE for files alone; without one there is nothing to validate.
    if flags.contains(.sharedValidate) && isAnonymous { result = sys_map_shared }
    if flags.contains(.sharedValidate) && !isAnonymous {
      result = sys_map_shared_validate
      // "Mappings of type shared silently ignore this flag."
      if flags.contains(.sync) { result |= sys_map_sync }
    }
    // `populate` is done afterwards, in slices.
    let others: [(Flags, Int32)] = [
      (.anonymous, sys_map_anonymous), (.noReserve, sys_map_noreserve),
      (.nonBlock, sys_map_nonblock), (.uninitialized, sys_map_uninitialized), (.hugeTLB, sys_map_hugetlb),
      (.huge2MB, sys_map_hugetlb | sys_map_huge_2mb), (.huge1GB, sys_map_hugetlb | sys_map_huge_1gb),
    ]
    for (option, flag) in others where flags.contains(option) { result |= flag }
    if address != 0 { result |= sys_map_fixed_noreplace }
    return result
  }
}
