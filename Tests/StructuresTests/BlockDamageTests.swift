import Foundation
import Testing

@testable import Structures

/// Files of blocks in which something has changed that nobody stored.
@Suite struct BlockDamageTests {
  private static let isLong = ProcessInfo.processInfo.environment["EMMAP_LONG"] != nil

  /// A file of a few groups, closed or not, and what is in it: all of it, and what a sync has seen.
  private func smallFile(
    isClosed: Bool
  ) throws -> (bytes: [UInt8], options: BlocksOptions, wanted: [Int: [UInt8]], durable: Set<Int>) {
    let disk = Disk()
    let options = blockOptions(16, count: 90, words: 1)
    let held = try openBlocks(disk, options)
    for number in 0..<40 { _ = try held.store(message(number, number % 17)) }
    for address in 10..<16 { try held.free(address) }
    try held.blocks.sync()
    for number in 40..<50 { _ = try held.store(message(number, number % 17)) }
    try held.free(20)
    try held.blocks.sync()
    let durable = Set(try held.all().keys)
    // New ones in words of old ones, too.
    try held.blocks.sync()
    for number in 50..<60 { _ = try held.store(message(number, number % 17)) }
    for address in [2, 41, 50] { try held.free(address) }
    let wanted = try held.all()
    if isClosed { try held.blocks.close() }
    return (disk.bytes, options, wanted, durable.intersection(wanted.keys))
  }

  /// Where something is in such a file, and which bits of it a test flips: where all bits are alike, or there are as many
  /// of the same before, one.
  private func flips(_ bytes: [UInt8]) -> [(offset: Int, bits: Range<Int>)] {
    if Self.isLong { return bytes.indices.map { ($0, 0..<8) } }
    let layout = BlockLayout(blockSize: 16, wordsPerGroup: 1)
    var result = [0..<64, 4096..<4160, 8192..<8256].flatMap { Array($0) }.map { (offset: $0, bits: bits(of: $0)) }
    for group in 0..<layout.groups(of: layout.capacity(of: bytes.count)) {
      let start = layout.offset(ofGroup: group)
      for offset in 0..<80 { result.append((start + offset, bits(of: offset))) }
      for offset in 0..<512 {
        let flipped = group == 0 ? bits(of: offset) : (offset % 8)..<(offset % 8 + 1)
        result.append((start + BlockLayout.descriptors + offset, flipped))
      }
      for offset in 0..<512 where start + layout.data + offset < bytes.count {
        result.append((start + layout.data + offset, (offset % 8)..<(offset % 8 + 1)))
      }
    }
    return result
  }

  /// Opens a damaged file, and says what is wrong with the answers; nil if all are right, or errors.
  private func answer(
    _ damaged: [UInt8], _ options: BlocksOptions, _ wanted: [Int: [UInt8]], _ durable: Set<Int>
  ) -> (isFound: Bool, wrong: String?) {
    do throws(StructureError) {
      let held = try openBlocks(Disk(damaged), options)
      let found = try held.all()
      let lost = wanted.keys.filter { found[$0] == nil }
      if !found.allSatisfy({ wanted[$0.key] == $0.value }) { return (false, "a wrong block") }
      if !durable.isDisjoint(with: lost) { return (false, "lost blocks that a sync had seen") }
      if lost.count != held.blocks.recovered.dropped { return (false, "\(lost.count) lost without a word") }
      if try held.blocks.count(mayBlock: true) != found.count { return (false, "a wrong count") }
      return (!lost.isEmpty, nil)
    } catch {
      return (true, nil)
    }
  }

  /// No bit of the file can change without an error, or without any harm. What no sync had seen when the file was left
  /// may be dropped, and that is told.
  @Test(arguments: [true, false])
  func a_flipped_bit_is_found_or_does_no_harm(_ isClosed: Bool) throws {
    let (bytes, options, wanted, durable) = try smallFile(isClosed: isClosed)
    var (count, found) = (0, 0)
    for (offset, bits) in flips(bytes) {
      for bit in bits {
        var damaged = bytes
        damaged[offset] ^= 1 << UInt8(bit)
        let (isFound, wrong) = answer(damaged, options, wanted, isClosed ? Set(wanted.keys) : durable)
        if let wrong { Issue.record("byte \(offset), bit \(bit): \(wrong)") }
        count += 1
        if isFound { found += 1 }
      }
    }
    #expect(found > count / 8)
    print("\(count) bits of blocks flipped, \(found) found")
  }

