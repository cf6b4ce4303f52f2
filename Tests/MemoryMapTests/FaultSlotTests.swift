import CSystem
import Testing

@testable import MemoryMap

/// The slot alone, without signals: the test does what the handler does, on memory that it has mapped itself.
@Suite struct FaultSlotTests {
  /// Pages full of 0xAA, a slot that describes them, and no file to ask: each fault is a hole.
  @safe final class Pages {
    let count: Int
    let base: UInt
    let slot: FaultTable.Slot

    init(_ count: Int, descriptor: Int32 = -1, fileOffset: Int = 0) throws {
      self.count = count
      // As at open: without them whole regions are replaced.
      SpareMappings.keep()
      let address = sys_mmap(
        0, count * pageBytes, PROT_READ | PROT_WRITE, sys_map_private | sys_map_anonymous, -1, 0)
      guard address > 0, let start = unsafe UnsafeMutableRawPointer(bitPattern: address),
        let slot = unsafe FaultTable.claim()
      else { throw Failure.noMemory }
      base = UInt(address)
      unsafe self.slot = slot
      unsafe memset(start, 0xAA, count * pageBytes)
      unsafe slot.pointee.activate(
        base: base, length: count * pageBytes, fileOffset: fileOffset, page: .system,
        protection: PROT_READ | PROT_WRITE, descriptor: descriptor)
    }

    deinit {
      unsafe slot.pointee.deactivate()
      _ = unsafe munmap(UnsafeMutableRawPointer(bitPattern: base), count * pageBytes)
      unsafe FaultTable.release(slot)
    }

    func address(_ page: Int, _ byte: Int = 0) -> UInt { base + UInt(page * pageBytes + byte) }

    /// What the handler does for a fault at an address. False if it would have found it not to be ours.
    func fault(at address: UInt) -> Bool {
      unsafe slot.pointee.lockIfHolding(address) && slot.pointee.replaceAndUnlock(address)
    }

    func isZero(_ page: Int) -> Bool {
      let start = unsafe UnsafePointer<UInt8>(bitPattern: address(page))
      return unsafe UnsafeBufferPointer(start: start, count: pageBytes).allSatisfy { $0 == 0 }
    }

    func kind(_ page: Int) -> Failure? {
      unsafe slot.pointee.fault(from: address(page), to: address(page + 1))
    }
  }

  @Test func a_slot_holds_the_addresses_of_its_region_and_no_others() throws {
    let pages = try Pages(2)
    #expect(!pages.fault(at: pages.base - 1))
    #expect(!pages.fault(at: pages.address(2)))
    #expect(unsafe pages.slot.pointee.faultSpan == nil)
    #expect(pages.fault(at: pages.base))
    #expect(pages.fault(at: pages.address(2) - 1))
    #expect(pages.kind(0) == .system(EIO) && pages.kind(1) == .system(EIO))
  }

  @Test func an_inactive_slot_holds_nothing() throws {
    let pages = try Pages(1)
    unsafe pages.slot.pointee.deactivate()
    #expect(!pages.fault(at: pages.base))
    #expect(!pages.isZero(0))
  }

  @Test func a_hole_is_the_page_around_the_fault() throws {
    let pages = try Pages(3)
    #expect(pages.fault(at: pages.address(1, 17)))
    #expect((0..<3).map(pages.isZero) == [false, true, false])
    #expect((0..<3).map(pages.kind) == [nil, .system(EIO), nil])
    #expect(unsafe pages.slot.pointee.fault(from: pages.address(0), to: pages.address(1)) == nil)
    #expect(unsafe pages.slot.pointee.fault(from: pages.address(0), to: pages.address(1) + 1) == .system(EIO))
    #expect(unsafe pages.slot.pointee.fault(from: pages.address(2) - 1, to: pages.address(3)) == .system(EIO))
    #expect(unsafe pages.slot.pointee.fault(from: pages.address(2), to: pages.address(3)) == nil)
  }

  @Test func no_bytes_have_no_fault() throws {
    let pages = try Pages(1)
    #expect(pages.fault(at: pages.base))
    #expect(unsafe pages.slot.pointee.fault(from: pages.base, to: pages.base) == nil)
  }

  @Test func a_page_that_faults_twice_is_replaced_once() throws {
    let pages = try Pages(2)
    #expect(pages.fault(at: pages.base))
    // Somebody writes to the page that has taken the place of the lost one, while another thread's fault is handled.
    unsafe UnsafeMutablePointer<UInt8>(bitPattern: pages.base)?.pointee = 7
    #expect(pages.fault(at: pages.base + 8))
    #expect(unsafe UnsafePointer<UInt8>(bitPattern: pages.base)?.pointee == 7)
  }

