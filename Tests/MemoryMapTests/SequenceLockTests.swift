import Foundation
import Synchronization
import Testing

@testable import MemoryMap

@Suite struct SequenceLockTests {
  // @unchecked: the lock is made to be shared.
  final class Shared: @unchecked Sendable {
    private let sequence = SequenceLock()
    /// Written under the lock, each time all to one value.
    let words = InlineArray<64, Atomic<Int>> { _ in Atomic(0) }

    var ticket: Int { sequence.ticket }
    func isCurrent(_ ticket: Int) -> Bool { sequence.isCurrent(ticket) }
    func tryLock() -> Bool { sequence.tryLock() }
    func lock() { sequence.lock() }
    func unlock() { sequence.unlock() }
    func lock(_ patience: Patience) -> Bool { sequence.lock(patience) }
    func withLock(_ body: () throws(Failure) -> Void) throws(Failure) { try sequence.withLock(body) }

    func set(_ value: Int) {
      for index in 0..<words.count { words[index].store(value, ordering: .relaxed) }
    }

    func get() -> [Int] { (0..<words.count).map { words[$0].load(ordering: .relaxed) } }
  }

  @Test func a_ticket_is_current_until_a_writer_comes() {
    let shared = Shared()
    let ticket = shared.ticket
    #expect(shared.isCurrent(ticket))
    shared.lock()
    #expect(!shared.isCurrent(ticket))
    shared.unlock()
    #expect(!shared.isCurrent(ticket))
    #expect(shared.isCurrent(shared.ticket))
  }

  @Test func a_ticket_taken_while_a_writer_is_inside_is_never_current() {
    let shared = Shared()
    shared.lock()
    let ticket = shared.ticket
    #expect(!shared.isCurrent(ticket))
    shared.unlock()
    #expect(!shared.isCurrent(ticket))
  }

  @Test func tryLock_gives_up_while_somebody_has_the_lock() {
    let shared = Shared()
    #expect(shared.tryLock())
    #expect(!shared.tryLock())
    shared.unlock()
    #expect(shared.tryLock())
    shared.unlock()
  }

  @Test func patience_says_how_long_a_lock_is_waited_for() {
    let shared = Shared()
    shared.lock()
    let clock = ContinuousClock()
    for patience: Patience in [.none, .some] {
      let time = clock.measure { #expect(!shared.lock(patience)) }
      // Two milliseconds at the most, and what a busy machine adds.
      #expect(time < .seconds(1))
      #expect(patience == .none || time >= .milliseconds(1))
    }
    // As long as it takes: until another thread gives it back.
    inParallel([{ #expect(shared.lock(.unlimited)) }, { shared.unlock() }])
    shared.unlock()
    #expect(shared.lock(.none))
    shared.unlock()
  }

  @Test func withLock_gives_the_lock_back_when_its_body_throws() {
    let shared = Shared()
    #expect(failure { () throws(Failure) in try shared.withLock { () throws(Failure) in throw .closed } } == .closed)
    #expect(shared.tryLock())
    shared.unlock()
  }

  @Test func only_one_thread_is_inside_at_a_time() {
    let shared = Shared()
    let overlaps = Tally()
    let rounds = 20_000
    inParallel(4) { _ in
      for _ in 0..<rounds {
        shared.lock()
        // Not an atomic addition: two at once would lose one.
        let value = shared.words[0].load(ordering: .relaxed)
        if shared.words[1].exchange(1, ordering: .relaxed) != 0 { overlaps.add() }
        shared.words[0].store(value + 1, ordering: .relaxed)
        shared.words[1].store(0, ordering: .relaxed)
        shared.unlock()
      }
    }
    #expect(overlaps.count == 0)
    #expect(shared.words[0].load(ordering: .relaxed) == 4 * rounds)
  }

  @Test func those_who_sleep_for_the_lock_are_woken() {
    let shared = Shared()
    let turns = Tally()
    // The holder gives up its processor while it has the lock, so the others run out of spins and sleep.
    inParallel(4) { _ in
      for _ in 0..<300 {
        shared.lock()
        for _ in 0..<20 { sched_yield() }
        turns.add()
        shared.unlock()
      }
    }
    #expect(turns.count == 1200)
  }

  @Test func a_reader_with_a_current_ticket_has_seen_no_torn_write() {
    let shared = Shared()
    let stop = Flag()
    let (kept, torn) = (Tally(), Tally())
    let writers: [@Sendable () -> Void] = (1...2).map { writer in
      {
        for round in 1...5_000 {
          shared.lock()
          shared.set(round * 10 + writer)
          shared.unlock()
          if round % 100 == 0 { sched_yield() }
        }
        stop.set()
      }
    }
    let reader: @Sendable () -> Void = {
      repeat {
        let ticket = shared.ticket
        let seen = shared.get()
        atomicMemoryFence(ordering: .acquiring)
        if shared.isCurrent(ticket) {
          kept.add()
          if !seen.allSatisfy({ $0 == seen[0] }) { torn.add() }
        }
      } while !stop.isSet || kept.count == 0
    }
    inParallel(writers + [reader])
    #expect(torn.count == 0)
    #expect(kept.count > 0)
  }
}
