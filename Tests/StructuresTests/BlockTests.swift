import CSystem
import Foundation
import MemoryMap
import Synchronization
import Testing

@testable import Structures

@Suite struct BlockTests {
  @Test func blocks_are_what_was_stored_until_they_are_freed() throws {
    let disk = Disk()
    var held = try openBlocks(disk)
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
    held = try openBlocks(disk.afterKill())
    #expect(try held.all() == stored)
    #expect(try held.blocks.count(mayBlock: true) == stored.count)
    try held.blocks.close()
    held = try openBlocks(disk, blockOptions(0))
    #expect(try held.all() == stored && held.blocks.blockSize == 64)
    #expect(error { () throws(StructureError) in try openBlocks(disk, blockOptions(32)) } == .wrongBlockSize(64))
  }

  @Test func a_full_file_has_room_again_for_what_is_freed() throws {
    let held = try openBlocks(Disk(), blockOptions(64, count: 100))
    var addresses: [Int] = []
    for number in 0..<100 { addresses.append(try held.store(message(number))) }
    #expect(Set(addresses) == Set(0..<100))
    #expect(error { () throws(StructureError) in try held.store(message(1)) } == .full)
    for address in addresses.prefix(30) { try held.free(address) }
    for number in 0..<30 { #expect(try (0..<30).contains(held.store(message(number)))) }
    #expect(error { () throws(StructureError) in try held.store(message(1)) } == .full)
  }

  // MARK: Threads

  @Test func threads_store_blocks_of_all_lengths_and_lose_and_double_nothing() throws {
    let directory = try TemporaryDirectory()
    let held = try openBlocks(directory.file())
    let all = Stored()
    inParallel(
      (0..<4).map { thread in
        {
          do {
            var mine: [(address: Int, data: [UInt8])] = []
            for number in 0..<4000 {
              let data = message(thread << 32 | number, number % 65)
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
    #expect(try openBlocks(directory.file()).all() == all.blocks)
  }

  /// There is one block, which is another one all the time.
  @Test func whoever_reads_a_block_that_is_stored_anew_gets_one_of_them_or_none() throws {
    let directory = try TemporaryDirectory()
    let held = try openBlocks(directory.file(), blockOptions(1024, count: 1))
    let some = (0..<3).map { message($0 * 77, 1024 - $0) }
    let isDone = Atomic<Bool>(false)
    let writer: @Sendable () -> Void = {
      for number in 0..<3000 {
        let failure = error { () throws(StructureError) in try held.free(try held.store(some[number % 3])) }
        if let failure { Issue.record("\(failure)") }
      }
      isDone.store(true, ordering: .relaxed)
    }
    let reader: @Sendable () -> Void = {
      while !isDone.load(ordering: .relaxed) {
        do throws(StructureError) {
          if try !some.contains(held.read(0)) { Issue.record("torn") }
        } catch {
          if error != .notFound { Issue.record("\(error)") }
        }
      }
    }
    inParallel([writer, reader, reader])
  }

  /// It is either damaged or stored anew all the time, and somebody stores.
  @Test func who_may_not_wait_is_not_held_up_by_a_store_that_takes_long() throws {
    let disk = Disk()
    let held = try openBlocks(disk)
    let address = try held.store(message(1))
    var byte = message(1)[0] ^ 1
    try unsafe disk.write(&byte, count: 1, at: BlockLayout(blockSize: 64).offset(ofData: address))
    let reason = held.blocks.lanes[7].locked { _ in
      error { () throws(StructureError) in try held.read(address, mayBlock: false) }
    }
    #expect(reason == .wouldWait)
    for mayBlock in [false, true] {
      #expect(error { () throws(StructureError) in try held.read(address, mayBlock: mayBlock) } == .corrupt(address))
    }
  }

  // MARK: Bounds

  /// What is stored in a file that is nearly full of blocks takes as many accesses as in one that is nearly empty.
  @Test func storing_takes_as_many_steps_in_a_full_file() throws {
    let disk = Disk()
    let held = try openBlocks(disk, blockOptions(8, count: 60_000))
    var steps: [Int] = []
    for _ in 0..<10 {
      let before = disk.steps + disk.reads
      for number in 0..<1000 {
        let address = try held.store(message(number, 8))
        if number % 2 == 0 { try held.free(address) }
      }
      steps.append(disk.steps + disk.reads - before)
      for number in 0..<5000 { _ = try held.store(message(number, 8)) }
      try held.blocks.sync()
    }
    #expect(steps.allSatisfy { $0 * 10 < steps[0] * 12 }, "\(steps)")
  }

  @Test(arguments: [Int.max, 5000, 300])
  func a_file_is_as_long_as_what_is_stored_at_once_needs(_ syncEvery: Int) throws {
    let directory = try TemporaryDirectory()
    let held = try openBlocks(directory.file(), blockOptions(64, count: 1_000_000))
    var stored: [Int] = []
    for number in 0..<40_000 {
      stored.append(try held.store(message(number)))
      // The oldest, mostly: those of a word are of different ages.
      if stored.count > 1000 { try held.free(stored.remove(at: number % 7 == 0 ? 500 : 0)) }
      if number % syncEvery == syncEvery - 1 { try held.blocks.sync() }
    }
    let layout = BlockLayout(blockSize: 64)
    #expect(held.blocks.fileSize <= layout.offset(ofData: 0) + 2 * 64 * 1000 + (2 << 20))
    #expect(try held.blocks.count(mayBlock: true) == 1000)
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
