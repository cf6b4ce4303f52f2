import ErlNif
import MemoryMap
import Structures

/// Syncs of a structure that processes ask for. They are counted: whoever asks for one waits for the first that begins
/// from then on, with all others who do. Nobody waits on a scheduler but the one who makes it.
struct SharedSync: ~Copyable {
  private let syncing: Guarded<Syncing>

  struct Syncing: ~Copyable {
    var isRunning = false
    var started = 0
    var completed = 0
    var letters = Letters()
  }

  /// Nobody has asked for one. Throws `noMemory`.
  init() throws(StructureError) { syncing = try Guarded(Syncing()) }

  /// What became of a request.
  enum Answer {
    case done
    /// A letter is sent when it is worth asking again, with this ticket.
    case later(Int)
    /// Not on this scheduler.
    case wouldWait
  }

  /// Returns when all is on disk that was done before the ticket was given out (0: until now).
  ///
  /// - Parameters:
  ///   - name: with `reference`, what a letter says: `{Name, Reference}`.
  ///   - check: throws what has gone wrong before.
  ///   - sync: makes a sync.
  func ask(
    _ call: Call, _ name: Term, _ reference: Term, _ ticket: Int, mayBlock: Bool,
    check: () throws(StructureError) -> Void, sync: () throws(StructureError) -> Void
  ) throws(StructureError) -> Answer {
    var ticket = ticket
    let answer = try syncing.withLock { (syncing) throws(StructureError) -> Answer? in
      // With the lock held: who closes the structure then finds the letter, or this that it is closed.
      try check()
      if ticket == 0 { ticket = syncing.started + 1 }
      if syncing.completed >= ticket { return .done }
      if syncing.isRunning {
        guard let caller = call.env.caller(), let letter = Letter(to: caller, name, about: reference) else {
          throw .file(.noMemory)
        }
        syncing.letters.append(letter)
        return .later(ticket)
      }
      if !mayBlock { return .wouldWait }
      syncing.isRunning = true
      syncing.started += 1
      return nil
    }
    if let answer { return answer }
    var failure: StructureError? = nil
    do throws(StructureError) { try sync() } catch { failure = error }
    syncing.locked { syncing in
      syncing.isRunning = false
      if failure == nil { syncing.completed = syncing.started }
      Self.sendAll(&syncing.letters, call.env)
    }
    if let failure { throw failure }
    return .done
  }

  /// Tells all who wait, because the structure is closed.
  func wakeAll(_ env: Environment) {
    syncing.locked { syncing in Self.sendAll(&syncing.letters, env) }
  }

  private static func sendAll(_ letters: inout Letters, _ env: Environment) {
    while let letter = letters.popFirst() { Postman.send(letter, from: env) }
  }
}

extension Letter {
  /// A letter that says `{Name, Reference}`; nil when memory is out.
  init?(to receiver: Process, _ name: Term, about reference: Term) {
    self.init(to: receiver) { env in env.tuple(name, env.copy(reference)) }
  }
}

extension StructureCall {
  /// The answer to a request for a sync: `ok`, or the ticket to ask again with.
  static func term(_ answer: SharedSync.Answer, _ call: Call) -> Term? {
    switch answer {
    case .done: call.atoms.ok
    case .later(let ticket): call.env.integer(ticket)
    case .wouldWait: nil
    }
  }
}
