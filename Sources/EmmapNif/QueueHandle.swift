import CErlNif
import ErlNif
import MemoryMap
import Structures
import Synchronization

/// A queue as Erlang holds it: the object of a resource. Beside the queue, the processes that wait.
///
/// Who waits polls nothing: it leaves a letter, which is sent to it when there may be something for it, and then tries
/// again. The object monitors every process that has left a letter or taken a message.
struct QueueHandle: ~Copyable {
  let queue: Queue<MappedStorage>
  private let waiting = Guarded(Waiting())
  /// How many letters wait for messages, so that a push need not look.
  private let waiterCount = Atomic<Int>(0)
  /// Syncs, shared by those who ask for one at once.
  let syncs = SharedSync()

  struct Waiting: ~Copyable {
    /// The processes that are monitored, as words, in order.
    var monitored: [UInt] = []
    /// The letters of those who wait for a message, for each consumer.
    var letters = [[Letter]](repeating: [], count: 192)

    deinit { for letters in letters { for letter in letters { letter.discard() } } }
  }

  init(_ queue: consuming Queue<MappedStorage>) { self.queue = queue }

  // MARK: Waiting for messages

  /// Leaves a letter for the caller, about `reference`. False if there is a message already; then none is left.
  func wait(
    _ call: Call, _ reference: Term, _ name: ConsumerName, _ object: UnsafeMutableRawPointer
  ) throws(StructureError) -> Bool {
    guard let caller = call.env.caller(), let letter = Letter(to: caller, call.atoms.queue, about: reference) else {
      throw .file(.noMemory)
    }
    unsafe try watch(call, caller, object)
    waiting.locked { $0.letters[name.index].append(letter) }
    waiterCount.wrappingAdd(1, ordering: .sequentiallyConsistent)
    // Either this sees what was pushed, or the one who has pushed sees the letter.
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    var isReady = true
    do throws(StructureError) {
      isReady = try queue.length(name, mayBlock: false).messages > 0
    } catch {
      // Somebody has the lock: trying again says more.
      if error != .wouldWait {
        _ = takeBack(reference, name)
        throw error
      }
    }
    // If the letter is gone it was sent: that is as good.
    return !(isReady && takeBack(reference, name))
  }

  /// Takes a letter back. False if it was sent.
  func takeBack(_ reference: Term, _ name: ConsumerName) -> Bool {
    let letter = waiting.locked { waiting -> Letter? in
      guard let index = waiting.letters[name.index].firstIndex(where: { $0.isAbout(reference) }) else { return nil }
      return waiting.letters[name.index].remove(at: index)
    }
    guard let letter else { return false }
    letter.discard()
    waiterCount.wrappingSubtract(1, ordering: .relaxed)
    return true
  }

  /// Tells those who wait that `count` messages were pushed: as many of each consumer.
  @inline(__always)
  func wake(_ count: Int, _ env: Environment) {
    // Behind the lock that the push has given back: see wait, and Lock.unlock.
    if waiterCount.load(ordering: .sequentiallyConsistent) > 0 { wakeWaiting(count, nil, env) }
  }

  @inline(never)
  private func wakeWaiting(_ count: Int, _ only: Int?, _ env: Environment) {
    waiting.locked { waiting in
      for index in waiting.letters.indices where only ?? index == index {
        let woken = min(count, waiting.letters[index].count)
        if woken == 0 { continue }
        for letter in waiting.letters[index].prefix(woken) { Postman.send(letter, from: env) }
        waiting.letters[index].removeFirst(woken)
        waiterCount.wrappingSubtract(woken, ordering: .relaxed)
      }
    }
  }

  /// Tells one who waits for a message of this consumer.
  func wakeOne(_ index: Int, _ env: Environment) {
    if waiterCount.load(ordering: .sequentiallyConsistent) > 0 { wakeWaiting(1, index, env) }
  }

  /// Tells all who wait for anything, because the queue is closed.
  func wakeAll(_ env: Environment) {
    wakeWaiting(.max, nil, env)
    syncs.wakeAll(env)
  }

  /// Sees to it that the end of a process is noticed.
  func watch(_ call: Call, _ process: Process, _ object: UnsafeMutableRawPointer) throws(StructureError) {
    let isNew = waiting.locked { waiting -> Bool in
      let place = Self.place(of: process.word, in: waiting.monitored)
      if place < waiting.monitored.count && waiting.monitored[place] == process.word { return false }
      // With the lock held: it cannot be noticed before it is noted.
      guard unsafe call.env.monitor(process, for: object) else { return true }
      waiting.monitored.insert(process.word, at: place)
      return false
    }
    // A process that has ended makes no calls, but on a dirty scheduler it may end in the middle of one.
    if isNew { throw .notFound }
  }

  /// Tells whether the end of a process has not been noticed yet.
  func isWatched(_ process: Process) -> Bool {
    waiting.locked { waiting in
      let place = Self.place(of: process.word, in: waiting.monitored)
      return place < waiting.monitored.count && waiting.monitored[place] == process.word
    }
  }

  private static func place(of word: UInt, in words: [UInt]) -> Int {
    var (low, high) = (0, words.count)
    while low < high {
      let middle = (low + high) / 2
      if words[middle] < word { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// A process has ended: what it had taken comes back, and where it was told of a message somebody else is.
  func ended(_ process: Process, _ env: Environment) {
    waiting.locked { waiting in
      let place = Self.place(of: process.word, in: waiting.monitored)
      if place < waiting.monitored.count && waiting.monitored[place] == process.word {
        waiting.monitored.remove(at: place)
      }
      for index in waiting.letters.indices {
        var kept: [Letter] = []
        if !waiting.letters[index].contains(where: { $0.receiver == process }) { continue }
        for letter in waiting.letters[index] {
          if letter.receiver == process {
            letter.discard()
            waiterCount.wrappingSubtract(1, ordering: .relaxed)
          } else {
            kept.append(letter)
          }
        }
        waiting.letters[index] = kept
      }
    }
    queue.giveBackAll(of: process.word) { wakeWaiting(.max, $0, env) }
    wake(1, env)
  }
}
