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

  /// Adds words, little-endian.
  @inline(__always)
  func add(_ first: UInt64, _ second: UInt64, to state: inout State) {
    var words = (first.littleEndian, second.littleEndian)
    unsafe withUnsafeBytes(of: &words) { bytes in
      if let start = bytes.baseAddress { unsafe add(start, count: 16, to: &state) }
    }
  }

  /// Adds words, little-endian.
  @inline(__always)
  func add(_ first: UInt64, _ second: UInt64, _ third: UInt64, to state: inout State) {
    var words = (first.littleEndian, second.littleEndian, third.littleEndian)
    unsafe withUnsafeBytes(of: &words) { bytes in
      if let start = bytes.baseAddress { unsafe add(start, count: 24, to: &state) }
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
