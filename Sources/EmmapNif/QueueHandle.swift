import CErlNif
import ErlNif
import MemoryMap
import Structures
import Synchronization

/// A queue as Erlang holds it: the object of a resource. Beside the queue, the processes that wait, or have messages.
///
/// Who waits polls nothing: it leaves a letter, which is sent to it when there may be something for it, and then tries
/// again. The object monitors every process that has left a letter or taken a message.
struct QueueHandle: ~Copyable {
  let queue: Queue<MappedStorage>
  /// Behind the lock of a consumer, if both are needed.
  private let waiting: Guarded<Waiting>
  /// How many letters wait for messages, so that a push need not look.
  private let waiterCount = Atomic<Int>(0)
  /// Syncs, shared by those who ask for one at once.
  let syncs: SharedSync

  @safe struct Client: BitwiseCopyable {
    let word: UInt
    /// What it takes messages as, of each consumer.
    var owners: UnsafeMutablePointer<Owner>?
  }

  struct Waiting: ~Copyable {
    /// The processes that are monitored, in the order of their words.
    var monitored = GrowableArray<Client>()
    /// The letters of those who wait for a message, for each consumer.
    var letters = InlineArray<192, GrowableArray<Letter>> { _ in GrowableArray() }

    deinit {
      for name in letters.indices { for index in letters[name].indices { letters[name][index].discard() } }
      for index in monitored.indices { unsafe Owner.freeAll(monitored[index].owners) }
    }
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
      try waiting.withLock { (waiting) throws(StructureError) in
        _ = unsafe try watch(call, caller, object, &waiting)
        guard waiting.letters[name.index].append(letter) else { throw .file(.noMemory) }
      }
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
    var letters = waiting.locked { waiting in
      var letters = Letters()
      for index in waiting.letters.indices where only ?? index == index {
        let woken = min(count, waiting.letters[index].count)
        if woken == 0 { continue }
        for letter in 0..<woken { letters.append(waiting.letters[index][letter]) }
        waiting.letters[index].remove(woken, at: 0)
        waiterCount.wrappingSubtract(woken, ordering: .relaxed)
      }
      return letters
    }
    // Without the lock: schedulers wait for it.
    while let letter = letters.popFirst() { Postman.send(letter, from: env) }
  }

  /// Tells some who wait for messages of this consumer.
  func wake(_ count: Int, of index: Int, _ env: Environment) {
    if waiterCount.load(ordering: .sequentiallyConsistent) > 0 { wakeWaiting(count, index, env) }
  }

  /// Tells all who wait for anything, because the queue is closed.
  func wakeAll(_ env: Environment) {
    wakeWaiting(.max, nil, env)
    syncs.wakeAll(env)
  }

  // MARK: Taking messages

  /// What the caller takes messages of a consumer as. Throws `notFound` if it has ended.
  func owner(
    _ call: Call, of consumer: Int, _ object: UnsafeMutableRawPointer
  ) throws(StructureError) -> UnsafeMutablePointer<Owner> {
    guard let caller = call.env.caller() else { throw .badArgument }
    return try unsafe waiting.withLock { (waiting) throws(StructureError) in
      let index = try unsafe watch(call, caller, object, &waiting)
      let owners = unsafe waiting.monitored[index].owners
      var next = unsafe owners
      while let owner = unsafe next {
        if unsafe owner.pointee.consumer == consumer { return unsafe owner }
        unsafe next = owner.pointee.next
      }
      guard let owner = unsafe Owner.make(consumer: consumer) else { throw .file(.noMemory) }
      unsafe owner.pointee.next = owners
      unsafe waiting.monitored[index].owners = owner
      return unsafe owner
    }
  }

  /// Sees to it that the end of a process is noticed. Returns its index.
  private func watch(
    _ call: Call, _ process: Process, _ object: UnsafeMutableRawPointer, _ waiting: inout Waiting
  ) throws(StructureError) -> Int {
    let place = Self.place(of: process.word, in: waiting.monitored)
    if place < waiting.monitored.count && waiting.monitored[place].word == process.word { return place }
    guard waiting.monitored.reserve(1) else { throw .file(.noMemory) }
    // With the lock held: it cannot be noticed before it is noted. A process that has ended makes no calls, but on a
    // dirty scheduler it may end in the middle of one.
    guard unsafe call.env.monitor(process, for: object) else { throw .notFound }
    _ = waiting.monitored.insert(1, at: place) { _ in unsafe Client(word: process.word, owners: nil) }
    return place
  }

  private static func place(of word: UInt, in clients: borrowing GrowableArray<Client>) -> Int {
    var (low, high) = (0, clients.count)
    while low < high {
      let middle = (low + high) / 2
      if clients[middle].word < word { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// A process has ended: what it had taken comes back, and where it was told of a message somebody else is.
  func ended(_ process: Process, _ env: Environment) {
    var next = unsafe waiting.locked { waiting -> UnsafeMutablePointer<Owner>? in
      for index in waiting.letters.indices {
        waiting.letters[index].removeAll { letter in
          if letter.receiver != process { return false }
          letter.discard()
          waiterCount.wrappingSubtract(1, ordering: .relaxed)
          return true
        }
      }
      let place = Self.place(of: process.word, in: waiting.monitored)
      guard place < waiting.monitored.count && waiting.monitored[place].word == process.word else { return nil }
      let owners = unsafe waiting.monitored[place].owners
      waiting.monitored.remove(at: place)
      return unsafe owners
    }
    while let owner = unsafe next {
      unsafe next = owner.pointee.next
      let consumer = unsafe owner.pointee.consumer
      wake(unsafe queue.end(owner), of: consumer, env)
    }
    // Also for a message that it was just being handed.
    wake(1, env)
  }
}
