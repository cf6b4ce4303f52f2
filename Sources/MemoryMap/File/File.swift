import CSystem
import Synchronization

/// A memory-mapped file, as one handle of Erlang's holds it. Any number of threads may use it at once.
///
/// What a call needs stands in words that are published atomically:
///
/// - `length`: the bytes of the handle. It grows after the file and the region have grown, and shrinks before the file
///   does; whoever has seen a length finds a region that is long enough.
/// - `current`: the region that holds them. A region that was replaced by a longer one stays mapped until the handle
///   is collected, so an address that a call has taken from it stays good.
/// - `losses`: which bytes were replaced under a call, by a version that it looks at before and after.
/// - `data`: held by a write in `lock` mode, and by whoever cuts the file. A read takes a ticket instead, and the lock
///   only when it has met somebody.
///
/// `structure` is held by whoever changes one of the first three, or the length of the file. Where both locks are
/// taken, `structure` comes first.
///
/// All accesses of mapped bytes are `access` (Access.swift). What may get in their way, what tells of it, and what then
/// becomes of the access:
///
/// | event | what tells | read, write | borrow | word |
/// | --- | --- | --- | --- | --- |
/// | close | version < 0, before the pages go (`direct`: they stay) | `closed` | `closed` | `closed`; done or not |
/// | cut by us | length; then the version and a loss, before the file is cut | again | again | raises; done or not |
/// | cut by others, no room, a bad device | the region's marks, set before the page is replaced | reason | reason | reason; not done |
/// | heal | the version and a loss, before the marks go | again | | raises if among the healed bytes; done or not |
/// | growth | nothing: it replaces nothing | | | |
/// | a writer in `lock` mode | `data`: the ticket | again, with the lock | not asked | not asked |
///
/// "Again" is bounded: with `data` held nobody writes or cuts, and heals come one for each fault.
@safe public struct File: ~Copyable {
  // What every call reads.
  let losses = Losses()
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
  /// Whether `sync` has nothing to do for the directory entry: the file was there before, or its entry is on disk.
  let isEntryOnDisk: Atomic<Bool>
  /// Whether bytes were stored in a file whose time of change has not followed yet.
  let isTimeStale = Atomic<Bool>(false)
  /// The errno of a sync that failed; the handle then answers it to every later one.
  let syncError = Atomic<Int32>(0)
  /// The lock of the file that the handle has: a `FileLock`.
  let locked = Atomic<Int16>(FileLock.none.rawValue)

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
    /// Each write goes to the end of the file, as it is then.
    static let append = Traits(rawValue: 512)
    /// All that touches the mapping may wait long.
    public static let dirty = Traits(rawValue: 1024)
    /// A read that meets the end looks whether the file has become longer.
    static let follow = Traits(rawValue: 2048)
    /// What is stored behind the end comes up when the file grows: tmpfs.
    static let keepsTail = Traits(rawValue: 4096)
    /// mincore(2) tells the truth: only to those who own the file or may write it.
    static let tellsResidence = Traits(rawValue: 8192)
    /// An overlay: the file behind the mapping may be exchanged for another.
    static let layered = Traits(rawValue: 16384)
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
    var isNew: Bool
    var autoUnlink: AutoUnlink?
    var memory: RegionMemory
  }

  /// Takes over what was opened, and its region.
  init(_ opened: Opened, _ region: UnsafeMutablePointer<Region>) {
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
    self.isEntryOnDisk = Atomic(!opened.isNew)
  }

  /// Lets go of everything, on a scheduler that may not be held up.
  deinit {
    let wasOpen = !isClosed
    var next: UnsafeMutablePointer<Region>? = unsafe region
    while let region = unsafe next {
      unsafe next = region.pointee.previous
      // A binary may keep the region mapped for long after the descriptor's number means another file.
      if wasOpen { unsafe region.pointee.forgetDescriptor(end: region.pointee.base + slack + size) }
      unsafe memory.release(region)
    }
    if wasOpen { Reaper.later(.file(descriptor.number, autoUnlink, isLocked: heldLock != .none)) }
  }

  /// Tells whether nobody can use the file any more.
  public var isClosed: Bool { losses.isClosed }

  /// Whether a read that meets the end looks whether the file has become longer.
  @inline(__always)
  public var isFollowed: Bool { traits.contains(.follow) }

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

  /// Closes the file. In-flight calls fail, or have succeeded before this returns. False if it would have to wait, and
  /// `patience` is `none`: it is then sure to take only some microseconds.
  public func close(_ patience: Patience) throws(Failure) -> Bool {
    if patience == .none && !closesQuickly { return false }
    if !structure.lock(patience) { return false }
    defer { structure.unlock() }
    if isClosed { throw .closed }
    // A write into the region of a direct handle, which stays as it is, must not go on after this has returned.
    let waits = traits.isSuperset(of: [.direct, .locked, .writable])
    // Behind the end of the file a region has no pages, however far it reaches.
    let mapped = slack + max(size, (try? end()) ?? 0)
    losses.close()
    if waits { data.lock() }
    var next: UnsafeMutablePointer<Region>? = unsafe region
    while let region = unsafe next {
      unsafe region.pointee.forgetDescriptor(end: region.pointee.base + slack + size)
      // A binary may point into the regions of a direct handle.
      if !traits.contains(.direct) { unsafe region.pointee.vacate(mapped) }
      unsafe next = region.pointee.previous
    }
    if waits { data.unlock() }
    autoUnlink?.run()
    if heldLock != .none { File.giveBackLock(descriptor.number) }
    descriptor.shut()
    return true
  }

  /// Whether closing has nothing to write out, to delete or to unmap that could take long.
  private var closesQuickly: Bool {
    guard traits.isDisjoint(with: [.writable, .debug]), autoUnlink == nil, size <= 1 << 20,
      let status = try? status()
    else { return false }
    return status.st_nlink > 0
  }

  // MARK: Changing the region; all of it with `structure` held

  /// Sees to it that a region can hold `length` bytes: has the present one go on where it ends, or maps a longer one
  /// beside it. Returns that one, which the caller publishes once the file is as long, or releases.
  ///
  /// A private mapping that can be written goes on, or throws: its changes are nowhere else.
  func longerRegion(_ length: Int, descriptor: Int32) throws(Failure) -> UnsafeMutablePointer<Region>? {
    let (needed, overflow) = length.addingReportingOverflow(slack)
    // No address space holds more, and no file system either but tmpfs.
    if overflow || needed > 1 << 47 { throw .system(EFBIG) }
    let old = unsafe region
    let capacity = unsafe old.pointee.capacity
    if needed <= capacity { return nil }
    let sizes = try Self.sizes(mapping, for: needed, grows: true)
    for index in 0..<3
    where unsafe old.pointee.extend(to: sizes[index], usable: sizes[2], descriptor: descriptor) { return nil }
    if mapping.isCharged { throw .noMemory }
    // One at an address of the caller's choice stays there, and shows the same pages; the longer one lies elsewhere.
    do throws(Failure) {
      return try unsafe Self.map(mapping.anywhere, sizes, traits, descriptor, memory, previous: old)
    } catch {
      // The room may be that of a handle that was dropped just now.
      guard error == .noMemory else { throw error }
      Reaper.catchUp()
      return try unsafe Self.map(mapping.anywhere, sizes, traits, descriptor, memory, previous: old)
    }
  }

  // Releasing: who sees the new region sees all of it.
  func publish(region: UnsafeMutablePointer<Region>) {
    current.store(UInt(bitPattern: region), ordering: .releasing)
  }

  // Releasing: who sees the length sees the region that holds it.
  func publish(length: Int) { self.length.store(length, ordering: .releasing) }

  /// Maps what has faulted in any region of the handle afresh, or all of it.
  func heal(descriptor: Int32, all: Bool = false) throws(Failure) {
    var next: UnsafeMutablePointer<Region>? = unsafe region
    while let region = unsafe next {
      try unsafe region.pointee.heal(descriptor: descriptor, all: all) { losses.add($0, $1) }
      unsafe next = region.pointee.previous
    }
  }

  /// How long a region for `needed` bytes is to be, the best size first. Where it may have to grow, for as many again:
  /// addresses past the end of the file cost nothing, a file that grows into them needs no new mapping, and all the
  /// regions that a handle has had are no longer together than its last one.
  private static func sizes(
    _ mapping: Mapping, for needed: Int, grows: Bool
  ) throws(Failure) -> InlineArray<3, Int> {
    let page = mapping.page
    guard let exact = page.roundUp(max(needed, 1)) else { throw .noMemory }
    let sizes: InlineArray<3, Int> = [exact, exact, exact]
    // One that has to go on where it is gets more.
    let (double, overflow) = exact.addingReportingOverflow(max(exact, mapping.isCharged ? addressRoom : 1 << 20))
    // Huge pages are taken when they are mapped.
    guard grows && !overflow && page.bytes <= PageSize.system.bytes, let roomy = page.roundUp(double),
      let some = page.roundUp(exact + exact / 8)
    else {
      return sizes
    }
    return [roomy, some, exact]
  }

  /// How many addresses a mapping may keep for itself: of those that the process may have, a small part.
  private static var addressRoom: Int {
    Int(min(sys_address_limit() / 64, 1 << 30))
  }

  /// Maps the first region of a handle.
  static func map(
    _ mapping: Mapping, _ length: Int, grows: Bool, _ traits: Traits, _ descriptor: Int32, _ memory: RegionMemory
  ) throws(Failure) -> UnsafeMutablePointer<Region> {
    let sizes = try sizes(mapping, for: length, grows: grows && !traits.contains(.fixedAddress))
    return try unsafe map(mapping, sizes, traits, descriptor, memory, previous: nil)
  }

  /// Maps a region of the first of these sizes that the system has room for.
  private static func map(
    _ mapping: Mapping, _ sizes: InlineArray<3, Int>, _ traits: Traits, _ descriptor: Int32, _ memory: RegionMemory,
    previous: UnsafeMutablePointer<Region>?
  ) throws(Failure) -> UnsafeMutablePointer<Region> {
    let region = try unsafe Region.map(
      mapping, sizes, descriptor: descriptor, previous: previous, isDirect: traits.contains(.direct))
    guard let place = unsafe memory.allocate() else { throw .noMemory }
    unsafe place.initialize(to: region)
    return unsafe place
  }
}
