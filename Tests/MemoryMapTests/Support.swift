import CSystem
import Foundation
import Synchronization

@testable import MemoryMap

/// Where regions live in tests: memory from malloc, behind a count of owners, as the VM's resources are.
// @unchecked: what is done meanwhile is set before the file is opened.
final class Regions: @unchecked Sendable {
  /// How many regions there are.
  let live = Atomic<Int>(0)
  /// Set where there is no memory for another one.
  let isExhausted = Flag()
  /// Done when a region has been mapped, and before anything else.
  var whenAllocated: () -> Void = {}

  private static var headerBytes: Int { 64 }

  var memory: RegionMemory {
    unsafe RegionMemory(
      allocate: {
        self.whenAllocated()
        guard !self.isExhausted.isSet, let block = unsafe malloc(Self.headerBytes + MemoryLayout<Region>.size) else {
          return nil
        }
        unsafe block.assumingMemoryBound(to: Atomic<Int>.self).initialize(to: Atomic(1))
        self.live.wrappingAdd(1, ordering: .relaxed)
        return unsafe (block + Self.headerBytes).assumingMemoryBound(to: Region.self)
      },
      release: { region in
        let block = unsafe UnsafeMutableRawPointer(region) - Self.headerBytes
        let owners = unsafe block.assumingMemoryBound(to: Atomic<Int>.self)
        guard unsafe owners.pointee.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 else { return }
        unsafe region.deinitialize(count: 1)
        unsafe free(block)
        self.live.wrappingSubtract(1, ordering: .relaxed)
      })
  }

  /// Adds an owner, as making a binary that points into the region does.
  static func retain(_ region: UnsafeMutablePointer<Region>) {
    let block = unsafe UnsafeMutableRawPointer(region) - headerBytes
    _ = unsafe block.assumingMemoryBound(to: Atomic<Int>.self).pointee.wrappingAdd(1, ordering: .relaxed)
  }
}

/// An open file with its region memory; closed, if it still is open, with the last reference.
// @unchecked: File is made for many threads.
final class Handle: @unchecked Sendable {
  let file: File
  let regions: Regions

  init(
    _ path: String, offset: Int = 0, length: Int = 0, _ flags: OpenOptions.Flags = [], address: Int = 0,
    mode: UInt32? = 0o600, size: Int = 0, maximumStep: Int = 64 << 20, regions: Regions = Regions()
  ) throws(Failure) {
    guard let name = unsafe strdup(path) else { throw .noMemory }
    defer { unsafe free(name) }
    self.regions = regions
    self.file = try unsafe File.open(
      name, offset: offset, length: length,
      options: OpenOptions(flags: flags, address: address, mode: mode, size: size, maximumStep: maximumStep),
      memory: regions.memory)
  }

  func close() throws(Failure) { _ = try file.close(.unlimited) }

