import CErlNif
import ErlNif
import MemoryMap

/// `resident(Handle, Offset, Count)`
enum Resident: NifCall {
  static var name: StaticString { "resident" }
  static var blocking: NifFunction { { unsafe perform(Resident.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    let (offset, count) = (try call.natural(1), try call.natural(2))
    return call.ok(call.env.integer(try unsafe handle.pointee.file.resident(at: offset, count: count)))
  }
}

/// `populate(Handle, Offset, Count)`
enum Populate: NifCall {
  static var name: StaticString { "populate" }
  static var blocking: NifFunction { { unsafe perform(Populate.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    let (offset, count) = (try call.natural(1), try call.natural(2))
    try unsafe handle.pointee.file.populateRange(at: offset, count: count)
    return call.atoms.ok
  }
}

/// `lock_memory(Handle, Offset, Count)`
enum LockMemory: NifCall {
  static var name: StaticString { "lock_memory" }
  static var blocking: NifFunction { { unsafe perform(LockMemory.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    let (offset, count) = (try call.natural(1), try call.natural(2))
    try unsafe handle.pointee.file.lockMemory(at: offset, count: count)
    return call.atoms.ok
  }
}

/// `unlock_memory(Handle, Offset, Count)`
enum UnlockMemory: NifCall {
  static var name: StaticString { "unlock_memory" }
  static var blocking: NifFunction { { unsafe perform(UnlockMemory.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    let (offset, count) = (try call.natural(1), try call.natural(2))
    try unsafe handle.pointee.file.unlockMemory(at: offset, count: count)
    return call.atoms.ok
  }
}

/// `punch_hole(Handle, Offset, Count)`
enum PunchHole: NifCall {
  static var name: StaticString { "punch_hole" }
  static var blocking: NifFunction { { unsafe perform(PunchHole.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    let (offset, count) = (try call.natural(1), try call.natural(2))
    guard try unsafe handle.pointee.file.punchHole(at: offset, count: count, patience) else { return nil }
    return call.atoms.ok
  }
}
