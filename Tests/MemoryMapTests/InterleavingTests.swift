import CSystem
import Synchronization
import Testing

@testable import MemoryMap

/// What others do at the worst moment: inside an access, between its first look and its last one.
@Suite struct InterleavingTests {
  let directory: TemporaryDirectory
  let path: String

  init() throws {
    directory = try TemporaryDirectory()
    path = try directory.file("file", [UInt8](repeating: 0, count: 8 * pageBytes))
  }

  /// Linux fills the rest of a page with zeroes where a file is cut; tmpfs where it is made longer, or not at all.
  static let places = ["/tmp", "/dev/shm"]

  @Test(arguments: places)
  func a_word_that_was_cut_off_meanwhile_is_no_answer(_ place: String) throws {
    let directory = try TemporaryDirectory(in: place)
    let handle = try Handle(directory.file("file", [UInt8](repeating: 5, count: 16)), [.write, .shared])
    var exchanged = false
    let reason = failure { () throws(Failure) in
      try handle.file.withWord(at: 8, writing: true) { (word: borrowing Atomic<Int>) in
        #expect(failure { () throws(Failure) in try handle.file.resize(to: 8) } == nil)
        exchanged = word.compareExchange(expected: 0, desired: 1, ordering: .sequentiallyConsistent).exchanged
        #expect(failure { () throws(Failure) in try handle.file.resize(to: 16) } == nil)
      }
    }
    #expect(reason == .truncated)
    // Whether it was exchanged or not: the file that has grown again has zeroes.
    #expect(try handle.word(at: 8) == 0, "\(exchanged)")
    #expect(try handle.word(at: 0) == 0x0505_0505_0505_0505)
  }

  @Test(arguments: places)
  func what_another_one_stores_after_the_growth_stays(_ place: String) throws {
    let directory = try TemporaryDirectory(in: place)
    let handle = try Handle(directory.file("file", [UInt8](repeating: 5, count: 16)), [.write, .shared])
    let reason = failure { () throws(Failure) in
      try handle.add(1, at: 8) {
        #expect(failure { () throws(Failure) in try handle.file.resize(to: 8) } == nil)
      } afterwards: {
        #expect(failure { () throws(Failure) in try handle.file.resize(to: 16) } == nil)
        #expect(failure { () throws(Failure) in try handle.add(7, at: 8) } == nil)
      }
    }
    #expect(reason == .truncated)
    #expect(try handle.word(at: 8) == 7)
  }

