import CSystem
import Foundation
import MemoryMap
import Testing

@testable import Structures

/// Mapped files, and blocks in them.
@Suite struct BlockFileTests {
  private static let isLong = ProcessInfo.processInfo.environment["EMMAP_LONG"] != nil

  @Test func a_mapped_file_grows_from_any_length_to_any_other() throws {
    let directory = try TemporaryDirectory()
    let page = PageSize.system.bytes
    let near = [0, page, 3 * page].flatMap { edge in (-9...9).map { edge + $0 } }
    let lengths = near.filter { $0 >= 0 }
    var bytes = [UInt8](repeating: 0, count: 4 * page)
    for (number, start) in lengths.enumerated() {
      for end in lengths where end > start {
        // Each pair once is enough in the long form.
        if !Self.isLong && (number + end) % 5 != 0 { continue }
        let path = directory.file("\(start)-\(end)")
        let storage = try mapped(path)
        try storage.grow(from: 0, to: start)
        let before = [UInt8](repeating: 0xA5, count: start)
        try unsafe storage.write(before, count: start, at: 0)
        try storage.grow(from: start, to: end)
        #expect(storage.size == end)
        try unsafe storage.read(at: 0, count: end, into: &bytes)
        #expect(bytes.prefix(start) == before[...] && bytes[start..<end].allSatisfy { $0 == 0 }, "\(start) to \(end)")
        try storage.close()
        try FileManager.default.removeItem(atPath: path)
      }
    }
  }

  @Test func nothing_can_be_read_wherever_there_is_a_place_for_it() throws {
    let directory = try TemporaryDirectory()
    let storage = try mapped(directory.file())
    var byte: UInt8 = 7
    try unsafe storage.read(at: 0, count: 0, into: &byte)
    try storage.grow(from: 0, to: 100)
    try unsafe storage.read(at: 100, count: 0, into: &byte)
    #expect(error { () throws(StructureError) in try unsafe storage.read(at: 101, count: 0, into: &byte) } != nil)
    #expect(error { () throws(StructureError) in try unsafe storage.read(at: 100, count: 1, into: &byte) } != nil)
    #expect(byte == 7)
  }

  @Test func whoever_gets_the_lock_sees_how_long_the_file_is() throws {
    let directory = try TemporaryDirectory()
    let first = try mapped(directory.file())
    #expect(try first.tryLock())
    try first.grow(from: 0, to: 100)
    let second = try mapped(directory.file())
    #expect(try !second.tryLock())
    try first.grow(from: 100, to: 10_000)
    try first.close()
    #expect(second.size == 100)
    #expect(try second.tryLock())
    #expect(second.size == 10_000)
  }

  @Test func blocks_of_any_size_fill_a_file_of_any_length() throws {
    let directory = try TemporaryDirectory()
    for (size, count) in [(1, 33), (3, 70), (7, 64), (13, 100), (33, 65), (4097, 37)] {
      let options = blockOptions(size, count: count, words: 1)
      var held = try openBlocks(directory.file("\(size)"), options)
      var stored: [Int: [UInt8]] = [:]
      for number in 0..<count { stored[try held.store(message(number, size))] = message(number, size) }
      #expect(error { () throws(StructureError) in try held.store([]) } == .full)
      #expect(stored.count == count && held.blocks.fileSize == options.maximumSize)
      #expect(try held.all() == stored)
      try held.blocks.close()
      held = try openBlocks(directory.file("\(size)"), options)
      #expect(try held.all() == stored && held.blocks.recovered.wasClean)
    }
  }

  @Test func a_file_of_blocks_has_one_owner() throws {
    let directory = try TemporaryDirectory()
    let held = try openBlocks(directory.file())
    #expect(error { () throws(StructureError) in try openBlocks(directory.file()) } == .locked)
    let address = try held.store([])
    #expect(try held.read(address) == [])
    try held.blocks.close()
    #expect(error { () throws(StructureError) in try held.store([]) } == .file(.closed))
    // One that cannot be opened is locked no longer.
    let wrong = error { () throws(StructureError) in try openBlocks(directory.file(), blockOptions(63)) }
    #expect(wrong == .wrongBlockSize(64))
    let again = try openBlocks(directory.file(), blockOptions(0), creates: false)
    #expect(try again.blocks.recovered.wasClean && again.all() == [address: []])
  }

  @Test func without_a_block_size_no_file_is_made() throws {
    let directory = try TemporaryDirectory()
    let missing = error { () throws(StructureError) in
      try openBlocks(directory.file(), blockOptions(0), creates: false)
    }
    #expect(missing == .file(.system(ENOENT)))
    #expect(!FileManager.default.fileExists(atPath: directory.file()))
    #expect(FileManager.default.createFile(atPath: directory.file(), contents: Data()))
    let empty = error { () throws(StructureError) in
      try openBlocks(directory.file(), blockOptions(0), creates: false)
    }
    #expect(empty == .badMagic)
    #expect(try FileManager.default.attributesOfItem(atPath: directory.file())[.size] as? Int == 0)
  }

  @Test func a_file_of_something_else_is_left_alone() throws {
    let others = [[UInt8]("something else, and long enough to be looked at closely".utf8), [1, 2, 3]]
    for bytes in others + [[UInt8](repeating: 0, count: 12_000) + [7], [UInt8](repeating: 1, count: 20_000)] {
      let disk = Disk(bytes)
      #expect(error { () throws(StructureError) in try openBlocks(disk) } == .badMagic)
      #expect(disk.bytes == bytes)
    }
  }
}
