import Synchronization

/// Whether a structure can still be used. After an error of the file nobody knows what is in it: it then answers that
/// error to every call, until it is opened anew.
struct Health: ~Copyable {
  private let code = Atomic<Int>(0)

  /// Throws what has gone wrong before.
  @inline(__always)
  func check() throws(StructureError) {
    // Acquiring: who sees that the structure is closed sees no more of it.
    let code = code.load(ordering: .acquiring)
    if code != 0, let error = StructureError(code: code) { throw error }
  }

  /// Runs a body that touches the file where a failure leaves it in an unknown state.
  @inline(__always)
  func failing<R>(_ body: () throws(StructureError) -> R) throws(StructureError) -> R {
    do throws(StructureError) { return try body() } catch {
      _ = code.compareExchange(expected: 0, desired: error.code, ordering: .sequentiallyConsistent)
      throw error
    }
  }

  /// Has every later call throw `closed`; throws it if it is closed already. Returns what had gone wrong before.
  func close() throws(StructureError) -> StructureError? {
    let before = StructureError(code: code.exchange(-1, ordering: .sequentiallyConsistent))
    if before == .closed { throw .closed }
    return before
  }
}
