import CSystem
import Foundation
import Synchronization
import Testing

@testable import MemoryMap

/// A number of /proc/self/status, in kB.
private func status(_ name: String) throws -> Int {
  let lines = try String(decoding: contents("/proc/self/status"), as: UTF8.self).split(separator: "\n")
  let line = try #require(lines.first { $0.hasPrefix(name + ":") })
  return try #require(Int(line.split(whereSeparator: \.isWhitespace)[1]))
}

/// The mappings of the process.
private func mappings() throws -> [Substring] {
  try String(decoding: contents("/proc/self/maps"), as: UTF8.self).split(separator: "\n")
}

/// How many mappings look like those that are kept to be given up: 64 KiB of no file that can be read.
private func readablePages() throws -> Int {
  try mappings().count { line in
    let fields = line.split(whereSeparator: \.isWhitespace)
    let bounds = fields[0].split(separator: "-").compactMap { Int($0, radix: 16) }
    return fields.count == 5 && fields[1] == "r--p" && bounds[1] - bounds[0] == 64 << 10
  }
}

/// Whether anything is mapped at an address.
private func isMapped(_ address: UInt) -> Bool {
  var state: UInt8 = 0
  return unsafe mincore(UnsafeMutableRawPointer(bitPattern: address), pageBytes, &state) == 0
}

/// Waits for what another thread does; false if it does not.
private func becomes(_ isTrue: () throws -> Bool) rethrows -> Bool {
  let end = ContinuousClock.now + .seconds(20)
  while ContinuousClock.now < end {
    if try isTrue() { return true }
    sched_yield()
  }
  return false
}

private func startReaper() {
  Thread { Reaper.run() }.start()
  Thread { Reaper.runSlow() }.start()
}

/// All the mappings that a process may have, until the value is dropped.
@safe private final class Mappings {
  private let start: Int
  private let pages = 300_000

  init() throws {
    start = sys_mmap(0, pages * pageBytes, PROT_NONE, sys_map_private | sys_map_anonymous | sys_map_noreserve, -1, 0)
    try #require(start > 0)
    for page in stride(from: 1, to: pages, by: 2) {
      let address = unsafe UnsafeMutableRawPointer(bitPattern: start + page * pageBytes)
      if unsafe mprotect(address, pageBytes, PROT_READ) != 0 { return }
    }
    throw Failure.invalid
  }

  deinit { _ = unsafe munmap(UnsafeMutableRawPointer(bitPattern: start), pages * pageBytes) }
}

/// Whether they can be used up: a sanitizer ends the process then.
private var canUseUpMappings: Bool {
  let isSanitized = unsafe dlsym(nil, "__asan_init") != nil || dlsym(nil, "__tsan_init") != nil
  guard !isSanitized, let bytes = try? contents("/proc/sys/vm/max_map_count") else { return false }
  return Int(String(decoding: bytes.dropLast(), as: UTF8.self)).map { $0 < 140_000 } ?? false
}