  /// Reads as `pread` does: what is there of `count` bytes from `offset`; nil at the end, and where it would have to
  /// wait.
  func bytes(
    at offset: Int, _ count: Int, limit: Int = .max, _ patience: Patience = .unlimited
  ) throws(Failure) -> [UInt8]? {
    let outcome = try unsafe file.access(.read, at: offset, count: count, limit: limit, patience) {
      region, start, count in
      let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        if let target = buffer.baseAddress { unsafe file.copy(target, start, count, region, start) }
        initialized = count
      }
      return (bytes, touched: count)
    }
    guard case .done(let bytes) = outcome else { return nil }
    return bytes
  }

  /// Writes as `pwrite` does. False if it would have to wait.
  @discardableResult
  func write(_ bytes: [UInt8], at offset: Int, _ patience: Patience = .unlimited) throws(Failure) -> Bool {
    try unsafe bytes.withUnsafeBufferPointer { (buffer) throws(Failure) in
      let bytes = UnsafeRawBufferPointer(buffer)
      if unsafe file.writeAtOnce(bytes, at: offset) { return true }
      return try unsafe File.withPiece(bytes) { (pieces) throws(Failure) in
        try unsafe file.write(pieces, at: offset, patience)
      }
    }
  }

  /// Writes at the position.
  @discardableResult
  func write(_ bytes: [UInt8], _ patience: Patience = .unlimited) throws(Failure) -> Bool {
    try unsafe bytes.withUnsafeBufferPointer { (buffer) throws(Failure) in
      try unsafe File.withPiece(UnsafeRawBufferPointer(buffer)) { (pieces) throws(Failure) in
        try unsafe file.write(pieces, patience)
      }
    }
  }

  /// Adds to a word and returns the old value. `meanwhile` runs before it is added, and `afterwards` before it is
  /// looked at what may have got in the way.
  func add(
    _ value: Int, at position: Int, meanwhile: () -> Void = {}, afterwards: () -> Void = {}
  ) throws(Failure) -> Int {
    try file.withWord(at: position, writing: true) { (word: borrowing Atomic<Int>) in
      meanwhile()
      defer { afterwards() }
      return word.wrappingAdd(value, ordering: .sequentiallyConsistent).oldValue
    }
  }

  func word(at position: Int) throws(Failure) -> Int {
    try file.withWord(at: position, writing: false) { (word: borrowing Atomic<Int>) in
      word.load(ordering: .sequentiallyConsistent)
    }
  }

  /// A share of the region and bytes in it, as a direct binary holds them.
  func borrow(at offset: Int, _ count: Int) throws(Failure) -> Borrowed {
    let outcome = try unsafe file.access(.borrow, at: offset, count: count, .unlimited) { region, start, count in
      unsafe Regions.retain(region)
      return (unsafe Borrowed(region, start, count, regions), touched: count)
    }
    guard case .done(let borrowed) = outcome else { throw .outOfRange }
    return borrowed
  }

  /// Writes bytes from where they are in a mapping.
  @discardableResult
  func write(_ source: Borrowed, at offset: Int) throws(Failure) -> Bool {
    try unsafe source.withBytes { (bytes) throws(Failure) in
      // Never at once: they may be lost, or part of what is written.
      if unsafe file.writeAtOnce(bytes, at: offset) { throw .badArgument }
      return try unsafe File.withPiece(bytes) { (pieces) throws(Failure) in
        try unsafe file.write(pieces, at: offset, .unlimited)
      }
    }
  }

  /// Has the page at a position fault, as if the disk could not read it: the file has it all the same.
  func losePage(at offset: Int) {
    let address = unsafe UInt(bitPattern: file.address(file.region, offset))
    for _ in 0..<2 {
      _ = unsafe FaultTable.withSlot(holding: address) { slot in
        unsafe slot.pointee.lockIfHolding(address) && slot.pointee.replaceAndUnlock(address)
      }
    }
  }

  /// Cuts off what follows a position, touches it, and has it as it was, or longer, and mapped afresh.
  func loseAndHeal(_ path: String, at offset: Int) -> Failure? {
    let length = file.size
    cut(path, to: offset)
    _ = failure { () throws(Failure) in try bytes(at: offset, 1) }
    cut(path, to: length)
    return failure { () throws(Failure) in try file.remap() }
  }

  /// Where position 0 is.
  var address: UInt {
    get throws(Failure) { try file.info().address }
  }
}

/// Bytes in a region that it keeps alive.
@safe final class Borrowed: @unchecked Sendable {
  private let region: UnsafeMutablePointer<Region>
  private let start: UnsafeMutableRawPointer
  private let count: Int
  private let regions: Regions

  init(_ region: UnsafeMutablePointer<Region>, _ start: UnsafeMutableRawPointer, _ count: Int, _ regions: Regions) {
    unsafe self.region = region
    unsafe self.start = start
    self.count = count
    self.regions = regions
  }

  deinit { unsafe regions.memory.release(region) }

  var address: UInt { unsafe UInt(bitPattern: start) }

  /// What stands before the first byte.
  var byteBefore: UInt8 { unsafe start.load(fromByteOffset: -1, as: UInt8.self) }

