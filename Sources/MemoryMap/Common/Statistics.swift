import Synchronization

/// What all handles have together, and what has happened to them; counted where a mapping is made, changed or lost.
@safe public struct Statistics: ~Copyable {
  /// Ranges of mapped memory.
  public let regions = Atomic<Int>(0)
  /// Bytes of address space that they take.
  public let mappedBytes = Atomic<Int>(0)
  /// How often a page could not be reached.
  public let faults = Atomic<Int>(0)
  /// How often pages that could not be were mapped afresh.
  public let heals = Atomic<Int>(0)

  /// Nothing yet.
  public init() {}

  /// Has all be counted there from now on: it must stay there for ever. To be called before anything is opened.
  public static func count(in place: UnsafePointer<Statistics>) {
    shared.store(UInt(bitPattern: place), ordering: .releasing)
  }

  /// Where all is counted.
  @inline(__always)
  static var place: UnsafePointer<Statistics>? {
    unsafe UnsafePointer(bitPattern: shared.load(ordering: .acquiring))
  }

  private static let shared = Atomic<UInt>(0)
}

/// A lock for those who hold it for some microseconds.
@safe public struct Lock: ~Copyable {
  private let lock = SequenceLock()

  /// A lock that nobody holds; it must not move.
  public init() {}

  /// Runs `body` with the lock held.
  public func withLock<R>(_ body: () -> R) -> R {
    lock.lock()
    defer { lock.unlock() }
    return body()
  }
}
