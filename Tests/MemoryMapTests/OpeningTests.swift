import CSystem
import Foundation
import Testing

@testable import MemoryMap

/// What opening does to files where it fails, or where somebody else does something meanwhile.
@Suite struct OpenUndoesNothingTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

  /// In a process of its own: what is mapped for a moment is half of all addresses, and other tests want theirs.
  @Test func a_file_that_cannot_be_made_longer_stays_as_it_was() async {
    await #expect(processExitsWith: .success) {
      let directory = try TemporaryDirectory()
      // As long as no file may be, and short enough for an address space to hold it.
      let size = 1 << 45
      // A file system that takes it has nothing to refuse.
      if try unsafe truncate(directory.file("probe", []), off_t(size)) == 0 { return }
      let path = try directory.file("file", pattern(100))
      let empty = try directory.file("empty", [])
      let new = directory.file("new")
      for flags: OpenOptions.Flags in [[.write, .shared, .fit], [.write, .shared, .fit, .direct], [.write, .fit]] {
        // What a private mapping needs is charged when it is mapped.
        #if THREAD_SANITIZER
          // It has not so many addresses free.
          let reason = Failure.noMemory
        #else
          let reason: Failure = flags.contains(.shared) ? .system(EFBIG) : .noMemory
        #endif
        let none: OpenOptions.Flags = []
        for (name, more) in [(path, none), (path, .truncate), (empty, none), (new, .create)] {
          #expect(failure { () throws(Failure) in try Handle(name, length: size, flags.union(more)) } == reason)
        }
        #expect(try contents(path) == pattern(100))
        #expect(try contents(empty).isEmpty)
        #expect(!FileManager.default.fileExists(atPath: new))
      }
    }
  }

  @Test func a_file_that_cannot_be_mapped_stays_as_it_was() throws {
    let path = try directory.file("file", pattern(100))
    let new = directory.file("new")
    let regions = Regions()
    regions.isExhausted.set()
    for flags: OpenOptions.Flags in [
      [.write, .shared, .fit], [.write, .shared, .truncate], [.write, .fit, .autoUnlink],
    ] {
      #expect(
        failure { () throws(Failure) in try Handle(path, length: 200, flags, regions: regions) } == .noMemory)
      #expect(
        failure { () throws(Failure) in try Handle(new, length: 200, flags.union(.create), regions: regions) }
          == .noMemory)
      #expect(try contents(path) == pattern(100))
      #expect(!exists(new))
    }
  }

  /// Another one makes the file at the moment when ours is mapped.
  @Test func a_file_that_another_one_made_meanwhile_stays_and_is_opened() throws {
    let path = directory.file()
    let regions = Regions()
    regions.whenAllocated = { _ = try? Data("precious".utf8).write(to: URL(fileURLWithPath: path)) }
    let handle = try Handle(path, [.create, .write, .shared], size: 8, regions: regions)
    #expect(try handle.bytes(at: 0, 8) == Array("precious".utf8))
    #expect(try contents(path) == Array("precious".utf8))
  }

  @Test func a_file_that_another_one_made_meanwhile_stays_where_ours_has_to_be_the_first() throws {
    for isExhausted in [false, true] {
      let path = directory.file("file\(isExhausted)")
      let regions = Regions()
      if isExhausted { regions.isExhausted.set() }
      regions.whenAllocated = { _ = try? Data("precious".utf8).write(to: URL(fileURLWithPath: path)) }
      let reason = failure { () throws(Failure) in
        try Handle(path, [.create, .exclusive, .write, .shared], size: 4096, regions: regions)
      }
      // Where memory is out it is tried once more, and the file is there by then.
      #expect(reason == .system(EEXIST))
      #expect(try contents(path) == Array("precious".utf8))
      #expect(regions.live.load(ordering: .relaxed) == 0)
    }
  }

  @Test func a_new_file_is_appended_to_through_a_link_to_nothing_too() throws {
    let (path, link) = (directory.file("target"), directory.file("link"))
    for name in [path, link] {
      if name == link {
        try FileManager.default.removeItem(atPath: path)
        #expect(unsafe symlink(path, link) == 0)
      }
      let handle = try Handle(name, [.create, .write, .shared, .append])
      for byte in 1...3 {
        try handle.write([UInt8(byte), UInt8(byte)], at: 0)
        // Somebody else appends, too.
        cut(path, to: 3 * byte)
      }
      #expect(try contents(path) == [1, 1, 0, 2, 2, 0, 3, 3, 0])
    }
  }

  @Test func auto_unlink_of_a_link_deletes_the_file_and_leaves_the_link() throws {
    let path = try directory.file("target", pattern(10))
    let link = directory.file("link")
    #expect(unsafe symlink(path, link) == 0)
    try Handle(link, [.autoUnlink]).close()
    #expect(!exists(path))
    var status = stat()
    #expect(unsafe sys_lstat(link, &status) == 0)
  }

  @Test func a_new_file_that_unlinks_itself_is_gone_at_close_or_at_once() throws {
    let path = directory.file()
    let handle = try Handle(path, [.create, .write, .shared, .autoUnlink], size: 10)
    #expect(exists(path))
    try handle.close()
    #expect(!exists(path))
    let other = try Handle(path, [.create, .write, .shared, .unlink], size: 10)
    #expect(!exists(path))
    #expect(try other.bytes(at: 0, 20)?.count == 10)
  }

  @Test func sizes_past_all_addresses_are_refused() throws {
    let path = try directory.file("file", pattern(10))
    for length in [Int.max, Int.max - pageBytes, Int.max - 2 * pageBytes, 1 << 62] {
      for flags: OpenOptions.Flags in [[.anonymous, .write], [.anonymous, .write, .direct], [.write, .shared, .fit]] {
        for address in [0, freeAddress()] {
          let reason = failure { () throws(Failure) in try Handle(path, length: length, flags, address: address) }
          #expect(reason != nil)
        }
      }
    }
    #expect(try contents(path) == pattern(10))
  }
}

