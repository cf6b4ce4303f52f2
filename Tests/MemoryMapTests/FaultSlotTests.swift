import CSystem
import Testing

@testable import MemoryMap

/// The slot alone, without signals: the test does what the handler does, on memory that it has mapped itself.
@Suite struct FaultSlotTests {
  /// Pages full of 0xAA, a slot that describes them, and no file to ask: each fault is a hole.
  @safe final class Pages {
    enum Kind { case cut, hole }

    let count: Int
    let base: UInt
    let slot: FaultTable.Slot

    init(_ count: Int, descriptor: Int32 = -1, fileOffset: Int = 0, isWritable: Bool = true) throws {
      self.count = count
      // As at open: without spare mappings whole regions are replaced.
      FaultTable.installHandler()
      let address = sys_mmap(
        0, count * pageBytes, PROT_READ | PROT_WRITE, sys_map_private | sys_map_anonymous, -1, 0)
      guard address > 0, let start = unsafe UnsafeMutableRawPointer(bitPattern: address),
        let slot = unsafe FaultTable.claim()
      else { throw Failure.noMemory }
      base = UInt(address)
      unsafe self.slot = slot
      unsafe memset(start, 0xAA, count * pageBytes)
      let mapping = Mapping(
        protection: isWritable ? PROT_READ | PROT_WRITE : PROT_READ, flags: sys_map_shared, fileOffset: fileOffset,
        address: 0, page: .system, deviceBytes: nil)
      unsafe slot.pointee.activate(
        mapping, base: base, length: count * pageBytes, guardBytes: 0, descriptor: descriptor)
    }

    deinit {
      unsafe slot.pointee.deactivate()
      _ = unsafe munmap(UnsafeMutableRawPointer(bitPattern: base), count * pageBytes)
      unsafe FaultTable.release(slot)
    }

    func address(_ page: Int, _ byte: Int = 0) -> UInt { base + UInt(page * pageBytes + byte) }

    /// What the handler does for a fault at an address. False if it would have found it not to be ours.
    func faultOnce(at address: UInt) -> Bool {
      unsafe slot.pointee.lockIfHolding(address) && slot.pointee.replaceAndUnlock(address)
    }

    /// The same until the page is marked: the first fault is answered with another try.
    func fault(at address: UInt) -> Bool {
      while faultOnce(at: address) {
        if unsafe slot.pointee.fault(from: address, to: address + 1) != nil { return true }
      }
      return false
    }

    func isZero(_ page: Int) -> Bool {
      let start = unsafe UnsafePointer<UInt8>(bitPattern: address(page))
      return unsafe UnsafeBufferPointer(start: start, count: pageBytes).allSatisfy { $0 == 0 }
    }

    func kind(_ page: Int) -> Kind? { kind(from: address(page), to: address(page + 1)) }

    func kind(from: UInt, to: UInt) -> Kind? {
      switch unsafe slot.pointee.fault(from: from, to: to) {
      case nil: nil
      case .cut: .cut
      case .hole: .hole
      }
    }
  }

  @Test func a_slot_holds_the_addresses_of_its_region_and_no_others() throws {
    let pages = try Pages(2)
    #expect(!pages.fault(at: pages.base - 1))
    #expect(!pages.fault(at: pages.address(2)))
    #expect(unsafe pages.slot.pointee.faultSpan == nil)
    #expect(pages.fault(at: pages.base))
    #expect(pages.fault(at: pages.address(2) - 1))
    #expect(pages.kind(0) == .hole && pages.kind(1) == .hole)
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
    #expect((0..<3).map(pages.kind) == [nil, .hole, nil])
    #expect(pages.kind(from: pages.address(0), to: pages.address(1)) == nil)
    #expect(pages.kind(from: pages.address(0), to: pages.address(1) + 1) == .hole)
    #expect(pages.kind(from: pages.address(2) - 1, to: pages.address(3)) == .hole)
    #expect(pages.kind(from: pages.address(2), to: pages.address(3)) == nil)
  }

  @Test func no_bytes_have_no_fault() throws {
    let pages = try Pages(1)
    #expect(pages.fault(at: pages.base))
    #expect(pages.kind(from: pages.base, to: pages.base) == nil)
  }

