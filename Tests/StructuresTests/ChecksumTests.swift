import Testing

@testable import Structures

@Suite struct ChecksumTests {
  private func both(_ bytes: [UInt8]) -> [UInt32] {
    [true, false].map { usingInstruction in
      unsafe bytes.withUnsafeBytes { buffer in
        var state = Checksum.State()
        if let start = buffer.baseAddress {
          unsafe Checksum(usingInstruction: usingInstruction).add(start, count: buffer.count, to: &state)
        }
        return state.value
      }
    }
  }

  /// RFC 3720, appendix B.4.
  @Test func known_values_come_from_instruction_and_table() {
    #expect(both([UInt8](repeating: 0, count: 32)) == [0x8A91_36AA, 0x8A91_36AA])
    #expect(both([UInt8](repeating: 0xFF, count: 32)) == [0x62A8_AB43, 0x62A8_AB43])
    #expect(both((0..<32).map { UInt8($0) }) == [0x46DD_794E, 0x46DD_794E])
    #expect(both([UInt8]("123456789".utf8)) == [0xE306_9283, 0xE306_9283])
  }

  @Test func instruction_and_table_agree_at_every_length_and_alignment() {
    var numbers = Numbers(state: 1)
    let bytes = (0..<300).map { _ in UInt8.random(in: 0...255, using: &numbers) }
    for start in 0..<9 {
      for count in 0..<(bytes.count - start) {
        let values = both([UInt8](bytes[start..<(start + count)]))
        #expect(values[0] == values[1])
      }
    }
  }

  @Test func zero_is_stored_as_one() {
    var state = Checksum.State()
    state.register = .max
    #expect(state.value == 1)
  }
}

/// The same numbers in every run.
struct Numbers: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return (state ^ (state >> 33)) &* 0xFF51_AFD7_ED55_8CCD
  }
}
