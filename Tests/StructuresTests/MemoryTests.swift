import CSystem
import MemoryMap
import Testing

@testable import Structures

/// What becomes of a call that is refused memory: `noMemory`, and all is as it was.
@Suite struct MemoryTests {
  private static var noMemory: StructureError { .file(.noMemory) }

  /// Runs `body` with so many allocations granted.
  private func granting<R>(_ count: Int, _ body: () throws(StructureError) -> R) throws(StructureError) -> R {
    try Allowance.$current.withValue(Allowance(count)) { () -> Result<R, StructureError> in
      do throws(StructureError) { return .success(try body()) } catch { return .failure(error) }
    }.get()
  }

  /// Runs `body` with one allocation more each time, until it does not fail; returns how often it was refused memory.
  private func sweep<R>(_ body: () throws(StructureError) -> R) -> (refused: Int, result: R)? {
    for granted in 0..<10_000 {
      do throws(StructureError) { return (granted, try granting(granted, body)) } catch {
        if error != Self.noMemory {
          Issue.record("\(error), with \(granted) granted")
          return nil
        }
      }
    }
    Issue.record("there is always something that is refused")
    return nil
  }

  @Test func a_queue_that_cannot_be_opened_is_opened_the_next_time() throws {
    let disk = Disk()
    var messages: [[UInt8]] = []
    for number in 0..<3 {
      let opened = sweep { () throws(StructureError) in try open(disk) }
      #expect((opened?.refused ?? 0) > 192)
      let queue = try #require(opened?.result)
      #expect(try queue.length() == messages.count)
      let more = (0..<20).map { message(number * 20 + $0, 30_000) }
      try queue.push(all: more)
      messages += more
      if number == 1 { try queue.queue.close() }
    }
    let queue = try open(disk)
    #expect(try queue.pop(100) == messages)
  }

  @Test func a_push_that_is_refused_memory_pushes_nothing_and_does_no_harm() throws {
    let directory = try TemporaryDirectory()
    let queue = try open(directory.file())
    var expected: [[UInt8]] = []
    for number in 0..<40 {
      let messages = (0..<3).map { message(number * 3 + $0, 20_000) }
      let pushed = sweep { () throws(StructureError) in try queue.push(all: messages) }
      if number == 0 { #expect((pushed?.refused ?? 0) > 1) }
      expected += messages
      #expect(try queue.length() == expected.count)
    }
    // Of a message that is longer than what is read ahead a copy is made.
    let popped = sweep { () throws(StructureError) in try queue.pop(1000) }
    #expect(popped?.refused == 2)
    #expect(popped?.result == expected)
    #expect(try queue.length() == 0)
  }

  @Test func a_message_that_cannot_be_noted_as_taken_is_not_taken() throws {
    let disk = Disk()
    let queue = try open(disk)
    let count = 1000
    try queue.push(all: (0..<count).map { message($0) })
    var (refused, receipts) = (0, [Receipt]())
    for number in 0..<count {
      let taken = sweep { () throws(StructureError) in try queue.take() }
      refused += taken?.refused ?? 0
      let (data, receipt) = try #require(taken?.result)
      #expect(data == message(number))
      receipts.append(receipt)
      #expect(try queue.length() == count - number - 1)
    }
    #expect((8...20).contains(refused))
    // A dead process's messages come back where there is no memory at all.
    try granting(0) { () throws(StructureError) in
      for receipt in receipts.prefix(600) { try queue.queue.acknowledge(receipt, queue.first, mayBlock: true) }
      #expect(queue.end(owner: 1) == 400)
      #expect(try queue.length() == 400)
    }
    for number in 600..<count { #expect(try queue.take(owner: 2)?.0 == message(number)) }
    #expect(try open(disk.afterKill()).pop(count) == (600..<count).map { message($0) })
  }

  @Test func segments_come_and_go_where_there_is_no_memory() throws {
    let directory = try TemporaryDirectory()
    let queue = try open(directory.file())
    let message = message(1, 30_000)
    try queue.push(all: [[UInt8]](repeating: message, count: 100))
    #expect(try queue.pop(100).count == 100)
    let size = queue.queue.fileSize
    // The file is as long as it needs to be.
    for _ in 0..<5 {
      try granting(0) { () throws(StructureError) in for _ in 0..<80 { try queue.push(message) } }
      let popped = try granting(0) { () throws(StructureError) in try queue.pop(100) }
      #expect(popped == [[UInt8]](repeating: message, count: 80))
    }
    #expect(queue.queue.fileSize == size)
  }

  @Test func blocks_that_cannot_be_opened_are_opened_the_next_time() throws {
    let disk = Disk()
    var stored: [Int: [UInt8]] = [:]
    for number in 0..<3 {
      let opened = sweep { () throws(StructureError) in try openBlocks(disk) }
      #expect((opened?.refused ?? 0) > 16)
      let held = try #require(opened?.result)
      #expect(try held.all() == stored)
      for index in 0..<50 {
        let kept = sweep { () throws(StructureError) in try held.store(message(number * 50 + index)) }
        stored[try #require(kept?.result)] = message(number * 50 + index)
      }
      // Free blocks of words that are newer than the superblock.
      for address in stored.keys.sorted().suffix(10) {
        try held.free(address)
        stored[address] = nil
      }
      if number == 1 { try held.blocks.close() }
    }
    #expect(try openBlocks(disk).all() == stored)
  }

  /// They wait for one sync more.
  @Test func a_sync_that_cannot_note_what_was_freed_leaves_it_for_the_next_one() throws {
    let held = try openBlocks(Disk(), blockOptions(64, count: 1000))
    for number in 0..<1000 { _ = try held.store(message(number)) }
    try held.blocks.sync()
    for address in 0..<1000 { try held.free(address) }
    for _ in 0..<4 {
      try granting(0) { () throws(StructureError) in try held.blocks.sync() }
      #expect(try held.blocks.waitingCount() == 1000)
    }
    // Room for eight words of 32 blocks.
    try granting(1) { () throws(StructureError) in try held.blocks.sync() }
    #expect(try held.blocks.waitingCount() == 1000)
    try granting(0) { () throws(StructureError) in try held.blocks.sync() }
    #expect(try held.blocks.waitingCount() == 1000 - 8 * 32)
    for _ in 0..<2 { try held.blocks.sync() }
    #expect(try held.blocks.waitingCount() == 0)
    for number in 0..<1000 { _ = try held.store(message(number)) }
    #expect(try held.all().count == 1000)
  }

  @Test func room_that_cannot_be_made_ready_is_not_lost() throws {
    let disk = Disk()
    let held = try openBlocks(disk)
    let store = { (number: Int, granted: Int) in
      error { () throws(StructureError) in
        try granting(granted) { () throws(StructureError) in try held.store(message(number)) }
      }
    }
    (disk.growthError, disk.growthsLeft, disk.failsLate) = (.file(.system(ENOSPC)), 3, true)
    var stored = 0
    while store(stored, 100) == nil { stored += 1 }
    for _ in 0..<20 { #expect(store(stored, 0) != nil) }
    disk.growthError = nil
    for number in stored..<15_000 { #expect(store(number, 100) == nil) }
    #expect(store(0, 100) == .full)
    #expect(try held.blocks.count(mayBlock: true) == 15_000)
  }
}
