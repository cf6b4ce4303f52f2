import CSystem
import Testing

@testable import MemoryMap

/// Under the address sanitizer these tests also show that nothing outside the bytes is looked at: each array ends where
/// its memory does.
@Suite struct NeedleTests {
  /// Few different bytes, so that there are matches and much that is nearly one.
  private func bytes(_ count: Int, _ different: UInt8, _ generator: inout some RandomNumberGenerator) -> [UInt8] {
    (0..<count).map { _ in 97 + UInt8.random(in: 0..<different, using: &generator) }
  }

  private func find(_ pattern: [UInt8], in text: [UInt8]) -> Int? {
    unsafe pattern.withUnsafeBytes { pattern in
      unsafe text.withUnsafeBytes { text in
        let needle = unsafe Needle(pattern, end: pattern.count)
        guard let start = text.baseAddress, let bytes = pattern.baseAddress, text.count >= pattern.count else {
          return nil
        }
        let place = unsafe needle.first(bytes.assumingMemoryBound(to: UInt8.self), in: start, text.count)
        return unsafe place.map { unsafe $0 - start }
      }
    }
  }

  private func findSimply(_ pattern: [UInt8], in text: [UInt8]) -> Int? {
    (0..<max(text.count - pattern.count + 1, 0)).first { text[$0..<$0 + pattern.count].elementsEqual(pattern) }
  }

  @Test func finds_what_comparing_every_place_finds() {
    var generator = SystemRandomNumberGenerator()
    for round in 0..<2000 {
      let text = bytes(Int.random(in: 1...400, using: &generator), round % 2 == 0 ? 2 : 6, &generator)
      let pattern = bytes(Int.random(in: 1...12, using: &generator), round % 2 == 0 ? 2 : 6, &generator)
      #expect(find(pattern, in: text) == findSimply(pattern, in: text), "\(pattern) in \(text)")
    }
  }

  @Test func finds_at_every_place_of_a_block() {
    for length in [1, 2, 3, 15, 16, 17, 63, 64, 65, 200, 300] {
      let pattern = (0..<length).map { UInt8(truncatingIfNeeded: 1 + $0 % 250) }
      for place in 0..<140 {
        let text = [UInt8](repeating: 0, count: place) + pattern + [UInt8](repeating: 0, count: place % 3)
        #expect(find(pattern, in: text) == place)
      }
    }
  }

  /// Nearly a match at every place: memmem goes on.
  @Test func finds_behind_much_that_is_no_match() {
    let pattern = [UInt8](repeating: 97, count: 40) + [98] + [UInt8](repeating: 97, count: 10)
    let text = [UInt8](repeating: 97, count: 20000) + pattern
    #expect(find(pattern, in: text) == 20000)
    #expect(find(pattern + [98], in: text) == nil)
    #expect(find([98, 98], in: text) == nil)
  }

  @Test func finds_nothing_in_less_than_the_pattern() {
    #expect(find([1, 2], in: [1]) == nil)
    #expect(find([1, 2], in: [1, 2]) == 0)
    #expect(find([1], in: [2]) == nil)
  }
}
