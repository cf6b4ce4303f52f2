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
  private let waiting: Guarded<Waiting>
  /// How many letters wait for messages, so that a push need not look.
  private let waiterCount = Atomic<Int>(0)
  /// Syncs, shared by those who ask for one at once.
  let syncs: SharedSync

  struct Waiting: ~Copyable {
    /// The processes that are monitored, as words, in order.
    var monitored = GrowableArray<UInt>()
    /// The letters of those who wait for a message, for each consumer.
    var letters = InlineArray<192, GrowableArray<Letter>> { _ in GrowableArray() }

    deinit { for name in letters.indices { for index in letters[name].indices { letters[name][index].discard() } } }
  }

  /// Opens a file, once there is memory for the rest. Throws what opening does.
  init(_ storage: consuming MappedStorage, _ options: QueueOptions) throws(StructureError) {
    let waiting = try Guarded(Waiting())
    let syncs = try SharedSync()
    self.queue = try Queue.open(storage, options)
    self.waiting = waiting
    self.syncs = syncs
  }

  // MARK: Waiting for messages

  /// Leaves a letter for the caller, about `reference`. False if there is a message already; then none is left.
  func wait(
    _ call: Call, _ reference: Term, _ name: ConsumerName, _ object: UnsafeMutableRawPointer
  ) throws(StructureError) -> Bool {
    guard let caller = call.env.caller(), let letter = Letter(to: caller, call.atoms.queue, about: reference) else {
      throw .file(.noMemory)
    }
    do throws(StructureError) {
      unsafe try watch(call, caller, object)
      guard waiting.locked({ $0.letters[name.index].append(letter) }) else { throw .file(.noMemory) }
    } catch {
      letter.discard()
      throw error
    }
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
      let letter = waiting.letters[name.index][index]
      waiting.letters[name.index].remove(at: index)
      return letter
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
        for letter in 0..<woken { Postman.send(waiting.letters[index][letter], from: env) }
        waiting.letters[index].remove(woken, at: 0)
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
    try waiting.withLock { (waiting) throws(StructureError) in
      let place = Self.place(of: process.word, in: waiting.monitored)
      if place < waiting.monitored.count && waiting.monitored[place] == process.word { return }
      guard waiting.monitored.reserve(1) else { throw .file(.noMemory) }
      // With the lock held: it cannot be noticed before it is noted. A process that has ended makes no calls, but on a
      // dirty scheduler it may end in the middle of one.
      guard unsafe call.env.monitor(process, for: object) else { throw .notFound }
      _ = waiting.monitored.insert(1, at: place) { _ in process.word }
    }
  }

  /// Tells whether the end of a process has not been noticed yet.
  func isWatched(_ process: Process) -> Bool {
    waiting.locked { waiting in
      let place = Self.place(of: process.word, in: waiting.monitored)
      return place < waiting.monitored.count && waiting.monitored[place] == process.word
    }
  }

  private static func place(of word: UInt, in words: borrowing GrowableArray<UInt>) -> Int {
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
        waiting.letters[index].removeAll { letter in
          if letter.receiver != process { return false }
          letter.discard()
          waiterCount.wrappingSubtract(1, ordering: .relaxed)
          return true
        }
      }
    }
    queue.giveBackAll(of: process.word) { wakeWaiting(.max, $0, env) }
    wake(1, env)
  }
}
