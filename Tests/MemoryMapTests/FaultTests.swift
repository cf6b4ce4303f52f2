import CSystem
import Foundation
import Synchronization
import Testing

@testable import MemoryMap

/// Real signals: files that others cut short under a mapping.
@Suite struct FaultTests {
  let directory: TemporaryDirectory
  let path: String
  let original = pattern(8 * pageBytes)

  init() throws {
    directory = try TemporaryDirectory()
    path = try directory.file("file", original)
  }

  @Test func bytes_past_a_cut_are_truncated_and_all_others_stay_readable() throws {
    let handle = try Handle(path, [.write, .shared])
    cut(path, to: 3 * pageBytes)
    #expect(failure { () throws(Failure) in try handle.bytes(at: 3 * pageBytes, 1) } == .truncated)
    #expect(failure { () throws(Failure) in try handle.bytes(at: 8 * pageBytes - 1, 1) } == .truncated)
    #expect(failure { () throws(Failure) in try handle.bytes(at: 3 * pageBytes - 1, 2) } == .truncated)
    #expect(try handle.bytes(at: 0, 3 * pageBytes) == Array(original[..<(3 * pageBytes)]))
    #expect(try handle.file.info().faulted == 3 * pageBytes..<8 * pageBytes)
  }

  @Test func every_kind_of_call_reports_the_cut() throws {
    let handle = try Handle(path, [.write, .shared])
    cut(path, to: 0)
    #expect(failure { () throws(Failure) in try handle.word(at: 8) } == .truncated)
    #expect(failure { () throws(Failure) in try handle.add(1, at: 8) } == .truncated)
    #expect(failure { () throws(Failure) in try handle.write([1], at: 5) } == .truncated)
    #expect(failure { () throws(Failure) in try handle.bytes(at: 5, 1) } == .truncated)
    #expect(failure { () throws(Failure) in try handle.borrow(at: 0, 1) } == .truncated)
  }

  @Test(arguments: [OpenOptions.Flags](arrayLiteral: [.shared], [.write, .shared], [], [.write], [.noLock]))
  func every_sharing_survives_a_cut(_ flags: OpenOptions.Flags) throws {
    let handle = try Handle(path, flags)
    cut(path, to: pageBytes)
    #expect(failure { () throws(Failure) in try handle.bytes(at: 2 * pageBytes, 10) } == .truncated)
    #expect(try handle.bytes(at: 0, 10) == Array(original[..<10]))
  }

