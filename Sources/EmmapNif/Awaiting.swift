import CSystem
import ErlNif
import MemoryMap
import Synchronization

/// A process that waits for a word: the object of a resource that nobody has but this process, so that it goes with it,
/// however it ends. It leaves a letter, which is sent when it is worth looking at the word again.
@safe struct Waiter: ~Copyable {
  fileprivate var letter: Letter?
  /// What it waits for; nil once the letter is sent.
  fileprivate var word: UnsafeMutablePointer<AwaitedWord>?
  fileprivate var previous: UnsafeMutablePointer<Waiter>?
  fileprivate var next: UnsafeMutablePointer<Waiter>?

  init(_ letter: Letter) { self.letter = letter }
}

/// A word that one process or more wait for, as long as it has a value.
@safe private struct AwaitedWord {
  /// Kept.
  let handle: UnsafeMutablePointer<Handle>
  let position: Int
  let value: Int
  let place: WaitingPlace
  /// Which of its thread's words it is, from 0 on, while that waits; -1 before.
  var index = -1
  /// The next one of its thread, and in its bucket.
  var nextOfThread: UnsafeMutablePointer<AwaitedWord>?
  var nextInBucket: UnsafeMutablePointer<AwaitedWord>?
  var thread: UnsafeMutablePointer<AwaitingThread>?
  var waiters: UnsafeMutablePointer<Waiter>?
}

private typealias Word = UnsafeMutablePointer<AwaitedWord>

/// A thread that waits for words, or the place of one.
@safe private struct AwaitingThread: ~Copyable {
  /// Changed whenever the thread is to look at its words anew.
  let changes = Atomic<UInt32>(0)
  var isRunning = false
  /// Of which copy of the library it is.
  var generation = 0
  /// What runs, or has ended and is not waited for yet.
  var thread: NifThread?
  /// What it waits for, the newest first, and how many that are.
  var words: Word?
  var count = 0
}

/// All processes of the VM that wait for a word, and the threads that do so for them.
///
/// A process leaves a letter here; a thread waits for its word, with those of others (`WaitingSet`), and sends it; the
/// process looks at the word, and comes again if it is still what it was. So nothing but the process itself decides what
/// the word is, and a letter too many does no harm. A thread ends when it has had no words for a second. Once a second it
/// also looks whether all its words are still there: nobody tells who waits that a file was cut short.
///
/// It is made once in the life of the VM, and handed on from one copy of the library to the next one, with the handles.
/// The threads of the copy before are told to end: all who wait come again, to the new copy. (The code that they run in
/// stays until they have: the library is linked so that it is never unloaded.)
///
/// `lock` is held for all that is in here but `changes`; never while memory is mapped or given back, an owner of a handle
/// goes, or a letter is sent.
@safe struct Awaiting: ~Copyable {
  private let lock = Lock()
  private let threads: UnsafeMutablePointer<AwaitingThread>
  private let content: UnsafeMutablePointer<Content>

  @safe private struct Content {
    var generation = 0
    /// The first of the words that are the same in some bits of what they are.
    var buckets = unsafe InlineArray<1024, Word?>(repeating: nil)
  }

  /// As many as there can be at once. With 63 words each, or 1 where the system cannot wait for several.
  private static var mostThreads: Int { 256 }

  /// Nobody yet. Nil when memory is out.
  init?() {
    guard let threads = unsafe allocateMemory(for: AwaitingThread.self, count: Self.mostThreads),
      let content = unsafe allocateMemory(for: Content.self)
    else { return nil }
    unsafe self.threads = threads
    unsafe self.content = content
    for index in 0..<Self.mostThreads { unsafe (threads + index).initialize(to: AwaitingThread()) }
    unsafe content.initialize(to: Content())
  }

  // MARK: Who waits

  /// Has the waiter's letter sent when the word at `position`, a multiple of 8, may no longer be `value`. Whoever calls
  /// this looks once more behind it, and `leave`s if it is not.
  ///
  /// Throws what reading the word would; EAGAIN if no thread can be had for it; `noMemory`.
  func wait(
    _ waiter: UnsafeMutablePointer<Waiter>, for handle: UnsafeMutablePointer<Handle>, _ position: Int, _ value: Int
  ) throws(Failure) {
    if lock.withLock({ unsafe join(waiter, handle, position, value) }) { return }
    let place = try unsafe handle.pointee.file.waitingPlace(at: position)
    guard let word = unsafe allocateMemory(for: AwaitedWord.self) else {
      place.release()
      throw .noMemory
    }
    unsafe word.initialize(to: AwaitedWord(handle: handle, position: position, value: value, place: place))
    unsafe keepResource(handle)
    let isAdded = lock.withLock { () -> Bool? in
      // Somebody else may have come for the same word meanwhile.
      if unsafe join(waiter, handle, position, value) { return nil }
      guard unsafe add(word) else { return false }
      unsafe Self.attach(waiter, word)
      return true
    }
    if isAdded != true { unsafe Self.free(word) }
    if isAdded == false { throw .system(EAGAIN) }
  }

