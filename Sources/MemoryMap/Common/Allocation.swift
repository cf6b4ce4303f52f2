import CSystem

// Memory that may be refused. Where it is, what Swift allocates for an array, an object or a closure ends the process:
// nothing here uses those where anything but the library's own code settles how much is needed, or when.

#if DEBUG
  import Synchronization

  /// How many allocations are granted, for tests.
  public final class Allowance: Sendable {
    private let left: Atomic<Int>
    /// Grants so many.
    public init(_ count: Int) { left = Atomic(count) }
    /// That of the task; nil grants all.
    @TaskLocal public static var current: Allowance? = nil

    static var grants: Bool {
      guard let current else { return true }
      return current.left.wrappingSubtract(1, ordering: .relaxed).oldValue > 0
    }
  }
#endif

/// Memory for `count` values, for the caller to initialise and to free; nil when memory is out.
@inline(__always)
public func allocateMemory<Value: ~Copyable>(
  for type: Value.Type, count: Int = 1
) -> UnsafeMutablePointer<Value>? {
  let (bytes, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Value>.stride)
  if overflow { return nil }
  return unsafe reallocateMemory(nil, bytes: bytes)?.assumingMemoryBound(to: Value.self)
}

/// The same for so many bytes, at a multiple of `alignment`, a power of two from 8 on.
public func allocateMemory(bytes: Int, alignment: Int) -> UnsafeMutableRawPointer? {
  #if DEBUG
    if !Allowance.grants { return nil }
  #endif
  var memory: UnsafeMutableRawPointer? = nil
  return unsafe posix_memalign(&memory, alignment, bytes) == 0 ? memory : nil
}

/// As realloc(3): nil, and what was there is still there, when memory is out.
@inline(__always)
public func reallocateMemory(_ old: UnsafeMutableRawPointer?, bytes: Int) -> UnsafeMutableRawPointer? {
  #if DEBUG
    if !Allowance.grants { return nil }
  #endif
  return unsafe realloc(old, bytes)
}

/// Runs `body` with 4096 bytes on the stack, all zero, aligned to 8.
public func withPage<R, E: Error>(_ body: (UnsafeMutableRawPointer) throws(E) -> R) throws(E) -> R {
  var page = InlineArray<512, UInt64>(repeating: 0)
  return try unsafe withUnsafeMutablePointer(to: &page) { (start) throws(E) in
    try unsafe body(UnsafeMutableRawPointer(start))
  }
}

/// Memory that is freed with this object. No generic type is: what one does at its end Embedded Swift leaves out.
@safe public struct OwnedMemory: ~Copyable {
  var start: UnsafeMutableRawPointer? = nil
  deinit { unsafe free(start) }
}

/// An array that tells when there is no memory to make it longer.
@safe public struct GrowableArray<Element: BitwiseCopyable>: ~Copyable {
  private var memory = OwnedMemory()
  /// How many there are.
  public private(set) var count = 0
  private var capacity = 0

  /// Empty; takes no memory yet.
  @inline(__always)
  public init() {}

  /// So many of the same element; nil when memory is out.
  public init?(repeating element: Element, count: Int) {
    guard reserve(count) else { return nil }
    unsafe start?.update(repeating: element, count: count)
    self.count = count
  }

  @inline(__always)
  private var start: UnsafeMutablePointer<Element>? { unsafe memory.start?.assumingMemoryBound(to: Element.self) }

  /// Whether there is none.
  @inline(__always)
  public var isEmpty: Bool { count == 0 }

  /// From 0 on.
  @inline(__always)
  public var indices: Range<Int> { 0..<count }

  /// One of the elements.
  public subscript(_ index: Int) -> Element {
    @inline(__always) get { unsafe place(index).pointee }
    @inline(__always) set { unsafe place(index).pointee = newValue }
  }

  @inline(__always)
  private func place(_ index: Int) -> UnsafeMutablePointer<Element> {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
    // SAFETY: where there is an element there is memory, and the index is that of one.
    return unsafe start.unsafelyUnwrapped + index
  }

