import CErlNif
import ErlNif
import MemoryMap

/// `set_lock(Handle, shared | exclusive | none)`: the advisory lock of the file; `locked` if somebody else has one in the
/// way.
enum SetLock: NifCall {
  static var name: StaticString { "set_lock" }
  static var blocking: NifFunction { { unsafe perform(SetLock.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    let (env, atoms) = (call.env, call.atoms)
    let lock: FileLock
    switch call[1] {
    case atoms.shared: lock = .shared
    case atoms.exclusive: lock = .exclusive
    case atoms.none: lock = .none
    default: throw .badArgument
    }
    // A process that was killed meanwhile gets nothing.
    return try unsafe handle.pointee.file.setLock(lock) { env.isProcessAlive } ? atoms.ok : atoms.locked
  }
}

/// `makers_lock(Handle, true | false)`: takes the lock of those who make a file of counters, or gives it back; `locked` if
/// somebody else has it.
enum MakersLock: NifCall {
  static var name: StaticString { "makers_lock" }
  static var blocking: NifFunction { { unsafe perform(MakersLock.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let takes = call[1] == call.atoms.true
    return try unsafe call.handle().pointee.file.setMakersLock(takes) ? call.atoms.ok : call.atoms.locked
  }
}
