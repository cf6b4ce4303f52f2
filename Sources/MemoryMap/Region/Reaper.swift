import CSystem
import Synchronization

/// Takes apart what can take long to take apart: mappings, and descriptors of deleted files.
///
/// The VM collects handles and binaries on its normal schedulers, which may not be held up. There, work is put into a
/// queue, and a thread of the NIF library runs it in order. What may wait for one file system (deleting, and closing
/// what is deleted) is passed on to a second thread, so that nothing of another one waits behind it. Without the
/// threads it is done on the spot.
public enum Reaper {
  @safe enum Chore {
    /// Unmap the region of a slot, and free the slot.
    case region(FaultTable.Slot)
    /// Unmap a range that the system did not let go before.
    case range(UInt, Int)
    /// Close a descriptor (unless -1), give back its lock, and delete its file, if that is wanted.
    case file(Int32, AutoUnlink?, isLocked: Bool)

    fileprivate func run(mayWait: Bool) {
      switch self {
      case .region(let slot):
        unsafe slot.pointee.deactivate()
        let (start, length) = unsafe slot.pointee.mappedRange
        unsafe inSlices(start, length, largest: Region.slice(length), slot.pointee.mappedPage) {
          unmap($0, $1)
          return true
        }
        unsafe FaultTable.release(slot)
      case .range(let start, let length): unmap(start, length)
      case .file(let descriptor, let autoUnlink, let isLocked):
        if !mayWait && (autoUnlink != nil || isDeleted(descriptor)) { return unsafe slow.add(self) }
        autoUnlink?.run()
        if isLocked { File.giveBackLock(descriptor) }
        if descriptor >= 0 { _ = close(descriptor) }
      }
    }
  }

  /// Has a thread do a chore, or does it here if there is none.
  static func later(_ chore: Chore) { unsafe quick.add(chore) }

  /// Works off the chores for ever. To be called by one thread.
  public static func run() -> Never { unsafe quick.run(mayWait: false) }

  /// Works off those that may have to wait. To be called by another one.
  public static func runSlow() -> Never { unsafe slow.run(mayWait: true) }

  /// Returns when what was dropped before is gone: for those who need its addresses, mappings or descriptors.
  static func catchUp() { unsafe quick.workOff(mayWait: false) }

  private static func isDeleted(_ descriptor: Int32) -> Bool {
    var status = stat()
    return unsafe descriptor >= 0 && sys_fstat(descriptor, &status) == 0 && status.st_nlink == 0
  }

  /// Unmapping the middle of a mapping makes two of it. Where the process has too many already, one that is kept for
  /// this is given up, or the range waits until others have gone.
  private static func unmap(_ start: UInt, _ length: Int) {
    while unsafe munmap(UnsafeMutableRawPointer(bitPattern: start), length) != 0 {
      if !SpareMappings.giveUp(keeping: SpareMappings.reserve) {
        return unsafe quick.addForLater(.range(start, length))
      }
    }
  }

  // SAFETY, of both: all of it is atomic.
  nonisolated(unsafe) private static let quick = Queue()
  nonisolated(unsafe) private static let slow = Queue()

  @safe private struct Node {
    var next: UnsafeMutableRawPointer?
    let chore: Chore
  }

  @safe private struct Queue: ~Copyable {
    private let isRunning = Atomic<Bool>(false)
    private let added = Atomic<Int>(0)
    /// Held by who works off chores: one after the other, in order.
    private let turn = SequenceLock()
    /// The chores, the last one first.
    private let newest = unsafe Atomic<UnsafeMutableRawPointer?>(nil)

    func add(_ chore: Chore) {
      guard isRunning.load(ordering: .relaxed), push(chore) else { return chore.run(mayWait: true) }
      _ = added.wrappingAdd(1, ordering: .releasing)
      unsafe withUnsafePointer(to: added) { unsafe sys_futex_wake_all($0) }
    }

    /// The same, without waking the thread: when it has something else to do.
    func addForLater(_ chore: Chore) { _ = push(chore) }

    /// False when memory is out.
    private func push(_ chore: Chore) -> Bool {
      guard let node = unsafe malloc(MemoryLayout<Node>.size)?.assumingMemoryBound(to: Node.self) else { return false }
      unsafe node.initialize(to: Node(next: nil, chore: chore))
      var first = unsafe newest.load(ordering: .relaxed)
      while true {
        unsafe node.pointee.next = first
        // Releasing: the thread that takes the node sees what is in it.
        let (done, now) = unsafe newest.compareExchange(
          expected: first, desired: UnsafeMutableRawPointer(node), ordering: .releasing)
        if done { return true }
        unsafe first = now
      }
    }

    func run(mayWait: Bool) -> Never {
      isRunning.store(true, ordering: .relaxed)
      while true {
        // Acquiring: what was added before the count changed is taken below.
        let count = added.load(ordering: .acquiring)
        workOff(mayWait: mayWait)
        // SAFETY: the counter is a global; its lower 32 bits stand at its address on little-endian machines.
        unsafe withUnsafePointer(to: added) {
          unsafe sys_futex_wait($0, UInt32(truncatingIfNeeded: count))
        }
      }
    }

    func workOff(mayWait: Bool) {
      turn.lock()
      defer { turn.unlock() }
      var next = unsafe inOrder(newest.exchange(nil, ordering: .acquiring))
      while let node = unsafe next?.assumingMemoryBound(to: Node.self) {
        unsafe node.pointee.chore.run(mayWait: mayWait)
        unsafe next = node.pointee.next
        unsafe free(node)
      }
    }

    /// Turns a list round: a file is closed after its regions were unmapped.
    private func inOrder(_ list: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
      var (next, done) = unsafe (list, UnsafeMutableRawPointer?.none)
      while let node = unsafe next?.assumingMemoryBound(to: Node.self) {
        unsafe next = node.pointee.next
        unsafe node.pointee.next = done
        unsafe done = UnsafeMutableRawPointer(node)
      }
      return unsafe done
    }
  }
}