  @Test func a_word_that_is_cut_off_is_out_of_range_and_one_before_the_cut_an_answer() throws {
    let handle = try Handle(path, [.write, .shared])
    let shrink = { #expect(failure { () throws(Failure) in try handle.file.resize(to: 16) } == nil) }
    #expect(failure { () throws(Failure) in try handle.add(1, at: 16, meanwhile: shrink) } == .outOfRange)
    #expect(try handle.file.resize(to: 64) == 64)
    #expect(try handle.add(3, at: 8, meanwhile: shrink) == 0)
    #expect(try handle.word(at: 8) == 3)
  }

  @Test func growth_concerns_nobody() throws {
    let handle = try Handle(path, [.write, .shared])
    let first = try handle.address
    // So that it has to lie elsewhere.
    let behind = try Obstacle(behind: first)
    var runs = 0
    let old = try handle.add(3, at: 8) {
      runs += 1
      #expect(failure { () throws(Failure) in try handle.write(pattern(4 << 20), at: 8 * pageBytes) } == nil)
    }
    #expect(old == 0)
    #expect(runs == 1)
    #expect(try handle.address != first)
    #expect(try handle.word(at: 8) == 3)
    #expect(try contents(path)[8] == 3)
    #expect(try handle.file.info().faulted == nil)
    withExtendedLifetime(behind) {}
  }

  @Test func a_heal_concerns_only_the_bytes_healed() throws {
    let handle = try Handle(path, [.write, .shared])
    let heal = { #expect(handle.loseAndHeal(path, at: 6 * pageBytes) == nil) }
    for position in [0, 6 * pageBytes - 8] { #expect(try handle.add(1, at: position, afterwards: heal) == 0) }
    for position in [6 * pageBytes, 8 * pageBytes - 8] {
      #expect(failure { () throws(Failure) in try handle.add(1, at: position, meanwhile: heal) } == .truncated)
    }
    #expect(try handle.word(at: 0) == 1)
  }

  @Test func more_losses_than_are_kept_are_remembered_all() throws {
    let handle = try Handle(path, [.write, .shared])
    let many = { (first: Int) in
      // What is cut off reaches to the end: the first loss is the only one that hits its page.
      #expect(handle.loseAndHeal(path, at: first) == nil)
      for _ in 0..<20 { #expect(handle.loseAndHeal(path, at: 7 * pageBytes) == nil) }
    }
    #expect(try handle.add(1, at: 0) { many(3 * pageBytes) } == 0)
    #expect(
      failure { () throws(Failure) in try handle.add(1, at: 3 * pageBytes) { many(3 * pageBytes) } } == .truncated)
    // The first one is a hole of its own: what lies between it and the others is an answer, or not.
    #expect(try handle.add(1, at: 0) { many(5 * pageBytes) } == 1)
  }

  @Test func a_read_of_bytes_that_were_healed_is_done_again_and_no_other() throws {
    let handle = try Handle(path, [.write, .shared])
    for (offset, count, expected) in [(0, 6 * pageBytes, 1), (0, 6 * pageBytes + 1, 2), (7 * pageBytes, 8, 2)] {
      var runs = 0
      let outcome = try unsafe handle.file.access(.read, at: offset, count: count, .unlimited) { _, _, count in
        runs += 1
        if runs == 1 { #expect(handle.loseAndHeal(path, at: 6 * pageBytes) == nil) }
        return (count, touched: count)
      }
      guard case .done(count) = outcome else {
        Issue.record("\(outcome)")
        continue
      }
      // Remapping holds the lock that reads look at.
      #expect(runs == max(expected, 2))
    }
  }

  /// A page is lost, and then mapped afresh by the access itself or by somebody before it looks.
  @Test(arguments: [false, true])
  func an_access_of_several_places_is_done_again_where_one_of_them_is_lost_and_only_then(_ heals: Bool) throws {
    let touched = [1, 3, 6]
    for page in 0..<8 {
      let handle = try Handle(path, [.write, .shared])
      let besides: InlineArray<2, Extent> = [Extent(2 * pageBytes - 8, 8), Extent(3 * pageBytes, 16)]
      var runs = 0
      let outcome = try unsafe handle.file.access(
        .load, at: 6 * pageBytes, count: 2 * pageBytes, besides: besides, .unlimited
      ) { _, start, count in
        runs += 1
        if runs == 1 {
          handle.losePage(at: page * pageBytes)
          if heals { #expect(failure { () throws(Failure) in _ = try handle.file.remap() } == nil) }
        }
        return (count, touched: 8)
      }
      guard case .done(2 * pageBytes) = outcome else {
        Issue.record("\(outcome)")
        continue
      }
      #expect(runs == (touched.contains(page) ? 2 : 1), "page \(page)")
    }
  }

  @Test func an_access_of_several_places_says_what_is_wrong_with_any_of_them() throws {
    for page in 0..<4 {
      let handle = try Handle(path, [.write, .shared])
      let besides: InlineArray<2, Extent> = [Extent(0, 8), Extent(pageBytes, 16)]
      let reason = failure { () throws(Failure) in
        try unsafe handle.file.access(.load, at: 2 * pageBytes, count: 8, besides: besides, .unlimited) {
          _, _, count in
          handle.losePage(at: page * pageBytes)
          return ((), touched: count)
        }
      }
      #expect(reason == (page < 3 ? .system(EIO) : nil))
    }
  }

  @Test func an_access_meets_close() throws {
    for access in [Access.read, .borrow, .load, .change] {
      let handle = try Handle(path, [.write, .shared])
      let reason = failure { () throws(Failure) in
        try unsafe handle.file.access(access, at: 0, count: 8, .unlimited) { _, _, count in
          #expect(failure { () throws(Failure) in try handle.close() } == nil)
          return ((), touched: count)
        }
      }
      #expect(reason == .closed)
    }
  }

  /// What can be read in the ordinary way, and never through the mapping.
  @Test(arguments: [Access.read, .borrow, .load, .write])
  func a_page_that_faults_whenever_it_is_touched_is_an_error_in_the_end(_ access: Access) throws {
    let handle = try Handle(path, [.write, .shared])
    let reason = failure { () throws(Failure) in
      try unsafe handle.file.access(access, at: pageBytes, count: 8, .unlimited) { _, _, count in
        handle.losePage(at: pageBytes)
        return ((), touched: count)
      }
    }
    #expect(reason == .system(EIO))
    #expect(try handle.bytes(at: pageBytes, 8) == [UInt8](repeating: 0, count: 8))
  }

  @Test func what_is_done_once_and_can_be_done_again_by_now_was_cut_off() throws {
    let handle = try Handle(path, [.write, .shared])
    var runs = 0
    let reason = failure { () throws(Failure) in
      try unsafe handle.file.access(.change, at: pageBytes, count: 8, .unlimited) { _, start, count in
        runs += 1
        handle.losePage(at: pageBytes)
        unsafe start.storeBytes(of: 7, as: UInt8.self)
        return ((), touched: count)
      }
    }
    #expect(reason == .truncated)
    #expect(runs == 1)
    #expect(try handle.file.info().faulted == nil)
    #expect(try handle.bytes(at: pageBytes, 8) == [UInt8](repeating: 0, count: 8))
  }

  @Test func a_page_that_can_be_read_again_is_read() throws {
    let path = try directory.file("pattern", pattern(4 * pageBytes))
    let handle = try Handle(path, [.write, .shared])
    handle.losePage(at: pageBytes)
    #expect(try handle.file.info().faulted == pageBytes..<2 * pageBytes)
    // What lies behind the hole stays an answer, without any loss to remember.
    #expect(try handle.bytes(at: 2 * pageBytes, 10) == Array(pattern(4 * pageBytes)[(2 * pageBytes)...].prefix(10)))
    #expect(try handle.add(1, at: 3 * pageBytes) != 0)
    #expect(try handle.bytes(at: 0, 3 * pageBytes) == Array(pattern(4 * pageBytes).prefix(3 * pageBytes)))
    #expect(try handle.file.info().faulted == nil)
  }

  @Test func a_page_that_waits_for_others_is_no_error() throws {
    let path = try directory.file("pattern", pattern(4 * pageBytes))
    let handle = try Handle(path, [.write, .shared])
    handle.losePage(at: pageBytes)
    handle.file.structure.lock()
    #expect(try handle.bytes(at: pageBytes, 1, .none) == nil)
    #expect(try handle.bytes(at: pageBytes, 1, .some) == nil)
    // The place at the position was claimed, and is given back.
    _ = handle.file.movePosition(from: 0, to: pageBytes)
    #expect(try !handle.write([1, 2, 3], .none))
    #expect(handle.file.currentPosition == pageBytes)
    inParallel([
      { _ = failure { () throws(Failure) in try handle.write([1, 2, 3]) } },
      { handle.file.structure.unlock() },
    ])
    #expect(handle.file.currentPosition == pageBytes + 3)
    #expect(try Array(contents(path)[pageBytes...].prefix(4)) == [1, 2, 3, pattern(pageBytes + 4)[pageBytes + 3]])
  }

  @Test func who_may_not_wait_is_told_so() throws {
    let handle = try Handle(path, [.write, .shared])
    handle.file.data.lock()
    for patience: Patience in [.none, .some] {
      #expect(try handle.bytes(at: 0, 10, patience) == nil)
      #expect(try !handle.write([1], at: 0, patience))
      #expect(try !handle.write([1], patience))
    }
    #expect(handle.file.currentPosition == 0)
    // Words, and what is only named, wait for nobody.
    #expect(try handle.add(1, at: 0) == 0)
    #expect(try handle.borrow(at: 0, 10).bytes[0] == 1)
    handle.file.data.unlock()
    handle.file.structure.lock()
    for patience: Patience in [.none, .some] {
      let isClosed = try handle.file.close(patience)
      #expect(!isClosed)
    }
    handle.file.structure.unlock()
  }

  @Test func closing_is_quick_where_there_is_little_to_take_apart() throws {
    for (flags, size, isQuick) in [
      ([], pageBytes, true), ([.shared], 1 << 20, true), ([.shared], (1 << 20) + 1, false),
      ([.write, .shared], pageBytes, false), ([.autoUnlink], pageBytes, false),
    ] as [(OpenOptions.Flags, Int, Bool)] {
      let path = try directory.file("close", [])
      cut(path, to: size)
      let handle = try Handle(path, flags)
      let isClosed = try handle.file.close(.none)
      #expect(isClosed == isQuick, "\(flags) \(size)")
    }
  }

  // MARK: The same, by chance

  @Test func a_word_outside_stays_an_answer_while_the_tail_is_cut_and_healed() throws {
    let handle = try Handle(path, [.write, .shared])
    let path = path
    let (stop, raised, done, strange) = (Flag(), Tally(), Tally(), Surprises())
    inParallel([
      {
        for _ in 0..<5000 { strange.add(handle.loseAndHeal(path, at: 6 * pageBytes)) }
        stop.set()
      },
      {
        repeat {
          if failure({ () throws(Failure) in try handle.add(1, at: 8) }) == nil { done.add() } else { raised.add() }
        } while !stop.isSet
      },
    ])
    #expect(raised.count == 0)
    #expect(strange.isEmpty, "\(strange)")
    #expect(try handle.word(at: 8) == done.count)
  }

  @Test func no_addition_is_lost_or_raised_while_the_file_grows() throws {
    let handle = try Handle(path, [.write, .shared])
    let (stop, raised, done, strange) = (Flag(), Tally(), Tally(), Surprises())
    inParallel([
      {
        for round in 1...200 {
          let size = 8 * pageBytes + round * (1 << 20)
          strange.add(failure({ () throws(Failure) in try handle.file.resize(to: size) }))
        }
        stop.set()
      },
      {
        repeat {
          if failure({ () throws(Failure) in try handle.add(1, at: 8) }) == nil { done.add() } else { raised.add() }
        } while !stop.isSet
      },
    ])
    #expect(raised.count == 0)
    #expect(strange.isEmpty, "\(strange)")
    #expect(try handle.word(at: 8) == done.count)
  }
}

/// Takes the address right behind a region, if nobody has it.
final class Obstacle {
  private let address: Int

  init(behind start: UInt) throws {
    let end = try #require(
      unsafe FaultTable.withSlot(holding: start) { slot in
        unsafe slot.pointee.mappedBase + UInt(slot.pointee.mappedLength)
      })
    // Whoever is there before is as good, if he stays: other tests' mappings come and go.
    var result = -Int(EEXIST)
    for _ in 0..<5000 where result == -Int(EEXIST) {
      result = sys_mmap(
        end, pageBytes, PROT_NONE, sys_map_private | sys_map_anonymous | sys_map_fixed_noreplace, -1, 0)
      if result == -Int(EEXIST) { sys_rest() }
    }
    address = result
    #expect(address > 0 || address == -Int(EEXIST))
  }

  deinit {
    if address > 0 { _ = unsafe munmap(UnsafeMutableRawPointer(bitPattern: address), pageBytes) }
  }
}

@Suite struct PrivateTests {
  let directory: TemporaryDirectory
  let path: String

  init() throws {
    directory = try TemporaryDirectory()
    path = try directory.file("file", pattern(2 * pageBytes))
  }

  @Test func a_private_handle_keeps_its_address_and_its_changes() throws {
    let handle = try Handle(path, [.write])
    let address = try handle.address
    try handle.write([1, 2, 3], at: pageBytes)
    for size in [2 * pageBytes + 1, 3 << 20, 20 << 20] {
      cut(path, to: size)
      #expect(try handle.file.remap() == size)
      #expect(try handle.address == address)
      #expect(try handle.bytes(at: pageBytes, 4) == [1, 2, 3, pattern(pageBytes + 4)[pageBytes + 3]])
      try handle.write([9], at: size - 1)
      #expect(try handle.bytes(at: size - 1, 2) == [9])
    }
    // None of the changes went to the file.
    #expect(try contents(path).prefix(2 * pageBytes) == pattern(2 * pageBytes)[...])
  }

  @Test func an_addition_during_a_remap_is_kept() throws {
    let handle = try Handle(path, [.write])
    cut(path, to: 4 << 20)
    let old = try handle.word(at: 8)
    let found = try handle.add(1, at: 8) {
      #expect(failure { () throws(Failure) in try handle.file.remap() } == nil)
    }
    #expect(found == old)
    #expect(handle.file.size == 4 << 20)
    #expect(try handle.word(at: 8) == old + 1)
  }

  @Test func a_private_handle_that_cannot_go_on_where_it_is_has_no_memory() throws {
    let handle = try Handle(path, [.write])
    let address = try handle.address
    try handle.write([1, 2, 3], at: 0)
    let obstacle = try Obstacle(behind: address)
    let reach = unsafe try #require(FaultTable.withSlot(holding: address) { slot in unsafe slot.pointee.mappedLength })
    cut(path, to: reach + 1)
    #expect(failure { () throws(Failure) in try handle.file.remap() } == .noMemory)
    #expect(handle.file.size == 2 * pageBytes)
    cut(path, to: reach)
    #expect(try handle.file.remap() == reach)
    #expect(try handle.bytes(at: 0, 3) == [1, 2, 3])
    #expect(try handle.address == address)
    withExtendedLifetime(obstacle) {}
  }
}
