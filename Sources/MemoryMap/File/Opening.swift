import CSystem

extension File {
  /// Opens and maps a file, as open(2) and mmap(2). Never waits for another process; may block on a disk.
  ///
  /// - Parameters:
  ///   - path: a C string; taken as it is.
  ///   - offset: the byte of the file that becomes position 0.
  ///   - length: bytes to map; 0 maps to the end of the file.
  public static func open(
    _ path: UnsafePointer<CChar>, offset: Int, length: Int, options: OpenOptions, memory: RegionMemory
  ) throws(Failure) -> File {
    // The first page cannot be mapped, and 0 stands for no address.
    if options.address != 0 && options.pageSize.roundDown(options.address) == 0 { throw .invalid }
    FaultTable.installHandler()
    if options.isAnonymous { return try openAnonymous(offset: offset, length: length, options, memory) }
    var (descriptor, isNew) = try unsafe openDescriptor(path, options)
    do throws(Failure) {
      return try unsafe map(&descriptor, isNew, path, offset: offset, length: length, options, memory)
    } catch {
      if isNew { unsafe removeNew(path, descriptor) }
      _ = CSystem.close(descriptor)
      throw error
    }
  }

  private static func openAnonymous(
    offset: Int, length: Int, _ options: OpenOptions, _ memory: RegionMemory
  ) throws(Failure) -> File {
    let length = length > 0 ? length : options.size
    guard offset == 0, length > 0 else { throw .invalid }
    return unsafe try File(
      Opened(
        traits: traits(options, growable: false).union(.anonymous), descriptor: -1,
        mapping: Mapping(options, fileOffset: 0, page: options.pageSize), length: length, slack: 0, window: length,
        maximumStep: options.maximumStep, newIn: nil, autoUnlink: nil, memory: memory))
  }

  /// Flags of open(2) for all files. O_NONBLOCK: a FIFO or a device answers at once.
  private static var openFlags: Int32 { O_CLOEXEC | O_NOCTTY | O_NONBLOCK }

  /// Opens the descriptor and tells whether this made the file.
  private static func openDescriptor(
    _ path: UnsafePointer<CChar>, _ options: OpenOptions
  ) throws(Failure) -> (Int32, isNew: Bool) {
    let flags = options.flags
    let mustWrite = options.isWritable && (options.isShared || flags.contains(.truncate))
    while true {
      var descriptor = unsafe sys_open(path, openFlags | (mustWrite ? O_RDWR : O_RDONLY), 0)
      if descriptor >= 0 { return (descriptor, false) }
      let error = sys_errno()
      if error == EINTR { continue }
      // Without `write` a new file could get no size.
      guard error == ENOENT, flags.contains(.create), options.isWritable else { throw .system(error) }
      descriptor = unsafe sys_open(path, openFlags | O_RDWR | O_CREAT | O_EXCL, 0o600)
      if unsafe descriptor < 0 && sys_errno() == EEXIST && isDangling(path) {
        // A link to a file that does not exist: as open(2) without O_EXCL, make that file.
        descriptor = unsafe sys_open(path, openFlags | O_RDWR | O_CREAT, 0o600)
      }
      if descriptor >= 0 {
        // fchmod: the mode is the one given, whatever the umask.
        if fchmod(descriptor, mode_t(options.mode)) == 0 { return (descriptor, true) }
        let failure = Failure.lastError
        unsafe removeNew(path, descriptor)
        _ = CSystem.close(descriptor)
        throw failure
      }
      // Somebody else made it meanwhile: open theirs.
      if sys_errno() != EEXIST { throw .lastError }
    }
  }

  private static func isDangling(_ path: UnsafePointer<CChar>) -> Bool {
    var status = stat()
    return unsafe access(path, F_OK) != 0 && sys_errno() == ENOENT && sys_lstat(path, &status) == 0
  }

  /// Removes a file that was not there before, but neither a link to it that was, nor what else has come in its place.
  private static func removeNew(_ path: UnsafePointer<CChar>, _ descriptor: Int32) {
    var status = stat()
    guard unsafe sys_fstat(descriptor, &status) == 0, let file = unsafe realpath(path, nil) else { return }
    unsafe AutoUnlink(path: file, device: UInt(status.st_dev), inode: UInt(status.st_ino)).run()
  }