  /// Takes a waiter back. False if its letter was sent.
  func leave(_ waiter: UnsafeMutablePointer<Waiter>) -> Bool {
    var unused: Word? = nil
    let letter = lock.withLock { () -> Letter? in
      guard let word = unsafe waiter.pointee.word else { return nil }
      let letter = unsafe Self.detach(waiter)
      if unsafe word.pointee.waiters == nil {
        unsafe remove(word)
        unsafe unused = word
      }
      return letter
    }
    if let unused = unsafe unused {
      // Else the thread goes on waiting for the word until it has a reason to look; this one has no room for others.
      if WaitingSet.capacity == 1 { unsafe unused.pointee.place.wakeAll() }
      unsafe Self.free(unused)
    }
    guard let letter else { return false }
    letter.discard()
    return true
  }

  /// Frees what is left of a waiter that nobody has any more.
  func end(_ waiter: UnsafeMutablePointer<Waiter>) {
    _ = unsafe leave(waiter)
    // One that never came to wait.
    unsafe waiter.pointee.letter?.discard()
  }

  /// Has all look again who wait for a word of the handle: it was closed, or its mapping has changed.
  func wakeAll(of handle: UnsafeMutablePointer<Handle>, _ env: Environment) {
    for index in 0..<Self.mostThreads { unsafe wake(threads + index, env) { unsafe $0.pointee.handle == handle } }
  }

  /// Has the threads end that run by now, and all look again for whom they wait.
  func dismiss() {
    lock.withLock {
      unsafe content.pointee.generation += 1
      for index in 0..<Self.mostThreads { unsafe Self.kick(threads + index) }
    }
  }

  // MARK: With the lock held

  /// Has a waiter wait with others who wait for the same; false if there are none.
  private func join(
    _ waiter: UnsafeMutablePointer<Waiter>, _ handle: UnsafeMutablePointer<Handle>, _ position: Int, _ value: Int
  ) -> Bool {
    let generation = unsafe content.pointee.generation
    var next = unsafe content.pointee.buckets[bucket(handle, position)]
    while let word = unsafe next {
      if unsafe word.pointee.handle == handle && word.pointee.position == position && word.pointee.value == value
        && word.pointee.thread?.pointee.generation == generation
      {
        unsafe Self.attach(waiter, word)
        return true
      }
      unsafe next = word.pointee.nextInBucket
    }
    return false
  }

  /// Gives a word to a thread that has room for it, or to a new one. False if there is none to be had.
  private func add(_ word: Word) -> Bool {
    guard let thread = unsafe threadWithRoom() else { return false }
    let bucket = unsafe bucket(word.pointee.handle, word.pointee.position)
    unsafe word.pointee.thread = thread
    unsafe word.pointee.nextOfThread = thread.pointee.words
    unsafe thread.pointee.words = word
    unsafe thread.pointee.count += 1
    unsafe word.pointee.nextInBucket = content.pointee.buckets[bucket]
    unsafe content.pointee.buckets[bucket] = word
    unsafe Self.kick(thread)
    return true
  }

  /// Takes a word away from its thread, which may find that it was woken for nothing.
  private func remove(_ word: Word) {
    let bucket = unsafe bucket(word.pointee.handle, word.pointee.position)
    var place = unsafe withUnsafeMutablePointer(to: &content.pointee.buckets[bucket]) { unsafe $0 }
    while let other = unsafe place.pointee, unsafe other != word {
      unsafe place = withUnsafeMutablePointer(to: &other.pointee.nextInBucket) { unsafe $0 }
    }
    unsafe place.pointee = word.pointee.nextInBucket
    guard let thread = unsafe word.pointee.thread else { return }
    unsafe place = withUnsafeMutablePointer(to: &thread.pointee.words) { unsafe $0 }
    while let other = unsafe place.pointee, unsafe other != word {
      unsafe place = withUnsafeMutablePointer(to: &other.pointee.nextOfThread) { unsafe $0 }
    }
    unsafe place.pointee = word.pointee.nextOfThread
    unsafe thread.pointee.count -= 1
  }

  private func bucket(_ handle: UnsafeMutablePointer<Handle>, _ position: Int) -> Int {
    // Words of one handle, one behind the other, are in different ones.
    Int((UInt(bitPattern: handle) >> 6 &+ UInt(bitPattern: position) >> 3) % 1024)
  }

