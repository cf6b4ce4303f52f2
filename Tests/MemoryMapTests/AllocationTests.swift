import CSystem
import Testing

@testable import MemoryMap

/// An array that can be spoken of in an expectation.
private final class Held<Element: BitwiseCopyable> {
  var array: GrowableArray<Element>

  init(_ array: consuming GrowableArray<Element> = GrowableArray()) { self.array = array }

  convenience init?(repeating element: Element, count: Int) {
    guard let array = GrowableArray(repeating: element, count: count) else { return nil }
    self.init(array)
  }

  func append(_ element: Element) -> Bool { array.append(element) }
  func reserve(_ more: Int) -> Bool { array.reserve(more) }
  func insert(_ more: Int, at index: Int, _ element: (Int) -> Element) -> Bool {
    array.insert(more, at: index, element)
  }
  func append(contentsOf other: [Element]) -> Bool {
    unsafe other.withUnsafeBufferPointer { unsafe array.append(contentsOf: $0) }
  }

  var content: [Element] { array.indices.map { array[$0] } }
}

@Suite struct AllocationTests {
  @Test func an_array_is_what_swifts_own_would_be() {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<300 {
      let held = Held<Int>()
      var expected: [Int] = []
      for step in 0..<100 {
        let index = Int.random(in: 0...expected.count, using: &generator)
        let some = Int.random(in: 0...expected.count - index, using: &generator)
        switch Int.random(in: 0..<9, using: &generator) {
        case 0...2:
          #expect(held.append(step))
          expected.append(step)
        case 3:
          #expect(held.insert(index, at: index) { step + $0 })
          expected.insert(contentsOf: (0..<index).map { step + $0 }, at: index)
        case 4:
          held.array.remove(some, at: index)
          expected.removeSubrange(index..<index + some)
        case 5:
          held.array.removeAll { $0 % 3 == 0 }
          expected.removeAll { $0 % 3 == 0 }
        case 6:
          let other = expected.map { $0 + 1 }
          #expect(held.append(contentsOf: other))
          expected += other
          held.array.keep(first: min(held.array.count, 200))
          expected.removeLast(expected.count - held.array.count)
        case 7:
          let last = held.array.popLast()
          #expect(last == expected.popLast())
        default:
          if step % 10 == 0 {
            held.array.removeAll()
            expected = []
          } else if index < expected.count {
            held.array[index] = -step
            expected[index] = -step
          }
        }
        let found = held.array.firstIndex { $0 == step }
        #expect(found == expected.firstIndex(of: step))
      }
      #expect(held.content == expected)
      let isEmpty = held.array.isEmpty
      #expect(isEmpty == expected.isEmpty)
      let elements = unsafe [Int](held.array.elements)
      #expect(elements == expected)
    }
    #expect(Held(repeating: 7, count: 3)?.content == [7, 7, 7])
    #expect(Held(repeating: 7, count: 0)?.content == [])
  }

  /// More than there are addresses, and more than a number can say.
  @Test func an_array_that_no_memory_can_hold_stays_what_it_was() {
    let held = Held<(Int, Int)>()
    #expect(held.append((1, 2)))
    for count in [1 << 48, Int.max / 16, Int.max / 16 + 1, Int.max - 1, Int.max] {
      #expect(!held.reserve(count))
      #expect(!held.insert(count, at: 0) { ($0, $0) })
      #expect(Held(repeating: (0, 0), count: count) == nil)
      #expect(unsafe allocateMemory(for: (Int, Int).self, count: count) == nil)
    }
    #expect(held.content.map { [$0.0, $0.1] } == [[1, 2]])
    #expect(held.append((3, 4)))
    #expect(held.content.map { [$0.0, $0.1] } == [[1, 2], [3, 4]])
  }

  @Test func an_array_that_is_refused_memory_stays_what_it_was() {
    let held = Held<Int>()
    for number in 0..<1000 {
      if Allowance.$current.withValue(Allowance(0), operation: { held.append(number) }) { continue }
      #expect(held.content.count == number)
      #expect(!Allowance.$current.withValue(Allowance(0)) { held.insert(1, at: 0) { _ in -1 } })
      #expect(Allowance.$current.withValue(Allowance(1)) { held.append(number) })
    }
    #expect(held.content == [Int](0..<1000))
    // What was taken away leaves memory.
    held.array.remove(500, at: 0)
    #expect(Allowance.$current.withValue(Allowance(0)) { held.insert(500, at: 0) { $0 } })
    #expect(held.content == [Int](0..<1000))
  }

  /// One allocation more is granted each time.
  @Test func a_search_that_is_refused_memory_says_so_and_finds_all_with_it() throws {
    let directory = try TemporaryDirectory()
    let handle = try Handle(directory.file("text", [UInt8](repeating: 97, count: 10_000)))
    var refused = 0
    for granted in 0..<100 {
      do {
        let count = try Allowance.$current.withValue(Allowance(granted)) { () throws -> Int in
          var patterns = Patterns()
          for pattern in [[97], [98, 99]] as [[UInt8]] {
            try unsafe pattern.withUnsafeBytes { try unsafe patterns.append($0) }
          }
          var found = GrowableArray<Match>()
          let outcome = try handle.file.search(
            patterns, from: 0, to: nil, piece: 1 << 20, limit: 5000, into: &found, .unlimited)
          guard case .done(.next(5000)) = outcome else { return -1 }
          return found.count
        }
        #expect(count == 5000)
        #expect(granted > 4 && granted == refused)
        return
      } catch {
        #expect(error as? Failure == .noMemory)
        refused += 1
      }
    }
    Issue.record("no search has come to its end")
  }
}
