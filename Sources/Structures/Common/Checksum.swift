import CSystem

/// CRC32C of what is stored. 0 is stored as 1, so that zeroes never are a valid checksum.
public struct Checksum: Sendable {
  private let hasInstruction: Bool

  /// Finds out what the processor has; `usingInstruction: false` is for tests.
  public init(usingInstruction: Bool = true) { hasInstruction = usingInstruction && crc32c_has_instruction() }

  /// A checksum in the making.
  public struct State {
    var register: UInt32 = .max
    /// Begins with nothing.
    public init() {}
    /// What is stored.
    @inline(__always)
    public var value: UInt32 { ~register == 0 ? 1 : ~register }
  }

  /// Adds bytes.
  @inline(__always)
  public func add(_ bytes: UnsafeRawPointer, count: Int, to state: inout State) {
    state.register =
      unsafe hasInstruction
      ? crc32c_instruction(state.register, bytes, count) : crc32c_table(state.register, bytes, count)
  }

  /// Adds a word, little-endian.
  @inline(__always)
  func add(_ word: UInt64, to state: inout State) {
    if hasInstruction {
      state.register = crc32c_instruction_word(state.register, word)
    } else {
      var bytes = word.littleEndian
      state.register = unsafe crc32c_table(state.register, &bytes, 8)
    }
  }

  /// The checksum of some bytes.
  @inline(__always)
  public func of(_ bytes: UnsafeRawPointer, count: Int) -> UInt32 {
    var state = State()
    unsafe add(bytes, count: count, to: &state)
    return state.value
  }
}
