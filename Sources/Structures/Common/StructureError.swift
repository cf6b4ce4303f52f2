import CSystem
import MemoryMap

/// Says why an operation on a structure was not carried out.
public enum StructureError: Error, Equatable {
  /// The file could not be read, written, made longer or synced.
  case file(Failure)
  /// The bytes at this place are not what was stored: an offset in the file, a position in the queue, or
  /// the address of a block.
  case corrupt(Int)
  /// The message was stored as it is, and cannot be made sense of.
  case undecodable
  /// The file is something else.
  case badMagic
  /// Somebody else has the file open.
  case locked
  /// The file must not become longer than it is.
  case full
  /// There is no such consumer or block (any more), or nothing that the receipt stands for.
  case notFound
  /// The bytes are more than a block has.
  case tooLong
  /// The file's blocks have another size.
  case wrongBlockSize(Int)
  /// The call has a wrong argument.
  case badArgument
  /// The last consumer stays.
  case lastConsumer
  /// The call would have to wait, and may not here.
  case wouldWait

  /// The handle is closed.
  static var closed: StructureError { .file(.closed) }

  /// A word for the errors that a handle keeps answering; 0 stands for none.
  var code: Int {
    switch self {
    case .file(.system(let errno)): Int(errno)
    case .file(.closed): -1
    case .file: -2
    case .corrupt(let place): Int.min | place
    default: Int(EIO)
    }
  }

  init?(code: Int) {
    switch code {
    case 0: return nil
    case -1: self = .closed
    case -2: self = .file(.truncated)
    case ..<(-2): self = .corrupt(code & Int.max)
    default: self = .file(.system(Int32(truncatingIfNeeded: code)))
    }
  }
}
