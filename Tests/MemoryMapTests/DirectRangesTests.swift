import CSystem
import Testing

@testable import MemoryMap

/// Ranges at addresses that no mapping has; those of other tests' handles are beside them.
@Suite(.serialized) struct DirectRangesTests {
  static let base: UInt = 0xFFFF_0000_0000_0000

  /// The ranges have 100 addresses each, and 100 between them.
  func start(_ index: Int) -> UInt { Self.base + UInt(index) * 200 }
  func end(_ index: Int) -> UInt { start(index) + 100 }

  /// While somebody changes the list any address may be in it.
  func holds(_ address: UInt) -> Bool {
    for _ in 0..<10000 {
      if !DirectRanges.mayHold(address) { return false }
      sys_yield()
    }
    return true
  }

  @Test func addresses_of_ranges_are_held_and_no_others() {
    let order = (0..<100).shuffled()
    for (done, index) in order.enumerated() {
      DirectRanges.add(start(index), end(index))
      for (other, place) in order.enumerated() {
        let isThere = other <= done
        if isThere {
          #expect(DirectRanges.mayHold(start(place)) && DirectRanges.mayHold(end(place) - 1))
        } else {
          #expect(!holds(start(place)) && !holds(end(place) - 1))
        }
        #expect(!holds(start(place) - 1) && !holds(end(place)))
      }
    }
    DirectRanges.extend(start(7), to: end(7) + 50)
    #expect(holds(end(7) + 49) && !holds(end(7) + 50))
    for (done, index) in order.enumerated() {
      DirectRanges.remove(start(index))
      for (other, place) in order.enumerated() {
        #expect(other > done ? DirectRanges.mayHold(start(place)) : !holds(start(place)))
      }
    }
  }

  @Test func a_range_is_held_whatever_becomes_of_the_others() {
    let first = 1000
    DirectRanges.add(start(first + 50), end(first + 50))
    let stop = Flag()
    let lost = Tally()
    inParallel(2) { thread in
      if thread == 0 {
        for round in 0..<2000 {
          let index = first + round % 100
          if index == first + 50 { continue }
          DirectRanges.add(start(index), end(index))
          if round % 3 != 0 { DirectRanges.remove(start(index)) }
        }
        stop.set()
      } else {
        while !stop.isSet { if !DirectRanges.mayHold(end(first + 50) - 1) { lost.add() } }
      }
    }
    #expect(lost.count == 0)
    for index in 0..<100 { for _ in 0..<20 { DirectRanges.remove(start(first + index)) } }
    #expect(!holds(start(first + 50)))
  }
}
