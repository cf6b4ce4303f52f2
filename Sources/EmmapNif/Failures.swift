import CSystem
import ErlNif
import MemoryMap
import Structures

/// The one place that turns failures into terms.
extension Call {
  /// The atom that stands for a failure.
  func reason(_ failure: Failure) -> Term {
    switch failure {
    // The name that mmap(2) and the contract give it; the VM's own, enotsup, is the same number.
    case .system(EOPNOTSUPP): atoms.notSupported
    case .system(let errno): env.atom(errno: errno)
    case .closed: atoms.closed
    case .truncated: atoms.truncated
    case .fixedSize: atoms.fixedSize
    case .tooShort: atoms.tooShort
    case .misaligned: atoms.misaligned
    case .outOfRange: atoms.outOfRange
    case .readOnly: atoms.readOnly
    case .badArgument: atoms.badarg
    }
  }

  /// The term that stands for a failure of a structure.
  func reason(_ error: StructureError) -> Term {
    switch error {
    case .file(let failure): reason(failure)
    case .corrupt(let place): env.tuple(atoms.corrupt, env.integer(place))
    case .undecodable: env.tuple(atoms.corrupt, atoms.term)
    case .badMagic: atoms.badMagic
    case .locked: atoms.locked
    case .full: atoms.full
    case .notFound: atoms.notFound
    case .tooLong: atoms.tooLong
    case .wrongBlockSize(let size): env.tuple(atoms.wrongBlockSize, env.integer(size))
    case .lastConsumer: atoms.lastConsumer
    case .wouldWait, .badArgument: atoms.badarg
    }
  }
}
