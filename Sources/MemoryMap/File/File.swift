import CSystem
import Synchronization

/// A memory-mapped file, as one handle of Erlang's holds it.
///
/// Any number of threads may use it at once. What they need stands in words that are published atomically:
///
/// - `length`: the bytes of the handle. It grows after the file and the region have grown, and shrinks before the file
///   does; whoever has seen a length finds a region that is long enough.
/// - `current`: the region that holds them. A region that was replaced by a longer one stays mapped until the handle
///   is collected, so an address that a call has taken from it stays good.
/// - `generation`: moves when bytes that a call may be looking at are replaced: the handle is closed (then it stays
///   negative), or faulted pages are mapped afresh. A call looks at it before and after.
/// - `data`: held by a write in `lock` mode, so that reads can tell whether they overlapped one.
///
/// `structure` is held by whoever changes one of the first three, or the length of the file. Where both locks are
/// taken, `structure` comes first.
@safe public struct File: ~Copyable {
  // What every call reads.
  let generation = Atomic<Int>(0)
  let data = SequenceLock()
  let length: Atomic<Int>
  private let current: Atomic<UInt>
  /// What the handle was opened with; never changes.
  public let traits: Traits
  /// Bytes between the start of a region and position 0.
  let slack: Int
  private let padding = InlineArray<8, Int>(repeating: 0)

  // What reads that move the position write; on a cache line of its own.
  let position = Atomic<Int>(0)

  let structure = SequenceLock()
  let descriptor: SharedDescriptor
  let mapping: Mapping
  let memory: RegionMemory
  /// The length asked for, when the mapping is a window; else nil: it follows the end of the file.
  let window: Int?
  let maximumStep: Int
  let autoUnlink: AutoUnlink?
  /// The directory that a new file was made in, allocated with malloc, and whether `sync` has brought its entry to disk.
  let newIn: UnsafeMutablePointer<CChar>?
  let isEntryOnDisk = Atomic<Bool>(false)

  /// What a handle was opened with, and what follows from it.
  public struct Traits: OptionSet, Sendable {
    /// The bits.
    public let rawValue: UInt32
    /// Takes the bits as they are.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    static let writable = Traits(rawValue: 1)
    static let shared = Traits(rawValue: 2)
    static let anonymous = Traits(rawValue: 4)
    /// Reads return binaries that point into the mapping.
    public static let direct = Traits(rawValue: 8)
    static let locked = Traits(rawValue: 16)
    static let fixedSize = Traits(rawValue: 32)
    /// What happens to the handle is printed.
    public static let debug = Traits(rawValue: 64)
    /// Writing past the end makes the file longer.
    static let growable = Traits(rawValue: 128)
    static let fixedAddress = Traits(rawValue: 256)
  }

  /// Everything that opening finds out.
  @safe struct Opened {
    var traits: Traits
    var descriptor: Int32
    var mapping: Mapping
    var length: Int
    var slack: Int
    var window: Int?
    var maximumStep: Int
    var newIn: UnsafeMutablePointer<CChar>?
    var autoUnlink: AutoUnlink?
    var memory: RegionMemory
  }

  /// Maps what was opened. On failure nothing of `opened` was taken over.
  init(_ opened: Opened) throws(Failure) {
    let region = try unsafe Self.map(
      opened.mapping, for: opened.length + opened.slack, traits: opened.traits, maximumStep: opened.maximumStep,
      descriptor: opened.descriptor, memory: opened.memory, previous: nil)
    self.length = Atomic(opened.length)
    self.current = Atomic(UInt(bitPattern: region))
    self.traits = opened.traits
    self.slack = opened.slack
    self.descriptor = SharedDescriptor(opened.descriptor)
    self.mapping = opened.mapping
    self.memory = opened.memory
    self.window = opened.window
    self.maximumStep = opened.maximumStep
    self.autoUnlink = opened.autoUnlink
    unsafe self.newIn = opened.newIn
  }

  /// Lets go of everything, on a scheduler that may not be held up.
  deinit {
    let wasOpen = !isClosed
    unsafe free(newIn)
    var next: UnsafeMutablePointer<Region>? = unsafe region
    while let region = unsafe next {
      unsafe next = region.pointee.previous
      // A binary may keep the region mapped for long after the descriptor's number means another file.
      if wasOpen { unsafe region.pointee.forgetDescriptor() }
      unsafe memory.release(region)
    }
    if wasOpen { Reaper.later(.file(descriptor.number, autoUnlink)) }
  }

  var isClosed: Bool { generation.load(ordering: .acquiring) < 0 }

  /// The region of the present length.
  // Acquiring: the region's own fields are read through it.
  @inline(__always)
  var region: UnsafeMutablePointer<Region> {
    // SAFETY: `current` is set to a live region before the file is used, and holds one ever after.
    unsafe UnsafeMutablePointer(bitPattern: current.load(ordering: .acquiring)).unsafelyUnwrapped
  }