@Suite struct DirectTests {
  let directory: TemporaryDirectory
  let path: String

  init() throws {
    directory = try TemporaryDirectory()
    path = try directory.file("file", pattern(4 * pageBytes))
  }

  /// The VM loads up to eight bytes that stand before a binary.
  @Test func what_stands_before_a_region_can_be_read() throws {
    let addresses = [freeAddress(), freeAddress()]
    let files = [
      try Handle(path, [.direct]), try Handle(path, [.direct, .shared]), try Handle(path, [.direct, .write]),
      try Handle(path, offset: pageBytes, length: pageBytes, [.direct, .shared]),
      try Handle(path, length: pageBytes, [.direct, .anonymous, .write]),
      try Handle(path, [.direct, .shared], address: addresses[0]),
      try Handle(path, length: pageBytes, [.direct, .anonymous, .write], address: addresses[1]),
    ]
    for handle in files { #expect(try handle.borrow(at: 0, 10).byteBefore == 0) }
    #expect(try files[5].address == UInt(addresses[0]))
    #expect(try files[6].address == UInt(addresses[1]))
  }

  @Test func what_stands_before_a_region_that_has_grown_can_be_read() throws {
    let handle = try Handle(path, [.direct, .write, .shared])
    let first = try handle.borrow(at: 0, 10)
    let obstacle = try Obstacle(behind: first.address)
    try handle.write(pattern(4 << 20), at: 0)
    let second = try handle.borrow(at: 0, 10)
    #expect(first.address != second.address)
    #expect(first.byteBefore == 0 && second.byteBefore == 0)
    #expect(first.bytes == second.bytes)
    withExtendedLifetime(obstacle) {}
  }

  @Test func a_write_takes_its_bytes_from_the_same_mapping_or_another_of_the_file() throws {
    let original = pattern(4 * pageBytes)
    for other in [true, false] {
      let path = try directory.file("copied", original)
      let handle = try Handle(path, [.direct, .write, .shared])
      let source = other ? try Handle(path, [.direct, .shared]) : handle
      // Overlapping, in both directions, and past the end.
      try handle.write(source.borrow(at: 0, 2 * pageBytes), at: 100)
      var expected = original
      expected.replaceSubrange(100..<(100 + 2 * pageBytes), with: original[..<(2 * pageBytes)])
      #expect(try contents(path) == expected)
      let copy = expected
      try handle.write(source.borrow(at: pageBytes, 2 * pageBytes), at: pageBytes - 7)
      expected.replaceSubrange((pageBytes - 7)..<(3 * pageBytes - 7), with: copy[pageBytes..<(3 * pageBytes)])
      #expect(try contents(path) == expected)
      try handle.write(source.borrow(at: 0, 4 * pageBytes), at: 4 * pageBytes - 1)
      #expect(try contents(path) == expected.dropLast() + expected)
    }
  }

  @Test func a_write_of_bytes_that_were_cut_off_is_truncated_and_writes_nothing() throws {
    let target = try directory.file("target", pattern(100))
    let handle = try Handle(target, [.write, .shared])
    let source = try Handle(path, [.direct, .shared])
    let bytes = try source.borrow(at: pageBytes - 10, pageBytes)
    let kept = try source.borrow(at: pageBytes - 10, 10)
    cut(path, to: pageBytes)
    for offset in [0, 50, 100] {
      #expect(failure { () throws(Failure) in try handle.write(bytes, at: offset) } == .truncated)
    }
    #expect(try contents(target) == pattern(100))
    try handle.write(kept, at: 0)
    #expect(try Array(contents(target).prefix(10)) == Array(pattern(pageBytes).suffix(10)))
  }
}

@Suite struct AppendingTests {
  let directory: TemporaryDirectory
  let path: String

