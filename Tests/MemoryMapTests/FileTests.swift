import CSystem
import Foundation
import Synchronization
import Testing

@testable import MemoryMap

@Suite struct OpeningTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  /// What opening the file throws; nil if it opens.
  func refusal(
    _ path: String, offset: Int = 0, length: Int = 0, _ flags: OpenOptions.Flags = [], address: Int = 0, size: Int = 0
  ) -> Failure? {
    failure { () throws(Failure) in
      try Handle(path, offset: offset, length: length, flags, address: address, size: size)
    }
  }

  @Test func a_file_opens_whole_and_a_window_opens_where_it_was_asked_for() throws {
    let bytes = pattern(3 * pageBytes)
    let path = try directory.file("file", bytes)
    #expect(try Handle(path).bytes(at: 0, .max) == bytes)
    for offset in [0, 1, pageBytes - 1, pageBytes, pageBytes + 1, 3 * pageBytes - 1] {
      let handle = try Handle(path, offset: offset)
      #expect(try handle.bytes(at: 0, .max) == Array(bytes[offset...]))
      #expect(try handle.file.info().offset == offset)
    }
    #expect(
      try Handle(path, offset: 100, length: pageBytes).bytes(at: 0, .max) == Array(bytes[100..<(100 + pageBytes)]))
  }

  @Test func a_window_may_reach_the_end_but_not_go_past_it() throws {
    let path = try directory.file("file", pattern(100))
    #expect(refusal(path, offset: 50, length: 49) == nil)
    #expect(refusal(path, offset: 50, length: 50) == nil)
    #expect(refusal(path, offset: 50, length: 51) == .tooShort)
    #expect(refusal(path, offset: 101) == .tooShort)
    #expect(refusal(path, offset: .max, length: 1) == .tooShort)
    #expect(refusal("/dev/zero", offset: .max, length: 1) == .system(EFBIG))
    #expect(refusal("/dev/zero", offset: 1, length: .max) == .system(EFBIG))
    #expect(refusal(path, offset: 0, length: .max) == .tooShort)
    #expect(try contents(path) == pattern(100))
  }

  @Test func fit_makes_a_short_file_as_long_as_its_window() throws {
    let path = try directory.file("file", pattern(100))
    #expect(refusal(path, offset: 50, length: 51, [.fit]) == .tooShort)
    let handle = try Handle(path, offset: 50, length: 51, [.fit, .write, .shared])
    #expect(try handle.bytes(at: 0, .max) == Array(pattern(100)[50...]) + [0])
    #expect(try contents(path) == pattern(100) + [0])
  }

  @Test(arguments: [
    [], [.write], [.shared], [.write, .shared], [.write, .shared, .fixedSize], [.direct], [.shared, .direct],
  ] as [OpenOptions.Flags])
  func an_empty_file_opens_empty(_ flags: OpenOptions.Flags) throws {
    let path = try directory.file("file", [])
    let handle = try Handle(path, flags)
    #expect(handle.file.size == 0)
    #expect(try handle.bytes(at: 0, 1) == nil)
    // And shows what others put into it.
    try Handle(path, [.write, .shared]).write([1, 2], at: 0)
    #expect(try handle.file.remap() == 2)
    #expect(try handle.bytes(at: 0, 3) == [1, 2])
  }

  @Test func a_file_that_is_not_there_is_created_with_size_and_mode() throws {
    let path = directory.file()
    #expect(refusal(path, [.write]) == .system(ENOENT))
    #expect(refusal(path, [.create]) == .system(ENOENT))
    let handle = try Handle(path, [.create, .write, .shared], mode: 0o644, size: 10)
    #expect(try handle.bytes(at: 0, .max) == [UInt8](repeating: 0, count: 10))
    #expect(try contents(path) == [UInt8](repeating: 0, count: 10))
    #expect(try handle.file.status().st_mode & 0o7777 == 0o644)
  }

  @Test func a_file_that_could_not_be_mapped_is_not_left_behind() {
    let path = directory.file()
    // No system has an address for it.
    #expect(refusal(path, [.create, .write, .shared], size: Int.max - pageBytes) != nil)
    #expect(!FileManager.default.fileExists(atPath: path))
  }

  @Test func truncate_empties_a_file_only_with_write() throws {
    let path = try directory.file("file", pattern(100))
    #expect(refusal(path, [.truncate]) == .invalid)
    #expect(try contents(path) == pattern(100))
    let handle = try Handle(path, [.truncate, .write, .shared], size: 5)
    #expect(try handle.bytes(at: 0, .max) == [0, 0, 0, 0, 0])
  }

  @Test func special_files_are_refused_at_once() throws {
    #expect(refusal(directory.path) == .system(EISDIR))
    let fifo = directory.file("fifo")
    #expect(unsafe mkfifo(fifo, 0o600) == 0)
    #expect(refusal(fifo) == .system(ENODEV))
  }

  @Test func an_address_is_taken_only_where_nothing_is() throws {
    let path = try directory.file("file", pattern(pageBytes))
    let taken = try Handle(path)
    let address = Int(bitPattern: try taken.file.info().address)
    #expect(refusal(path, address: address) == .system(EEXIST))
    try taken.close()
    #expect(try Handle(path).bytes(at: 0, .max) == pattern(pageBytes))
  }

  @Test func an_anonymous_mapping_is_zeroes_and_touches_no_file() throws {
    let path = directory.file()
    #expect(refusal(path, [.anonymous]) == .invalid)
    #expect(refusal(path, offset: 1, length: 10, [.anonymous]) == .invalid)
    let handle = try Handle(path, length: 10, [.anonymous, .write])
    try handle.write([1], at: 9)
    #expect(try handle.bytes(at: 0, .max) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    #expect(failure { () throws(Failure) in try handle.write([1], at: 10) } == .system(ENOSPC))
    #expect(!FileManager.default.fileExists(atPath: path))
  }

  @Test func nothing_is_left_of_handles_that_are_dropped() throws {
    let regions = Regions()
    let path = try directory.file("file", pattern(100))
    for _ in 0..<100 {
      _ = try Handle(path, regions: regions)
      _ = failure { () throws(Failure) in try Handle(path, offset: 200, regions: regions) }
      try Handle(path, regions: regions).close()
    }
    #expect(regions.live.load(ordering: .relaxed) == 0)
  }

  /// The address sanitizer's run of the tests looks for memory that nobody holds: names, for one.
  @Test func nothing_is_left_of_opens_that_fail_late() throws {
    let regions = Regions()
    let path = try directory.file("file", pattern(pageBytes))
    let taken = try Handle(path)
    let address = Int(bitPattern: try taken.file.info().address)
    let new = directory.file("new")
    for flags: OpenOptions.Flags in [[.write], [.write, .shared], [.write, .shared, .autoUnlink], [.autoUnlink]] {
      // A file that has to grow is refused before anything is allocated for it; an empty one that may is not.
      for (name, length) in flags.contains(.shared) ? [(path, 10), (new, 10), (new, 0)] : [(path, 10)] {
        let reason = failure { () throws(Failure) in
          try Handle(
            name, length: length, name == new ? flags.union(.create) : flags, address: address, regions: regions)
        }
        #expect(reason == .system(EEXIST))
      }
    }
    #expect(try contents(path) == pattern(pageBytes))
    #expect(!FileManager.default.fileExists(atPath: new))
    #expect(regions.live.load(ordering: .relaxed) == 0)
  }

  @Test func auto_unlink_deletes_the_file_it_opened_and_no_other() throws {
    let path = try directory.file("file", pattern(10))
    try Handle(path, [.autoUnlink]).close()
    #expect(!FileManager.default.fileExists(atPath: path))
    _ = try directory.file("file", pattern(10))
    _ = try Handle(path, [.autoUnlink])
    #expect(!FileManager.default.fileExists(atPath: path))
    _ = try directory.file("file", pattern(10))
    let handle = try Handle(path, [.autoUnlink])
    try FileManager.default.removeItem(atPath: path)
    _ = try directory.file("file", pattern(20))
    try handle.close()
    #expect(try contents(path) == pattern(20))
  }
}

