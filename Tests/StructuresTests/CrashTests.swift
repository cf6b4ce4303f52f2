import Foundation
import Testing

@testable import Structures

/// The queue under kills and power failures: histories of random operations, with crashes in them, and what follows.
@Suite struct CrashTests {
  /// The seeds to run: EMMAP_LONG makes more of them, EMMAP_SEED begins elsewhere.
  private static let environment = ProcessInfo.processInfo.environment
  private static let isLong = environment["EMMAP_LONG"] != nil
  private static let seed = environment["EMMAP_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 1...1_000_000_000)
  private static let images = isLong ? 10_000 : 300

  @Test func nothing_is_lost_torn_twice_or_out_of_order() throws {
    print("seed \(Self.seed)")
    var crashes = 0
    var seed = Self.seed
    while crashes < Self.images {
      do {
        let history = try History(seed: seed)
        try history.run(60)
        crashes += history.crashes
      } catch {
        Issue.record("seed \(seed): \(error)")
        return
      }
      seed += 1
    }
    print("\(crashes) crashes in \(seed - Self.seed) histories")
  }

  /// Each rule is there for a reason that the histories find: without it some of them go wrong.
  @Test(
    .disabled(if: isSanitized, "a rule that is left out says nothing about memory or threads"),
    arguments: [
      ("newEpoch", Omissions.newEpoch), ("syncBeforeOpen", .syncBeforeOpen), ("syncAfterOpen", .syncAfterOpen),
      ("lateReuse", .lateReuse), ("checksum", .checksum), ("epochInChecksum", .epochInChecksum),
      ("syncData", .syncData),
      ("keepSafeCopy", .keepSafeCopy), ("keepPendingCopy", .keepPendingCopy), ("superblockLast", .superblockLast),
      ("wholeBatches", .wholeBatches), ("wholeMessages", .wholeMessages), ("twoSuperblocks", .twoSuperblocks),
      ("epochsAscend", .epochsAscend), ("consumersBelowTail", .consumersBelowTail), ("syncWhatIsLeft", .syncWhatIsLeft),
    ])
  func without_a_rule_something_is_lost(_ name: String, _ rule: Omissions) throws {
    let most = 20_000
    for seed in Self.seed..<(Self.seed + UInt64(most)) {
      do {
        let history = try History(seed: seed, rule)
        try history.run(60)
      } catch {
        print("without \(name): history \(seed - Self.seed + 1): \(error)")
        return
      }
    }
    Issue.record("without \(name) nothing went wrong in \(most) histories from seed \(Self.seed)")
  }
}
