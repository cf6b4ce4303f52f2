import CErlNif

/// What the VM calls.
public typealias NifFunction =
  @convention(c) (OpaquePointer?, Int32, UnsafePointer<ERL_NIF_TERM>?) -> ERL_NIF_TERM

/// Which scheduler a function runs on: a flag of the function table.
public struct Scheduler: Sendable {
  let flag: UInt32
  /// A normal one: the function takes well below a millisecond, or moves itself.
  public static var normal: Scheduler { Scheduler(flag: 0) }
  /// A dirty IO scheduler: the function may block.
  public static var dirtyIO: Scheduler { Scheduler(flag: UInt32(ERL_NIF_DIRTY_JOB_IO_BOUND.rawValue)) }
}

/// One row of the function table.
@safe public struct NifRow: Sendable {
  let name: StaticString
  let arity: UInt32
  let scheduler: Scheduler
  let function: NifFunction

  /// Describes a function of the Erlang module.
  public init(
    _ name: StaticString, _ arity: UInt32, _ scheduler: Scheduler, _ function: @escaping @Sendable NifFunction
  ) {
    self.name = name
    self.arity = arity
    self.scheduler = scheduler
    unsafe self.function = function
  }
}

/// Allocates the entry that `nif_init` returns, nil when memory is out; it lives as long as the process.
public func nifEntry(
  module: StaticString, _ rows: [NifRow],
  load: @convention(c) (OpaquePointer?, UnsafeMutablePointer<UnsafeMutableRawPointer?>?, ERL_NIF_TERM) -> Int32,
  upgrade:
    @convention(c) (
      OpaquePointer?, UnsafeMutablePointer<UnsafeMutableRawPointer?>?,
      UnsafeMutablePointer<UnsafeMutableRawPointer?>?, ERL_NIF_TERM
    ) -> Int32
) -> UnsafeMutablePointer<ErlNifEntry>? {
  guard
    let functions = unsafe enif_alloc(rows.count * MemoryLayout<ErlNifFunc>.stride)?
      .bindMemory(to: ErlNifFunc.self, capacity: rows.count),
    let entry = unsafe enif_alloc(MemoryLayout<ErlNifEntry>.size)?.bindMemory(to: ErlNifEntry.self, capacity: 1)
  else { return nil }
  for (index, row) in rows.enumerated() {
    unsafe (functions + index).initialize(
      to: ErlNifFunc(name: characters(row.name), arity: row.arity, fptr: row.function, flags: row.scheduler.flag))
  }
  unsafe entry.initialize(
    to: ErlNifEntry(
      major: Int32(ERL_NIF_MAJOR_VERSION), minor: Int32(ERL_NIF_MINOR_VERSION), name: characters(module),
      num_of_funcs: Int32(rows.count), funcs: functions, load: load, reload: nil, upgrade: upgrade, unload: nil,
      vm_variant: nif_vm_variant(), options: 1,
      sizeof_ErlNifResourceTypeInit: MemoryLayout<ErlNifResourceTypeInit>.size, min_erts: nif_min_erts_version()))
  return unsafe entry
}

/// Starts a thread that runs until the VM ends. False if the system has none left.
public func startThread(
  _ name: StaticString, _ body: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?
) -> Bool {
  unsafe NifThread(name, nil, body) != nil
}

/// A thread that ends some day.
@safe public struct NifThread {
  private let raw: ErlNifTid

  /// Starts it with an argument; nil if the system has none left.
  public init?(
    _ name: StaticString, _ argument: UnsafeMutableRawPointer?,
    _ body: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?
  ) {
    var thread: ErlNifTid? = nil
    let name = unsafe UnsafeMutablePointer(mutating: characters(name))
    guard unsafe enif_thread_create(name, &thread, body, argument, nil) == 0, let thread = unsafe thread else {
      return nil
    }
    unsafe self.raw = thread
  }

  /// Waits until it has ended. To be called once.
  public func join() { _ = unsafe enif_thread_join(raw, nil) }
}

private func characters(_ string: StaticString) -> UnsafePointer<CChar> {
  unsafe UnsafeRawPointer(string.utf8Start).assumingMemoryBound(to: CChar.self)
}