@Suite struct ReadingAndWritingTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  @Test func a_read_is_cut_at_the_end_and_nil_past_it() throws {
    let handle = try Handle(directory.file("file", pattern(100)))
    #expect(try handle.bytes(at: 90, 9) == Array(pattern(100)[90..<99]))
    #expect(try handle.bytes(at: 90, 10) == Array(pattern(100)[90..<100]))
    #expect(try handle.bytes(at: 90, 11) == Array(pattern(100)[90..<100]))
    #expect(try handle.bytes(at: 99, .max) == [pattern(100)[99]])
    #expect(try handle.bytes(at: 100, 1) == nil)
    #expect(try handle.bytes(at: .max, 0) == nil)
    #expect(try handle.bytes(at: .max, .max) == nil)
    // What is no place in any file is outside, too.
    #expect(try handle.bytes(at: -1, 1) == nil)
    #expect(try handle.bytes(at: 0, -1) == nil)
  }

  @Test func a_write_reaches_the_file_if_shared_and_only_the_handle_if_private() throws {
    let path = try directory.file("file", pattern(100))
    let own = try Handle(path, [.write])
    try own.write([1, 2], at: 98)
    #expect(try own.bytes(at: 97, 3) == [pattern(100)[97], 1, 2])
    #expect(try contents(path) == pattern(100))
    let shared = try Handle(path, [.write, .shared])
    try shared.write([3, 4], at: 0)
    #expect(try Array(contents(path)[..<3]) == [3, 4, pattern(100)[2]])
  }

  @Test func a_write_without_write_is_EBADF() throws {
    let handle = try Handle(directory.file("file", pattern(100)), [.shared])
    #expect(failure { () throws(Failure) in try handle.write([1], at: 0) } == .system(EBADF))
    #expect(failure { () throws(Failure) in try handle.write([], at: 0) } == nil)
  }

  @Test(arguments: [[], [.shared, .fixedSize]] as [OpenOptions.Flags])
  func a_write_past_the_end_of_what_cannot_grow_writes_nothing(_ flags: OpenOptions.Flags) throws {
    let path = try directory.file("file", pattern(100))
    let handle = try Handle(path, flags.union(.write))
    #expect(failure { () throws(Failure) in try handle.write([1], at: 100) } == .system(ENOSPC))
    #expect(failure { () throws(Failure) in try handle.write([1, 2], at: 99) } == .system(ENOSPC))
    #expect(failure { () throws(Failure) in try handle.write([1], at: .max) } == .system(ENOSPC))
    #expect(try handle.bytes(at: 0, .max) == pattern(100))
    #expect(try contents(path) == pattern(100))
  }

  @Test func a_window_that_ends_before_the_file_does_not_grow() throws {
    let path = try directory.file("file", pattern(100))
    let handle = try Handle(path, length: 50, [.write, .shared])
    #expect(failure { () throws(Failure) in try handle.write([1], at: 50) } == .system(ENOSPC))
    #expect(failure { () throws(Failure) in try handle.file.resize(to: 60) } == .fixedSize)
    #expect(try contents(path) == pattern(100))
  }

  @Test func a_write_past_the_end_grows_the_file_to_the_byte() throws {
    let path = try directory.file("file", pattern(10))
    let handle = try Handle(path, [.write, .shared])
    #expect(try !handle.write([1], at: 10, .none))
    try handle.write([1, 2], at: 9)
    #expect(try contents(path) == Array(pattern(10)[..<9]) + [1, 2])
    try handle.write([3], at: 13)
    #expect(try contents(path) == Array(pattern(10)[..<9]) + [1, 2, 0, 0, 3])
    #expect(try handle.bytes(at: 0, .max) == contents(path))
    // As pwrite(2): a range past the last position that there is is wrong, one past the largest file is too large.
    #expect(failure { () throws(Failure) in try handle.write([1, 2], at: .max) } == .invalid)
    #expect(failure { () throws(Failure) in try handle.write([1], at: .max - 1) } == .system(EFBIG))
    #expect(try contents(path).count == 14)
  }

  @Test func appending_through_many_regions_keeps_what_was_borrowed_before() throws {
    let path = try directory.file("file", [])
    let regions = Regions()
    let handle = try Handle(path, [.write, .shared, .direct], maximumStep: pageBytes, regions: regions)
    let record = pattern(1 << 16)
    try handle.write(record)
    let first = try handle.borrow(at: 0, 1 << 16)
    for _ in 1..<100 { try handle.write(record) }
    #expect(handle.file.size == 100 << 16)
    #expect(first.bytes == record)
    #expect(regions.live.load(ordering: .relaxed) > 1)
    for index in [0, 1, 50, 99] { #expect(try handle.bytes(at: index << 16, 1 << 16) == record) }
    // The same pages, at whichever address.
    try handle.write([0xFF], at: 0)
    #expect(first.bytes[0] == 0xFF)
    #expect(try contents(path).count == 100 << 16)
  }

  @Test func growth_from_an_offset_that_is_no_page_boundary() throws {
    let path = try directory.file("file", pattern(5000))
    let handle = try Handle(path, offset: 4999, [.write, .shared])
    let more = pattern(2 << 20)
    try handle.write(more, at: 1)
    #expect(try handle.bytes(at: 0, .max) == [pattern(5000)[4999]] + more)
    #expect(try contents(path) == pattern(5000) + more)
  }

  @Test func the_position_moves_from_start_current_and_end() throws {
    let handle = try Handle(directory.file("file", pattern(100)), [.write, .shared])
    #expect(try handle.file.setPosition(.start, 10) == 10)
    #expect(try handle.file.setPosition(.current, -3) == 7)
    #expect(try handle.file.setPosition(.end, 5) == 105)
    #expect(failure { () throws(Failure) in try handle.file.setPosition(.start, -1) } == .invalid)
    #expect(failure { () throws(Failure) in try handle.file.setPosition(.current, .max) } == .invalid)
    #expect(failure { () throws(Failure) in try handle.file.setPosition(.end, -101) } == .invalid)
    #expect(handle.file.currentPosition == 105)
    try handle.write([1])
    #expect(handle.file.currentPosition == 106)
    #expect(try handle.bytes(at: 100, .max) == [0, 0, 0, 0, 0, 1])
  }

  @Test func a_failed_write_leaves_the_position() throws {
    let handle = try Handle(directory.file("file", pattern(10)), [.write])
    _ = try handle.file.setPosition(.start, 9)
    #expect(failure { () throws(Failure) in try handle.write([1, 2]) } == .system(ENOSPC))
    #expect(handle.file.currentPosition == 9)
  }

  @Test func words_are_aligned_within_bounds_and_native() throws {
    let path = try directory.file("file", [UInt8](repeating: 0, count: 20))
    let handle = try Handle(path, [.write, .shared])
    #expect(try handle.add(.max, at: 8) == 0)
    #expect(try handle.add(1, at: 8) == .max)
    #expect(try handle.word(at: 8) == .min)
    #expect(try Array(contents(path)[8..<16]) == [0, 0, 0, 0, 0, 0, 0, 0x80])
    #expect(failure { () throws(Failure) in try handle.word(at: 4) } == .misaligned)
    #expect(failure { () throws(Failure) in try handle.word(at: 16) } == .outOfRange)
    #expect(failure { () throws(Failure) in try handle.word(at: -8) } == .outOfRange)
    #expect(failure { () throws(Failure) in try handle.word(at: Int.max - 7) } == .outOfRange)
  }

  @Test func words_need_write_to_change_and_an_aligned_offset() throws {
    let path = try directory.file("file", pattern(100))
    let readOnly = try Handle(path, [.shared])
    #expect(failure { () throws(Failure) in try readOnly.add(1, at: 0) } == .readOnly)
    #expect(failure { () throws(Failure) in try readOnly.word(at: 0) } == nil)
    #expect(failure { () throws(Failure) in try Handle(path, offset: 4).word(at: 0) } == .misaligned)
    #expect(failure { () throws(Failure) in try Handle(path, offset: 8).word(at: 0) } == nil)
  }
}