  @Test(arguments: [1, 2, 3, 7, 8, 9, 16, 40])
  func a_page_reads_as_zeroes_exactly_if_it_is_marked(holes: Int) throws {
    var numbers = Numbers(state: UInt64(holes))
    for _ in 0..<20 {
      let pages = try Pages(64)
      let faulting = Array(Array(0..<64).shuffled(using: &numbers).prefix(holes))
      for page in faulting { #expect(pages.fault(at: pages.address(page, 100))) }
      for page in 0..<64 { #expect(pages.isZero(page) == (pages.kind(page) != nil), "page \(page) of \(faulting)") }
      for page in faulting { #expect(pages.kind(page) == .system(EIO)) }
      let span = unsafe try #require(pages.slot.pointee.faultSpan)
      let marked = (0..<64).filter { pages.kind($0) != nil }
      #expect(span == (pages.address(try #require(marked.first)), pages.address(try #require(marked.last) + 1)))
    }
  }

  @Test func up_to_eight_scattered_holes_cost_nothing_else() throws {
    let pages = try Pages(64)
    let faulting = (0..<8).map { $0 * 8 }
    for page in faulting { #expect(pages.fault(at: pages.address(page))) }
    #expect((0..<64).filter { pages.kind($0) != nil } == faulting)
  }

  @Test func healing_maps_each_range_from_its_place_in_the_file() throws {
    let pages = try Pages(64, fileOffset: 3 * pageBytes)
    for page in [5, 6, 20] { #expect(pages.fault(at: pages.address(page))) }
    var wasMarked = false
    var mapped: [[Int]] = []
    #expect(
      unsafe pages.slot.pointee.heal { address, length, offset in
        mapped.append([Int(address - pages.base) / pageBytes, length / pageBytes, offset / pageBytes])
        return true
      } announce: {
        // The faults are forgotten only afterwards.
        wasMarked = unsafe pages.slot.pointee.mayReach(.max)
      })
    #expect(wasMarked)
    #expect(mapped.sorted { $0[0] < $1[0] } == [[5, 2, 8], [20, 1, 23]])
    #expect(unsafe pages.slot.pointee.faultSpan == nil)
    #expect((0..<64).allSatisfy { pages.kind($0) == nil })
  }

  @Test func a_mapping_that_fails_leaves_the_marks() throws {
    let pages = try Pages(8)
    for page in [1, 5] { #expect(pages.fault(at: pages.address(page))) }
    var calls = 0
    #expect(
      unsafe !pages.slot.pointee.heal { _, _, _ in
        calls += 1
        return calls == 1
      } announce: {
        Issue.record("announced, and not healed")
      })
    #expect(calls == 2)
    #expect(pages.kind(1) == .system(EIO) && pages.kind(5) == .system(EIO))
  }

  @Test func past_the_end_of_the_file_all_that_follows_is_lost_at_once() throws {
    let directory = try TemporaryDirectory()
    let path = try directory.file("file", pattern(2 * pageBytes + 1))
    let descriptor = unsafe sys_open(path, O_RDONLY, 0)
    defer { _ = close(descriptor) }
    let pages = try Pages(8, descriptor: descriptor)
    #expect(pages.fault(at: pages.address(6)))
    #expect((0..<8).map(pages.isZero) == [false, false, false, true, true, true, true, true])
    #expect((0..<8).map { pages.kind($0) == .truncated } == (0..<8).map(pages.isZero))
    // Within the file, the file may have grown since the instruction ran: it runs again, three times at most. Then it
    // is a page that could not be read.
    for _ in 0..<3 {
      #expect(pages.fault(at: pages.address(1)))
      #expect(pages.kind(1) == nil && !pages.isZero(1))
    }
    #expect(pages.fault(at: pages.address(1)))
    #expect(pages.kind(1) == .system(EIO))
    // And the file can end still earlier.
    cut(path, to: 0)
    #expect(pages.fault(at: pages.address(2)))
    #expect((0..<8).allSatisfy { pages.isZero($0) && pages.kind($0) == .truncated })
  }

  @Test func a_file_that_ends_before_the_region_begins_loses_it_whole() throws {
    let directory = try TemporaryDirectory()
    let path = try directory.file("file", pattern(10))
    let descriptor = unsafe sys_open(path, O_RDONLY, 0)
    defer { _ = close(descriptor) }
    let pages = try Pages(2, descriptor: descriptor, fileOffset: 4 * pageBytes)
    #expect(pages.fault(at: pages.address(1)))
    #expect((0..<2).allSatisfy { pages.isZero($0) && pages.kind($0) == .truncated })
  }

  @Test func threads_that_fault_at_once_all_find_their_marks() throws {
    final class Box: @unchecked Sendable {
      let pages: Pages
      init(_ pages: Pages) { self.pages = pages }
    }
    for _ in 0..<20 {
      let box = Box(try Pages(64))
      let bad = Tally()
      inParallel(4) { thread in
        for page in stride(from: thread, to: 64, by: 4) {
          let done = box.pages.fault(at: box.pages.address(page))
          if !done || box.pages.kind(page) != .system(EIO) { bad.add() }
        }
      }
      #expect(bad.count == 0)
      #expect((0..<64).allSatisfy(box.pages.isZero))
    }
  }

  @Test func slots_are_distinct_and_used_again() throws {
    // More than a block holds.
    var slots = unsafe (0..<200).compactMap { _ in unsafe FaultTable.claim() }
    let addresses = unsafe Set(slots.map { UInt(bitPattern: $0) })
    #expect(addresses.count == 200)
    while let slot = unsafe slots.popLast() { unsafe FaultTable.release(slot) }
  }
}
