import CSystem
import Foundation
import MemoryMap
import Testing

@testable import Structures

@Suite struct BlockTests {
  private static let environment = ProcessInfo.processInfo.environment
  private static let isLong = environment["EMMAP_LONG"] != nil
  private static let seed = environment["EMMAP_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 1...1_000_000_000)
  private static let images = isLong ? 10_000 : 300

  private func open(
    _ disk: Disk, _ options: BlocksOptions = blockOptions(64)
  ) throws(StructureError) -> HeldBlocks<SimulatedStorage> {
    try HeldBlocks(SimulatedStorage(disk: disk), options)
  }

  @Test func blocks_are_what_was_stored_until_they_are_freed() throws {
    let disk = Disk()
    var held = try open(disk)
    var stored: [Int: [UInt8]] = [:]
    for size in 0...64 { stored[try held.store(message(size, size))] = message(size, size) }
    #expect(stored.count == 65)
    #expect(error { () throws(StructureError) in try held.store(message(1, 65)) } == .tooLong)
    #expect(try held.all() == stored)
    for address in stored.keys.sorted().prefix(20) {
      try held.free(address)
      stored[address] = nil
      #expect(error { () throws(StructureError) in try held.free(address) } == .notFound)
      #expect(error { () throws(StructureError) in try held.read(address) } == .notFound)
    }
    for address in [-1, Int.max, Int.min, 1 << 36] {
      #expect(error { () throws(StructureError) in try held.free(address) } == .notFound)
      #expect(error { () throws(StructureError) in try held.read(address) } == .notFound)
    }
    held = try open(disk.afterKill())
    #expect(try held.all() == stored)
    #expect(try held.blocks.count(mayBlock: true) == stored.count)
    try held.blocks.close()
    held = try open(disk, blockOptions(0))
    #expect(try held.all() == stored && held.blocks.blockSize == 64)
    #expect(error { () throws(StructureError) in try open(disk, blockOptions(32)) } == .wrongBlockSize(64))
  }

  @Test func a_full_file_has_room_again_for_what_is_freed() throws {
    let held = try open(Disk(), blockOptions(64, count: 100))
    var addresses: [Int] = []
    for number in 0..<100 { addresses.append(try held.store(message(number))) }
    #expect(Set(addresses) == Set(0..<100))
    #expect(error { () throws(StructureError) in try held.store(message(1)) } == .full)
    for address in addresses.prefix(30) { try held.free(address) }
    for number in 0..<30 { #expect(try (0..<30).contains(held.store(message(number)))) }
    #expect(error { () throws(StructureError) in try held.store(message(1)) } == .full)
  }

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
  ])
  func without_a_rule_something_is_lost(_ name: String, _ rule: Omissions) throws {
    let most = Self.isLong ? 20_000 : 2_000
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
        let held = try open(disk)
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
      var found = try open(disk.afterKill()).all()
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

  /// After a clean close no bit of the file can change without an error, or without any harm.
  @Test func a_flipped_bit_is_found_or_does_no_harm() throws {
    let disk = Disk()
    let options = blockOptions(64, count: 100)
    let held = try open(disk, options)
    for number in 0..<60 { _ = try held.store(message(number, number)) }
    for address in 10..<20 { try held.free(address) }
    let wanted = try held.all()
    try held.blocks.close()
    let used = [0..<64, 4096..<4160, 8192..<8256, 12288..<12400, 16384..<17384]
    let data = BlockLayout.groups + BlockLayout.data
    let offsets = used.flatMap { Array($0) } + stride(from: data, to: disk.bytes.count, by: 29)
    var errors = 0
    for offset in offsets {
      for bit in 0..<8 {
        var damaged = disk.bytes
        damaged[offset] ^= 1 << UInt8(bit)
        do {
          let found = try open(Disk(damaged), options).all()
          #expect(found == wanted, "byte \(offset), bit \(bit)")
        } catch { errors += 1 }
      }
    }
    #expect(errors > 0)
    print("\(offsets.count * 8) bits of blocks flipped, \(errors) found")
  }

  @Test func threads_lose_and_double_nothing_in_a_mapped_file() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("blocks")
    let open = { () throws(StructureError) -> HeldBlocks<MappedStorage> in
      let copy = unsafe strdup(path)
      defer { unsafe Foundation.free(copy) }
      guard let copy = unsafe copy else { throw .file(.noMemory) }
      return try HeldBlocks(try unsafe MappedStorage(copy, mode: 0o600, memory: regions), blockOptions(64))
    }
    let held = try open()
    let all = Stored()
    inParallel(
      (0..<4).map { thread in
        {
          do {
            var mine: [(address: Int, data: [UInt8])] = []
            for number in 0..<4000 {
              let data = message(thread << 32 | number, 64)
              mine.append((try held.store(data, caller: UInt(thread)), data))
              if number % 3 == 0 { try held.free(mine.remove(at: number % mine.count).address, caller: UInt(thread)) }
              if number % 7 == 0, let one = mine.last, try held.read(one.address) != one.data {
                Issue.record("block \(one.address) is not what was stored")
              }
              if number % 500 == 0 { try held.blocks.sync() }
            }
            all.add(mine)
          } catch { Issue.record("\(error)") }
        }
      })
    #expect(try held.all() == all.blocks)
    #expect(try held.blocks.count(mayBlock: true) == all.blocks.count)
    try held.blocks.close()
    #expect(try open().all() == all.blocks)
  }
}

/// What threads have stored.
private final class Stored: @unchecked Sendable {
  private let lock = NSLock()
  private(set) var blocks: [Int: [UInt8]] = [:]
  func add(_ more: [(address: Int, data: [UInt8])]) {
    lock.withLock {
      for one in more {
        if blocks.updateValue(one.data, forKey: one.address) != nil { Issue.record("two at \(one.address)") }
      }
    }
  }
}