@Suite struct ResizingTests {
  let directory: TemporaryDirectory
  let path: String

  init() throws {
    directory = try TemporaryDirectory()
    path = try directory.file("file", pattern(3 * pageBytes))
  }

  @Test func resize_sets_the_length_of_the_file() throws {
    let handle = try Handle(path, [.write, .shared])
    for size in [pageBytes + 1, pageBytes, pageBytes - 1, 0, 5, 4 << 20] {
      #expect(try handle.file.resize(to: size) == size)
      #expect(handle.file.size == size)
      #expect(try contents(path).count == size)
    }
    #expect(failure { () throws(Failure) in try handle.file.resize(to: -1) } == .invalid)
    #expect(failure { () throws(Failure) in try handle.file.resize(to: .max) } != nil)
    #expect(handle.file.size == 4 << 20)
  }

  @Test func what_grows_back_after_shrinking_is_zeroes() throws {
    let handle = try Handle(path, [.write, .shared, .direct])
    let all = try handle.borrow(at: 0, 3 * pageBytes)
    #expect(try handle.file.resize(to: 10) == 10)
    #expect(all.bytes == Array(pattern(10)) + [UInt8](repeating: 0, count: 3 * pageBytes - 10))
    #expect(try handle.file.resize(to: 3 * pageBytes) == 3 * pageBytes)
    #expect(try handle.bytes(at: 0, .max) == Array(pattern(10)) + [UInt8](repeating: 0, count: 3 * pageBytes - 10))
    try handle.write([7], at: 2 * pageBytes)
    #expect(try contents(path)[2 * pageBytes] == 7)
  }

