import CErlNif
import ErlNif
import MemoryMap

/// `datasync(Handle)`
enum DataSync: NifCall {
  static var name: StaticString { "datasync" }
  static var blocking: NifFunction { { unsafe perform(DataSync.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    try unsafe call.handle().pointee.file.syncData()
    return call.atoms.ok
  }
}

/// `sync(Handle)`
enum Sync: NifCall {
  static var name: StaticString { "sync" }
  static var blocking: NifFunction { { unsafe perform(Sync.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    try unsafe call.handle().pointee.file.syncAll()
    return call.atoms.ok
  }
}

/// `sync_range(Handle, Offset, Count)`
enum SyncRange: NifCall {
  static var name: StaticString { "sync_range" }
  static var blocking: NifFunction { { unsafe perform(SyncRange.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    try unsafe handle.pointee.file.syncRange(at: try call.offset(1), count: try call.offset(2))
    return call.atoms.ok
  }
}

/// `flush(Handle)`
enum Flush: NifCall {
  static var name: StaticString { "flush" }
  static var blocking: NifFunction { { unsafe perform(Flush.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    try unsafe call.handle().pointee.file.flush()
    return call.atoms.ok
  }
}

/// `advise(Handle, Offset, Count, Advice)`
enum Advise: NifCall {
  static var name: StaticString { "advise" }
  static var blocking: NifFunction { { unsafe perform(Advise.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    let ((offset, count), atoms) = (try call.range(1, 2), call.atoms)
    let advice: Advice
    switch call[3] {
    case atoms.normal: advice = .normal
    case atoms.random: advice = .random
    case atoms.sequential: advice = .sequential
    case atoms.willNeed: advice = .willNeed
    case atoms.dontNeed: advice = .dontNeed
    case atoms.noReuse: advice = .noReuse
    default: throw .invalid
    }
    try unsafe handle.pointee.file.advise(at: offset, count: count, advice)
    return atoms.ok
  }
}
