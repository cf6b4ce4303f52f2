import CErlNif

/// A local process.
public struct Process: Equatable, Sendable, BitwiseCopyable {
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
@safe public struct Letter: BitwiseCopyable {
  @safe fileprivate struct Content {
    let receiver: Process
    let environment: OpaquePointer
    let term: ERL_NIF_TERM
    /// The letter behind it, in `Letters`: so that nobody needs memory to keep one.
    var next: UnsafeMutablePointer<Content>?
  }

  fileprivate let content: UnsafeMutablePointer<Content>

  fileprivate init(_ content: UnsafeMutablePointer<Content>) { unsafe self.content = content }

  /// Copies a term into a message; nil when memory is out.
  public init?(to receiver: Process, _ make: (Environment) -> Term) {
    guard let memory = unsafe enif_alloc(MemoryLayout<Content>.size) else { return nil }
    guard let environment = unsafe enif_alloc_env() else {
      unsafe enif_free(memory)
      return nil
    }
    unsafe content = memory.bindMemory(to: Content.self, capacity: 1)
    let term = unsafe make(Environment(environment)).raw
    unsafe content.initialize(to: Content(receiver: receiver, environment: environment, term: term, next: nil))
  }

  /// To whom.
  public var receiver: Process { unsafe content.pointee.receiver }

  /// Sends the message, from a call or a callback or, without one, from a thread of the library. Nothing happens if the
  /// receiver has ended. Returns the message where the caller has: on a dirty scheduler it may be killed while its call
  /// goes on, which then sends nothing any more.
  public consuming func send(from caller: Environment?) -> Letter? {
    var to = receiver.raw
    let isSent = unsafe enif_send(caller?.raw, &to, content.pointee.environment, content.pointee.term) != 0
    // In a callback no process is the caller, and the VM does not let itself be asked.
    if !isSent, let caller, caller.caller() != nil, !caller.isProcessAlive { return self }
    discard()
    return nil
  }

  /// Frees the message.
  public consuming func discard() {
    unsafe enif_free_env(content.pointee.environment)
    unsafe enif_free(content)
  }

  /// Tells whether the message is about the same term, in its second element.
  public func isAbout(_ other: Term) -> Bool {
    var elements: UnsafePointer<ERL_NIF_TERM>? = nil
    var arity: Int32 = 0
    guard unsafe enif_get_tuple(content.pointee.environment, content.pointee.term, &arity, &elements) != 0, arity > 1,
      let elements = unsafe elements
    else { return false }
    return unsafe enif_is_identical(elements[1], other.raw) != 0
  }
}

/// Letters that are kept, in order. None of it needs memory.
@safe public struct Letters: ~Copyable {
  private var first: UnsafeMutablePointer<Letter.Content>? = nil
  private var last: UnsafeMutablePointer<Letter.Content>? = nil

  /// None.
  public init() {}

  deinit {
    var next = unsafe first
    while let content = unsafe next {
      unsafe next = content.pointee.next
      unsafe Letter(content).discard()
    }
  }

  /// Adds one behind all others.
  public mutating func append(_ letter: Letter) {
    unsafe letter.content.pointee.next = nil
    if let last = unsafe last { unsafe last.pointee.next = letter.content } else { unsafe first = letter.content }
    unsafe last = letter.content
  }

  /// Takes the first one; nil if there is none.
  public mutating func popFirst() -> Letter? {
    guard let content = unsafe first else { return nil }
    unsafe first = content.pointee.next
    if unsafe first == nil { unsafe last = nil }
    return unsafe Letter(content)
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
}
