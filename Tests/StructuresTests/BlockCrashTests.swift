import Foundation
import Testing

@testable import Structures

/// Blocks under kills and power failures: histories of random operations, with crashes in them, and what follows.
@Suite struct BlockCrashTests {
  private static let environment = ProcessInfo.processInfo.environment
  private static let isLong = environment["EMMAP_LONG"] != nil
  private static let seed = environment["EMMAP_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 1...1_000_000_000)
  private static let images = isLong ? 10_000 : 300

  @Test func nothing_is_lost_torn_or_back_again() throws {
    print("seed \(Self.seed)")
    var crashes = 0
    var seed = Self.seed
    while crashes < Self.images {
      do {
        let history = try BlockHistory(seed: seed)
        try history.run(60)
        crashes += history.crashes
      } catch {
        Issue.record("seed \(seed): \(error)")
        return
      }
      seed += 1
    }
    print("\(crashes) crashes in \(seed - Self.seed) histories of blocks")
  }

  /// Each rule is there for a reason that the histories find: without it some of them go wrong.
  @Test(arguments: [
    ("newEpoch", Omissions.newEpoch), ("syncBeforeOpen", .syncBeforeOpen), ("syncAfterOpen", .syncAfterOpen),
    ("checksum", .checksum), ("syncData", .syncData), ("superblockLast", .superblockLast),
    ("twoSuperblocks", .twoSuperblocks), ("epochOfSync", .epochOfSync), ("tags", .tags), ("dropTorn", .dropTorn),
    ("lateVoid", .lateVoid), ("voidBeforeStore", .voidBeforeStore), ("bitLast", .bitLast),
    ("clearRest", .clearRest),
  ])
  func without_a_rule_something_is_lost(_ name: String, _ rule: Omissions) throws {
    let most = 20_000
    for seed in Self.seed..<(Self.seed + UInt64(most)) {
      do {
        let history = try BlockHistory(seed: seed, rule)
        try history.run(60)
      } catch {
        print("without \(name): history \(seed - Self.seed + 1): \(error)")
        return
      }
    }
    Issue.record("without \(name) nothing went wrong in \(most) histories from seed \(Self.seed)")
  }

  /// A short history, killed after each single store, growth and sync that it makes.
  @Test func killed_after_each_single_store_nothing_is_lost() throws {
    var steps = 0
    while true {
      let disk = Disk()
      disk.stepsLeft = steps
      var stored: [Int: [UInt8]] = [:]
      var storing: [UInt8]? = nil
      var freeing: Int? = nil
      var isFinished = true
      do throws(StructureError) {
        let held = try openBlocks(disk)
        for number in 0..<12 {
          storing = message(number, number * 5)
          stored[try held.store(message(number, number * 5))] = storing
          storing = nil
          if number % 3 == 2, let address = stored.keys.min() {
            freeing = address
            try held.free(address)
            (stored[address], freeing) = (nil, nil)
          }
          if number % 5 == 4 { try held.blocks.sync() }
        }
        try held.blocks.close()
      } catch {
        #expect(error == Disk.killed)
        isFinished = false
      }
      var found = try openBlocks(disk.afterKill()).all()
      if let freeing, found[freeing] == nil { stored[freeing] = nil }
      if let storing, let address = found.first(where: { stored[$0.key] == nil && $0.value == storing })?.key {
        found[address] = nil
      }
      #expect(found == stored, "killed after \(steps) steps")
      if isFinished { break }
      steps += 1
    }
    print("blocks killed after each of \(steps) steps")
  }
}