  /// The address of a position within the present length.
  @inline(__always)
  func address(_ region: UnsafeMutablePointer<Region>, _ offset: Int) -> UnsafeMutableRawPointer {
    unsafe region.pointee.base + (slack &+ offset)
  }

  /// Closes the file. In-flight calls fail, or have succeeded before this returns. With `mayBlock` false it throws
  /// `wouldWait` unless it is sure to take only some microseconds.
  public func close(mayBlock: Bool) throws(Failure) {
    if !mayBlock && !closesQuickly { throw .wouldWait }
    try structure.withLock(mayWait: mayBlock) { () throws(Failure) in
      if isClosed { throw .closed }
      // Sequentially consistent: no later step may be seen before the mark.
      generation.store(-1, ordering: .sequentiallyConsistent)
      var next: UnsafeMutablePointer<Region>? = unsafe region
      while let region = unsafe next {
        unsafe region.pointee.forgetDescriptor()
        // A binary may point into the regions of a direct handle.
        if !traits.contains(.direct) { unsafe region.pointee.vacate() }
        unsafe next = region.pointee.previous
      }
    }
    autoUnlink?.run()
    descriptor.shut()
  }

  /// Whether closing has nothing to write out, to delete or to unmap that could take long.
  private var closesQuickly: Bool {
    guard traits.isDisjoint(with: [.writable, .debug]), autoUnlink == nil, unsafe region.pointee.capacity <= 1 << 20,
      let status = try? status()
    else { return false }
    return status.st_nlink > 0
  }

  // MARK: Changing the region; all of it with `structure` held

  /// Maps a region that can hold `length` bytes beside the present one; nil if that one can. The caller publishes it
  /// once the file is as long, or releases it.
  func longerRegion(_ length: Int, descriptor: Int32) throws(Failure) -> UnsafeMutablePointer<Region>? {
    let (needed, overflow) = length.addingReportingOverflow(slack)
    // No address space holds more, and no file system either but tmpfs.
    if overflow || needed > 1 << 47 { throw .system(EFBIG) }
    let old = unsafe region
    if unsafe needed <= old.pointee.capacity { return nil }
    // One at an address of the caller's choice stays there, and shows the same pages; the longer one lies elsewhere.
    return try unsafe Self.map(
      mapping.anywhere, for: needed, traits: traits, maximumStep: maximumStep, descriptor: descriptor, memory: memory,
      previous: old)
  }

  // Releasing: who sees the new region sees all of it.
  func publish(region: UnsafeMutablePointer<Region>) {
    current.store(UInt(bitPattern: region), ordering: .releasing)
  }

  /// Maps what has faulted in any region of the handle afresh.
  func heal(descriptor: Int32) throws(Failure) {
    var next: UnsafeMutablePointer<Region>? = unsafe region
    while let region = unsafe next {
      try unsafe region.pointee.heal(descriptor: descriptor) { moveGeneration() }
      unsafe next = region.pointee.previous
    }
  }

  /// Tells calls in progress that bytes which they may have looked at were replaced.
  func moveGeneration() { _ = generation.wrappingAdd(1, ordering: .sequentiallyConsistent) }

  /// Maps a region for `length` bytes and, where it may have to grow, for some more: addresses past the end of the
  /// file cost nothing, and a file that grows into them needs no new mapping.
  private static func map(
    _ mapping: Mapping, for length: Int, traits: Traits, maximumStep: Int, descriptor: Int32, memory: RegionMemory,
    previous: UnsafeMutablePointer<Region>?
  ) throws(Failure) -> UnsafeMutablePointer<Region> {
    guard let exact = mapping.page.roundUp(max(length, 1)) else { throw .system(ENOMEM) }
    let follows = unsafe (traits.contains(.growable) && !traits.contains(.fixedAddress)) || previous != nil
    let step = growthStep(from: exact, maximumStep: maximumStep)
    let (wanted, overflow) = exact.addingReportingOverflow(step)
    if follows && !overflow, let roomy = mapping.page.roundUp(wanted),
      let region = try? unsafe place(mapping, roomy, descriptor, memory, previous)
    {
      return unsafe region
    }
    return try unsafe place(mapping, exact, descriptor, memory, previous)
  }

  /// How far growth goes beyond `length` at a time: as much again, up to the step that the user set, but never less
  /// than a sixteenth, so that the number of regions stays a matter of logarithms.
  static func growthStep(from length: Int, maximumStep: Int) -> Int {
    max(min(max(length, 1 << 20), maximumStep), length / 16)
  }

  private static func place(
    _ mapping: Mapping, _ capacity: Int, _ descriptor: Int32, _ memory: RegionMemory,
    _ previous: UnsafeMutablePointer<Region>?
  ) throws(Failure) -> UnsafeMutablePointer<Region> {
    let region = try unsafe Region(mapping, capacity: capacity, descriptor: descriptor, previous: previous)
    guard let place = unsafe memory.allocate() else { throw .system(ENOMEM) }
    unsafe place.initialize(to: region)
    return unsafe place
  }
}
