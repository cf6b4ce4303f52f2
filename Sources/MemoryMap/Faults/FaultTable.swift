import CSystem
import Synchronization

/// The slots of all regions, and the handler of SIGBUS that looks through them.
///
/// Touching a mapped page past the end of its file, or one that the disk has no room for or cannot read, raises
/// SIGBUS, which would end the VM. The handler replaces such pages by zeroes and marks them in the region's slot; the
/// instruction then runs again, and the call that ran it finds the mark and reports the failure.
///
/// Slots stand in blocks that are only ever added: a handler can walk them without a lock.
///
///     block:  [ next block : 64 bytes | slot | slot | ... ]
enum FaultTable {
  typealias Slot = UnsafeMutablePointer<FaultSlot>

  private static var slotsPerBlock: Int { 64 }
  private static var headerBytes: Int { 64 }
  private static var slotBytes: Int { MemoryLayout<FaultSlot>.stride }

  /// Takes a free slot for a region; nil when memory is out.
  static func claim() -> Slot? {
    unsafe storage.lock.lock()
    defer { unsafe storage.lock.unlock() }
    if let slot = unsafe storage.free.load(ordering: .relaxed)?.assumingMemoryBound(to: FaultSlot.self) {
      unsafe storage.free.store(slot.pointee.next.load(ordering: .relaxed), ordering: .relaxed)
      return unsafe slot
    }
    return unsafe addBlock()
  }

  /// Gives back the slot of a region that was unmapped.
  static func release(_ slot: Slot) {
    unsafe storage.lock.lock()
    unsafe slot.pointee.next.store(storage.free.load(ordering: .relaxed), ordering: .relaxed)
    unsafe storage.free.store(UnsafeMutableRawPointer(slot), ordering: .relaxed)
    unsafe storage.lock.unlock()
  }

  /// Adds a block, puts all its slots but one into the free list and returns that one.
  private static func addBlock() -> Slot? {
    guard let block = unsafe malloc(headerBytes + slotsPerBlock * slotBytes) else { return nil }
    let previous = unsafe storage.blocks.load(ordering: .relaxed)
    unsafe block.storeBytes(of: previous, as: UnsafeMutableRawPointer?.self)
    for index in 0..<slotsPerBlock {
      let slot = unsafe slot(index, of: block)
      unsafe slot.initialize(to: FaultSlot())
      guard index > 0 else { continue }
      unsafe slot.pointee.next.store(storage.free.load(ordering: .relaxed), ordering: .relaxed)
      unsafe storage.free.store(UnsafeMutableRawPointer(slot), ordering: .relaxed)
    }
    // Releasing: a handler that finds the block finds it initialised.
    unsafe storage.blocks.store(block, ordering: .releasing)
    return unsafe slot(0, of: block)
  }

  private static func slot(_ index: Int, of block: UnsafeMutableRawPointer) -> Slot {
    // SAFETY: every block has room for slotsPerBlock slots behind its header, and index is below that.
    unsafe (block + headerBytes + index &* slotBytes).assumingMemoryBound(to: FaultSlot.self)
  }

  /// Finds the slot whose region holds the address, and locks it.
  private static func lockSlot(holding address: UInt) -> Slot? {
    var next = unsafe storage.blocks.load(ordering: .acquiring)
    while let block = unsafe next {
      for index in 0..<slotsPerBlock {
        let slot = unsafe slot(index, of: block)
        if unsafe slot.pointee.lockIfHolding(address) { return unsafe slot }
      }
      unsafe next = block.load(as: UnsafeMutableRawPointer?.self)
    }
    return nil
  }

  // MARK: Regions that bytes to write may come from; see DirectRanges

  /// Tells whether any region of a `direct` handle has bytes that are lost.
  static var hasLost: Bool { unsafe storage.lost.load(ordering: .acquiring) > 0 }

  /// Counts the regions that have some.
  static func countLost(_ change: Int) { _ = unsafe storage.lost.wrappingAdd(change, ordering: .acquiringAndReleasing) }

  /// Runs `body` on the slot of the region that holds an address, if there is one.
  static func withSlot<R>(holding address: UInt, _ body: (Slot) -> R) -> R? {
    guard let slot = unsafe lockSlot(holding: address) else { return nil }
    // Only the lock says that the region is there; whoever names the address owns a share of it.
    unsafe slot.pointee.unlock()
    return unsafe body(slot)
  }

  /// Installs the handler, once in the life of the process; it is never removed.
  static func installHandler() {
    if unsafe storage.installed.load(ordering: .acquiring) { return SpareMappings.keep() }
    unsafe storage.lock.lock()
    defer { unsafe storage.lock.unlock() }
    if unsafe storage.installed.load(ordering: .relaxed) { return }
    // Under the lock: who opens a file meanwhile waits until there are some. Without them faults cost whole regions.
    SpareMappings.keep()
    // A file that may not grow any further (RLIMIT_FSIZE) is EFBIG, and not the end of the VM.
    sys_ignore_by_default(SIGXFSZ)
    Replacement.prepare()
    unsafe storage.process.store(sys_process(), ordering: .relaxed)
    // Before the handler can run, which reads it.
    _ = unsafe sigaction(SIGBUS, nil, &previousHandler)
    _ = unsafe sys_install_handler(SIGBUS) { unsafe FaultTable.handleBusError($0, $1, $2) }
    unsafe storage.installed.store(true, ordering: .releasing)
  }

  /// Tells whether this is a child of the process that installed the handler.
  static var isForked: Bool { unsafe storage.process.load(ordering: .relaxed) != sys_process() }

  /// The signal handler. Async-signal-safe: beside its own loads and stores it calls fstat, fstatfs, mmap, madvise,
  /// mprotect, sched_yield, getpid and, for signals that are not ours, sigaction, raise and the previous handler; `make test`
  /// checks that in the machine code.
  private static func handleBusError(
    _ signal: Int32, _ info: UnsafeMutablePointer<siginfo_t>?, _ context: UnsafeMutableRawPointer?
  ) {
    guard let info = unsafe info else { return }
    let saved = sys_errno()
    // BUS_ADRERR: the access was to a mapped page that nothing stands behind.
    if unsafe info.pointee.si_code == Int32(BUS_ADRERR) {
      let address = unsafe sys_fault_address(info)
      if let slot = unsafe lockSlot(holding: address), unsafe slot.pointee.replaceAndUnlock(address) {
        sys_set_errno(saved)
        return
      }
    }
    unsafe sys_chain_signal(&previousHandler, signal, info, context)
    sys_set_errno(saved)
  }

  @safe private struct Storage: ~Copyable {
    let lock = SequenceLock()
    let blocks = unsafe Atomic<UnsafeMutableRawPointer?>(nil)
    let free = unsafe Atomic<UnsafeMutableRawPointer?>(nil)
    let installed = Atomic<Bool>(false)
    let process = Atomic<Int32>(0)
    let lost = Atomic<Int>(0)
  }

  // SAFETY: all of it is atomic.
  nonisolated(unsafe) private static let storage = Storage()
  // SAFETY: written once, before the handler that reads it can run.
  nonisolated(unsafe) private static var previousHandler = sigaction()
}
