import CSystem
import Foundation
import Synchronization
import Testing

@testable import MemoryMap

/// Calls on threads, against structural changes on another. What is looked for, beside a crash and what the sanitizers
/// see, is a result that no order of the calls explains.
@Suite struct RaceTests {
  let directory: TemporaryDirectory
  let path: String

  init() throws {
    directory = try TemporaryDirectory()
    path = try directory.file("file", [UInt8](repeating: 0x11, count: 4 * pageBytes))
  }

  static let kinds: [OpenOptions.Flags] = [
    [.write, .shared], [.write, .shared, .noLock], [.write, .shared, .direct], [.write, .shared, .direct, .noLock],
  ]

  @Test(arguments: kinds)
  func no_call_succeeds_after_close_returned(_ flags: OpenOptions.Flags) throws {
    let path = path
    let (late, strange) = (Tally(), Surprises())
    for _ in 0..<100 {
      let handle = try Handle(path, flags)
      let closed = Flag()
      inParallel(3) { thread in
        if thread == 0 {
          sched_yield()
          strange.add(failure({ () throws(Failure) in try handle.close() }))
          closed.set()
          return
        }
        while true {
          let wasClosed = closed.isSet
          do throws(Failure) {
            // Whatever is read is the file's: never the zeroes that take its place.
            if thread == 1 {
              if try handle.bytes(at: 100, 5000) != [UInt8](repeating: 0x11, count: 5000) { strange.add("other bytes") }
            } else {
              try handle.write([0x11], at: 3 * pageBytes)
              if try handle.word(at: 8) != 0x1111_1111_1111_1111 { strange.add("another word") }
            }
            if wasClosed { late.add() }
          } catch {
            if error != .closed { strange.add(error) }
            return
          }
        }
      }
    }
    #expect(late.count == 0)
    #expect(strange.isEmpty, "\(strange)")
  }

  @Test func of_two_that_close_one_is_told_that_it_was_closed() throws {
    for _ in 0..<100 {
      let handle = try Handle(path)
      let (done, closed) = (Tally(), Tally())
      inParallel(2) { _ in
        switch failure({ () throws(Failure) in try handle.close() }) {
        case nil: done.add()
        case .closed: closed.add()
        default: break
        }
      }
      #expect((done.count, closed.count) == (1, 1))
    }
  }

  @Test func a_closed_handle_answers_closed_to_everything() throws {
    let handle = try Handle(path, [.write, .shared])
    try handle.close()
    let results: [Failure?] = [
      failure { () throws(Failure) in try handle.close() },
      failure { () throws(Failure) in try handle.bytes(at: 0, 1) },
      failure { () throws(Failure) in try handle.write([1], at: 0) },
      failure { () throws(Failure) in try handle.write([1], at: 1 << 20) },
      failure { () throws(Failure) in try handle.word(at: 0) },
      failure { () throws(Failure) in try handle.add(1, at: 0) },
      failure { () throws(Failure) in try handle.borrow(at: 0, 1) },
      failure { () throws(Failure) in try handle.file.setPosition(.start, 0) },
      failure { () throws(Failure) in try handle.file.resize(to: 1) },
      failure { () throws(Failure) in try handle.file.truncateAtPosition() },
      failure { () throws(Failure) in try handle.file.remap() },
      failure { () throws(Failure) in try handle.file.allocate(at: 0, count: 1) },
      failure { () throws(Failure) in try handle.file.syncData() },
      failure { () throws(Failure) in try handle.file.syncAll() },
      failure { () throws(Failure) in try handle.file.syncRange(at: 0, count: 1) },
      failure { () throws(Failure) in try handle.file.flush() },
      failure { () throws(Failure) in try handle.file.advise(at: 0, count: 0, .normal) },
      failure { () throws(Failure) in try handle.file.info() },
      failure { () throws(Failure) in try handle.file.status() },
    ]
    #expect(results == [Failure?](repeating: .closed, count: results.count))
  }

  @Test func with_lock_a_reader_sees_no_torn_write() throws {
    let handle = try Handle(path, [.write, .shared])
    try handle.write([UInt8](repeating: 1, count: 8192), at: 100)
    let stop = Flag()
    let (torn, seen) = (Tally(), Tally())
    inParallel(4) { thread in
      if thread < 2 {
        let mine = [UInt8](repeating: UInt8(thread + 1), count: 8192)
        for _ in 0..<1000 {
          if failure({ () throws(Failure) in try handle.write(mine, at: 100) }) != nil { torn.add() }
        }
        stop.set()
      } else {
        repeat {
          guard let bytes = try? handle.bytes(at: 100, 8192) else { return torn.add() }
          if bytes != [UInt8](repeating: bytes[0], count: 8192) { torn.add() }
          seen.add()
        } while !stop.isSet
      }
    }
    #expect(torn.count == 0)
    #expect(seen.count > 0)
  }

