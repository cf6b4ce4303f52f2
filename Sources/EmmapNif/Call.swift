import CErlNif
import ErlNif
import MemoryMap

/// A function of the table.
protocol NifCall {
  /// Its name in emmap_nif.erl.
  static var name: StaticString { get }

  /// The function for dirty schedulers; of calls that start on normal ones, the table has another.
  static var blocking: NifFunction { get }

  /// Decodes, calls the core, encodes.
  ///
  /// - Parameter patience: `none` on a scheduler that may not be held up. Nil says that the call would have to wait
  ///   longer: it is then run again, on a scheduler that may be, behind all others that wait for one.
  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term?

  /// Encodes a failure.
  static func fail(_ call: Call, _ failure: Failure) -> Term
}

extension NifCall {
  /// As `file` does.
  static func fail(_ call: Call, _ failure: Failure) -> Term {
    call.env.tuple(call.atoms.error, call.reason(failure))
  }
}

/// Runs a call for the VM.
@inline(__always)
func perform<C: NifCall>(
  _ type: C.Type, _ env: OpaquePointer?, _ count: Int32, _ arguments: UnsafePointer<ERL_NIF_TERM>?, mayBlock: Bool
) -> ERL_NIF_TERM {
  // SAFETY: the VM never passes none.
  let call = unsafe Call(env: Environment(env), arguments: arguments.unsafelyUnwrapped)
  do throws(Failure) {
    if let term = try type.run(call, mayBlock ? .some : .none) { return term.raw }
    return unsafe call.env.reschedule(type.name, type.blocking, count, arguments).raw
  } catch {
    return type.fail(call, error).raw
  }
}

/// The arguments of a call, and what is needed to answer it.
@safe struct Call {
  let env: Environment
  private let arguments: UnsafePointer<ERL_NIF_TERM>

  @inline(__always)
  init(env: Environment, arguments: UnsafePointer<ERL_NIF_TERM>) {
    self.env = env
    unsafe self.arguments = arguments
  }

  @inline(__always)
  var atoms: Atoms { library.atoms }

  /// An argument by its number, counted from 0; the function's arity bounds it.
  @inline(__always)
  subscript(_ index: Int) -> Term { unsafe Term(arguments[index]) }

  /// The handle in the first argument.
  @inline(__always)
  func handle() throws(Failure) -> UnsafeMutablePointer<Handle> {
    guard let handle = unsafe library.handles.object(env, self[0]) else { throw .badArgument }
    return unsafe handle
  }

  /// The same, for a call that touches the mapping: nil where that may take long, and the caller may not wait.
  @inline(__always)
  func handle(_ patience: Patience) throws(Failure) -> UnsafeMutablePointer<Handle>? {
    let handle = try unsafe self.handle()
    if unsafe patience == .none && handle.pointee.file.traits.contains(.dirty) { return nil }
    return unsafe handle
  }

  /// A place in a file, by the rules of raw files: what is a number but no place is `einval`.
  @inline(__always)
  func offset(_ index: Int) throws(Failure) -> Int {
    if let value = env.integer(self[index]), value >= 0 { return value }
    throw notAnOffset(index)
  }

  @inline(never)
  private func notAnOffset(_ index: Int) -> Failure { env.isNumber(self[index]) ? .invalid : .badArgument }

  /// A place and a number of bytes, by the rules of raw files: a wrong kind of argument comes before a wrong number.
  func range(_ offset: Int, _ count: Int) throws(Failure) -> (offset: Int, count: Int) {
    guard env.isNumber(self[offset]), env.isNumber(self[count]) else { throw .badArgument }
    return (try self.offset(offset), try self.offset(count))
  }

  /// A number of bytes to read, by the rules of raw files.
  @inline(__always)
  func count(_ index: Int) throws(Failure) -> Int {
    if let value = env.integer(self[index]), value >= 0 { return value }
    throw notACount(index)
  }

  @inline(never)
  private func notACount(_ index: Int) -> Failure {
    env.isInteger(self[index]) && !env.isNegative(self[index]) ? .invalid : .badArgument
  }

  /// A number that emmap.erl has checked already.
  func natural(_ index: Int) throws(Failure) -> Int {
    guard let value = env.integer(self[index]), value >= 0 else { throw .badArgument }
    return value
  }

  /// A 64-bit word, signed or unsigned.
  @inline(__always)
  func word(_ index: Int) throws(Failure) -> Int {
    if let value = env.integer(self[index]) { return value }
    if let value = env.unsigned(self[index]) { return Int(bitPattern: value) }
    throw .badArgument
  }

  @inline(__always)
  func bytes(_ index: Int) throws(Failure) -> UnsafeRawBufferPointer {
    guard let bytes = unsafe env.bytes(self[index]) else { throw .badArgument }
    return unsafe bytes
  }

  @inline(__always)
  func ok(_ term: Term) -> Term { env.tuple(atoms.ok, term) }
}
