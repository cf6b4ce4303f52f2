import CErlNif
import ErlNif
import MemoryMap
import Synchronization

/// `await(Handle, Position, Value, Reference | none)`: the word, if it is not the value; `timeout` if it is, with `none`;
/// else a reference to the one who waits, who is sent `{emmap_await, Reference}` when it is worth asking again.
enum Await: AtomicCall {
  static var name: StaticString { "await" }
  static var blocking: NifFunction { { unsafe perform(Await.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    let (position, value) = (try call.wordPosition(1), try call.word(2))
    let current = try unsafe word(handle, position)
    if current != value { return call.env.integer(current) }
    if call[3] == call.atoms.none { return call.atoms.timeout }
    let name = call.atoms.awaited
    guard let caller = call.env.caller(), let waiter = unsafe library.waiters.allocate() else { throw .noMemory }
    guard let letter = Letter(to: caller, { env in env.tuple(name, env.copy(call[3])) }) else {
      unsafe releaseResource(waiter)
      throw .noMemory
    }
    unsafe waiter.initialize(to: Waiter(letter))
    // The term alone owns it.
    let term = unsafe call.env.resource(waiter)
    unsafe releaseResource(waiter)
    let awaiting = unsafe library.registry
    try unsafe awaiting.pointee.awaiting.wait(waiter, for: handle, position, value)
    // Once more: what closes the handle, or cuts the file, wakes those who wait then.
    var answer: Term? = nil
    var failure: Failure? = nil
    do throws(Failure) {
      let current = try unsafe word(handle, position)
      if current == value { return term }
      answer = call.env.integer(current)
    } catch {
      failure = error
    }
    // If the letter was sent, the caller has to take it.
    if unsafe !awaiting.pointee.awaiting.leave(waiter) { return term }
    if let failure { throw failure }
    return answer
  }

  // Sequentially consistent, as `patomic_read`.
  private static func word(_ handle: UnsafeMutablePointer<Handle>, _ position: Int) throws(Failure) -> Int {
    try unsafe handle.pointee.file.withWord(at: position, writing: false) { (word: borrowing Atomic<Int>) in
      word.load(ordering: .sequentiallyConsistent)
    }
  }
}

/// `await_end(Waiter)`: `true`, or `false` if the message was sent.
enum AwaitEnd: NifCall {
  static var name: StaticString { "await_end" }
  static var blocking: NifFunction { { unsafe perform(AwaitEnd.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let waiter = unsafe library.waiters.object(call.env, call[0]) else { throw .badArgument }
    return unsafe library.registry.pointee.awaiting.leave(waiter) ? call.atoms.true : call.atoms.false
  }
}

/// `notify(Handle, Position)`
enum Notify: AtomicCall {
  static var name: StaticString { "notify" }
  static var blocking: NifFunction { { unsafe perform(Notify.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    try unsafe handle.pointee.file.wakeAll(at: try call.wordPosition(1))
    return call.atoms.ok
  }
}