  init() throws {
    directory = try TemporaryDirectory()
    path = directory.file()
  }

  @Test func two_handles_that_append_lose_nothing_and_split_nothing() throws {
    let path = path
    inParallel(2) { thread in
      guard let handle = try? Handle(path, [.create, .write, .shared, .append]) else { return }
      let record = [UInt8](repeating: UInt8(thread + 1), count: 1000)
      for round in 0..<300 {
        _ = failure { () throws(Failure) in round % 2 == 0 ? try handle.write(record) : try handle.write(record, at: 0)
        }
      }
    }
    let bytes = try contents(path)
    #expect(bytes.count == 2 * 300 * 1000)
    for start in stride(from: 0, to: bytes.count, by: 1000) {
      #expect(bytes[start..<(start + 1000)].allSatisfy { $0 == bytes[start] })
    }
    #expect(bytes.count { $0 == 1 } == 300 * 1000)
  }

  @Test func an_append_stands_at_the_end_of_the_file_as_it_is_then() throws {
    let handle = try Handle(path, [.create, .write, .shared, .append])
    try handle.write([1])
    cut(path, to: 10)
    let isDone = try handle.write([2], .none)
    #expect(!isDone)
    try handle.write([2])
    #expect(handle.file.currentPosition == 11)
    #expect(try contents(path) == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2])
    #expect(try handle.bytes(at: 0, 20) == contents(path))
  }

  @Test func what_is_appended_to_the_longest_file_there_is_is_refused() throws {
    let directory = try TemporaryDirectory(in: "/dev/shm")
    let path = directory.file()
    let handle = try Handle(path, [.create, .write, .shared, .append])
    guard unsafe truncate(path, off_t(Int.max - 10)) == 0 else { return }
    #expect(failure { () throws(Failure) in try handle.write([UInt8](repeating: 1, count: 100)) } == .system(EFBIG))
    #expect(failure { () throws(Failure) in try handle.file.remap() } == .system(EFBIG))
    #expect(handle.file.size == 0)
  }

  /// tmpfs keeps what is stored behind the end of a file within its last page.
  @Test func what_was_stored_behind_the_end_does_not_come_up() throws {
    let directory = try TemporaryDirectory(in: "/dev/shm")
    for way in 0..<3 {
      let path = try directory.file("file\(way)", pattern(10))
      let handle = try Handle(path, [.write, .shared])
      let tail = unsafe handle.file.address(handle.file.region, 10)
      unsafe tail.storeBytes(of: 0xFFFF_FFFF_FFFF_FFFF, toByteOffset: 6, as: UInt64.self)
      switch way {
      case 0: try handle.write([1], at: 30)
      case 1: #expect(try handle.file.resize(to: 31) == 31)
      default: try handle.file.allocate(at: 0, count: 31)
      }
      #expect(try contents(path) == pattern(10) + [UInt8](repeating: 0, count: 20) + [way == 0 ? 1 : 0])
    }
  }

  @Test func growing_cuts_off_nothing_that_others_have_appended() throws {
    let path = try directory.file("grown", pattern(100))
    let handle = try Handle(path, [.write, .shared])
    let other = try Handle(path, [.write, .shared])
    try other.write(pattern(900), at: 100)
    #expect(try handle.file.resize(to: nil) == 1000)
    #expect(try contents(path) == pattern(100) + pattern(900))
    try other.write([1], at: 1999)
    #expect(try handle.file.resize(to: 1500) == 2000)
    #expect(try contents(path).count == 2000)
  }
}