  private func threadWithRoom() -> UnsafeMutablePointer<AwaitingThread>? {
    var free: UnsafeMutablePointer<AwaitingThread>? = nil
    for index in 0..<Self.mostThreads {
      let thread = unsafe threads + index
      if unsafe !thread.pointee.isRunning {
        unsafe free = free ?? thread
      } else if unsafe thread.pointee.count < WaitingSet.capacity
        && thread.pointee.generation == content.pointee.generation
      {
        return unsafe thread
      }
    }
    guard let free = unsafe free else { return nil }
    // It has nothing more to do than to return.
    unsafe free.pointee.thread?.join()
    unsafe free.pointee.thread = NifThread(
      "emmap_await", free,
      { place in
        if let place = unsafe place {
          unsafe library.registry.pointee.awaiting.run(place.assumingMemoryBound(to: AwaitingThread.self))
        }
        return nil
      })
    if unsafe free.pointee.thread == nil { return nil }
    unsafe free.pointee.generation = content.pointee.generation
    unsafe free.pointee.isRunning = true
    return unsafe free
  }

  private static func kick(_ thread: UnsafeMutablePointer<AwaitingThread>) {
    unsafe thread.pointee.changes.wrappingAdd(1, ordering: .releasing)
    unsafe withUnsafePointer(to: thread.pointee.changes) { unsafe sys_futex_wake_all($0) }
  }

  private static func attach(_ waiter: UnsafeMutablePointer<Waiter>, _ word: Word) {
    unsafe waiter.pointee.word = word
    unsafe waiter.pointee.next = word.pointee.waiters
    unsafe word.pointee.waiters?.pointee.previous = waiter
    unsafe word.pointee.waiters = waiter
  }

  /// Takes a waiter away from its word, and its letter.
  private static func detach(_ waiter: UnsafeMutablePointer<Waiter>) -> Letter? {
    if let previous = unsafe waiter.pointee.previous {
      unsafe previous.pointee.next = waiter.pointee.next
    } else {
      unsafe waiter.pointee.word?.pointee.waiters = waiter.pointee.next
    }
    unsafe waiter.pointee.next?.pointee.previous = waiter.pointee.previous
    let letter = unsafe waiter.pointee.letter
    unsafe waiter.pointee.letter = nil
    unsafe waiter.pointee.word = nil
    unsafe waiter.pointee.previous = nil
    unsafe waiter.pointee.next = nil
    return letter
  }

  // MARK: Without it

  /// Takes those of a thread's words away that are meant, and has all look again who wait for them.
  private func wake(
    _ thread: UnsafeMutablePointer<AwaitingThread>, _ env: Environment?, _ isMeant: (Word) -> Bool
  ) {
    var letters = Letters()
    // Those that are in no list any more are in this one.
    var gone: Word? = nil
    lock.withLock {
      var next = unsafe thread.pointee.words
      while let word = unsafe next {
        unsafe next = word.pointee.nextOfThread
        if unsafe !isMeant(word) { continue }
        while let waiter = unsafe word.pointee.waiters {
          if let letter = unsafe Self.detach(waiter) { letters.append(letter) }
        }
        unsafe remove(word)
        unsafe word.pointee.nextOfThread = gone
        unsafe gone = word
      }
    }
    while let letter = letters.popFirst() { Postman.send(letter, from: env) }
    while let word = unsafe gone {
      unsafe gone = word.pointee.nextOfThread
      unsafe Self.free(word)
    }
  }

  /// Frees a word that is in no list.
  private static func free(_ word: Word) {
    unsafe word.pointee.place.release()
    unsafe releaseResource(word.pointee.handle)
    unsafe CSystem.free(word)
  }

  /// What a thread does. It is done when it has had nothing to do for a second, or belongs to an older copy of the library.
  private func run(_ thread: UnsafeMutablePointer<AwaitingThread>) {
    var set = WaitingSet()
    var event = WaitingSet.Event.nothing
    while true {
      var count = 0
      let (goesOn, isCurrent) = lock.withLock { () -> (Bool, Bool) in
        let isCurrent = unsafe thread.pointee.generation == content.pointee.generation
        if unsafe thread.pointee.words == nil && (!isCurrent || event == .late) {
          unsafe thread.pointee.isRunning = false
          return (false, isCurrent)
        }
        // With the lock held: whoever changes it from now on has changed the words, too.
        let changes = unsafe thread.pointee.changes.load(ordering: .acquiring)
        unsafe withUnsafePointer(to: thread.pointee.changes) { unsafe set.reset($0, expected: changes) }
        var next = unsafe thread.pointee.words
        while let word = unsafe next {
          unsafe set.add(word.pointee.place, expected: word.pointee.value)
          unsafe word.pointee.index = count
          count += 1
          unsafe next = word.pointee.nextOfThread
        }
        return (true, isCurrent)
      }
      if !goesOn { return }
      if !isCurrent {
        unsafe wake(thread, nil) { _ in true }
        continue
      }
      event = set.wait(milliseconds: 1000)
      var index: Int? = nil
      switch event {
      case .woken(let woken): index = woken
      case .changed, .unreachable:
        // The newest first: nothing was waiting for it yet.
        index = (0..<count).first { set.look(at: $0) != .late }
      case .nothing, .late: break
      }
      // One that has come meanwhile has no index yet.
      if let index { unsafe wake(thread, nil) { unsafe $0.pointee.index == index } }
    }
  }
}
