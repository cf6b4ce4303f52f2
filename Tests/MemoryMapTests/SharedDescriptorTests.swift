import CSystem
import Foundation
import Testing

@testable import MemoryMap

@Suite struct SharedDescriptorTests {
  /// Owns the writing end of a pipe through a SharedDescriptor. Whether it is closed shows at the reading end: the
  /// number alone would not do, as another thread may have been given it again.
  final class Pipe: Sendable {
    let reading: Int32
    let writing: SharedDescriptor

    init() {
      var ends: [Int32] = [0, 0]
      precondition(unsafe pipe(&ends) == 0)
      for end in ends { precondition(fcntl(end, F_SETFD, FD_CLOEXEC) == 0) }
      reading = ends[0]
      writing = SharedDescriptor(ends[1])
    }

    deinit { _ = close(reading) }

    /// The bytes that are in the pipe by now, and whether there can be no more, at the latest after so many ms: a process
    /// that another test starts has all descriptors for a moment.
    func drain(_ milliseconds: Int32 = 0) -> (count: Int, isClosed: Bool) {
      var total = 0
      var buffer = [UInt8](repeating: 0, count: 4096)
      while true {
        var event = pollfd(fd: reading, events: Int16(POLLIN), revents: 0)
        if unsafe poll(&event, 1, milliseconds) == 0 { return (total, false) }
        let count = unsafe read(reading, &buffer, buffer.count)
        if count <= 0 { return (total, count == 0) }
        total += count
      }
    }

    func put() throws(Failure) {
      try writing.withDescriptor { (number) throws(Failure) in
        var byte: UInt8 = 1
        if unsafe write(number, &byte, 1) != 1 { throw .lastError }
      }
    }
  }

  @Test func a_descriptor_is_usable_until_it_is_shut() throws {
    let pipe = Pipe()
    try pipe.put()
    #expect(pipe.drain() == (1, false))
    pipe.writing.shut()
    #expect(pipe.drain(1000) == (0, true))
    #expect(failure { () throws(Failure) in try pipe.put() } == .closed)
  }

  @Test func a_descriptor_stays_open_while_a_call_is_using_it() throws {
    let pipe = Pipe()
    try pipe.writing.withDescriptor { (number) throws(Failure) in
      pipe.writing.shut()
      #expect(pipe.drain() == (0, false))
      var byte: UInt8 = 1
      #expect(unsafe write(number, &byte, 1) == 1)
    }
    #expect(pipe.drain(1000) == (1, true))
  }

  @Test func an_anonymous_mapping_has_no_descriptor_to_use_or_to_shut() {
    let none = SharedDescriptor(-1)
    #expect(failure { () throws(Failure) in try none.withDescriptor { (_) throws(Failure) in } } == .closed)
    none.shut()
    #expect(none.number == -1)
  }

  @Test func calls_that_race_with_shut_are_done_or_closed() {
    for _ in 0..<20 {
      let pipe = Pipe()
      let (done, others) = (Tally(), Tally())
      inParallel(3) { thread in
        for turn in 0..<1000 {
          if thread == 0 && turn == 500 { pipe.writing.shut() }
          switch failure({ () throws(Failure) in try pipe.put() }) {
          case nil: done.add()
          case .closed: break
          default: others.add()
          }
        }
      }
      #expect(others.count == 0)
      #expect(pipe.drain(1000) == (done.count, true))
    }
  }
}