  /// The bytes where they are, for a write that takes them from there.
  func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws(Failure) -> R) throws(Failure) -> R {
    try unsafe body(UnsafeRawBufferPointer(start: start, count: count))
  }

  var bytes: [UInt8] {
    unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      if let target = buffer.baseAddress { unsafe sys_copy(target, start, count) }
      initialized = count
    }
  }
}

/// A directory for one test, gone with the test.
final class TemporaryDirectory {
  let path: String

  init(in parent: String = NSTemporaryDirectory()) throws {
    path = parent + "/emmap-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String = "file") -> String { path + "/" + name }

  /// Makes a file that holds `bytes`.
  func file(_ name: String = "file", _ bytes: [UInt8]) throws -> String {
    try Data(bytes).write(to: URL(fileURLWithPath: file(name)))
    return file(name)
  }
}

/// What is in a file, through read(2). (Foundation's way leaks memory when the file is empty.)
func contents(_ path: String) throws -> [UInt8] {
  let descriptor = unsafe sys_open(path, O_RDONLY, 0)
  if descriptor < 0 { throw Failure.lastError }
  defer { _ = close(descriptor) }
  var result: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let count = unsafe read(descriptor, &buffer, buffer.count)
    if count < 0 { throw Failure.lastError }
    if count == 0 { return result }
    result += buffer.prefix(count)
  }
}

/// Sets the length of a file from outside.
func cut(_ path: String, to length: Int) { precondition(unsafe truncate(path, off_t(length)) == 0) }

/// Bytes that differ from page to page. Made of copies: debug builds are slow at bytes one by one.
func pattern(_ count: Int) -> [UInt8] {
  var result: [UInt8] = []
  result.reserveCapacity(count)
  while result.count < count { result += patternBlock.prefix(count - result.count) }
  return result
}

private let patternBlock: [UInt8] = (0..<(16 * 4096 + 251)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 12 &+ 1) }

let pageBytes = PageSize.system.bytes

/// An address that nothing is near to, and no other test's that runs beside this one; the thread sanitizer has others
/// free.
func freeAddress() -> Int {
  let room = 4 << 30
  #if THREAD_SANITIZER
    let first = 0x7B80_0000_0000
  #else
    let first = 0x5300_0000_0000
  #endif
  return first + room * freeAddresses.wrappingAdd(1, ordering: .relaxed).oldValue
}

private let freeAddresses = Atomic<Int>(0)

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

func inParallel(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
  inParallel((0..<count).map { index in { body(index) } })
}

/// The failure that `body` throws; nil if it throws none.
func failure<R: ~Copyable>(_ body: () throws(Failure) -> R) -> Failure? {
  do throws(Failure) {
    _ = try body()
    return nil
  } catch {
    return error
  }
}

/// A value that threads set and that is looked at after them.
final class Flag: Sendable {
  private let value = Atomic<Bool>(false)
  func set() { value.store(true, ordering: .releasing) }
  var isSet: Bool { value.load(ordering: .acquiring) }
}

/// Counts what threads see.
final class Tally: Sendable {
  private let value = Atomic<Int>(0)
  func add(_ count: Int = 1) { value.wrappingAdd(count, ordering: .relaxed) }
  var count: Int { value.load(ordering: .acquiring) }
}

/// What threads did not expect, and where, so that a race that failed once can be understood.
final class Surprises: Sendable, CustomStringConvertible {
  private let seen = Mutex<[String: Int]>([:])

  /// Adds a failure, if it is one.
  func add(_ failure: Failure?, line: Int = #line) {
    if let failure { add("\(failure)", line: line) }
  }

  func add(_ text: String, line: Int = #line) {
    seen.withLock { $0["line \(line): \(text)", default: 0] += 1 }
  }

  var isEmpty: Bool { seen.withLock { $0.isEmpty } }
  var description: String { seen.withLock { "\($0)" } }
}

/// The same numbers in every run.
struct Numbers: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return (state ^ (state >> 33)) &* 0xFF51_AFD7_ED55_8CCD
  }
}
