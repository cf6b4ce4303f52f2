import CErlNif

/// A local process.
public struct Process: Equatable, Sendable {
  /// The VM's own name for it; a word that no other process has at the same time.
  public let raw: ErlNifPid

  /// Wraps what the VM gave.
  public init(_ raw: ErlNifPid) { self.raw = raw }

  /// The word that stands for the process.
  public var word: UInt { raw.pid }

  /// Tells whether both are the same.
  public static func == (a: Process, b: Process) -> Bool { a.word == b.word }
}

extension Environment {
  /// The process that makes the call.
  public func caller() -> Process? {
    var process = ErlNifPid()
    return unsafe enif_self(raw, &process) == nil ? nil : Process(process)
  }

  /// Asks for the object's `down` to be called when the process ends. False if it has ended already.
  public func monitor(_ process: Process, for object: UnsafeMutableRawPointer) -> Bool {
    var raw = process.raw
    return unsafe enif_monitor_process(self.raw, object, &raw, nil) == 0
  }
}

/// A message that is made now and sent later, once; whoever holds it sends or discards it.
@safe public struct Letter {
  /// To whom.
  public let receiver: Process
  private let environment: OpaquePointer
  private let term: ERL_NIF_TERM

  /// Copies a term into a message; nil when memory is out.
  public init?(to receiver: Process, _ make: (Environment) -> Term) {
    guard let environment = unsafe enif_alloc_env() else { return nil }
    self.receiver = receiver
    unsafe self.environment = environment
    self.term = unsafe make(Environment(environment)).raw
  }

  /// Sends the message, from a call or a callback or, without one, from a thread of the library. Nothing happens if the
  /// receiver has ended. Returns the message where the caller has: on a dirty scheduler it may be killed while its call
  /// goes on, which then sends nothing any more.
  public consuming func send(from caller: Environment?) -> Letter? {
    var to = receiver.raw
    let isSent = unsafe enif_send(caller?.raw, &to, environment, term) != 0
    // In a callback no process is the caller, and the VM does not let itself be asked.
    if !isSent, let caller, caller.caller() != nil, !caller.isProcessAlive { return self }
    unsafe enif_free_env(environment)
    return nil
  }

  /// Frees the message.
  public consuming func discard() { unsafe enif_free_env(environment) }

  /// Tells whether the message is about the same term, in its second element.
  public func isAbout(_ other: Term) -> Bool {
    var elements: UnsafePointer<ERL_NIF_TERM>? = nil
    var arity: Int32 = 0
    guard unsafe enif_get_tuple(environment, term, &arity, &elements) != 0, arity > 1, let elements = unsafe elements
    else { return false }
    return unsafe enif_is_identical(elements[1], other.raw) != 0
  }
}

extension Environment {
  /// Copies a term of another environment into this one.
  public func copy(_ term: Term) -> Term { unsafe Term(enif_make_copy(raw, term.raw)) }

  /// The elements of a list, in order; false, and some of them, if it is none.
  public func forEach(in list: Term, _ body: (Term) -> Bool) -> Bool {
    var (head, tail): (ERL_NIF_TERM, ERL_NIF_TERM) = (0, list.raw)
    while unsafe enif_get_list_cell(raw, tail, &head, &tail) != 0 {
      if !body(Term(head)) { return false }
    }
    return unsafe enif_is_empty_list(raw, tail) != 0
  }

  /// Makes a list.
  public func list(_ elements: [Term]) -> Term {
    unsafe elements.withUnsafeBytes { bytes in
      // SAFETY: a Term is nothing but its word.
      let words = unsafe bytes.baseAddress?.assumingMemoryBound(to: ERL_NIF_TERM.self)
      return unsafe Term(enif_make_list_from_array(raw, words, UInt32(elements.count)))
    }
  }
}
