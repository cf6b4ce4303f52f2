import Testing

@testable import MemoryMap

@Suite struct LossesTests {
  // @unchecked: it is made to be shared.
  final class Shared: @unchecked Sendable {
    private let losses = Losses()
    var version: Int { losses.version.load(ordering: .relaxed) }
    func add(_ from: Int, _ to: Int) { losses.add(from, to) }
    func close() { losses.close() }
    func concern(_ from: Int, _ to: Int, since seen: Int) -> Bool { losses.concern(from, to, since: seen) }
  }

  @Test func a_loss_concerns_those_who_looked_before_and_whose_bytes_it_hits() {
    let losses = Shared()
    let seen = losses.version
    #expect(!losses.concern(0, .max, since: seen))
    losses.add(100, 200)
    let now = losses.version
    for (from, to, concerns) in [
      (0, 100, false), (0, 101, true), (100, 101, true), (199, 300, true), (200, 300, false), (150, 150, true),
    ] {
      #expect(losses.concern(from, to, since: seen) == concerns, "\(from) ..< \(to)")
    }
    #expect(!losses.concern(0, .max, since: now))
  }

  /// The last eight are kept one by one, and all older ones as one span.
  @Test(arguments: [1, 7, 8, 9, 16, 17, 100])
  func of_many_losses_none_is_forgotten(count: Int) {
    let losses = Shared()
    let seen = losses.version
    for index in 0..<count { losses.add(index * 20, index * 20 + 10) }
    for index in 0..<count {
      #expect(losses.concern(index * 20 + 9, index * 20 + 10, since: seen))
      #expect(losses.concern(index * 20, index * 20 + 1, since: seen + index))
      // Those that came before the look concern nobody, and what lies between the last ones neither.
      if index >= count - 8 {
        #expect(!losses.concern(index * 20, index * 20 + 10, since: seen + index + 1))
        #expect(!losses.concern(index * 20 + 10, index * 20 + 20, since: seen + max(index - 1, 0)))
      }
    }
    #expect(!losses.concern(count * 20, .max, since: seen))
  }

  @Test func a_closed_handle_concerns_everybody() {
    let losses = Shared()
    losses.add(0, 10)
    let seen = losses.version
    losses.close()
    #expect(losses.concern(50, 60, since: seen))
  }
}