  @Test func threads_that_add_to_one_word_lose_nothing() throws {
    let handle = try Handle(path, [.write, .shared])
    try handle.write([UInt8](repeating: 0, count: 8), at: 64)
    inParallel(4) { _ in
      for _ in 0..<10_000 { _ = failure { () throws(Failure) in try handle.add(1, at: 64) } }
    }
    #expect(try handle.word(at: 64) == 40_000)
  }

  @Test func writes_at_the_position_get_places_of_their_own() throws {
    let path = try directory.file("appended", [])
    let handle = try Handle(path, [.write, .shared], maximumStep: pageBytes)
    inParallel(4) { thread in
      for _ in 0..<500 {
        _ = failure { () throws(Failure) in try handle.write([UInt8](repeating: UInt8(thread), count: 100)) }
      }
    }
    let bytes = try contents(path)
    #expect(bytes.count == 4 * 500 * 100)
    var counts = [0, 0, 0, 0]
    for start in stride(from: 0, to: bytes.count, by: 100) {
      let record = Array(bytes[start..<(start + 100)])
      #expect(record == [UInt8](repeating: record[0], count: 100))
      counts[Int(record[0])] += 1
    }
    #expect(counts == [500, 500, 500, 500])
  }

  @Test func readers_see_no_zeroes_while_the_file_grows_and_shrinks() throws {
    let handle = try Handle(path, [.write, .shared], maximumStep: pageBytes)
    let stop = Flag()
    let bad = Tally()
    inParallel(3) { thread in
      if thread == 0 {
        for round in 0..<200 {
          // Up through several regions, and back to where it was.
          if failure({ () throws(Failure) in try handle.file.resize(to: (4 << 20) + round * pageBytes) }) != nil {
            bad.add()
          }
          if failure({ () throws(Failure) in try handle.file.resize(to: 4 * pageBytes) }) != nil { bad.add() }
        }
        stop.set()
      } else {
        repeat {
          do throws(Failure) {
            guard let bytes = try handle.bytes(at: 0, 4 * pageBytes) else { return bad.add() }
            if bytes != [UInt8](repeating: 0x11, count: 4 * pageBytes) { bad.add() }
            // Past what stays: data, or the end; both may be.
            _ = try handle.bytes(at: 4 * pageBytes, 1 << 16)
          } catch {
            // A read that overlaps a shrinking file finds its bytes gone.
            if error != .truncated { bad.add() }
          }
        } while !stop.isSet
      }
    }
    #expect(bad.count == 0)
  }

  @Test func handles_that_are_dropped_while_others_fault_free_only_their_own() throws {
    let (directory, regions) = (directory.path, Regions())
    let bad = Tally()
    inParallel(4) { thread in
      let path = directory + "/own\(thread)"
      for _ in 0..<100 {
        guard let handle = try? Handle(path, [.create, .write, .shared], size: 4 * pageBytes, regions: regions) else {
          return bad.add()
        }
        cut(path, to: pageBytes)
        if failure({ () throws(Failure) in try handle.bytes(at: 2 * pageBytes, 1) }) != .truncated { bad.add() }
        if failure({ () throws(Failure) in try handle.bytes(at: 0, 10) }) != nil { bad.add() }
        cut(path, to: 4 * pageBytes)
      }
    }
    #expect(bad.count == 0)
    #expect(regions.live.load(ordering: .relaxed) == 0)
  }

  // The thread sanitizer holds a lock of its own around atomic operations, and a signal there meets it again.
  #if !THREAD_SANITIZER
    @Test func words_that_a_shrink_takes_away_are_never_zero_and_leave_nothing() throws {
      // The new end lies within the page of the word, where no fault tells that the word is gone.
      let (newEnd, word) = (pageBytes + 4, pageBytes + 8)
      let (strange, zeroes, left) = (Surprises(), Tally(), Tally())
      for _ in 0..<300 {
        let handle = try Handle(path, [.write, .shared])
        try handle.write([UInt8](repeating: 0x11, count: pageBytes), at: pageBytes)
        inParallel(3) { thread in
          if thread == 0 {
            sched_yield()
            strange.add(failure({ () throws(Failure) in try handle.file.resize(to: newEnd) }))
            return
          }
          while true {
            do throws(Failure) {
              if try (thread == 1 ? handle.word(at: word) : handle.add(0x100, at: word)) & 0xFF != 0x11 { zeroes.add() }
            } catch {
              if error != .outOfRange && error != .truncated { strange.add(error) }
              return
            }
          }
        }
        strange.add(failure({ () throws(Failure) in try handle.file.resize(to: 4 * pageBytes) }))
        if try handle.word(at: word) != 0 { left.add() }
        try handle.close()
      }
      #expect(strange.isEmpty, "\(strange)")
      #expect((zeroes.count, left.count) == (0, 0))
    }
  #endif
}
