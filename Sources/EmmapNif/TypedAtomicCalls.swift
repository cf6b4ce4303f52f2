import CErlNif
import ErlNif
import MemoryMap
import Synchronization

/// What a word of some size can do. Atomic's own functions are there for each size apart, and are not generic.
private protocol AtomicWord: FixedWidthInteger, UnsignedInteger, AtomicRepresentable {
  static func load(_ word: borrowing Atomic<Self>) -> Self
  static func add(_ word: borrowing Atomic<Self>, _ value: Self) -> Self
  static func compareExchange(
    _ word: borrowing Atomic<Self>, _ expected: Self, _ desired: Self
  ) -> (exchanged: Bool, original: Self)
}

// All sequentially consistent, as OTP's atomics.

extension UInt8: AtomicWord {
  static func load(_ word: borrowing Atomic<Self>) -> Self { word.load(ordering: .sequentiallyConsistent) }
  static func add(_ word: borrowing Atomic<Self>, _ value: Self) -> Self {
    word.wrappingAdd(value, ordering: .sequentiallyConsistent).oldValue
  }
  static func compareExchange(
    _ word: borrowing Atomic<Self>, _ expected: Self, _ desired: Self
  ) -> (exchanged: Bool, original: Self) {
    word.compareExchange(expected: expected, desired: desired, ordering: .sequentiallyConsistent)
  }
}

extension UInt16: AtomicWord {
  static func load(_ word: borrowing Atomic<Self>) -> Self { word.load(ordering: .sequentiallyConsistent) }
  static func add(_ word: borrowing Atomic<Self>, _ value: Self) -> Self {
    word.wrappingAdd(value, ordering: .sequentiallyConsistent).oldValue
  }
  static func compareExchange(
    _ word: borrowing Atomic<Self>, _ expected: Self, _ desired: Self
  ) -> (exchanged: Bool, original: Self) {
    word.compareExchange(expected: expected, desired: desired, ordering: .sequentiallyConsistent)
  }
}

extension UInt32: AtomicWord {
  static func load(_ word: borrowing Atomic<Self>) -> Self { word.load(ordering: .sequentiallyConsistent) }
  static func add(_ word: borrowing Atomic<Self>, _ value: Self) -> Self {
    word.wrappingAdd(value, ordering: .sequentiallyConsistent).oldValue
  }
  static func compareExchange(
    _ word: borrowing Atomic<Self>, _ expected: Self, _ desired: Self
  ) -> (exchanged: Bool, original: Self) {
    word.compareExchange(expected: expected, desired: desired, ordering: .sequentiallyConsistent)
  }
}

extension UInt64: AtomicWord {
  static func load(_ word: borrowing Atomic<Self>) -> Self { word.load(ordering: .sequentiallyConsistent) }
  static func add(_ word: borrowing Atomic<Self>, _ value: Self) -> Self {
    word.wrappingAdd(value, ordering: .sequentiallyConsistent).oldValue
  }
  static func compareExchange(
    _ word: borrowing Atomic<Self>, _ expected: Self, _ desired: Self
  ) -> (exchanged: Bool, original: Self) {
    word.compareExchange(expected: expected, desired: desired, ordering: .sequentiallyConsistent)
  }
}

