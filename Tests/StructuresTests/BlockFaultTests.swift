import CSystem
import Foundation
import MemoryMap
import Testing

@testable import Structures

/// Disks that are full, syncs that fail, and files that others cut.
@Suite struct BlockFaultTests {
  private static let noSpace = StructureError.file(.system(ENOSPC))

  @Test(arguments: [false, true])
  func a_disk_that_is_full_at_any_growth_leaves_all_as_it_was(_ failsLate: Bool) throws {
    for growth in 0..<4 {
      let disk = Disk()
      let held = try openBlocks(disk, blockOptions(24, words: 1))
      (disk.growthError, disk.growthsLeft, disk.failsLate) = (Self.noSpace, failsLate ? 2 * growth : growth, failsLate)
      var stored: [Int: [UInt8]] = [:]
      for number in 0..<200 {
        let failure = error { () throws(StructureError) in stored[try held.store(message(number))] = message(number) }
        if let failure {
          #expect(failure == Self.noSpace)
          break
        }
      }
      #expect(stored.count == 32 * growth)
      #expect(try held.all() == stored)
      // Again, and when there is room.
      #expect(error { () throws(StructureError) in try held.store(message(1)) } == Self.noSpace)
      disk.growthError = nil
      for number in 200..<240 { stored[try held.store(message(number))] = message(number) }
      #expect(stored.count == 32 * growth + 40)
      #expect(try openBlocks(disk.afterKill(), blockOptions(24, words: 1)).all() == stored)
    }
  }

  /// There are 32 blocks, of one word, and two reads before one is chosen: the word and the descriptors.
  @Test(arguments: [0, 1])
  func a_store_that_cannot_look_at_a_block_takes_none_away(_ readsLeft: Int) throws {
    let disk = Disk()
    var held = try openBlocks(disk, blockOptions(24, words: 1))
    try held.free(try held.store(message(1)))
    let size = disk.bytes.count
    held = try openBlocks(disk.afterKill(), blockOptions(24, words: 1))
    (disk.readError, disk.readsLeft) = (.file(.noMemory), readsLeft)
    #expect(error { () throws(StructureError) in try held.store(message(1)) } == .file(.noMemory))
    disk.readError = nil
    #expect(try Set((0..<32).map { number throws(StructureError) in try held.store(message(number)) }).count == 32)
    #expect(disk.bytes.count == size)
  }

  @Test func where_the_disk_is_full_freed_blocks_are_stored_to() throws {
    let disk = Disk()
    let held = try openBlocks(disk, blockOptions(24, words: 1))
    for number in 0..<32 { _ = try held.store(message(number)) }
    try held.blocks.sync()
    disk.growthError = Self.noSpace
    try held.free(7)
    #expect(try held.store(message(1)) == 7)
    #expect(error { () throws(StructureError) in try held.store(message(1)) } == Self.noSpace)
  }

  /// The system tells of an error once, and has forgotten the data then.
  @Test func after_a_failed_sync_every_answer_is_that_error_until_it_is_opened_anew() throws {
    let disk = Disk()
    let held = try openBlocks(disk)
    let address = try held.store(message(1))
    disk.syncError = .file(.system(EIO))
    let eio = StructureError.file(.system(EIO))
    #expect(error { () throws(StructureError) in try held.blocks.sync() } == eio)
    disk.syncError = nil
    for _ in 0..<2 {
      #expect(error { () throws(StructureError) in try held.blocks.sync() } == eio)
      #expect(error { () throws(StructureError) in try held.store(message(2)) } == eio)
      #expect(error { () throws(StructureError) in try held.read(address) } == eio)
      #expect(error { () throws(StructureError) in try held.free(address) } == eio)
      #expect(error { () throws(StructureError) in try held.all() } == eio)
      #expect(error { () throws(StructureError) in try held.blocks.count(mayBlock: true) } == eio)
    }
    #expect(error { () throws(StructureError) in try held.blocks.close() } == eio)
    #expect(error { () throws(StructureError) in try held.blocks.close() } == .file(.closed))
    #expect(try openBlocks(disk).all() == [address: message(1)])
  }

  @Test func a_file_of_blocks_cut_short_is_an_error() throws {
    let directory = try TemporaryDirectory()
    let held = try openBlocks(directory.file())
    for number in 0..<100 { _ = try held.store(message(number, 64)) }
    try held.blocks.sync()
    // Whole pages, of 64 KiB too: the bitmap stays, and the data goes.
    #expect(unsafe truncate(directory.file(), 65536) == 0)
    #expect(error { () throws(StructureError) in try held.read(50) } == .file(.truncated))
    #expect(error { () throws(StructureError) in try held.store(message(1)) } == .file(.truncated))
    #expect(error { () throws(StructureError) in try held.blocks.sync() } == .file(.truncated))
    #expect(error { () throws(StructureError) in try held.blocks.close() } == .file(.truncated))
    #expect(error { () throws(StructureError) in try openBlocks(directory.file()) } == .corrupt(65536))
  }
}