  @Test func a_cut_within_a_page_is_not_seen_by_the_rest_of_the_page() throws {
    // The system raises no signal there: docs/limits.md says so.
    let handle = try Handle(path, [.shared])
    cut(path, to: pageBytes + 10)
    #expect(
      try handle.bytes(at: pageBytes + 5, 10) == Array(original[(pageBytes + 5)..<(pageBytes + 10)]) + [0, 0, 0, 0, 0])
    #expect(failure { () throws(Failure) in try handle.bytes(at: 2 * pageBytes, 1) } == .truncated)
  }

  @Test func borrowed_bytes_read_as_zeroes_after_a_cut() throws {
    let handle = try Handle(path, [.shared, .direct])
    let all = try handle.borrow(at: 0, 8 * pageBytes)
    cut(path, to: pageBytes)
    #expect(all.bytes == Array(original[..<pageBytes]) + [UInt8](repeating: 0, count: 7 * pageBytes))
  }

  @Test func borrowed_bytes_outlive_the_handle_and_a_cut_after_it() throws {
    let regions = Regions()
    var handle: Handle? = try Handle(path, [.shared, .direct], regions: regions)
    var all: Borrowed? = try handle?.borrow(at: 0, 8 * pageBytes)
    try handle?.close()
    #expect(all?.bytes == original)
    handle = nil
    #expect(regions.live.load(ordering: .relaxed) == 1)
    cut(path, to: 0)
    #expect(all?.bytes == [UInt8](repeating: 0, count: 8 * pageBytes))
    all = nil
    #expect(regions.live.load(ordering: .relaxed) == 0)
  }

  @Test func remap_heals_a_handle_whose_file_is_long_enough_again() throws {
    let handle = try Handle(path, [.write, .shared])
    cut(path, to: pageBytes)
    #expect(failure { () throws(Failure) in try handle.bytes(at: 2 * pageBytes, 1) } == .truncated)
    cut(path, to: 8 * pageBytes)
    // Long enough, but the mapping does not reach it yet.
    #expect(failure { () throws(Failure) in try handle.bytes(at: 2 * pageBytes, 1) } == .truncated)
    #expect(try handle.file.remap() == 8 * pageBytes)
    #expect(try handle.file.info().faulted == nil)
    try handle.write([1, 2, 3], at: 2 * pageBytes)
    #expect(try Array(contents(path)[(2 * pageBytes)..<(2 * pageBytes + 4)]) == [1, 2, 3, 0])
    #expect(try handle.bytes(at: 0, pageBytes) == Array(original[..<pageBytes]))
  }

  @Test func remap_takes_over_a_cut() throws {
    let handle = try Handle(path, [.shared])
    cut(path, to: 100)
    #expect(try handle.file.remap() == 100)
    #expect(try handle.bytes(at: 90, 100) == Array(original[90..<100]))
    #expect(try handle.bytes(at: 100, 1) == nil)
  }

  @Test func healing_again_and_again_keeps_one_region() throws {
    let handle = try Handle(path, [.write, .shared])
    for _ in 0..<2_000 {
      cut(path, to: pageBytes)
      #expect(failure { () throws(Failure) in try handle.bytes(at: 2 * pageBytes, 1) } == .truncated)
      cut(path, to: 8 * pageBytes)
      #expect(failure { () throws(Failure) in try handle.file.remap() } == nil)
    }
    #expect(handle.regions.live.load(ordering: .relaxed) == 1)
  }

  @Test func private_changes_outside_a_cut_survive_it() throws {
    let handle = try Handle(path, [.write])
    try handle.write([9, 9], at: 4)
    cut(path, to: pageBytes)
    #expect(failure { () throws(Failure) in try handle.bytes(at: pageBytes, 1) } == .truncated)
    cut(path, to: 8 * pageBytes)
    #expect(try handle.file.remap() == 8 * pageBytes)
    #expect(try handle.bytes(at: 3, 4) == [original[3], 9, 9, original[6]])
  }

  @Test func a_write_past_the_end_of_a_handle_whose_file_was_cut_is_truncated() throws {
    let handle = try Handle(path, [.write, .shared])
    cut(path, to: 0)
    #expect(failure { () throws(Failure) in try handle.bytes(at: 0, 1) } == .truncated)
    #expect(failure { () throws(Failure) in try handle.write([1], at: 8 * pageBytes) } == .truncated)
    #expect(try contents(path).isEmpty)
  }

  @Test func readers_and_writers_that_race_with_cuts_get_data_or_truncated() throws {
    let (path, original) = (path, original)
    let handle = try Handle(path, [.write, .shared])
    let stop = Flag()
    let (strange, wrong, fine) = (Surprises(), Tally(), Tally())
    // The first page is never cut off, and nobody writes to it.
    inParallel(4) { thread in
      switch thread {
      case 0:
        for _ in 0..<300 {
          cut(path, to: pageBytes)
          sched_yield()
          cut(path, to: 8 * pageBytes)
          strange.add(failure({ () throws(Failure) in try handle.file.remap() }))
        }
        stop.set()
      case 1:
        repeat {
          switch failure({ () throws(Failure) in try handle.write([1, 2, 3], at: 5 * pageBytes) }) {
          case nil, .truncated: break
          case let other: strange.add(other)
          }
          // The thread sanitizer holds a lock of its own around atomic operations, and a signal there meets it again.
          #if !THREAD_SANITIZER
            switch failure({ () throws(Failure) in try handle.add(1, at: 6 * pageBytes) }) {
            case nil, .truncated: break
            case let other: strange.add(other)
            }
          #endif
        } while !stop.isSet
      default:
        repeat {
          do throws(Failure) {
            if try handle.bytes(at: 0, pageBytes) != Array(original[..<pageBytes]) { wrong.add() }
            fine.add()
            _ = try handle.bytes(at: pageBytes - 8, 4 * pageBytes)
          } catch {
            if error != .truncated { strange.add(error) }
          }
        } while !stop.isSet
      }
    }
    #expect(strange.isEmpty, "\(strange)")
    #expect(wrong.count == 0)
    #expect(fine.count > 0)
  }

  @Test(arguments: [OpenOptions.Flags](arrayLiteral: [.write, .shared], [.write, .shared, .noLock]))
  func an_append_that_heals_shows_no_reader_a_zero(_ flags: OpenOptions.Flags) throws {
    // Where a cut itself shows no zeroes: docs/limits.md.
    let directory = try TemporaryDirectory(in: "/dev/shm")
    let path = try directory.file("file", [])
    let original = [UInt8](repeating: 0xFF, count: 8 * pageBytes)
    let handle = try Handle(path, flags)
    try handle.write(original, at: 0)
    let descriptor = unsafe sys_open(path, O_RDWR, 0)
    defer { _ = close(descriptor) }
    let stop = Flag()
    let (strange, zeroes) = (Surprises(), Tally())
    inParallel(3) { thread in
      if thread == 0 {
        for round in 0..<400 {
          let length = 8 * pageBytes + round
          cut(path, to: pageBytes)
          sched_yield()
          // Others fill the file again; then an append of ours maps it afresh.
          let rest = [UInt8](repeating: 0xFF, count: length - pageBytes)
          let count = unsafe pwrite(descriptor, rest, rest.count, off_t(pageBytes))
          if count != rest.count { strange.add("\(count) bytes written") }
          strange.add(failure({ () throws(Failure) in try handle.write([0xFF], at: length) }))
        }
        stop.set()
      } else {
        repeat {
          do throws(Failure) {
            let bytes = try handle.bytes(at: pageBytes, 7 * pageBytes)
            if bytes?.contains(0) ?? true { zeroes.add() }
          } catch {
            if error != .truncated { strange.add(error) }
          }
        } while !stop.isSet
      }
    }
    #expect(strange.isEmpty, "\(strange)")
    #expect(zeroes.count == 0)
  }
}
