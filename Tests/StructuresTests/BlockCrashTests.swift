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
  @Test(
    .disabled(if: isSanitized, "a rule that is left out says nothing about memory or threads"),
    arguments: [
      ("newEpoch", Omissions.newEpoch), ("syncBeforeOpen", .syncBeforeOpen), ("syncAfterOpen", .syncAfterOpen),
      ("checksum", .checksum), ("syncData", .syncData), ("superblockLast", .superblockLast),
      ("twoSuperblocks", .twoSuperblocks), ("epochOfSync", .epochOfSync), ("tags", .tags), ("dropTorn", .dropTorn),
      ("lateVoid", .lateVoid), ("voidBeforeStore", .voidBeforeStore), ("bitLast", .bitLast),
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

  /// The power fails: of a group the file keeps the beginning, without room for a block. When the file is longer again it
  /// is not what it was.
  @Test func what_is_left_of_a_lost_group_does_not_come_back() throws {
    let layout = BlockLayout(blockSize: 24, wordsPerGroup: 1)
    for (rule, isLost) in [([], false), (.clearRest, true)] as [(Omissions, Bool)] {
      let options = blockOptions(24, words: 1, rule)
      var disk = Disk()
      var held = try openBlocks(disk, options)
      var stored: [Int: [UInt8]] = [:]
      for number in 0..<32 { stored[try held.store(message(number))] = message(number) }
      try held.blocks.sync()
      for number in 32..<37 { _ = try held.store(message(number)) }
      disk = Disk([UInt8](disk.bytes.prefix(layout.offset(ofDescriptor: 40))))
      held = try openBlocks(disk, options)
      #expect(try held.all() == stored)
      // Killed when the file is longer, and the bitmap not written yet.
      disk.stepsLeft = 1
      #expect(error { () throws(StructureError) in try held.store(message(1)) } == Disk.killed)
      #expect(disk.bytes.count > layout.offset(ofData: 32))
      let again = try openBlocks(disk.afterKill(), options)
      let found = try? again.all()
      #expect(isLost == (found != stored))
    }
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
