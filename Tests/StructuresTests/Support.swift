import CSystem
import Foundation
import MemoryMap
import Synchronization

@testable import Structures

/// Whether the code watches its own memory, or its threads.
let isSanitized = unsafe dlsym(nil, "__asan_init") != nil || dlsym(nil, "__tsan_init") != nil

/// The bits of a byte to flip. The code that looks at it is the same for all of them: sanitizers see enough with one.
func bits(of offset: Int) -> Range<Int> { isSanitized ? offset % 8..<offset % 8 + 1 : 0..<8 }

/// A queue that does not move, on a simulated disk or a mapped file.
@safe final class Held<Store: Storage & ~Copyable>: @unchecked Sendable {
  let queue: Queue<Store>
  /// What tests that take messages do so as, by numbers, of each consumer.
  private var owners: [[Int]: UnsafeMutablePointer<Owner>] = unsafe [:]

  init(_ storage: consuming Store, _ options: QueueOptions = small) throws(StructureError) {
    queue = try Queue.open(storage, options)
  }

  deinit { unsafe owners.values.forEach { unsafe Owner.freeAll($0) } }

  /// The consumer that every queue begins with.
  var first: ConsumerName {
    var found = ConsumerName(index: 0, incarnation: 0)
    try? unsafe queue.forEachConsumer { (name, consumer) in if unsafe name.isEmpty { found = consumer } }
    return found
  }

  func push(_ messages: [UInt8]...) throws(StructureError) { try push(all: messages) }

  func push(all messages: [[UInt8]]) throws(StructureError) {
    try unsafe withBuffers(messages) { (buffers) throws(StructureError) in
      try unsafe queue.push(buffers.count, mayBlock: true) { unsafe buffers[$0] }
    }
  }

  func pop(_ most: Int = 1, _ name: ConsumerName? = nil) throws(StructureError) -> [[UInt8]] {
    var result: [[UInt8]] = []
    _ = try unsafe queue.pop(most, name ?? first, mayBlock: true) { unsafe result.append([UInt8]($0)) }
    return result
  }

  /// - Parameter before: is called with the consumer's lock held, when it is settled who gets the message.
  func take(
    owner: Int = 1, _ name: ConsumerName? = nil, mayBlock: Bool = true, before: () -> Void = {}
  ) throws(StructureError) -> ([UInt8], Receipt)? {
    let name = name ?? first
    return try unsafe queue.take(
      name,
      owner: { () throws(StructureError) in
        let found = try unsafe self.owner(owner, of: name.index)
        before()
        return unsafe found
      }, mayBlock: mayBlock
    ) { unsafe [UInt8]($0) }
  }

  private func owner(_ number: Int, of index: Int) throws(StructureError) -> UnsafeMutablePointer<Owner> {
    if let owner = unsafe owners[[number, index]] { return unsafe owner }
    guard let owner = unsafe Owner.make(consumer: index) else { throw .file(.noMemory) }
    unsafe owners[[number, index]] = unsafe owner
    return unsafe owner
  }

  /// Ends an owner; returns how many messages it had of a consumer.
  func end(owner: Int, of index: Int = 0) -> Int {
    guard let owner = unsafe owners.removeValue(forKey: [owner, index]) else { return 0 }
    return unsafe queue.end(owner)
  }

  func consumer(_ name: String, fromOldest: Bool = true) throws(StructureError) -> ConsumerName {
    try unsafe withBuffers([[UInt8](name.utf8)]) { (buffers) throws(StructureError) in
      try unsafe queue.consumer(buffers[0], fromOldest: fromOldest)
    }
  }

  func length(_ name: ConsumerName? = nil) throws(StructureError) -> Int {
    try queue.length(name ?? first, mayBlock: true).messages
  }
}

/// Segments of 64 KiB.
let small: QueueOptions = {
  var options = QueueOptions()
  options.shift = 16
  return options
}()

func open(_ disk: Disk, _ options: QueueOptions = small) throws(StructureError) -> Held<SimulatedStorage> {
  try Held(SimulatedStorage(disk: disk), options)
}

func open(_ path: String, _ options: QueueOptions = small) throws(StructureError) -> Held<MappedStorage> {
  let copy = unsafe strdup(path)
  defer { unsafe free(copy) }
  guard let copy = unsafe copy else { throw .file(.noMemory) }
  return try Held(try unsafe MappedStorage(copy, mode: 0o600, memory: regions), options)
}

/// Where regions live: memory from malloc, behind a count of owners, as the VM's resources are.
let regions = unsafe RegionMemory(
  allocate: {
    guard let block = unsafe malloc(64 + MemoryLayout<Region>.size) else { return nil }
    unsafe block.assumingMemoryBound(to: Atomic<Int>.self).initialize(to: Atomic(1))
    return unsafe (block + 64).assumingMemoryBound(to: Region.self)
  },
  release: { region in
    let block = unsafe UnsafeMutableRawPointer(region) - 64
    let owners = unsafe block.assumingMemoryBound(to: Atomic<Int>.self)
    guard unsafe owners.pointee.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 else { return }
    unsafe region.deinitialize(count: 1)
    unsafe free(block)
  })

/// The error that `body` throws; nil if it throws none.
func error<R>(_ body: () throws(StructureError) -> R) -> StructureError? {
  do throws(StructureError) {
    _ = try body()
    return nil
  } catch {
    return error
  }
}

/// A message that says which one it is.
func message(_ number: Int, _ count: Int = 16) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: $0 < 8 ? number >> (8 * $0) : number &+ $0) }
}

/// A directory for one test, gone with the test.
final class TemporaryDirectory {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "/emmap-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String = "queue") -> String { path + "/" + name }
}

/// Runs the bodies on threads of their own, all at once, and waits for all of them.
func inParallel(_ bodies: [@Sendable () -> Void]) {
  let done = DispatchGroup()
  for body in bodies {
    done.enter()
    Thread {
      body()
      done.leave()
    }.start()
  }
  done.wait()
}