  /// Opens the file of a descriptor that can only be read for writing, too, and closes that one.
  private static func reopenWritable(
    _ descriptor: Int32, _ path: UnsafePointer<CChar>
  ) throws(Failure) -> Int32 {
    let other = unsafe sys_open(path, openFlags | O_RDWR, 0)
    if other < 0 { throw .lastError }
    var (ours, theirs) = (stat(), stat())
    guard unsafe sys_fstat(descriptor, &ours) == 0, unsafe sys_fstat(other, &theirs) == 0,
      ours.st_dev == theirs.st_dev, ours.st_ino == theirs.st_ino
    else {
      // Somebody has put another file in its place.
      _ = CSystem.close(other)
      throw .system(EAGAIN)
    }
    _ = CSystem.close(descriptor)
    return other
  }

  /// What is to be mapped of a file.
  private struct Extent {
    /// Bytes of the handle.
    var length: Int
    /// How long the file has to be for it.
    var fileSize: Int
    /// Whether the handle ends where the file does.
    var reachesEnd: Bool
  }

  /// Works out what is to be mapped of a file of `fileSize` bytes. Throws what is wrong with the request.
  private static func extent(
    offset: Int, length: Int, fileSize: Int, isRegular: Bool, _ options: OpenOptions
  ) throws(Failure) -> Extent {
    var wanted = length
    if length == 0 && options.size > 0 {
      wanted = options.size - offset
      if wanted <= 0 { throw .invalid }
    }
    var result = Extent(length: wanted, fileSize: fileSize, reachesEnd: false)
    if wanted > 0 {
      let (end, overflow) = offset.addingReportingOverflow(wanted)
      if isRegular && (overflow || fileSize < end) {
        guard fileSize == 0 || options.flags.contains(.fit) else { throw .tooShort }
        guard options.isWritable else { throw fileSize == 0 ? .invalid : .tooShort }
        result.fileSize = max(end, options.size)
      }
      if overflow { throw .system(EFBIG) }
      result.reachesEnd = isRegular && end == result.fileSize
    } else {
      if offset > fileSize && fileSize > 0 { throw .tooShort }
      result.length = fileSize - offset
      result.reachesEnd = isRegular && offset <= fileSize
    }
    let canGrow = result.reachesEnd && canGrow(options)
    if result.length < 0 || (result.length == 0 && !canGrow) { throw .invalid }
    return result
  }

  private static func canGrow(_ options: OpenOptions) -> Bool {
    options.isWritable && options.isShared && !options.flags.contains(.fixedSize)
  }

  private static func map(
    _ descriptor: inout Int32, _ isNew: Bool, _ path: UnsafePointer<CChar>, offset: Int, length: Int,
    _ options: OpenOptions, _ memory: RegionMemory
  ) throws(Failure) -> File {
    var status = stat()
    if unsafe sys_fstat(descriptor, &status) != 0 { throw .lastError }
    if sys_is_directory(status.st_mode) { throw .system(EISDIR) }
    if sys_is_waiting_kind(status.st_mode) { throw .system(ENODEV) }
    let isRegular = sys_is_regular(status.st_mode)
    let sizeBefore = Int(status.st_size)
    let isToBeCut = options.flags.contains(.truncate) && isRegular && sizeBefore > 0
    if isToBeCut && !options.isWritable { throw .invalid }
    // All that can be known to be wrong comes before the file is touched.
    let extent = try extent(
      offset: offset, length: length, fileSize: isToBeCut ? 0 : sizeBefore, isRegular: isRegular, options)
    let hugePage = sys_huge_page_size(descriptor)
    let page = hugePage > 0 ? PageSize(bytes: hugePage) : options.pageSize
    let isToGrow = extent.fileSize > (isToBeCut ? 0 : sizeBefore)
    if isToBeCut || isToGrow {
      try probe(descriptor, Mapping(options, fileOffset: 0, page: page))
      let mayWrite = isNew || options.isShared || options.flags.contains(.truncate)
      if !mayWrite { descriptor = try unsafe reopenWritable(descriptor, path) }
    }
    if isToBeCut {
      // What also comes before: whether the file system takes the length.
      if extent.fileSize > sizeBefore { try extend(descriptor, extent.fileSize) }
      try resize(descriptor, 0)
    }
    if isToGrow { try extend(descriptor, extent.fileSize) }
    let growable = extent.reachesEnd && canGrow(options)

    let mapping = Mapping(options, fileOffset: page.roundDown(offset), page: page)
    var autoUnlink: AutoUnlink? = nil
    // A device stays, whoever opens it.
    if options.flags.contains(.autoUnlink) && isRegular {
      guard let absolute = unsafe absolutePath(path) else { throw .lastError }
      unsafe autoUnlink = AutoUnlink(path: absolute, device: UInt(status.st_dev), inode: UInt(status.st_ino))
    }
    let newIn = unsafe isNew ? directory(of: path) : nil
    do throws(Failure) {
      return unsafe try File(
        Opened(
          traits: traits(options, growable: growable), descriptor: descriptor, mapping: mapping, length: extent.length,
          slack: offset - mapping.fileOffset, window: extent.reachesEnd ? nil : extent.length,
          maximumStep: options.maximumStep,
          newIn: newIn, autoUnlink: autoUnlink, memory: memory))
    } catch {
      unsafe free(newIn)
      unsafe free(autoUnlink?.path)
      // Unless somebody else has changed it meanwhile.
      if unsafe isToGrow && sys_fstat(descriptor, &status) == 0 && Int(status.st_size) == extent.fileSize {
        try? resize(descriptor, isToBeCut ? 0 : sizeBefore)
      }
      throw error
    }
  }

