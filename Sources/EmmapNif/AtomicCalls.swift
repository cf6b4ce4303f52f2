import CErlNif
import ErlNif
import MemoryMap
import Synchronization

/// Calls on atomic words return the bare result. A failure is a bare atom, which emmap.erl raises.
protocol AtomicCall: NifCall {}

extension AtomicCall {
  static func fail(_ call: Call, _ failure: Failure) -> Term { call.reason(failure) }
}

extension Call {
  /// A position in a file; the caller must mean a word, so anything else is wrong.
  @inline(__always)
  func wordPosition(_ index: Int) throws(Failure) -> Int {
    guard let value = env.integer(self[index]) else { throw notAPosition(index) }
    return value
  }

  @inline(never)
  private func notAPosition(_ index: Int) -> Failure { env.isInteger(self[index]) ? .outOfRange : .badArgument }
}

/// `patomic(Handle, Position, Operation, Value)`
enum PAtomic: AtomicCall {
  static var name: StaticString { "patomic" }
  static var blocking: NifFunction { { unsafe perform(PAtomic.self, $0, $1, $2, mayBlock: true) } }

  @inline(__always)
  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    let position = try call.wordPosition(1)
    let value = try call.word(3)
    // Sequentially consistent, as OTP's atomics.
    let old =
      if call[2] == call.atoms.add {
        try unsafe handle.pointee.file.withWord(
          at: position, writing: true,
          { (word: borrowing Atomic<Int>) in word.wrappingAdd(value, ordering: .sequentiallyConsistent).oldValue })
      } else {
        try unsafe other(call, handle, position, value)
      }
    return call.env.integer(old)
  }

  @inline(never)
  private static func other(
    _ call: Call, _ handle: UnsafeMutablePointer<Handle>, _ position: Int, _ value: Int
  ) throws(Failure) -> Int {
    let (operation, atoms) = (call[2], call.atoms)
    guard
      operation == atoms.sub || operation == atoms.band || operation == atoms.bor || operation == atoms.bxor
        || operation == atoms.xchg || operation == atoms.min || operation == atoms.max
    else { throw .badArgument }
    return try unsafe handle.pointee.file.withWord(
      at: position, writing: true,
      { (word: borrowing Atomic<Int>) in
        switch operation {
        case atoms.sub: word.wrappingSubtract(value, ordering: .sequentiallyConsistent).oldValue
        case atoms.band: word.bitwiseAnd(value, ordering: .sequentiallyConsistent).oldValue
        case atoms.bor: word.bitwiseOr(value, ordering: .sequentiallyConsistent).oldValue
        case atoms.bxor: word.bitwiseXor(value, ordering: .sequentiallyConsistent).oldValue
        case atoms.min: word.min(value, ordering: .sequentiallyConsistent).oldValue
        case atoms.max: word.max(value, ordering: .sequentiallyConsistent).oldValue
        default: word.exchange(value, ordering: .sequentiallyConsistent)
        }
      })
  }
}

/// `patomic_read(Handle, Position)`
enum PAtomicRead: AtomicCall {
  static var name: StaticString { "patomic_read" }
  static var blocking: NifFunction { { unsafe perform(PAtomicRead.self, $0, $1, $2, mayBlock: true) } }

  @inline(__always)
  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    let position = try call.wordPosition(1)
    return call.env.integer(
      try unsafe handle.pointee.file.withWord(at: position, writing: false) { (word: borrowing Atomic<Int>) in
        word.load(ordering: .sequentiallyConsistent)
      })
  }
}

/// `patomic_write(Handle, Position, Value)`
enum PAtomicWrite: AtomicCall {
  static var name: StaticString { "patomic_write" }
  static var blocking: NifFunction { { unsafe perform(PAtomicWrite.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    let position = try call.wordPosition(1)
    let value = try call.word(2)
    try unsafe handle.pointee.file.withWord(
      at: position, writing: true,
      { (word: borrowing Atomic<Int>) in word.store(value, ordering: .sequentiallyConsistent) })
    return call.atoms.ok
  }
}

/// `patomic_cas(Handle, Position, Expected, New)`: `ok`, or the word that was there instead.
enum PAtomicCompareExchange: AtomicCall {
  static var name: StaticString { "patomic_cas" }
  static var blocking: NifFunction { { unsafe perform(PAtomicCompareExchange.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    let position = try call.wordPosition(1)
    let (expected, new) = (try call.word(2), try call.word(3))
    let (exchanged, actual) = try unsafe handle.pointee.file.withWord(
      at: position, writing: true,
      { (word: borrowing Atomic<Int>) in
        word.compareExchange(expected: expected, desired: new, ordering: .sequentiallyConsistent)
      })
    return exchanged ? call.atoms.ok : call.env.integer(actual)
  }
}
