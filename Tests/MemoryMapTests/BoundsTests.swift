import Testing

@testable import MemoryMap

@Suite struct BoundsTests {
  struct Case: Sendable {
    let offset, count, length: Int
    let fits: Bool
  }

  @Test(arguments: [
    Case(offset: 0, count: 0, length: 0, fits: true),
    Case(offset: 0, count: 1, length: 0, fits: false),
    Case(offset: 9, count: 1, length: 10, fits: true),
    Case(offset: 10, count: 0, length: 10, fits: true),
    Case(offset: 10, count: 1, length: 10, fits: false),
    Case(offset: 11, count: 0, length: 10, fits: false),
    Case(offset: 0, count: .max, length: .max, fits: true),
    Case(offset: 1, count: .max, length: .max, fits: false),
    Case(offset: .max, count: 0, length: .max, fits: true),
    Case(offset: .max, count: .max, length: .max, fits: false),
    Case(offset: .max, count: 1, length: 10, fits: false),
    Case(offset: 5, count: .max, length: 10, fits: false),
    Case(offset: -1, count: 0, length: 10, fits: false),
    Case(offset: -1, count: 1, length: 10, fits: false),
    Case(offset: 0, count: -1, length: 10, fits: false),
    Case(offset: 5, count: -1, length: 10, fits: false),
    Case(offset: 5, count: -5, length: 10, fits: false),
    Case(offset: .min, count: .min, length: 10, fits: false),
    Case(offset: .min, count: .max, length: 10, fits: false),
  ])
  func limits_and_overflow(_ each: Case) {
    #expect(fits(each.offset, each.count, in: each.length) == each.fits)
  }

  @Test func small_numbers_agree_with_addition() {
    for offset in 0..<12 {
      for count in 0..<12 {
        for length in 0..<12 { #expect(fits(offset, count, in: length) == (offset + count <= length)) }
      }
    }
  }

  @Test func a_page_rounds_below_at_and_above() {
    let page = PageSize(bytes: 4096)
    #expect([0, 1, 4095, 4096, 4097].map(page.roundDown) == [0, 0, 0, 4096, 4096])
    #expect([0, 1, 4095, 4096, 4097].map(page.roundUp) == [0, 4096, 4096, 4096, 8192])
  }

  @Test func rounding_up_past_the_largest_integer_is_nil() {
    let page = PageSize(bytes: 4096)
    let last = Int.max - 4095
    #expect(page.roundUp(last) == last)
    #expect(page.roundUp(last + 1) == nil)
    #expect(page.roundUp(.max) == nil)
  }

  @Test func the_systems_page_is_a_power_of_two() {
    let bytes = PageSize.system.bytes
    #expect(bytes >= 4096)
    #expect(bytes & (bytes - 1) == 0)
  }
}
