import CSystem
import Synchronization

/// Takes apart what can take long to take apart: mappings that hold many pages, descriptors of deleted files.
///
/// The VM collects handles and binaries on its normal schedulers, which may not be held up. There, work is put into a
/// queue, and a thread of the NIF library runs it. Without that thread it is done on the spot.
public enum Reaper {
  @safe enum Chore {
    /// Unmap the region of a slot, and free the slot.
    case region(FaultTable.Slot)
    /// Close a descriptor (unless -1) and delete its file, if that is wanted.
    case file(Int32, AutoUnlink?)

    func run() {
      switch self {
      case .region(let slot):
        unsafe slot.pointee.deactivate()
        unsafe inSlices(slot.pointee.mappedBase, slot.pointee.mappedLength, slot.pointee.mappedPage) { start, length in
          _ = unsafe munmap(UnsafeMutableRawPointer(bitPattern: start), length)
        }
        unsafe FaultTable.release(slot)
      case .file(let descriptor, let autoUnlink):
        autoUnlink?.run()
        if descriptor >= 0 { _ = close(descriptor) }
      }
    }
  }

  /// Has the thread do a chore, or does it here if there is no thread.
  static func later(_ chore: Chore) {
    guard unsafe queue.isRunning.load(ordering: .relaxed),
      let node = unsafe malloc(MemoryLayout<Node>.size)?.assumingMemoryBound(to: Node.self)
    else { return chore.run() }
    unsafe node.initialize(to: Node(next: nil, chore: chore))
    var first = unsafe queue.first.load(ordering: .relaxed)
    while true {
      unsafe node.pointee.next = first
      // Releasing: the thread that takes the node sees what is in it.
      let (done, now) = unsafe queue.first.compareExchange(
        expected: first, desired: UnsafeMutableRawPointer(node), ordering: .releasing)
      if done { break }
      unsafe first = now
    }
    _ = unsafe queue.added.wrappingAdd(1, ordering: .releasing)
    unsafe withUnsafePointer(to: queue.added) { unsafe sys_futex_wake_all($0) }
  }

  /// Works off the queue for ever. To be called by one thread.
  public static func run() -> Never {
    unsafe queue.isRunning.store(true, ordering: .relaxed)
    while true {
      // Acquiring: what was queued before the count changed is taken below.
      let count = unsafe queue.added.load(ordering: .acquiring)
      var next = unsafe queue.first.exchange(nil, ordering: .acquiring)
      while let node = unsafe next?.assumingMemoryBound(to: Node.self) {
        unsafe node.pointee.chore.run()
        unsafe next = node.pointee.next
        unsafe free(node)
      }
      // SAFETY: the counter is a global; its lower 32 bits stand at its address on little-endian machines.
      unsafe withUnsafePointer(to: queue.added) {
        unsafe sys_futex_wait($0, UInt32(truncatingIfNeeded: count))
      }
    }
  }

  @safe private struct Node {
    var next: UnsafeMutableRawPointer?
    let chore: Chore
  }

  @safe private struct Queue: ~Copyable {
    let isRunning = Atomic<Bool>(false)
    let added = Atomic<Int>(0)
    let first = unsafe Atomic<UnsafeMutableRawPointer?>(nil)
  }
  // SAFETY: all of it is atomic.
  nonisolated(unsafe) private static let queue = Queue()
}
