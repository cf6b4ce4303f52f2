import CSystem

/// Says why an operation was not carried out. The NIF layer alone turns it into terms.
public enum Failure: Error, Equatable {
  /// The system refused; the value is an errno.
  case system(Int32)
  /// The handle is closed.
  case closed
  /// The file ends before the bytes that were asked for.
  case truncated
  /// The mapping cannot change its size: a window, private, anonymous, or opened with `fixed_size`.
  case fixedSize
  /// The window to open ends past the end of the file.
  case tooShort
  /// The position of an atomic word is not aligned to 8 bytes in memory.
  case misaligned
  /// The position of an atomic word lies outside the mapping.
  case outOfRange
  /// The handle was opened without `write`.
  case readOnly
  /// The caller passed a term of the wrong type.
  case badArgument
  /// Another call holds the lock, or pages must come from disk: the call would have to wait, and may not here.
  case wouldWait
  /// The mapping changed size meanwhile: look at it again.
  case changed

  /// Takes the current errno.
  static var lastError: Failure { .system(sys_errno()) }
  /// The value is out of the range that the system takes.
  public static var invalid: Failure { .system(EINVAL) }
  /// Memory is out.
  public static var noMemory: Failure { .system(ENOMEM) }
}