/// What concerns a whole process, each in one of its own.
@Suite struct ProcessTests {
  @Test func pages_in_the_place_of_others_count_nothing() async {
    await #expect(processExitsWith: .success) {
      let directory = try TemporaryDirectory()
      let path = try directory.file("file", [])
      // Whatever is made once.
      _ = try Handle(path, [.write, .shared]).bytes(at: 0, 1)
      for flags: OpenOptions.Flags in [[.shared], [.write, .shared], [.write, .shared, .direct], [.direct]] {
        cut(path, to: 256 << 20)
        let (cutOff, closed) = (try Handle(path, flags), try Handle(path, flags))
        let before = try status("VmData")
        cut(path, to: 0)
        #expect(failure { () throws(Failure) in try cutOff.bytes(at: 0, 1) } == .truncated)
        #expect(try status("VmData") - before < 16 << 10)
        try closed.close()
        #expect(try status("VmData") - before < 16 << 10)
        withExtendedLifetime((cutOff, closed)) {}
      }
    }
  }

  @Test func a_close_takes_as_long_as_the_file_and_not_as_what_is_kept_for_its_growth() throws {
    let directory = try TemporaryDirectory()
    let path = try directory.file("file", pattern(pageBytes + 1))
    let name = path.split(separator: "/").suffix(2).joined(separator: "/")
    // The least of some: others may have the processor.
    let times = try ([[.shared], [.write]] as [OpenOptions.Flags]).map { flags in
      try (0..<20).map { _ in
        let handle = try Handle(path, flags)
        let begin = sys_nanoseconds()
        try handle.close()
        let time = sys_nanoseconds() - begin
        // What is mapped of it would keep a deleted file on its disk.
        #expect(try mappings().allSatisfy { !$0.hasSuffix(name) })
        withExtendedLifetime(handle) {}
        return time
      }.min()
    }
    #expect(try #require(times[1]) < 20 * #require(times[0]), "\(times)")
  }

  @Test func a_private_handle_that_grows_is_charged_what_it_needs() async {
    await #expect(processExitsWith: .success) {
      let directory = try TemporaryDirectory()
      let path = try directory.file("file", pattern(pageBytes))
      let handle = try Handle(path, [.write])
      let address = try handle.address
      let before = try status("VmData")
      for size in [1, 2, 8, 32].map({ $0 << 20 }) {
        cut(path, to: size)
        #expect(try handle.file.remap() == size)
        #expect(try status("VmData") - before < size >> 10 + 8 << 10)
      }
      // And where the addresses that it has kept are used up.
      let reach = unsafe try #require(FaultTable.withSlot(holding: address) { unsafe $0.pointee.mappedLength })
      cut(path, to: reach + 1)
      if failure({ () throws(Failure) in try handle.file.remap() }) == nil {
        #expect(try handle.address == address)
        #expect(try status("VmData") - before < reach >> 10 + 8 << 10)
        try handle.write([1], at: reach)
        #expect(try handle.bytes(at: reach, 2) == [1])
      }
    }
  }

  @Test func mappings_are_taken_apart_in_order_by_a_thread() async {
    await #expect(processExitsWith: .success) {
      startReaper()
      let directory = try TemporaryDirectory()
      for round in 0..<50 {
        let path = directory.file("file\(round)")
        var handle: Handle? = try Handle(path, [.create, .write, .shared, .autoUnlink], size: 4 << 20)
        let address = try #require(try handle?.address)
        #expect(isMapped(address))
        #expect(FileManager.default.fileExists(atPath: path))
        handle = nil
        // When the file has gone, the mapping has.
        #expect(becomes { !FileManager.default.fileExists(atPath: path) })
        #expect(try !mappings().contains { $0.contains(path) })
      }
    }
  }

  @Test func a_new_file_is_mapped_where_the_caller_wants_it_whatever_the_thread_does() async {
    await #expect(processExitsWith: .success) {
      startReaper()
      let directory = try TemporaryDirectory()
      for round in 0..<200 {
        let address = freeAddress()
        let handle = try Handle(
          directory.file("file\(round)"), [.create, .write, .shared], address: address, size: pageBytes)
        #expect(try handle.address == UInt(address))
      }
    }
  }

  @Test(.enabled(if: canUseUpMappings, "the mappings of a process cannot be used up here"))
  func a_range_that_the_system_does_not_let_go_is_unmapped_later() async {
    await #expect(processExitsWith: .success) {
      startReaper()
      // Side by side they are one mapping.
      var handles = try (0..<200).map { _ in try Handle("", length: pageBytes, [.anonymous, .write]) }
      let addresses = try handles.map { try $0.address }
      var rest = Optional(try Mappings())
      handles = handles.indices.filter { $0 % 2 == 0 }.map { handles[$0] }
      let dropped = addresses.indices.filter { $0 % 2 == 1 }.map { addresses[$0] }
      #expect(becomes { dropped.contains { !isMapped($0) } })
      // Now there is room, and the next one that goes takes them along.
      rest = nil
      #expect(rest == nil)
      #expect(
        becomes {
          _ = try? Handle("", length: pageBytes, [.anonymous])
          return !dropped.contains(where: isMapped)
        })
      #expect(try handles.allSatisfy { try $0.bytes(at: 0, 1) == [0] })
    }
  }

  @Test(.enabled(if: canUseUpMappings, "the mappings of a process cannot be used up here"))
  func a_page_is_replaced_where_there_are_no_mappings_left() async {
    await #expect(processExitsWith: .success) {
      let directory = try TemporaryDirectory()
      let path = try directory.file("file", pattern(8 * pageBytes))
      let handles = try (0..<40).map { _ in try Handle(path, [.write, .shared]) }
      let rest = try Mappings()
      cut(path, to: pageBytes)
      for handle in handles {
        #expect(failure { () throws(Failure) in try handle.bytes(at: 3 * pageBytes, 1) } == .truncated)
      }
      withExtendedLifetime(rest) {}
    }
  }

  @Test func spare_mappings_are_given_up_once_each() async {
    await #expect(processExitsWith: .success) {
      FaultTable.installHandler()
      inParallel(2) { thread in
        for _ in 0..<20_000 {
          if thread == 0 { _ = SpareMappings.giveUp(keeping: 0) } else { SpareMappings.keep() }
        }
      }
      SpareMappings.keep()
      #expect(!SpareMappings.areScarce)
      let before = try readablePages()
      #expect(SpareMappings.giveUp(keeping: 15))
      #expect(!SpareMappings.giveUp(keeping: 15))
      var count = 1
      while SpareMappings.giveUp(keeping: 0) { count += 1 }
      #expect(count == 16)
      #expect(SpareMappings.areScarce)
      #expect(try before - readablePages() == 16)
      SpareMappings.keep()
      #expect(!SpareMappings.areScarce)
    }
  }
}