  @Test func resize_without_a_size_grows_at_most_to_the_step() throws {
    let handle = try Handle(path, [.write, .shared], maximumStep: 2 * pageBytes)
    #expect(try handle.file.resize(to: nil) == 5 * pageBytes)
    #expect(try handle.file.resize(to: nil) == 7 * pageBytes)
  }

  @Test func truncate_cuts_or_fills_up_to_the_position() throws {
    let handle = try Handle(path, [.write, .shared])
    _ = try handle.file.setPosition(.start, 10)
    try handle.file.truncateAtPosition()
    #expect(try contents(path) == pattern(10))
    _ = try handle.file.setPosition(.start, 12)
    try handle.file.truncateAtPosition()
    #expect(try contents(path) == pattern(10) + [0, 0])
  }

  @Test func what_cannot_change_its_size_says_so() throws {
    #expect(failure { () throws(Failure) in try Handle(path, [.write]).file.resize(to: 1) } == .fixedSize)
    #expect(failure { () throws(Failure) in try Handle(path, [.shared]).file.resize(to: 1) } == .invalid)
    #expect(
      failure { () throws(Failure) in try Handle(path, [.write, .shared, .fixedSize]).file.resize(to: 1) } == .fixedSize
    )
    #expect(
      failure { () throws(Failure) in try Handle(path, length: 10, [.anonymous, .write]).file.resize(to: 1) }
        == .fixedSize)
  }

  @Test func remap_takes_over_what_others_have_appended() throws {
    let handle = try Handle(path, [.write, .shared])
    // More than the region has room for.
    let grown = pattern(2 << 20)
    try Handle(path, [.write, .shared]).write(grown, at: 0)
    #expect(try handle.file.remap() == 2 << 20)
    #expect(try handle.bytes(at: 0, .max) == grown)
  }

  @Test func a_window_stays_within_its_length() throws {
    let handle = try Handle(path, offset: 10, length: 20, [.shared])
    cut(path, to: 15)
    #expect(try handle.file.remap() == 5)
    cut(path, to: 100)
    #expect(try handle.file.remap() == 20)
    cut(path, to: 5)
    #expect(failure { () throws(Failure) in try handle.file.remap() } == .tooShort)
  }

  @Test func syncing_and_advice_take_what_is_within_bounds() throws {
    let handle = try Handle(path, [.write, .shared])
    try handle.write([1], at: 0)
    try handle.file.syncRange(at: 1, count: 3 * pageBytes - 1)
    #expect(failure { () throws(Failure) in try handle.file.syncRange(at: 1, count: 3 * pageBytes) } == .outOfRange)
    #expect(failure { () throws(Failure) in try handle.file.syncRange(at: -1, count: 1) } == .outOfRange)
    try handle.file.syncData()
    try handle.file.syncAll()
    try handle.file.flush()
    for advice in [Advice.normal, .random, .sequential, .willNeed, .dontNeed, .noReuse] {
      try handle.file.advise(at: 1, count: 0, advice)
      try handle.file.advise(at: 1, count: .max, advice)
    }
    #expect(failure { () throws(Failure) in try handle.file.advise(at: -1, count: 1, .normal) } == .invalid)
    #expect(try handle.bytes(at: 0, 2) == [1, pattern(2)[1]])
  }

  @Test func dont_need_keeps_private_changes() throws {
    let handle = try Handle(path, [.write])
    try handle.write([1, 2, 3], at: pageBytes)
    try handle.file.advise(at: 0, count: 0, .dontNeed)
    #expect(try handle.bytes(at: pageBytes, 3) == [1, 2, 3])
  }

  @Test func allocate_makes_the_file_longer_only_past_its_end() throws {
    let handle = try Handle(path, [.write, .shared])
    #expect(failure { () throws(Failure) in try handle.file.allocate(at: 0, count: 0) } == .invalid)
    #expect(failure { () throws(Failure) in try handle.file.allocate(at: .max, count: 1) } == .system(EFBIG))
    try handle.file.allocate(at: 0, count: 3 * pageBytes)
    #expect(try contents(path).count == 3 * pageBytes)
    try handle.file.allocate(at: pageBytes, count: 2 * pageBytes + 1)
    #expect(try contents(path).count == 3 * pageBytes + 1)
    #expect(handle.file.size == 3 * pageBytes + 1)
  }
}
