import CErlNif
import ErlNif
import MemoryMap

/// `resize(Handle, Size | double)`
enum Resize: NifCall {
  static var name: StaticString { "resize" }
  static var blocking: NifFunction { { unsafe perform(Resize.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    let size = call[1] == call.atoms.double ? nil : try call.offset(1)
    let result = try unsafe handle.pointee.file.resize(to: size)
    unsafe library.registry.pointee.awaiting.wakeAll(of: handle, call.env)
    unsafe handle.pointee.trace("resize")
    return call.ok(call.env.integer(result))
  }
}

/// `truncate(Handle)`
enum Truncate: NifCall {
  static var name: StaticString { "truncate" }
  static var blocking: NifFunction { { unsafe perform(Truncate.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    try unsafe handle.pointee.file.truncateAtPosition()
    unsafe library.registry.pointee.awaiting.wakeAll(of: handle, call.env)
    return call.atoms.ok
  }
}

/// `remap(Handle)`
enum Remap: NifCall {
  static var name: StaticString { "remap" }
  static var blocking: NifFunction { { unsafe perform(Remap.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    let size = try unsafe handle.pointee.file.remap()
    unsafe library.registry.pointee.awaiting.wakeAll(of: handle, call.env)
    unsafe handle.pointee.trace("remap")
    return call.ok(call.env.integer(size))
  }
}

/// `allocate(Handle, Offset, Count)`
enum Allocate: NifCall {
  static var name: StaticString { "allocate" }
  static var blocking: NifFunction { { unsafe perform(Allocate.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    let range = try call.range(1, 2)
    try unsafe handle.pointee.file.allocate(at: range.offset, count: range.count)
    return call.atoms.ok
  }
}

/// `next_data(Handle, Offset)`
enum NextData: NifCall {
  static var name: StaticString { "next_data" }
  static var blocking: NifFunction { { unsafe perform(NextData.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    let handle = try unsafe call.handle()
    return call.ok(call.env.integer(try unsafe handle.pointee.file.nextData(from: try call.natural(1))))
  }
}