  @Test func a_page_that_faults_again_is_replaced_again_and_keeps_what_was_stored() throws {
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
      for page in faulting { #expect(pages.kind(page) == .hole) }
      let span = unsafe try #require(pages.slot.pointee.faultSpan)
      let marked = (0..<64).filter { pages.kind($0) != nil }
      #expect(span == (pages.address(try #require(marked.first)), pages.address(try #require(marked.last) + 1)))
    }
  }

  @Test func scattered_holes_cost_nothing_else() throws {
    let pages = try Pages(64)
    let faulting = (0..<8).map { $0 * 8 }
    for page in faulting { #expect(pages.fault(at: pages.address(page))) }
    #expect((0..<64).filter { pages.kind($0) != nil } == faulting)
  }

  @Test func healing_maps_each_range_announces_it_and_forgets_it_last() throws {
    let pages = try Pages(64)
    for page in [5, 6, 20] { #expect(pages.fault(at: pages.address(page))) }
    var mapped: [[Int]] = []
    var announced: [[Int]] = []
    let error = unsafe pages.slot.pointee.heal(all: nil) { from, to in
      mapped.append([from, to].map { Int($0 - pages.base) / pageBytes })
      return nil
    } _: { from, to in
      // Who has read zeroes finds the mark, or else the loss.
      #expect(unsafe pages.slot.pointee.mayReach(.max))
      announced.append([from / pageBytes, to / pageBytes])
    }
    #expect(error == nil)
    #expect(mapped.sorted { $0[0] < $1[0] } == [[5, 7], [20, 21]])
    #expect(announced == mapped)
    #expect(unsafe pages.slot.pointee.faultSpan == nil)
    #expect((0..<64).allSatisfy { pages.kind($0) == nil })
  }

  /// Maps fresh pages full of 0xBB, as if they came from the file.
  static func renew(_ from: UInt, _ to: UInt) -> Int32? {
    let flags = sys_map_private | sys_map_anonymous | sys_map_fixed
    guard sys_mmap(from, Int(to - from), PROT_READ | PROT_WRITE, flags, -1, 0) > 0,
      let start = unsafe UnsafeMutableRawPointer(bitPattern: from)
    else { return ENOMEM }
    unsafe memset(start, 0xBB, Int(to - from))
    return nil
  }

  @Test func half_a_heal_leaves_the_marks_of_the_other_half() throws {
    let pages = try Pages(8)
    for page in [1, 5] { #expect(pages.fault(at: pages.address(page))) }
    var healed: [Int] = []
    let error = unsafe pages.slot.pointee.heal(all: nil) { from, to in
      healed.isEmpty ? Self.renew(from, to) : ENOMEM
    } _: { from, _ in
      healed.append(from / pageBytes)
    }
    #expect(error == ENOMEM)
    #expect(healed.count == 1)
    let whole = try #require(healed.first)
    let broken = 6 - whole
    #expect(pages.kind(whole) == nil && !pages.isZero(whole))
    #expect(pages.kind(broken) == .hole && pages.isZero(broken))
    // What was mapped afresh, and is lost again, is marked and replaced again; so is the other, whatever it shows.
    #expect(Self.renew(pages.address(broken), pages.address(broken + 1)) == nil)
    for page in [whole, broken] {
      #expect(pages.fault(at: pages.address(page)))
      #expect(pages.kind(page) == .hole && pages.isZero(page))
    }
    // The second attempt heals both.
    #expect(unsafe pages.slot.pointee.heal(all: nil, Self.renew) { _, _ in } == nil)
    #expect(unsafe pages.slot.pointee.faultSpan == nil)
  }

  @Test func a_hole_heals_alone_and_the_others_stay() throws {
    let pages = try Pages(16)
    for page in [1, 5, 9] { #expect(pages.fault(at: pages.address(page))) }
    var announced: [Int] = []
    let heal: (Int) -> Bool = { page in
      unsafe pages.slot.pointee.heal(hole: pages.address(page, 17), Self.renew) { from, _ in
        announced.append(from / pageBytes)
      }
    }
    #expect(heal(1))
    #expect((0..<16).filter { pages.kind($0) != nil } == [5, 9])
    // What is no hole needs no healing.
    #expect(heal(1) && heal(3))
    #expect(unsafe !pages.slot.pointee.heal(hole: pages.address(5), { _, _ in ENOMEM }) { _, _ in })
    #expect((0..<16).filter { pages.kind($0) != nil } == [5, 9])
    #expect(heal(9) && heal(5))
    #expect(announced == [1, 9, 5])
    #expect(unsafe pages.slot.pointee.faultSpan == nil)
  }

  @Test(arguments: [true, false])
  func a_page_that_faults_on_and_on_ends_as_a_private_one(isWritable: Bool) throws {
    let pages = try Pages(4, isWritable: isWritable)
    #expect(pages.fault(at: pages.address(1)))
    for _ in 0..<100 {
      // As if memory had run out for the page in its place.
      #expect(Self.renew(pages.address(1), pages.address(2)) == nil)
      #expect(pages.faultOnce(at: pages.address(1)))
      #expect(pages.isZero(1) && pages.kind(1) == .hole)
    }
    // The page is its own by now: bytes of the shared file in memory do not show through.
    #expect((0..<4).map(pages.isZero) == [false, true, false, false])
  }

  @Test func after_a_close_a_lost_page_takes_others_along_only_if_the_last_is_lost() throws {
    // The handle's bytes may end behind those of an older region.
    for end in [4, 9] {
      let pages = try Pages(4)
      unsafe pages.slot.pointee.forgetDescriptor(end: pages.address(end))
      #expect(pages.fault(at: pages.address(1)))
      #expect((0..<4).map(pages.kind) == [nil, .hole, nil, nil])
      #expect((0..<4).map(pages.isZero) == [false, true, false, false])
    }
  }

  @Test func past_the_end_of_the_file_all_that_follows_is_lost_at_once() throws {
    let directory = try TemporaryDirectory()
    let path = try directory.file("file", pattern(2 * pageBytes + 1))
    let descriptor = unsafe sys_open(path, O_RDONLY, 0)
    defer { _ = close(descriptor) }
    let pages = try Pages(8, descriptor: descriptor)
    #expect(pages.fault(at: pages.address(6)))
    #expect((0..<8).map(pages.isZero) == [false, false, false, true, true, true, true, true])
    #expect((0..<8).map { pages.kind($0) == .cut } == (0..<8).map(pages.isZero))
    // Within the file, the file may have grown since the instruction ran: it runs again, once. Then it is a page that
    // could not be read.
    #expect(pages.faultOnce(at: pages.address(1)))
    #expect(pages.kind(1) == nil && !pages.isZero(1))
    #expect(pages.faultOnce(at: pages.address(1)))
    #expect(pages.kind(1) == .hole)
    // And the file can end still earlier.
    cut(path, to: 0)
    #expect(pages.fault(at: pages.address(2)))
    #expect((0..<8).allSatisfy { pages.isZero($0) && pages.kind($0) == ($0 == 1 ? .hole : .cut) })
  }

  @Test func a_file_that_ends_before_the_region_begins_loses_it_whole() throws {
    let directory = try TemporaryDirectory()
    let path = try directory.file("file", pattern(10))
    let descriptor = unsafe sys_open(path, O_RDONLY, 0)
    defer { _ = close(descriptor) }
    let pages = try Pages(2, descriptor: descriptor, fileOffset: 4 * pageBytes)
    #expect(pages.fault(at: pages.address(1)))
    #expect((0..<2).allSatisfy { pages.isZero($0) && pages.kind($0) == .cut })
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
          if !done || box.pages.kind(page) != .hole { bad.add() }
        }
      }
      #expect(bad.count == 0)
      #expect((0..<64).allSatisfy(box.pages.isZero))
    }
  }

  @Test func a_slot_that_is_used_again_remembers_nothing() throws {
    for _ in 0..<20 {
      let old = try Pages(4)
      unsafe old.slot.pointee.forgetDescriptor(end: old.address(4))
      #expect(old.fault(at: old.address(2)))
      unsafe old.slot.pointee.deactivate()
      let mapping = Mapping(
        protection: PROT_READ, flags: sys_map_shared, fileOffset: 0, address: 0, page: .system, deviceBytes: nil)
      unsafe old.slot.pointee.activate(mapping, base: old.base, length: 3 * pageBytes, guardBytes: 0, descriptor: -1)
      #expect(unsafe old.slot.pointee.faultSpan == nil)
      #expect(old.fault(at: old.address(1)))
      #expect((0..<3).map(old.kind) == [nil, .hole, nil])
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