/// `patomic(Handle, Position, Type, Operation, Value)`
enum TypedAtomic: AtomicCall {
  static var name: StaticString { "patomic" }
  static var blocking: NifFunction { { unsafe perform(TypedAtomic.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    let word = unsafe TypedWord(handle, try call.wordPosition(1), try call.wordType(2))
    guard let operation = call.operation(3) else { throw .badArgument }
    return call.integer(try word.change(operation, try call.word(4)), word.type)
  }
}

/// `patomic_read(Handle, Position, Type)`
enum TypedAtomicRead: AtomicCall {
  static var name: StaticString { "patomic_read" }
  static var blocking: NifFunction { { unsafe perform(TypedAtomicRead.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    let word = unsafe TypedWord(handle, try call.wordPosition(1), try call.wordType(2))
    return call.integer(try word.load(), word.type)
  }
}

/// `patomic_write(Handle, Position, Type, Value)`
enum TypedAtomicWrite: AtomicCall {
  static var name: StaticString { "patomic_write" }
  static var blocking: NifFunction { { unsafe perform(TypedAtomicWrite.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    let word = unsafe TypedWord(handle, try call.wordPosition(1), try call.wordType(2))
    _ = try word.change(.exchange, try call.word(3))
    return call.atoms.ok
  }
}

/// `patomic_cas(Handle, Position, Type, Expected, New)`: `ok`, or the word that was there instead.
enum TypedAtomicCompareExchange: AtomicCall {
  static var name: StaticString { "patomic_cas" }
  static var blocking: NifFunction { { unsafe perform(TypedAtomicCompareExchange.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    let word = unsafe TypedWord(handle, try call.wordPosition(1), try call.wordType(2))
    let expected = try call.word(3)
    let original = try word.compareExchange(expected, try call.word(4))
    let isDone = word.type.extend(original) == word.type.extend(UInt64(bitPattern: Int64(expected)))
    return isDone ? call.atoms.ok : call.integer(original, word.type)
  }
}

/// How the bits of a word are read.
struct WordType {
  let bits: Int
  let isSigned: Bool

  /// The lower bits as a number of 64 bits: with its sign, or zeroes above.
  func extend(_ bits: UInt64) -> UInt64 {
    let above = UInt64(64 - self.bits)
    return isSigned ? UInt64(bitPattern: Int64(bitPattern: bits << above) >> above) : (bits << above) >> above
  }

  func isLess(_ left: UInt64, _ right: UInt64) -> Bool {
    let (left, right) = (extend(left), extend(right))
    return isSigned ? Int64(bitPattern: left) < Int64(bitPattern: right) : left < right
  }
}

private enum Operation {
  case add, subtract, and, or, xor, exchange, minimum, maximum
}

extension Call {
  fileprivate func wordType(_ index: Int) throws(Failure) -> WordType {
    switch self[index] {
    case atoms.i8: WordType(bits: 8, isSigned: true)
    case atoms.i16: WordType(bits: 16, isSigned: true)
    case atoms.i32: WordType(bits: 32, isSigned: true)
    case atoms.i64: WordType(bits: 64, isSigned: true)
    case atoms.u8: WordType(bits: 8, isSigned: false)
    case atoms.u16: WordType(bits: 16, isSigned: false)
    case atoms.u32: WordType(bits: 32, isSigned: false)
    case atoms.u64: WordType(bits: 64, isSigned: false)
    default: throw .badArgument
    }
  }

  fileprivate func operation(_ index: Int) -> Operation? {
    switch self[index] {
    case atoms.add: .add
    case atoms.sub: .subtract
    case atoms.band: .and
    case atoms.bor: .or
    case atoms.bxor: .xor
    case atoms.xchg: .exchange
    case atoms.min: .minimum
    case atoms.max: .maximum
    default: nil
    }
  }

  fileprivate func integer(_ bits: UInt64, _ type: WordType) -> Term {
    let value = type.extend(bits)
    return type.isSigned ? env.integer(Int(Int64(bitPattern: value))) : env.unsigned(UInt(value))
  }
}

/// A word of a handle's, of a type that is known when it is used. Values are the lower bits of what is given.
@safe private struct TypedWord {
  private let handle: UnsafeMutablePointer<Handle>
  private let position: Int
  let type: WordType

  init(_ handle: UnsafeMutablePointer<Handle>, _ position: Int, _ type: WordType) {
    unsafe self.handle = handle
    self.position = position
    self.type = type
  }

  func load() throws(Failure) -> UInt64 {
    let type = type
    return try unsafe access(writing: false) { word in
      switch type.bits {
      case 8: unsafe UInt64(UInt8.load(Self.word(word).pointee))
      case 16: unsafe UInt64(UInt16.load(Self.word(word).pointee))
      case 32: unsafe UInt64(UInt32.load(Self.word(word).pointee))
      default: unsafe UInt64.load(Self.word(word).pointee)
      }
    }
  }

  /// Returns the old word.
  func change(_ operation: Operation, _ value: Int) throws(Failure) -> UInt64 {
    let type = type
    return try unsafe access(writing: true) { word in
      switch type.bits {
      case 8: unsafe UInt64(Self.change(Self.word(word).pointee, type, operation, UInt8(truncatingIfNeeded: value)))
      case 16: unsafe UInt64(Self.change(Self.word(word).pointee, type, operation, UInt16(truncatingIfNeeded: value)))
      case 32: unsafe UInt64(Self.change(Self.word(word).pointee, type, operation, UInt32(truncatingIfNeeded: value)))
      default: unsafe Self.change(Self.word(word).pointee, type, operation, UInt64(truncatingIfNeeded: value))
      }
    }
  }

  /// Returns the word that was there.
  func compareExchange(_ expected: Int, _ new: Int) throws(Failure) -> UInt64 {
    let type = type
    return try unsafe access(writing: true) { word in
      switch type.bits {
      case 8: unsafe UInt64(Self.exchange(Self.word(word).pointee, UInt8(truncatingIfNeeded: expected), new))
      case 16: unsafe UInt64(Self.exchange(Self.word(word).pointee, UInt16(truncatingIfNeeded: expected), new))
      case 32: unsafe UInt64(Self.exchange(Self.word(word).pointee, UInt32(truncatingIfNeeded: expected), new))
      default: unsafe Self.exchange(Self.word(word).pointee, UInt64(truncatingIfNeeded: expected), new)
      }
    }
  }

  private static func word<Word: AtomicWord>(_ start: UnsafeMutableRawPointer) -> UnsafeMutablePointer<Atomic<Word>> {
    unsafe start.assumingMemoryBound(to: Atomic<Word>.self)
  }

  @inline(never)
  private func access(writing: Bool, _ body: (UnsafeMutableRawPointer) -> UInt64) throws(Failure) -> UInt64 {
    try unsafe handle.pointee.file.withWord(bytes: type.bits / 8, at: position, writing: writing, body)
  }

  private static func change<Word: AtomicWord>(
    _ word: borrowing Atomic<Word>, _ type: WordType, _ operation: Operation, _ value: Word
  ) -> Word {
    switch operation {
    case .add: return Word.add(word, value)
    case .subtract: return Word.add(word, 0 &- value)
    default: break
    }
    var old = Word.load(word)
    while true {
      let isLess = type.isLess(UInt64(value), UInt64(old))
      let new =
        switch operation {
        case .and: old & value
        case .or: old | value
        case .xor: old ^ value
        case .minimum: isLess ? value : old
        case .maximum: isLess ? old : value
        default: value
        }
      let (exchanged, original) = Word.compareExchange(word, old, new)
      if exchanged { return old }
      old = original
    }
  }

  private static func exchange<Word: AtomicWord>(_ word: borrowing Atomic<Word>, _ expected: Word, _ new: Int) -> Word {
    Word.compareExchange(word, expected, Word(truncatingIfNeeded: new)).original
  }
}
