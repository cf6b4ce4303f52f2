import MemoryMap
import Synchronization

/// A persistent queue of messages in a file; see Format for the file.
///
/// Any number of threads may use it at once. What they need is guarded by locks, which are taken in this order:
///
/// 1. `pusher`: where the next record goes.
/// 2. `checkpoint`: syncs, one at a time; consumers come and go.
/// 3. a consumer: its place, and what it has handed out.
/// 4. `table`: which segment is where.
///
/// `tail` is published behind each push: what is before it is there for good, and read without `pusher`.
@safe public struct Queue<Store: Storage & ~Copyable>: ~Copyable {
  let storage: Store
  let checksum = Checksum()
  /// The log2 of the segment size.
  let shift: Int
  /// What the messages are, as the one who made the file said.
  public let type: UInt32
  let maximumSize: Int
  /// The epoch since this open.
  var epoch: Int
  /// What opening found.
  public internal(set) var recovered = Recovered()

  let health = Health()
  private let incarnations = Atomic<Int>(1)

  let pusher: Guarded<Pusher>
  let checkpoint: Guarded<Checkpoint>
  let consumers: InlineArray<192, Guarded<Consumer>>
  /// Whose messages of each consumer come back. Behind no lock.
  let ended = InlineArray<192, EndedOwners> { _ in EndedOwners() }
  let table: Guarded<SegmentTable>

  // What each push writes, on a cache line that it shares with nothing.
  private let padding = InlineArray<8, Int>(repeating: 0)
  let tail: Atomic<Int>
  let number: Atomic<Int>
  private let paddingBehind = InlineArray<8, Int>(repeating: 0)

  #if DEBUG
    let omissions: Omissions
  #endif

  /// What opening found behind the last sync, where the queue was not closed.
  public struct Recovered: Sendable {
    /// Whether the queue had been closed.
    public var wasClean = true
    /// What was pushed, so far as is known, and is not there.
    public var messages = 0
    /// How many bytes those were in the file.
    public var bytes = 0
  }

  struct Opened: ~Copyable {
    var storage: Store
    var page: StaticPage
    var maximumSize: Int
    var tail: Place
    var pusher: Guarded<Pusher>
    var checkpoint: Guarded<Checkpoint>
    var consumers: InlineArray<192, Guarded<Consumer>>
    var table: Guarded<SegmentTable>
    #if DEBUG
      var omissions: Omissions = []
    #endif
  }

  init(_ opened: consuming Opened) {
    shift = Int(opened.page.parameter)
    type = opened.page.type
    maximumSize = opened.maximumSize
    epoch = opened.tail.epoch
    tail = Atomic(opened.tail.position)
    number = Atomic(opened.tail.number)
    pusher = opened.pusher
    checkpoint = opened.checkpoint
    #if DEBUG
      omissions = opened.omissions
    #endif
    table = opened.table
    consumers = opened.consumers
    storage = opened.storage
  }

  // MARK: Parts

  @inline(__always)
  var segmentSize: Int { 1 &<< shift }
  @inline(__always)
  var mask: Int { segmentSize &- 1 }

  func slotOffset(_ slot: Int) -> Int { Format.segments &+ slot &<< shift }

  /// The offset in the file of a segment.
  func offset(ofSegment number: Int) throws(StructureError) -> Int {
    guard let slot = table.locked({ $0.slot(of: number) }) else { throw .corrupt(number &<< shift) }
    return slotOffset(slot)
  }

  /// Throws what has gone wrong before.
  @inline(__always)
  public func check() throws(StructureError) { try health.check() }

  /// Runs a body that touches the file where a failure leaves it in an unknown state.
  @inline(__always)
  func failing<R>(_ body: () throws(StructureError) -> R) throws(StructureError) -> R { try health.failing(body) }

  func newIncarnation() -> Int { incarnations.wrappingAdd(1, ordering: .relaxed).newValue }

  #if DEBUG
    @inline(__always)
    func omits(_ rule: Omissions) -> Bool { omissions.contains(rule) }
  #endif

  // MARK: Figures

  /// Bytes of the file.
  public var fileSize: Int { storage.size }
  /// Bytes of a segment.
  public var sizeOfSegments: Int { segmentSize }
}
