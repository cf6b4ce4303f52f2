import CSystem
import Foundation
import MemoryMap
import Synchronization
import Testing

@testable import Structures

@Suite struct QueueTests {
  @Test func messages_of_every_size_come_in_order_across_segments() throws {
    let disk = Disk()
    let queue = try open(disk)
    var sizes = [0, 1, 7, 8, 9, 16 << 10, (64 << 10) - 72 - 16, (64 << 10) - 72, (64 << 10) - 71, 200_000]
    // Each rest that a segment can end with.
    for rest in stride(from: 0, through: 64, by: 4) { sizes += [(64 << 10) - 64 - 8 - rest, 3] }
    for (number, size) in sizes.enumerated() { try queue.push(message(number, size)) }
    let again = try open(disk.afterKill())
    #expect(try again.length() == sizes.count)
    for (number, size) in sizes.enumerated() { #expect(try again.pop() == [message(number, size)]) }
    #expect(try again.pop() == [])
  }

  @Test func consumers_have_places_of_their_own() throws {
    let disk = Disk()
    var queue = try open(disk)
    try queue.push(message(0), message(1))
    let other = try queue.consumer("other")
    let late = try queue.consumer("late", fromOldest: false)
    #expect(try queue.pop(5) == [message(0), message(1)])
    #expect(try queue.pop(1, other) == [message(0)])
    try queue.push(message(2))
    #expect(try queue.pop(5, late) == [message(2)])
    try queue.queue.close()
    queue = try open(disk)
    #expect(try queue.pop(5, queue.consumer("other")) == [message(1), message(2)])
    #expect(try queue.pop(5, queue.consumer("late")) == [])
    #expect(try queue.pop(5) == [message(2)])
  }

  @Test func a_removed_consumer_holds_nothing_and_the_last_one_stays() throws {
    let queue = try open(Disk())
    let other = try queue.consumer("other")
    let remove = { (name: String) throws(StructureError) in
      try unsafe withBuffers([[UInt8](name.utf8)]) { (buffers) throws(StructureError) in
        try unsafe queue.queue.removeConsumer(buffers[0])
      }
    }
    try remove("")
    #expect(error { () throws(StructureError) in try remove("") } == .notFound)
    #expect(error { () throws(StructureError) in try remove("other") } == .lastConsumer)
    // One of the same name is another one, and begins where the oldest is.
    try queue.push(message(1))
    #expect(try queue.pop(1, other) == [message(1)])
    #expect(try queue.length(queue.consumer("")) == 0)
  }

  /// Somebody has seen where the newest is, and is held up, while others push, pop and sync, until that segment is gone.
  @Test func who_comes_late_needs_nothing_that_is_gone() throws {
    for comes in [false, true] {
      let disk = Disk()
      let queue = try open(disk)
      let seen = queue.queue.pusher.locked { Place(position: $0.position, number: $0.number, epoch: queue.queue.epoch) }
      for number in 0..<6 {
        try queue.push(message(number, 60_000))
        #expect(try queue.pop() == [message(number, 60_000)])
      }
      #expect(queue.queue.table.locked { $0.first } > 1)
      if comes {
        let late = try unsafe withBuffers([[UInt8]("late".utf8)]) { (buffers) throws(StructureError) in
          try unsafe queue.queue.consumer(buffers[0], fromOldest: false, seen)
        }
        #expect(try queue.pop(1, late) == [])
      } else {
        try queue.queue.sync(from: seen)
      }
      try queue.push(message(7))
      let again = try open(disk.afterKill())
      #expect(try again.pop(9) == [message(7)])
      if comes { #expect(try again.pop(9, again.consumer("late")) == [message(7)]) }
    }
  }

  @Test func what_was_taken_comes_back_first_and_in_order() throws {
    let disk = Disk()
    var queue = try open(disk)
    for number in 0..<6 { try queue.push(message(number)) }
    let first = try #require(try queue.take(owner: 1))
    let second = try #require(try queue.take(owner: 2))
    let third = try #require(try queue.take(owner: 1))
    #expect([first.0, second.0, third.0] == [message(0), message(1), message(2)])
    #expect(try queue.length() == 3)
    #expect(queue.end(owner: 1) == 2)
    #expect(try queue.length() == 5)
    #expect(
      error { () throws(StructureError) in
        try queue.queue.acknowledge(first.1, queue.first, mayBlock: true)
      } == .notFound)
    let again = try #require(try queue.take(owner: 3))
    #expect(again.0 == message(0))
    #expect(try queue.pop() == [message(2)])
    try queue.queue.acknowledge(again.1, queue.first, mayBlock: true)
    try queue.queue.giveBack(second.1, queue.first, mayBlock: true)
    #expect(try queue.pop() == [message(1)])
    #expect(try queue.pop() == [message(3)])
    // What is taken and not acknowledged is there when the queue is opened again.
    let fourth = try #require(try queue.take(owner: 1))
    #expect(fourth.0 == message(4))
    queue = try open(disk.afterKill())
    #expect(try queue.pop(9) == [message(4), message(5)])
  }

  @Test func acknowledgements_in_any_order_leave_what_is_not_acknowledged() throws {
    let disk = Disk()
    let queue = try open(disk)
    var numbers = Numbers(state: 7)
    var receipts: [(Int, Receipt)] = []
    for number in 0..<500 {
      try queue.push(message(number))
      receipts.append((number, try #require(try queue.take()).1))
    }
    receipts.shuffle(using: &numbers)
    for (_, receipt) in receipts.dropFirst(20) {
      try queue.queue.acknowledge(receipt, queue.first, mayBlock: true)
    }
    #expect(queue.end(owner: 1) == 20)
    let left = receipts.prefix(20).map { $0.0 }.sorted()
    for number in left { #expect(try queue.pop() == [message(number)]) }
    #expect(try queue.pop() == [])
    #expect(try queue.queue.length(queue.first, mayBlock: true).bytes == 0)
  }

  /// Where somebody else has the consumer's lock, too: all of this would wait for ever if it waited.
  @Test func who_ends_waits_for_nobody_and_whoever_comes_next_finds_what_came_back() throws {
    let queue = try open(Disk())
    try queue.push(all: (0..<4).map { message($0) })
    _ = try queue.take(owner: 1)
    _ = try queue.take(owner: 2)
    _ = try queue.take(owner: 1)
    // That one ends while it is handed a message.
    var count = -1
    #expect(try queue.take(owner: 3, before: { count = queue.end(owner: 3) })?.0 == message(3))
    #expect(count == 0)
    #expect(try queue.length() == 1)
    #expect(queue.queue.consumers[0].locked { _ in queue.end(owner: 1) } == 2)
    #expect(try queue.queue.takenCount(queue.first) == 1)
    #expect(try queue.length() == 3)
    #expect(try unsafe queue.queue.peek(queue.first, mayBlock: false) { unsafe [UInt8]($0) } == message(0))
    // One that comes back is handed out as to somebody else.
    let again = try #require(try queue.take(owner: 1))
    #expect(again.0 == message(0))
    #expect(queue.end(owner: 2) == 1)
    #expect(try queue.pop() == [message(1)])
    try queue.queue.acknowledge(again.1, queue.first, mayBlock: true)
    #expect(queue.end(owner: 1) == 0)
    #expect(try queue.pop() == [message(2)])
    #expect(try queue.pop() == [message(3)])
    #expect(try queue.length() == 0)
  }

  @Test func who_has_ended_touches_nothing_of_what_came_after_a_purge_or_another_consumer() throws {
    let queue = try open(Disk())
    try queue.push(message(0), message(1))
    let old = try queue.consumer("old")
    _ = try queue.take(owner: 1)
    _ = try queue.take(owner: 1, old)
    _ = try queue.take(owner: 2, old)
    try queue.queue.purge(queue.first)
    #expect(queue.end(owner: 1) == 0)
    #expect(try queue.length() == 0)
    // One has ended when the consumer goes, the other one ends when there is another one in its place.
    #expect(queue.end(owner: 1, of: old.index) == 1)
    try remove("old", queue)
    let new = try queue.consumer("new", fromOldest: false)
    #expect(new.index == old.index)
    try queue.push(message(2), message(3))
    let taken = try #require(try queue.take(owner: 3, new))
    #expect(queue.end(owner: 2, of: new.index) == 0)
    #expect(try queue.length(new) == 1)
    try queue.queue.acknowledge(taken.1, new, mayBlock: true)
    #expect(try queue.pop(9, new) == [message(3)])
    // Of a queue that is closed nothing comes back.
    _ = try queue.take(owner: 1)
    try queue.queue.close()
    #expect(queue.end(owner: 1) == 1)
    #expect(error { () throws(StructureError) in try queue.length() } == .closed)
  }

  /// Below, at and above what is looked at where it may not take long.
  @Test func much_is_given_back_where_it_may_take_long() throws {
    for (count, has, isLong) in [(4095, 1, false), (4096, 1, false), (4097, 1, true), (4098, 0, false)] {
      let queue = try open(Disk())
      try queue.push(all: (0..<count).map { message($0) })
      for _ in 1..<count { _ = try queue.take(owner: 1) }
      let taken = try #require(try queue.take(owner: 2))
      if has == 0 { try queue.queue.acknowledge(taken.1, queue.first, mayBlock: true) }
      #expect(queue.end(owner: 2) == has)
      let length = { () throws(StructureError) in try queue.queue.length(queue.first, mayBlock: false).messages }
      #expect(error(length) == (isLong ? .wouldWait : nil))
      #expect(try queue.length() == has)
      #expect(try length() == has)
    }
  }

  /// Every message is acknowledged once, whoever ends meanwhile.
  @Test func owners_end_while_others_take_and_acknowledge() throws {
    let queue = try open(Disk())
    let count = isSanitized ? 3000 : 30_000
    try queue.push(all: (0..<count).map { message($0) })
    let name = queue.first
    let done = Atomic<Int>(0)
    let sum = Atomic<Int>(0)
    let body: @Sendable () -> Void = {
      var (round, owner) = (0, unsafe Owner.make(consumer: name.index))
      while done.load(ordering: .relaxed) < count, let current = unsafe owner {
        round += 1
        let taken = try? unsafe queue.queue.take(name, owner: { unsafe current }, mayBlock: true) { bytes in
          unsafe bytes.loadUnaligned(as: Int.self)
        }
        if let (number, receipt) = taken, round % 3 != 0 {
          if (try? queue.queue.acknowledge(receipt, name, mayBlock: true)) == nil { continue }
          sum.wrappingAdd(number, ordering: .relaxed)
          done.wrappingAdd(1, ordering: .relaxed)
        }
        if round % 7 == 0 {
          _ = unsafe queue.queue.end(current)
          unsafe owner = unsafe Owner.make(consumer: name.index)
        }
      }
      if let owner = unsafe owner { _ = unsafe queue.queue.end(owner) }
    }
    inParallel([body, body, body])
    #expect(sum.load(ordering: .relaxed) == count * (count - 1) / 2)
    #expect(done.load(ordering: .relaxed) == count)
    #expect(try queue.queue.length(name, mayBlock: true).bytes == 0)
  }

  @Test func purge_drops_all_and_what_comes_later_stays() throws {
    let queue = try open(Disk())
    try queue.push(message(1), message(2))
    let taken = try #require(try queue.take())
    try queue.queue.purge(queue.first)
    #expect(try queue.length() == 0)
    #expect(
      error { () throws(StructureError) in
        try queue.queue.acknowledge(taken.1, queue.first, mayBlock: true)
      } == .notFound)
    try queue.push(message(3))
    #expect(try queue.pop(5) == [message(3)])
  }

  // MARK: Kills

  /// A short history, killed after each single store, growth and sync that it makes: whatever had returned is there, and
  /// the rest as a whole or not at all.
  @Test func killed_after_each_single_store_nothing_is_lost() throws {
    var steps = 0
    while true {
      let disk = Disk()
      disk.stepsLeft = steps
      var (pushed, popped) = (0, 0)
      var pushing = 0
      var popping = 0
      let isFinished: Bool
      do throws(StructureError) {
        var queue = try open(disk)
        for round in 0..<3 {
          for (count, size) in [(1, 24), (3, 20_000), (1, 100_000), (2, 0)] {
            pushing = count
            try queue.push(all: (0..<count).map { message(pushed + $0, size) })
            (pushed, pushing) = (pushed + count, 0)
          }
          popping = 2
          popped += try queue.pop(2).count
          popping = 0
          try queue.queue.sync()
          popping = 2
          popped += try queue.pop(2).count
          popping = 0
          if round == 1 {
            try queue.queue.close()
            queue = try open(disk)
          }
        }
        isFinished = true
      } catch {
        #expect(error == Disk.killed)
        isFinished = false
      }
      let queue = try open(disk.afterKill())
      let number = queue.queue.number.load(ordering: .relaxed)
      #expect(number == pushed || number == pushed + pushing, "killed after \(steps) steps")
      let place = queue.queue.consumers[0].locked { $0.place.number }
      #expect(place == popped || place == popped + popping, "killed after \(steps) steps")
      let sizes = [24, 20_000, 20_000, 20_000, 100_000, 0, 0]
      for index in place..<number {
        // A batch's numbers begin with that of its first message.
        #expect(try queue.pop() == [message(index, sizes[index % 7])])
      }
      if isFinished { break }
      steps += isSanitized ? 3 : 1
    }
    print("killed after each of \(steps) steps")
  }

  /// A consumer is made and another removed; the power fails after each step of that, in many ways: both are there or
  /// not, and where they were.
  @Test func consumers_come_and_go_as_a_whole() throws {
    var numbers = Numbers(state: 11)
    for steps in 0..<12 {
      for round in 0..<200 {
        var disk = Disk()
        var queue = try open(disk)
        try queue.push(all: (0..<6).map { message($0) })
        // What was in the slot before has left its places there.
        let old = try queue.consumer("old")
        _ = try queue.pop(5, old)
        try remove("old", queue)
        let going = try queue.consumer("going")
        _ = try queue.pop(3, going)
        _ = try queue.pop(2)
        try queue.queue.sync()
        disk.stepsLeft = steps
        var (isMade, isRemoved) = (false, false)
        do throws(StructureError) {
          _ = try queue.consumer("coming")
          isMade = true
          try remove("going", queue)
          isRemoved = true
        } catch {
          #expect(error == Disk.killed)
        }
        disk = disk.afterPowerFailure(unit: [16, 64, 512][round % 3], &numbers)
        queue = try open(disk)
        let names = try names(of: queue)
        if isMade { #expect(names.contains("coming")) }
        if isRemoved { #expect(!names.contains("going")) }
        if !isMade { #expect(names.contains("going")) }
        #expect(!names.contains("old"))
        if names.contains("coming") { #expect(try queue.length(queue.consumer("coming")) == 4) }
        if names.contains("going") { #expect(try queue.length(queue.consumer("going")) == 3) }
        #expect(try queue.pop(9) == (2..<6).map { message($0) })
      }
    }
  }

  private func remove(_ name: String, _ queue: Held<SimulatedStorage>) throws(StructureError) {
    try unsafe withBuffers([[UInt8](name.utf8)]) { (buffers) throws(StructureError) in
      try unsafe queue.queue.removeConsumer(buffers[0])
    }
  }

  private func names(of queue: Held<SimulatedStorage>) throws(StructureError) -> [String] {
    var names: [String] = []
    try unsafe queue.queue.forEachConsumer { (name, _) in unsafe names.append(String(decoding: name, as: UTF8.self)) }
    return names
  }

  // MARK: Damage

  /// Every bit of a small file is flipped once, in a file that was closed: every answer is right, or an error. In the
  /// short form every bit of what is used, and some of what is not.
  @Test func a_flipped_bit_is_found_or_does_no_harm() throws {
    let disk = Disk()
    var queue = try open(disk)
    let wanted = (0..<8).map { message($0, $0 * 11) }
    try queue.push(all: [message(100), message(101)])
    _ = try queue.pop(1)
    try queue.queue.sync()
    _ = try queue.pop(1)
    try queue.push(all: wanted)
    _ = try queue.consumer("other", fromOldest: false)
    try queue.queue.close()
    queue = try open(disk)
    _ = try queue.pop(1)
    try queue.queue.close()
    let image = disk.bytes
    let isLong = ProcessInfo.processInfo.environment["EMMAP_LONG"] != nil
    let used = [0..<64, 4096..<4160, 8192..<8256, 12288..<12304, 16384..<16896, 65536..<66600]
    let offsets =
      isLong ? Array(0..<image.count) : used.flatMap { Array($0) } + stride(from: 300, to: image.count, by: 509)
    var (count, errors) = (0, 0)
    for offset in offsets {
      for bit in bits(of: offset) {
        var damaged = image
        damaged[offset] ^= 1 << UInt8(bit)
        var got: [[UInt8]] = []
        var failure: StructureError? = nil
        do throws(StructureError) {
          let queue = try open(Disk(damaged))
          while let next = try queue.pop().first { got.append(next) }
        } catch {
          failure = error
        }
        let right = [[UInt8]](wanted.dropFirst())
        let isRight = failure == nil ? got == right : got == [[UInt8]](right.prefix(got.count))
        #expect(isRight, "byte \(offset), bit \(bit): \(got.count) messages, \(String(describing: failure))")
        count += 1
        if failure != nil { errors += 1 }
      }
    }
    #expect(errors > 0)
    print("\(count) bits flipped, \(errors) found")
  }

  // MARK: Faults

  @Test func a_full_disk_leaves_the_queue_as_it_was() throws {
    let disk = Disk()
    let queue = try open(disk)
    try queue.push(message(1))
    disk.growthError = .file(.system(ENOSPC))
    #expect(
      error { () throws(StructureError) in try queue.push(message(2), message(3, 300_000)) }
        == .file(.system(ENOSPC)))
    try queue.push(message(4))
    disk.growthError = nil
    try queue.push(message(5, 300_000))
    let again = try open(disk.afterKill())
    #expect(try again.pop(9) == [message(1), message(4), message(5, 300_000)])
  }

  @Test func a_file_gets_no_longer_than_its_limit() throws {
    var options = small
    options.maximumSize = 65536 * 4
    let queue = try open(Disk(), options)
    try queue.push(message(1, 100_000))
    #expect(error { () throws(StructureError) in try queue.push(message(2, 100_000)) } == .full)
    #expect(try queue.pop() == [message(1, 100_000)])
    try queue.push(message(3, 100_000))
    #expect(try queue.pop() == [message(3, 100_000)])
    #expect(queue.queue.fileSize == options.maximumSize)
  }

  /// The system tells of an error once, and has forgotten the data then.
  @Test func after_a_failed_sync_every_answer_is_that_error_until_it_is_opened_anew() throws {
    let disk = Disk()
    let queue = try open(disk)
    try queue.push(message(1))
    disk.syncError = .file(.system(EIO))
    let eio = StructureError.file(.system(EIO))
    #expect(error { () throws(StructureError) in try queue.queue.sync() } == eio)
    disk.syncError = nil
    let name = ConsumerName(index: 0, incarnation: 2)
    for _ in 0..<2 {
      #expect(error { () throws(StructureError) in try queue.queue.sync() } == eio)
      #expect(error { () throws(StructureError) in try queue.push(message(2)) } == eio)
      #expect(error { () throws(StructureError) in try queue.pop(1, name) } == eio)
      #expect(error { () throws(StructureError) in try queue.length(name) } == eio)
    }
    #expect(error { () throws(StructureError) in try queue.queue.close() } == eio)
    #expect(error { () throws(StructureError) in try queue.queue.close() } == .file(.closed))
    #expect(try open(disk).pop(5) == [message(1)])
  }

  @Test func a_file_of_something_else_is_left_alone() throws {
    for bytes in [
      [UInt8]("something else, and long enough to be looked at closely".utf8), [UInt8](repeating: 1, count: 70_000),
    ]
      + [[UInt8](repeating: 0, count: 60_000) + [7], [1, 2, 3]]
    {
      let disk = Disk(bytes)
      #expect(error { () throws(StructureError) in try open(disk) } == .badMagic)
      #expect(disk.bytes == bytes)
    }
  }

  // MARK: Files

  @Test func a_file_has_one_owner() throws {
    let directory = try TemporaryDirectory()
    let queue = try open(directory.file())
    #expect(error { () throws(StructureError) in try open(directory.file()) } == .locked)
    try queue.push(message(1))
    try queue.queue.close()
    let again = try open(directory.file())
    #expect(again.queue.recovered.wasClean)
    #expect(try again.pop() == [message(1)])
  }

  @Test func a_file_cut_short_is_an_error() throws {
    let directory = try TemporaryDirectory()
    let queue = try open(directory.file())
    for number in 0..<100 { try queue.push(message(number, 1000)) }
    #expect(try queue.pop() == [message(0, 1000)])
    // Whole pages, of 64 KiB too.
    #expect(unsafe truncate(directory.file(), 65536 + 65536) == 0)
    let first = ConsumerName(index: 0, incarnation: 2)
    var failure: StructureError? = nil
    for _ in 0..<100 where failure == nil {
      failure = error { () throws(StructureError) in try queue.pop(1, first) }
    }
    #expect(failure == .file(.truncated))
    _ = error { () throws(StructureError) in try queue.queue.close() }
    let again = error { () throws(StructureError) in try open(directory.file()) }
    guard case .corrupt = again else {
      Issue.record("opened a file that was cut short: \(String(describing: again))")
      return
    }
  }

  /// What is cut off has not been touched since.
  @Test func a_sync_finds_that_the_file_was_cut_short() throws {
    let directory = try TemporaryDirectory()
    let queue = try open(directory.file())
    let name = queue.first
    try queue.push(message(1))
    try queue.queue.sync()
    #expect(unsafe truncate(directory.file(), 65536 + 65535) == 0)
    try queue.push(message(2))
    let truncated = StructureError.file(.truncated)
    #expect(error { () throws(StructureError) in try queue.queue.sync() } == truncated)
    #expect(error { () throws(StructureError) in try queue.push(message(3)) } == truncated)
    #expect(error { () throws(StructureError) in try queue.pop(1, name) } == truncated)
    #expect(error { () throws(StructureError) in try queue.queue.close() } == truncated)
    // What was pushed is not taken for what a power failure has left behind.
    let again = error { () throws(StructureError) in try open(directory.file()) }
    #expect(again == .corrupt(0))
  }

  @Test func a_queue_that_is_nearly_empty_stays_small() throws {
    let directory = try TemporaryDirectory()
    let queue = try open(directory.file())
    for number in 0..<2000 {
      try queue.push(message(number, 10_000))
      #expect(try queue.pop() == [message(number, 10_000)])
    }
    #expect(queue.queue.fileSize <= 65536 + 4 * 65536)
  }

  /// Others wait for the table meanwhile. One by one, each of them would move all that are free.
  @Test func many_segments_come_and_go_at_once() throws {
    let count = 500_000
    var table = SegmentTable()
    let time = ContinuousClock().measure {
      table.grow(by: count)
      while table.append() {}
      table.release(below: count)
    }
    #expect(table.free.count == count)
    #expect(table.first == count)
    #expect(time < .seconds(5))
  }

  @Test func a_large_message_is_not_read_where_that_may_not_take_long() throws {
    let disk = Disk()
    let queue = try open(disk)
    let name = queue.first
    for size in [1_000_000, 65_000] { try queue.push(message(size, size)) }
    for size in [1_000_000, 65_000] {
      let reads = disk.reads
      let failure = error { () throws(StructureError) in
        _ = try unsafe queue.queue.pop(1, name, mayBlock: false) { _ in }
      }
      if size > 65_536 {
        #expect(failure == .wouldWait)
        #expect(disk.reads - reads < 4)
        #expect(try queue.pop() == [message(size, size)])
      } else {
        #expect(failure == nil)
      }
    }
    #expect(try queue.pop() == [])
  }

  /// Two push and two pop, one syncs: every message comes once, those of a pusher in its order, batches together.
  @Test func threads_lose_and_double_nothing() throws {
    let directory = try TemporaryDirectory()
    let queue = try open(directory.file())
    let name = queue.first
    let each = 3000
    let done = Atomic<Int>(0)
    let seen = Seen(pushers: 2, each: each)
    let pushers = (0..<2).map { pusher -> @Sendable () -> Void in
      {
        for number in stride(from: 0, to: each, by: 3) {
          do { try queue.push(all: (0..<3).map { message(pusher << 32 | (number + $0), 24) }) } catch {
            Issue.record("push: \(error)")
          }
        }
      }
    }
    let poppers = (0..<2).map { _ -> @Sendable () -> Void in
      {
        var mine = [-1, -1]
        while done.load(ordering: .relaxed) < 2 * each {
          guard let got = try? queue.pop(4, name) else {
            Issue.record("pop")
            return
          }
          done.wrappingAdd(got.count, ordering: .relaxed)
          for bytes in got {
            let value = bytes.prefix(8).enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
            if bytes != message(value, 24) { Issue.record("torn") }
            let (pusher, number) = (value >> 32, value & 0xFFFF_FFFF)
            if number <= mine[pusher] { Issue.record("out of order") }
            mine[pusher] = number
            seen.add(pusher, number)
          }
        }
      }
    }
    let syncer: @Sendable () -> Void = {
      while done.load(ordering: .relaxed) < 2 * each {
        do { try queue.queue.sync() } catch { Issue.record("sync: \(error)") }
      }
    }
    inParallel(pushers + poppers + [syncer])
    #expect(seen.all)
    #expect(try queue.length() == 0)
    try queue.queue.close()
    #expect(try open(directory.file()).length() == 0)
  }
}

/// Which messages have come, by pusher.
final class Seen: @unchecked Sendable {
  private let lock = NSLock()
  private var counts: [[Int]]
  init(pushers: Int, each: Int) { counts = [[Int]](repeating: [Int](repeating: 0, count: each), count: pushers) }
  func add(_ pusher: Int, _ number: Int) { lock.withLock { counts[pusher][number] += 1 } }
  var all: Bool { lock.withLock { counts.allSatisfy { $0.allSatisfy { $0 == 1 } } } }
}