  /// Tells whether the system takes the flags and the address at all, before a file is changed for it.
  private static func probe(_ descriptor: Int32, _ mapping: Mapping) throws(Failure) {
    let bytes = mapping.page.bytes
    let flags = mapping.flags & ~sys_map_populate
    let address = sys_mmap(mapping.address, bytes, mapping.protection, flags, descriptor, 0)
    if address <= 0 { throw .system(Int32(truncatingIfNeeded: -address)) }
    _ = unsafe munmap(UnsafeMutableRawPointer(bitPattern: address), bytes)
  }

  /// The directory of a path, as an absolute path: the working directory may be another one by the time of a `sync`.
  private static func directory(of path: UnsafePointer<CChar>) -> UnsafeMutablePointer<CChar>? {
    guard let copy = unsafe strdup(path) else { return nil }
    defer { unsafe free(copy) }
    if let slash = unsafe strrchr(copy, 0x2F) {
      unsafe (slash + (slash == copy ? 1 : 0)).pointee = 0
      return unsafe realpath(copy, nil)
    }
    return unsafe realpath(".", nil)
  }

  /// A path that means the same wherever the working directory moves, without following a link at its end.
  private static func absolutePath(_ path: UnsafePointer<CChar>) -> UnsafeMutablePointer<CChar>? {
    guard let directory = unsafe directory(of: path) else { return nil }
    defer { unsafe free(directory) }
    let slash = unsafe strrchr(path, 0x2F)
    let name = unsafe slash.map { unsafe UnsafePointer($0) + 1 } ?? path
    let (before, count) = unsafe (strlen(directory), strlen(name) + 1)
    guard let joined = unsafe malloc(before + 1 + count)?.assumingMemoryBound(to: CChar.self) else { return nil }
    unsafe memcpy(joined, directory, before)
    unsafe (joined + before).pointee = 0x2F
    unsafe memcpy(joined + before + 1, name, count)
    return unsafe joined
  }

  private static func traits(_ options: OpenOptions, growable: Bool) -> Traits {
    var result: Traits = []
    if options.isWritable { result.insert(.writable) }
    if options.isShared { result.insert(.shared) }
    if options.flags.contains(.direct) { result.insert(.direct) }
    if !options.flags.contains(.noLock) { result.insert(.locked) }
    if options.flags.contains(.fixedSize) { result.insert(.fixedSize) }
    if options.flags.contains(.debug) { result.insert(.debug) }
    if options.address != 0 { result.insert(.fixedAddress) }
    if growable { result.insert(.growable) }
    return result
  }

  /// Makes a file at least so long; whatever others write to it meanwhile stays.
  private static func extend(_ descriptor: Int32, _ length: Int) throws(Failure) {
    while sys_extend(descriptor, off_t(length)) != 0 {
      let error = sys_errno()
      if error == EINTR { continue }
      // Not all file systems have fallocate(2).
      guard error == EOPNOTSUPP || error == ENOSYS else { throw .system(error) }
      var status = stat()
      if unsafe sys_fstat(descriptor, &status) != 0 { throw .lastError }
      if Int(status.st_size) < length { try resize(descriptor, length) }
      return
    }
  }

  /// Sets the length of a file.
  static func resize(_ descriptor: Int32, _ length: Int) throws(Failure) {
    while ftruncate(descriptor, off_t(length)) != 0 {
      if sys_errno() != EINTR { throw .lastError }
    }
  }
}

extension Mapping {
  init(_ options: OpenOptions, fileOffset: Int, page: PageSize) {
    self.init(
      protection: options.protection, flags: options.mapFlags, fileOffset: fileOffset,
      address: UInt(bitPattern: page.roundDown(options.address)), page: page)
  }
}
