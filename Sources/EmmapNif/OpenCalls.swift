import CErlNif
import ErlNif
import MemoryMap
import Synchronization

/// `open(Path, Name, Offset, Length, Flags, Address, Mode, Size, MaximumStep)`: Path is a binary that ends with
/// NUL, Name what the caller gave; emmap_file.erl has checked the numbers.
enum Open: NifCall {
  static var name: StaticString { "open" }
  static var blocking: NifFunction { { unsafe perform(Open.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let path = try unsafe call.bytes(0)
    guard unsafe path.last == 0, let start = path.baseAddress else { throw .badArgument }
    let options = OpenOptions(
      flags: OpenOptions.Flags(rawValue: try call.natural(4)), address: try call.natural(5),
      mode: try call.mode(6), size: try call.natural(7),
      maximumStep: try call.natural(8))
    guard let name = StoredTerm(call[1]) else { throw .noMemory }
    let file = try unsafe File.open(
      start.assumingMemoryBound(to: CChar.self), offset: try call.natural(2), length: try call.natural(3),
      options: options, memory: regionMemory)
    guard let handle = unsafe library.handles.allocate() else { throw .noMemory }
    unsafe handle.initialize(to: Handle(file: file, name: name, place: RegistryPlace(handle)))
    unsafe library.registry.pointee.add(handle)
    unsafe handle.pointee.trace("open")
    let term = unsafe call.env.resource(handle)
    unsafe releaseResource(handle)
    return call.ok(term)
  }
}

extension Call {
  /// The permissions of a new file; nil, if the caller has given none, is all bits and more.
  fileprivate func mode(_ index: Int) throws(Failure) -> UInt32? {
    let value = try natural(index)
    return value > 0o7777 ? nil : UInt32(value)
  }
}

/// `close(Handle)`
enum Close: NifCall {
  static var name: StaticString { "close" }
  static var blocking: NifFunction { { unsafe perform(Close.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    guard try unsafe handle.pointee.file.close(patience) else { return nil }
    unsafe library.registry.pointee.awaiting.wakeAll(of: handle, call.env)
    unsafe handle.pointee.trace("close")
    return call.atoms.ok
  }
}

extension Handle {
  /// Says what happens to the handle, if it was opened with `debug`.
  func trace(_ event: StaticString) {
    if file.traits.contains(.debug) { name.print(event) }
  }
}

/// `info(Handle)`: a tuple that emmap.erl and emmap_options.erl make a map of.
enum Info: NifCall {
  static var name: StaticString { "info" }
  static var blocking: NifFunction { { unsafe perform(Info.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    try unsafe call.describe(call.handle())
  }
}

extension Call {
  /// What `info` tells of a handle.
  fileprivate func describe(_ handle: UnsafeMutablePointer<Handle>) throws(Failure) -> Term {
    let info = try unsafe handle.pointee.file.info()
    var faulted = atoms.false
    if let range = info.faulted {
      faulted = env.tuple(env.integer(range.lowerBound), env.integer(range.upperBound))
    }
    return unsafe env.tuple([
      handle.pointee.name.term(in: env), env.integer(info.offset), env.integer(info.size), env.integer(info.position),
      env.integer(Int(info.traits.rawValue)), env.unsigned(info.address), faulted,
    ])
  }
}

/// `handles()`: what `info` tells of each handle that is open.
enum Handles: NifCall {
  static var name: StaticString { "handles" }
  static var blocking: NifFunction { { unsafe perform(Handles.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    var list = call.env.emptyList
    unsafe library.registry.pointee.forEach { handle in
      // One that is closed tells nothing.
      if let info = try? unsafe call.describe(handle) { list = call.env.cell(info, list) }
    }
    return list
  }
}

/// `stats()`: handles, regions, mapped bytes, faults, heals.
enum Stats: NifCall {
  static var name: StaticString { "stats" }
  static var blocking: NifFunction { { unsafe perform(Stats.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    var open = 0
    unsafe library.registry.pointee.forEach { if unsafe !$0.pointee.file.isClosed { open += 1 } }
    let numbers: InlineArray<5, Int> = unsafe [
      open, library.registry.pointee.statistics.regions.load(ordering: .relaxed),
      library.registry.pointee.statistics.mappedBytes.load(ordering: .relaxed),
      library.registry.pointee.statistics.faults.load(ordering: .relaxed),
      library.registry.pointee.statistics.heals.load(ordering: .relaxed),
    ]
    return call.env.tuple(InlineArray<5, Term> { call.env.integer(numbers[$0]) })
  }
}

/// `handle_info(Handle)`: the numbers of fstat(2) in the order of `#file_info{}`, times in seconds since 1970.
enum HandleInfo: NifCall {
  static var name: StaticString { "handle_info" }
  static var blocking: NifFunction { { unsafe perform(HandleInfo.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    let (status, env) = (try unsafe handle.pointee.file.status(), call.env)
    let numbers: InlineArray<11, Int> = [
      status.st_size, status.st_atim.tv_sec, status.st_mtim.tv_sec, status.st_ctim.tv_sec, Int(status.st_mode),
      Int(status.st_nlink), Int(bitPattern: UInt(status.st_dev)), Int(bitPattern: UInt(status.st_rdev)),
      Int(bitPattern: UInt(status.st_ino)), Int(status.st_uid), Int(status.st_gid),
    ]
    return call.ok(env.tuple(InlineArray<11, Term> { env.integer(numbers[$0]) }))
  }
}
