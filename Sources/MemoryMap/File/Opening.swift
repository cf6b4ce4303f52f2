import CSystem

extension File {
  /// Opens and maps a file, as open(2) and mmap(2). Never waits for another process, but for one that gives up a lease;
  /// may block on a disk.
  ///
  /// Nothing is done that would have to be undone: what is wrong with the request is found out first, then the file is
  /// mapped, past its end if need be, then made longer. A new file gets its name when it has its length.
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
    let request = Request(offset: offset, length: length, options: options, memory: memory)
    // The address may be that of a handle that was dropped just now.
    if options.address != 0 { Reaper.catchUp() }
    do throws(Failure) {
      return try unsafe open(path, request)
    } catch {
      // And so may mappings and descriptors, if there are no more of them.
      guard error == .noMemory || error == .system(EMFILE) || error == .system(ENFILE) else { throw error }
      Reaper.catchUp()
      return try unsafe open(path, request)
    }
  }

  private static func open(_ path: UnsafePointer<CChar>, _ request: Request) throws(Failure) -> File {
    let file = try unsafe request.options.isAnonymous ? openAnonymous(request) : openNamed(path, request)
    if request.options.populates { file.populate() }
    return file
  }

  /// What the caller asks for.
  private struct Request {
    let offset, length: Int
    let options: OpenOptions
    let memory: RegionMemory
  }

  private static func openAnonymous(_ request: Request) throws(Failure) -> File {
    let options = request.options
    let length = request.length > 0 ? request.length : options.size
    guard request.offset == 0, length > 0 else { throw .invalid }
    let mapping = Mapping(options, fileOffset: 0, page: options.pageSize, deviceBytes: nil)
    let traits = traits(options).union([.anonymous, .tellsResidence])
    let region = try unsafe map(mapping, length, grows: false, traits, -1, request.memory)
    return unsafe File(
      Opened(
        traits: traits, descriptor: -1, mapping: mapping, length: length, slack: 0, window: length,
        maximumStep: options.maximumStep, isNew: false, autoUnlink: nil, memory: request.memory), region)
  }

  private static func openNamed(_ path: UnsafePointer<CChar>, _ request: Request) throws(Failure) -> File {
    let creates = request.options.flags.contains(.create) && request.options.isWritable
    let isExclusive = creates && request.options.flags.contains(.exclusive)
    // As with O_EXCL, whatever it is.
    var status = stat()
    if unsafe isExclusive && sys_lstat(path, &status) == 0 { throw .system(EEXIST) }
    var canBeUnnamed = true
    while true {
      do throws(Failure) {
        let descriptor = try unsafe openExisting(path, request.options)
        if isExclusive {
          _ = CSystem.close(descriptor)
          throw .system(EEXIST)
        }
        return try unsafe open(descriptor, path, request, .existing)
      } catch .system(ENOENT) where creates {
        // Without `write` a new file could get no size.
      }
      let isDangling = unsafe isDangling(path)
      if canBeUnnamed && !isDangling {
        if let file = try unsafe openUnnamed(path, request) { return file }
        canBeUnnamed = false
        continue
      }
      let flags = openFlags(request.options) | O_RDWR | O_CREAT | (isDangling && !isExclusive ? 0 : O_EXCL)
      let descriptor = unsafe sys_open(path, flags, 0o600)
      if descriptor >= 0 {
        do throws(Failure) {
          return try unsafe open(descriptor, path, request, .made)
        } catch {
          // Here it is already closed.
          unsafe removeEmpty(path)
          throw error
        }
      }
      if sys_errno() != EEXIST || isExclusive { throw .lastError }
    }
  }

  /// Flags of open(2) for all files. O_NONBLOCK: a FIFO or a device answers at once.
  private static func openFlags(_ options: OpenOptions) -> Int32 {
    O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (options.flags.contains(.append) ? O_APPEND : 0)
  }

  /// Opens a file that is there. Looks at its kind before: opening a FIFO or a device may do something to others.
  private static func openExisting(
    _ path: UnsafePointer<CChar>, _ options: OpenOptions
  ) throws(Failure) -> Int32 {
    var status = stat()
    if unsafe sys_stat(path, &status) == 0 { try checkKind(status) }
    let mustWrite = options.isWritable && (options.isShared || options.flags.contains(.truncate))
    var flags = openFlags(options) | (mustWrite ? O_RDWR : O_RDONLY)
    while true {
      let descriptor = unsafe sys_open(path, flags, 0)
      if descriptor >= 0 { return descriptor }
      // Somebody has a lease on it, and is giving it up: a plain open waits for that.
      if sys_errno() == EAGAIN && sys_is_regular(status.st_mode) && flags & O_NONBLOCK != 0 {
        flags &= ~O_NONBLOCK
      } else if sys_errno() != EINTR {
        throw .lastError
      }
    }
  }

  private static func checkKind(_ status: stat) throws(Failure) {
    if sys_is_directory(status.st_mode) { throw .system(EISDIR) }
    if sys_is_fifo(status.st_mode) { throw .system(ENODEV) }
    // As open(2) has it.
    if sys_is_socket(status.st_mode) { throw .system(ENXIO) }
  }

  private static func isSame(_ descriptor: Int32, _ other: stat) -> Bool {
    var status = stat()
    guard unsafe sys_fstat(descriptor, &status) == 0 else { return false }
    return status.st_dev == other.st_dev && status.st_ino == other.st_ino
  }

  private static func isDangling(_ path: UnsafePointer<CChar>) -> Bool {
    var status = stat()
    return unsafe CSystem.access(path, F_OK) != 0 && sys_errno() == ENOENT && sys_lstat(path, &status) == 0
  }

  /// Makes a file without a name, and gives it the name when all else is done. Returns nil if the file system cannot do
  /// that, or something else has the name by then. What is refused leaves nothing.
  private static func openUnnamed(_ path: UnsafePointer<CChar>, _ request: Request) throws(Failure) -> File? {
    guard unsafe path.pointee != 0 else { throw .system(ENOENT) }
    guard let copy = unsafe strdup(path) else { throw .noMemory }
    defer { unsafe free(copy) }
    let slash = unsafe strrchr(copy, 0x2F)
    // "/name" is in "/", and "name" in ".".
    unsafe (slash.map { unsafe $0 + ($0 == copy ? 1 : 0) } ?? copy + 1).pointee = 0
    if unsafe slash == nil { unsafe copy.pointee = 0x2E }
    let descriptor = unsafe sys_open_unnamed(copy, openFlags(request.options) | O_RDWR, 0o600)
    if descriptor < 0 {
      let error = sys_errno()
      if error == EOPNOTSUPP || error == EISDIR || error == EINVAL || error == ENOENT { return nil }
      throw .system(error)
    }
    do throws(Failure) {
      return try unsafe open(descriptor, path, request, .unnamed)
    } catch {
      // Without /proc there is no way to name it.
      if error == .system(ENOENT) { return nil }
      var status = stat()
      let isTheirs = unsafe error == .system(EEXIST) && sys_lstat(path, &status) == 0
      if isTheirs && !request.options.flags.contains(.exclusive) { return nil }
      throw error
    }
  }

  /// The mode is the one given, whatever the umask. A file system that has no modes is no failure, unless one was given.
  private static func setMode(_ descriptor: Int32, _ options: OpenOptions) throws(Failure) {
    if let mode = options.mode, fchmod(descriptor, mode_t(mode)) != 0 { throw .lastError }
  }

  /// Removes a file that this has just made, where it could not be made without a name, unless somebody has begun to use
  /// it: then it has a length.
  private static func removeEmpty(_ path: UnsafePointer<CChar>) {
    // A link to it stays.
    guard let path = unsafe realpath(path, nil) else { return }
    defer { unsafe free(path) }
    var status = stat()
    if unsafe sys_lstat(path, &status) == 0 && status.st_size == 0 && sys_is_regular(status.st_mode) {
      _ = unsafe unlink(path)
    }
  }

  /// What is to be done with a file that is open, worked out before anything is done. Throws what is wrong with the
  /// request.
  private struct Plan {
    /// Bytes of the handle.
    var length: Int
    /// How long the file has to be for it.
    var fileSize: Int
    /// How long it is.
    let sizeBefore: Int
    /// Whether the handle ends where the file does.
    var reachesEnd: Bool
    let isRegular: Bool
    let isToBeCut: Bool
    let mapping: Mapping
    let slack: Int
    let traits: Traits
    let status: stat

    var sizeAfterCut: Int { isToBeCut ? 0 : sizeBefore }
    var isToGrow: Bool { fileSize > sizeAfterCut }
    /// Whether it takes addresses to grow into: one that is only read may go on elsewhere.
    var keepsRoom: Bool { reachesEnd && traits.contains(.writable) && !traits.contains(.fixedSize) }

    init(_ descriptor: Int32, _ request: Request) throws(Failure) {
      let (options, offset) = (request.options, request.offset)
      var status = stat()
      if unsafe sys_fstat(descriptor, &status) != 0 { throw .lastError }
      self.status = status
      try File.checkKind(status)
      isRegular = sys_is_regular(status.st_mode)
      let isBlockDevice = sys_is_block_device(status.st_mode)
      // The status of a device does not say how long it is; some have no end.
      let device = isBlockDevice ? Int(lseek(descriptor, 0, SEEK_END)) : isRegular ? nil : 1 << 62
      sizeBefore = isBlockDevice ? max(device ?? 0, 0) : Int(status.st_size)
      isToBeCut = options.flags.contains(.truncate) && isRegular && sizeBefore > 0
      if isToBeCut && !options.isWritable { throw .invalid }
      let fileSystem = sys_file_system(descriptor)
      let isHuge = fileSystem.kind == sys_hugetlbfs
      let page = isHuge ? PageSize(bytes: fileSystem.block) : options.pageSize
      mapping = Mapping(options, fileOffset: page.roundDown(offset), page: page, deviceBytes: device)
      slack = offset - mapping.fileOffset

      let available = isToBeCut ? 0 : sizeBefore
      (length, fileSize, reachesEnd) = (0, available, false)
      var wanted = request.length
      if wanted == 0 && options.size > 0 {
        wanted = options.size - offset
        if wanted <= 0 { throw .invalid }
      }
      if wanted > 0 {
        let (end, overflow) = offset.addingReportingOverflow(wanted)
        if isRegular && (overflow || available < end) {
          guard available == 0 || options.flags.contains(.fit) else { throw .tooShort }
          guard options.isWritable else { throw available == 0 ? .invalid : .tooShort }
          fileSize = max(end, options.size)
        }
        if overflow { throw .system(EFBIG) }
        length = wanted
        reachesEnd = isRegular && end == fileSize
      } else {
        if offset > available { throw .tooShort }
        if !isRegular && !isBlockDevice { throw .invalid }
        length = available - offset
        reachesEnd = isRegular
      }

      var traits = File.traits(options)
      let canGrow = options.isWritable && options.isShared && !options.flags.contains(.fixedSize)
      if reachesEnd && canGrow { traits.insert(.growable) }
      if fileSystem.kind == sys_tmpfs || fileSystem.kind == sys_ramfs || isHuge { traits.insert(.keepsTail) }
      let isReadOnly = !(options.isWritable && (options.isShared || options.flags.contains(.truncate)))
      if fileSystem.kind == sys_overlay && isReadOnly { traits.insert(.layered) }
      if !isReadOnly || status.st_uid == geteuid() || sys_may_write(descriptor) { traits.insert(.tellsResidence) }
      self.traits = traits
    }
  }

  private static func map(
    _ plan: Plan, _ request: Request, _ descriptor: Int32
  ) throws(Failure) -> UnsafeMutablePointer<Region> {
    try unsafe map(
      plan.mapping, plan.length + plan.slack, grows: plan.keepsRoom, plan.traits,
      descriptor, request.memory)
  }

  /// Where a file that is open comes from.
  private enum Source {
    /// It was there before.
    case existing
    /// It was made just now,
    case made
    /// and has no name yet.
    case unnamed
  }

  /// Maps a file that is open, and takes the descriptor over, or closes it on failure.
  private static func open(
    _ descriptor: Int32, _ path: UnsafePointer<CChar>, _ request: Request, _ source: Source
  ) throws(Failure) -> File {
    var descriptor = descriptor
    do throws(Failure) {
      let options = request.options
      if source != .existing { try setMode(descriptor, options) }
      let plan = try Plan(descriptor, request)
      if plan.isToBeCut || plan.isToGrow {
        let mayWrite = source != .existing || options.isShared || options.flags.contains(.truncate)
        if !mayWrite { descriptor = try unsafe reopenWritable(descriptor, path, options) }
      }
      // A device stays, whoever opens it.
      let unlinks = !options.flags.isDisjoint(with: [.autoUnlink, .unlink]) && plan.isRegular
      var autoUnlink = try unsafe unlinks && source != .unnamed ? AutoUnlink(path, plan.status) : nil
      do throws(Failure) {
        let region = try unsafe map(plan, request, descriptor)
        do throws(Failure) {
          try setSize(descriptor, plan)
          if source == .unnamed {
            if unsafe sys_link(descriptor, path) != 0 { throw .lastError }
            try unsafe takeName(descriptor, path, region, options)
            if unlinks { autoUnlink = try unsafe AutoUnlink(path, plan.status) }
          }
        } catch {
          unsafe request.memory.release(region)
          throw error
        }
        let isKept = options.flags.contains(.autoUnlink)
        if !isKept { autoUnlink?.run() }
        return unsafe File(
          Opened(
            traits: plan.traits, descriptor: descriptor, mapping: plan.mapping, length: plan.length, slack: plan.slack,
            window: plan.reachesEnd ? nil : plan.length, maximumStep: options.maximumStep, isNew: source != .existing,
            autoUnlink: isKept ? autoUnlink : nil, memory: request.memory), region)
      } catch {
        autoUnlink?.forget()
        throw error
      }
    } catch {
      _ = CSystem.close(descriptor)
      throw error
    }
  }

  /// Has descriptor and mapping of a new file know its name: they were made when it had none, and tell that to whoever
  /// asks (/proc, and so `sync`, which looks for the directory). If it is another file's by now they stay as they are.
  private static func takeName(
    _ descriptor: Int32, _ path: UnsafePointer<CChar>, _ region: UnsafeMutablePointer<Region>, _ options: OpenOptions
  ) throws(Failure) {
    var status = stat()
    let other = unsafe sys_open(path, openFlags(options) | O_RDWR, 0)
    guard other >= 0 else { return }
    defer { _ = CSystem.close(other) }
    if unsafe sys_fstat(descriptor, &status) == 0 && isSame(other, status) && sys_replace(other, descriptor) >= 0 {
      // Nobody has seen a byte of it yet.
      try unsafe region.pointee.heal(descriptor: descriptor, all: true) { _, _ in }
    }
  }

  /// Gives the file the length that it is to have, and drops what is in it, if that is wanted.
  private static func setSize(_ descriptor: Int32, _ plan: Plan) throws(Failure) {
    if plan.isToBeCut {
      // What comes before: whether the file system takes the length.
      if plan.fileSize > plan.sizeBefore { try extend(descriptor, plan.fileSize) }
      try resize(descriptor, 0)
    }
    if plan.isToGrow { try extend(descriptor, plan.fileSize) }
  }

  /// Opens the file of a descriptor that can only be read for writing, too, and closes that one.
  private static func reopenWritable(
    _ descriptor: Int32, _ path: UnsafePointer<CChar>, _ options: OpenOptions
  ) throws(Failure) -> Int32 {
    let other = unsafe sys_open(path, openFlags(options) | O_RDWR, 0)
    if other < 0 { throw .lastError }
    var status = stat()
    guard unsafe sys_fstat(descriptor, &status) == 0, isSame(other, status) else {
      // Somebody has put another file in its place.
      _ = CSystem.close(other)
      throw .system(EAGAIN)
    }
    _ = CSystem.close(descriptor)
    return other
  }

  private static func traits(_ options: OpenOptions) -> Traits {
    var result: Traits = []
    if options.isWritable { result.insert(.writable) }
    if options.isShared { result.insert(.shared) }
    if options.address != 0 { result.insert(.fixedAddress) }
    if !options.flags.contains(.noLock) { result.insert(.locked) }
    let same: [(OpenOptions.Flags, Traits)] = [
      (.direct, .direct), (.fixedSize, .fixedSize), (.debug, .debug), (.append, .append), (.dirty, .dirty),
      (.follow, .follow),
    ]
    for (flag, trait) in same where options.flags.contains(flag) { result.insert(trait) }
    return result
  }

  /// Makes a file at least so long; whatever others write to it meanwhile stays.
  static func extend(_ descriptor: Int32, _ length: Int) throws(Failure) {
    while sys_fallocate(descriptor, 0, off_t(length - 1), 1) != 0 {
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
  fileprivate init(_ options: OpenOptions, fileOffset: Int, page: PageSize, deviceBytes: Int?) {
    self.init(
      protection: options.protection, flags: options.mapFlags, fileOffset: fileOffset,
      address: UInt(bitPattern: page.roundDown(options.address)), page: page, deviceBytes: deviceBytes)
  }
}
