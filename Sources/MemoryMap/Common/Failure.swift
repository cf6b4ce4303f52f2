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
  /// The position of an atomic word is not a multiple of its size in memory.
  case misaligned
  /// The position of an atomic word lies outside the mapping.
  case outOfRange
  /// The handle was opened without `write`.
  case readOnly
  /// The caller passed a term of the wrong type.
  case badArgument

  /// Takes the current errno.
  static var lastError: Failure { .system(sys_errno()) }
  /// The value is out of the range that the system takes.
  public static var invalid: Failure { .system(EINVAL) }
  /// Memory is out.
  public static var noMemory: Failure { .system(ENOMEM) }
}

/// How long a call may wait for others that use the same handle, and for a disk.
public enum Patience: Sendable {
  /// Not at all: on a scheduler that may not be held up.
  case none
  /// Some milliseconds for others, then the call is to be put at the end of the queue: those who wait for one handle
  /// must not take all the threads there are. For a disk as long as it takes.
  case some
  /// As long as it takes.
  case unlimited
}