  /// All elements, in memory that is good until something is added or removed.
  @inline(__always)
  public var elements: UnsafeBufferPointer<Element> { unsafe UnsafeBufferPointer(start: start, count: count) }

  // MARK: Adding

  /// Sees to it that `more` elements can be added without memory. False when memory is out; all is then as it was.
  @inline(__always)
  public mutating func reserve(_ more: Int) -> Bool { more <= capacity &- count || grow(by: more) }

  @inline(never)
  private mutating func grow(by more: Int) -> Bool {
    let (needed, overflow) = count.addingReportingOverflow(more)
    // At least twice as many: each element is moved a constant number of times.
    let wanted = max(needed, capacity &* 2, 8)
    let (bytes, isTooMuch) = wanted.multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
    guard !overflow, !isTooMuch, let grown = unsafe reallocateMemory(memory.start, bytes: bytes) else { return false }
    unsafe memory.start = grown
    capacity = wanted
    return true
  }

  /// Adds an element. False when memory is out; all is then as it was.
  @inline(__always)
  public mutating func append(_ element: Element) -> Bool {
    guard reserve(1) else { return false }
    count &+= 1
    self[count &- 1] = element
    return true
  }

  /// Adds the elements of a buffer, or none of them.
  public mutating func append(contentsOf other: UnsafeBufferPointer<Element>) -> Bool {
    guard reserve(other.count) else { return false }
    guard let source = other.baseAddress, let start = unsafe start else { return true }
    // SAFETY: there is room for them.
    unsafe (start + count).update(from: source, count: other.count)
    count &+= other.count
    return true
  }

  /// Puts `more` elements before the one at `index`, or the end, or none of them.
  public mutating func insert(_ more: Int, at index: Int, _ element: (Int) -> Element) -> Bool {
    precondition(more >= 0 && index >= 0 && index <= count)
    guard reserve(more), let start = unsafe start else { return more == 0 }
    // SAFETY: all of it lies within the elements and the room that was made.
    unsafe (start + index + more).update(from: start + index, count: count &- index)
    for offset in 0..<more { unsafe start[index &+ offset] = element(offset) }
    count &+= more
    return true
  }

  // MARK: Removing; none of it needs memory

  /// Removes `gone` elements from `index` on.
  public mutating func remove(_ gone: Int = 1, at index: Int) {
    precondition(gone >= 0 && index >= 0 && gone <= count &- index)
    guard let start = unsafe start else { return }
    // SAFETY: all of them are elements.
    unsafe (start + index).update(from: start + index + gone, count: count &- index &- gone)
    count &-= gone
  }

  /// Removes what is behind the first `kept` elements.
  @inline(__always)
  public mutating func keep(first kept: Int) {
    precondition(kept >= 0 && kept <= count)
    count = kept
  }

  /// Removes the last element and returns it; nil if there is none.
  @inline(__always)
  public mutating func popLast() -> Element? {
    if count == 0 { return nil }
    let last = self[count &- 1]
    count &-= 1
    return last
  }

  /// Removes the elements that `isGone` says, in their order.
  public mutating func removeAll(where isGone: (Element) -> Bool) {
    var kept = 0
    for index in 0..<count {
      let element = self[index]
      if isGone(element) { continue }
      self[kept] = element
      kept &+= 1
    }
    count = kept
  }

  /// Removes all. Memory that is not worth keeping goes, too.
  @inline(__always)
  public mutating func removeAll() {
    count = 0
    if capacity &* MemoryLayout<Element>.stride > 4096 { release() }
  }

  @inline(never)
  private mutating func release() {
    unsafe free(memory.start)
    unsafe memory.start = nil
    capacity = 0
  }

  // MARK: Searching

  /// The index of the first element of which `isIt` is true; nil if there is none.
  public func firstIndex(where isIt: (Element) -> Bool) -> Int? {
    for index in 0..<count where isIt(self[index]) { return index }
    return nil
  }
}
