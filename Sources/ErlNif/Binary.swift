import CErlNif

extension Environment {
  /// Makes a binary of `count` bytes that `fill` fills: on the process's heap up to 64 bytes, beyond it elsewhere.
  @inline(__always)
  public func binary<E: Error>(
    count: Int, _ fill: (UnsafeMutableRawPointer) throws(E) -> Void
  ) throws(E) -> Term {
    var term: ERL_NIF_TERM = 0
    if let bytes = unsafe enif_make_new_binary(raw, count, &term) { try unsafe fill(UnsafeMutableRawPointer(bytes)) }
    return Term(term)
  }

  /// Makes a binary of `count` bytes, as `binary` does, for the caller to write to before the call ends.
  @inline(__always)
  public func newBinary(count: Int) -> (term: Term, start: UnsafeMutableRawPointer)? {
    var term: ERL_NIF_TERM = 0
    guard let bytes = unsafe enif_make_new_binary(raw, count, &term) else { return nil }
    return (Term(term), UnsafeMutableRawPointer(bytes))
  }

  /// Makes a binary of `count` bytes that `fill` fills, outside the heap. Nil when memory is out, where `binary` would
  /// end the VM.
  public func largeBinary<E: Error>(
    count: Int, _ fill: (UnsafeMutableRawPointer) throws(E) -> Void
  ) throws(E) -> Term? {
    guard let binary = LargeBinary(count: count) else { return nil }
    try unsafe fill(binary.start)
    return binary.term(in: self)
  }

  /// Makes a binary of bytes of another one, which it keeps alive.
  @inline(__always)
  public func part(of binary: Term, at offset: Int, count: Int) -> Term {
    unsafe Term(enif_make_sub_binary(raw, binary.raw, offset, count))
  }

  /// Makes the term that the bytes are of, as binary_to_term/1; nil if they are of none.
  @inline(__always)
  public func decode(_ bytes: UnsafeRawBufferPointer) -> Term? {
    var term: ERL_NIF_TERM = 0
    let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
    return unsafe enif_binary_to_term(raw, start, bytes.count, &term, 0) == bytes.count
      ? Term(term) : nil
  }

  /// The binaries of a list, for as long as the call lasts; nil if it is no list of binaries.
  public func vector(_ list: Term) -> UnsafeBufferPointer<SysIOVec>? {
    var length: UInt32 = 0
    guard unsafe enif_get_list_length(raw, list.raw, &length) != 0 else { return nil }
    var tail: ERL_NIF_TERM = 0
    var vector: UnsafeMutablePointer<ErlNifIOVec>? = nil
    guard unsafe enif_inspect_iovec(raw, Int(length), list.raw, &tail, &vector) != 0, let vector = unsafe vector else {
      return nil
    }
    return unsafe UnsafeBufferPointer(start: vector.pointee.iov, count: Int(vector.pointee.iovcnt))
  }

  /// The bytes of iodata, copied, for as long as the call lasts; nil if it is none, or memory is out.
  public func flattened(_ term: Term) -> UnsafeRawBufferPointer? {
    var binary = unsafe ErlNifBinary()
    guard unsafe enif_inspect_iolist_as_binary(raw, term.raw, &binary) != 0 else { return nil }
    return unsafe UnsafeRawBufferPointer(start: binary.data, count: binary.size)
  }

  /// Calls `body` with the bytes of each binary in iodata, however deep it is.
  public func forEachBinary<E: Error>(
    in term: Term, _ body: (UnsafeRawBufferPointer) throws(E) -> Void
  ) throws(E) {
    // What is left to look at is a list, too.
    var rest = cell(term, emptyList).raw
    var (next, head, tail): (ERL_NIF_TERM, ERL_NIF_TERM, ERL_NIF_TERM) = (0, 0, 0)
    while unsafe enif_get_list_cell(raw, rest, &next, &rest) != 0 {
      if let bytes = unsafe bytes(Term(next)) {
        try unsafe body(bytes)
      } else if unsafe enif_get_list_cell(raw, next, &head, &tail) != 0 {
        rest = cell(Term(head), cell(Term(tail), Term(rest))).raw
      }
    }
  }

  /// The bytes of a binary, for as long as the call lasts.
  @inline(__always)
  public func bytes(_ term: Term) -> UnsafeRawBufferPointer? {
    // Not initialised: the VM fills it in.
    unsafe withUnsafeTemporaryAllocation(of: ErlNifBinary.self, capacity: 1) { place in
      guard let binary = place.baseAddress, unsafe enif_inspect_binary(raw, term.raw, binary) != 0 else { return nil }
      return unsafe UnsafeRawBufferPointer(start: binary.pointee.data, count: binary.pointee.size)
    }
  }
}

/// A binary outside the heap that no term stands for yet.
@safe public struct LargeBinary: ~Copyable {
  private var raw: ErlNifBinary
  /// Whether it is to be freed with this object, and not with a term.
  private var isOwned = true
  /// Its first byte.
  public let start: UnsafeMutableRawPointer

  /// Allocates `count` bytes; nil when memory is out.
  public init?(count: Int) {
    var raw = unsafe ErlNifBinary()
    guard unsafe enif_alloc_binary(count, &raw) != 0, let bytes = unsafe raw.data else { return nil }
    (unsafe self.raw, unsafe self.start) = unsafe (raw, UnsafeMutableRawPointer(bytes))
  }

  /// Makes the term, after which nothing is to be written to it.
  public consuming func term(in environment: Environment) -> Term {
    isOwned = false
    return unsafe Term(enif_make_binary(environment.raw, &raw))
  }

  deinit {
    var raw = unsafe raw
    if isOwned { unsafe enif_release_binary(&raw) }
  }
}
