import CErlNif

/// A term of the VM; good for as long as the environment that it was made in.
public struct Term: Equatable, Sendable, BitwiseCopyable {
  /// The VM's own word for it.
  public let raw: ERL_NIF_TERM

  /// Wraps a term of the VM.
  @inline(__always)
  public init(_ raw: ERL_NIF_TERM) { self.raw = raw }
}

/// The environment of a call (ErlNifEnv): where its terms live.
@safe public struct Environment {
  /// The VM's own pointer.
  public let raw: OpaquePointer

  /// Wraps the environment that the VM calls a function of the library with.
  @inline(__always)
  public init(_ raw: OpaquePointer?) {
    // SAFETY: the VM never passes none.
    unsafe self.raw = unsafe raw.unsafelyUnwrapped
  }

  // MARK: Terms

  /// Makes an atom of ASCII characters. To be done at load: it costs a look-up.
  public func atom(_ name: StaticString) -> Term {
    unsafe Term(
      enif_make_atom_len(
        raw, UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self), name.utf8CodeUnitCount))
  }

  /// Makes an integer.
  @inline(__always)
  public func integer(_ value: Int) -> Term { unsafe Term(enif_make_long(raw, value)) }

  /// Makes an integer that is never negative.
  public func unsigned(_ value: UInt) -> Term { unsafe Term(enif_make_ulong(raw, value)) }

  /// Makes a tuple of two.
  @inline(__always)
  public func tuple(_ first: Term, _ second: Term) -> Term {
    var elements = (first.raw, second.raw)
    return unsafe withUnsafePointer(to: &elements) { pointer in
      // SAFETY: a homogeneous tuple is laid out as its elements, one after the other.
      unsafe Term(
        enif_make_tuple_from_array(raw, UnsafeRawPointer(pointer).assumingMemoryBound(to: ERL_NIF_TERM.self), 2))
    }
  }

  /// Makes a tuple of all the terms.
  @inline(__always)
  public func tuple<let arity: Int>(_ elements: InlineArray<arity, Term>) -> Term {
    unsafe withUnsafePointer(to: elements) { pointer in
      // SAFETY: a Term is nothing but its word.
      let words = unsafe UnsafeRawPointer(pointer).assumingMemoryBound(to: ERL_NIF_TERM.self)
      return unsafe Term(enif_make_tuple_from_array(raw, words, UInt32(arity)))
    }
  }

  /// Makes the list of no terms.
  public var emptyList: Term { unsafe Term(enif_make_list_from_array(raw, nil, 0)) }

  /// Makes a list of a term and the rest.
  @inline(__always)
  public func cell(_ head: Term, _ tail: Term) -> Term { unsafe Term(enif_make_list_cell(raw, head.raw, tail.raw)) }

  /// Makes a list of all the terms.
  @inline(__always)
  public func list(_ elements: UnsafeBufferPointer<Term>) -> Term {
    // SAFETY: a Term is nothing but its word.
    let words = unsafe UnsafeRawPointer(elements.baseAddress)?.assumingMemoryBound(to: ERL_NIF_TERM.self)
    return unsafe Term(enif_make_list_from_array(raw, words, UInt32(truncatingIfNeeded: elements.count)))
  }

  /// Makes a list of the same terms from the last to the first: of one that was made cell by cell.
  @inline(__always)
  public func reversed(_ list: Term) -> Term {
    var result = list.raw
    _ = unsafe enif_make_reverse_list(raw, list.raw, &result)
    return Term(result)
  }

  /// Calls `body` with each term of a list. False if it is no list, or an improper one.
  public func forEach<E: Error>(in list: Term, _ body: (Term) throws(E) -> Void) throws(E) -> Bool {
    var rest = list.raw
    var head: ERL_NIF_TERM = 0
    while unsafe enif_get_list_cell(raw, rest, &head, &rest) != 0 { try body(Term(head)) }
    return unsafe enif_is_empty_list(raw, rest) != 0
  }

  // MARK: Numbers

  /// The value of an integer that fits in 64 bits, signed.
  @inline(__always)
  public func integer(_ term: Term) -> Int? {
    var value = 0
    return unsafe enif_get_long(raw, term.raw, &value) != 0 ? value : nil
  }

  /// The value of an integer that fits in 64 bits, unsigned.
  @inline(__always)
  public func unsigned(_ term: Term) -> UInt? {
    var value: UInt = 0
    return unsafe enif_get_ulong(raw, term.raw, &value) != 0 ? value : nil
  }

  /// Tells whether the term is an integer of any size, or a float.
  public func isNumber(_ term: Term) -> Bool { unsafe enif_is_number(raw, term.raw) != 0 }

  /// Tells whether the term is an integer of any size.
  public func isInteger(_ term: Term) -> Bool {
    unsafe enif_term_type(raw, term.raw) == ERL_NIF_TERM_TYPE_INTEGER
  }

  /// Tells whether a number is below zero.
  public func isNegative(_ number: Term) -> Bool { enif_compare(number.raw, integer(0).raw) < 0 }

  // MARK: Scheduling

  /// Tells whether the process that has called still lives.
  public var isProcessAlive: Bool { unsafe enif_is_current_process_alive(raw) != 0 }

  /// Tells the VM that the call has taken some percent, 1 to 100, of a time slice of about a millisecond.
  @inline(__always)
  public func consumeTimeslice(percent: Int) {
    _ = unsafe enif_consume_timeslice(raw, Int32(truncatingIfNeeded: max(1, min(percent, 100))))
  }

  /// Has the VM call `function` with the same arguments on a dirty IO scheduler, and returns what the NIF must return.
  public func reschedule(
    _ name: StaticString, _ function: NifFunction, _ count: Int32, _ arguments: UnsafePointer<ERL_NIF_TERM>?
  ) -> Term {
    let name = unsafe UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
    return unsafe Term(
      enif_schedule_nif(raw, name, Int32(ERL_NIF_DIRTY_JOB_IO_BOUND.rawValue), function, count, arguments))
  }
}

/// A term that outlives the call it came with: a copy in an environment of its own.
@safe public struct StoredTerm: ~Copyable {
  private let environment: OpaquePointer
  private let copy: ERL_NIF_TERM

  /// Copies a term; nil when memory is out.
  public init?(_ term: Term) {
    guard let environment = unsafe enif_alloc_env() else { return nil }
    unsafe self.environment = environment
    self.copy = unsafe enif_make_copy(environment, term.raw)
  }

  /// Copies the term into the environment of a call.
  public func term(in environment: Environment) -> Term { unsafe Term(enif_make_copy(environment.raw, copy)) }

  /// Prints the term to standard error, behind a word on what happened.
  public func print(_ event: StaticString) {
    unsafe nif_print(UnsafeRawPointer(event.utf8Start).assumingMemoryBound(to: CChar.self), copy)
  }

  deinit { unsafe enif_free_env(environment) }
}

extension Environment {
  /// The atom of an errno value, as `file` gives it: `enoent`, `eacces`, ...
  public func atom(errno: Int32) -> Term {
    guard let name = unsafe erl_errno_id(errno) else { return atom("unknown") }
    return unsafe Term(enif_make_atom(raw, name))
  }
}