  /// The test above would find it.
  @Test func without_checks_a_flipped_bit_does_harm() throws {
    var (bytes, options, wanted, durable) = try smallFile(isClosed: false)
    options.omissions = .seals
    let word = BlockLayout(blockSize: 16, wordsPerGroup: 1).offset(ofWord: 0)
    var harm = 0
    for bit in 0..<32 {
      bytes[word + bit / 8] ^= 1 << UInt8(bit % 8)
      if answer(bytes, options, wanted, durable).wrong != nil { harm += 1 }
      bytes[word + bit / 8] ^= 1 << UInt8(bit % 8)
    }
    #expect(harm > 10)
  }

  /// Zeroes, bytes from elsewhere, and after a clean close also those of before.
  @Test func a_bitmap_that_is_not_the_newest_is_found() throws {
    let layout = BlockLayout(blockSize: 16, wordsPerGroup: 1)
    for isClosed in [true, false] {
      let (bytes, options, wanted, durable) = try smallFile(isClosed: isClosed)
      for other in [[UInt8](repeating: 0, count: 8), Array(bytes[layout.offset(ofWord: 1)...].prefix(8))] {
        var damaged = bytes
        damaged.replaceSubrange(layout.offset(ofWord: 0)..<(layout.offset(ofWord: 0) + 8), with: other)
        let (isFound, wrong) = answer(damaged, options, wanted, durable)
        #expect(isFound && wrong == nil)
      }
    }
    let disk = Disk()
    let held = try openBlocks(disk)
    for number in 0..<10 { _ = try held.store(message(number)) }
    try held.blocks.sync()
    let word = BlockLayout(blockSize: 64).offset(ofWord: 0)
    let before = disk.bytes[word..<(word + 8)]
    _ = try held.store(message(10))
    try held.blocks.close()
    var damaged = disk.bytes
    damaged.replaceSubrange(word..<(word + 8), with: before)
    #expect(error { () throws(StructureError) in try openBlocks(Disk(damaged)) } == .corrupt(BlockLayout.groups))
  }

  /// Damage that comes while the file is open.
  @Test func a_damaged_word_is_an_error_for_all_who_use_it_and_stays_one() throws {
    let disk = Disk()
    let held = try openBlocks(disk)
    for number in 0..<40 { _ = try held.store(message(number)) }
    let layout = BlockLayout(blockSize: 64)
    var word: UInt64 = 0
    try unsafe disk.read(at: layout.offset(ofWord: 1), count: 8, into: &word)
    // The first block of the word seems free.
    word ^= 1
    try unsafe disk.write(&word, count: 8, at: layout.offset(ofWord: 1))
    #expect(error { () throws(StructureError) in try held.read(32) } == .corrupt(32))
    #expect(error { () throws(StructureError) in try held.free(33) } == .corrupt(32))
    #expect(error { () throws(StructureError) in try held.all() } == .corrupt(32))
    #expect(error { () throws(StructureError) in try held.store(message(1)) } == .corrupt(32))
    #expect(try held.read(5) == message(5))
    let again = error { () throws(StructureError) in try openBlocks(disk.afterKill()) }
    #expect(again == .corrupt(layout.offset(ofWord: 1)))
  }

  @Test func sealed_words_of_a_place_differ_in_two_bits() {
    for checksum in [Checksum(), Checksum(usingInstruction: false)] {
      let sealed = Sealed(checksum: checksum)
      for place in [0, 1, 503, 1 << 31] {
        for value in [0, 1, Sealed.valueBits, 0x0123_4567_89AB] as [UInt] {
          let word = sealed.word(value, place: place)
          #expect(word != 0 && sealed.value(word, place: place) == value)
          #expect(sealed.value(word, place: place + 1) == nil)
          for bit in 0..<64 { #expect(sealed.value(word ^ 1 << UInt(bit), place: place) == nil) }
        }
      }
      #expect(sealed.value(0, place: 7) == nil)
    }
  }
}
