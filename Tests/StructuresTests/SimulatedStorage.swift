import CSystem
import MemoryMap

@testable import Structures

/// A file in memory that remembers each store since the last sync, and can lose its process or its power at any time.
final class Disk {
  private(set) var bytes: [UInt8] = []
  /// What is on the disk for certain, and what was stored since.
  private var base: [UInt8] = []
  private var log: [(offset: Int, bytes: [UInt8])] = []
  /// How many more steps (stores, growths, syncs) are made before the process is killed; nil: it is not.
  var stepsLeft: Int? = nil
  private(set) var steps = 0
  private(set) var reads = 0
  /// What reads answer after so many more.
  var readError: StructureError? = nil
  var readsLeft = 0
  /// What growths and syncs answer; growths after so many more, in the second half of each, or in the first.
  var growthError: StructureError? = nil
  var growthsLeft = 0
  var failsLate = false
  var syncError: StructureError? = nil
  /// What happens while a sync is in progress.
  var duringSync: (() -> Void)? = nil

  /// What a killed process's calls throw; nobody hears it.
  static var killed: StructureError { .file(.system(ESHUTDOWN)) }

  init() {}

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    base = bytes
  }

  private func step() throws(StructureError) {
    if let left = stepsLeft {
      if left == 0 { throw Self.killed }
      stepsLeft = left - 1
    }
    steps += 1
  }

  func read(at offset: Int, count: Int, into target: UnsafeMutableRawPointer) throws(StructureError) {
    guard fits(offset, count, in: bytes.count) else { throw .file(.truncated) }
    reads += 1
    if let readError {
      if readsLeft == 0 { throw readError }
      readsLeft -= 1
    }
    unsafe bytes.withUnsafeBytes { all in
      if let start = all.baseAddress { unsafe target.copyMemory(from: start + offset, byteCount: count) }
    }
  }

  func write(_ source: UnsafeRawPointer, count: Int, at offset: Int) throws(StructureError) {
    guard fits(offset, count, in: bytes.count) else { throw .file(.truncated) }
    try step()
    let stored = unsafe [UInt8](UnsafeRawBufferPointer(start: source, count: count))
    put(stored, offset, &bytes)
    log.append((offset, stored))
  }

  func allocate(to end: Int) throws(StructureError) {
    if !failsLate { try failGrowth() }
    try step()
    if bytes.count < end { bytes += [UInt8](repeating: 0, count: end - bytes.count) }
  }

  func populate() throws(StructureError) { if failsLate { try failGrowth() } }

  private func failGrowth() throws(StructureError) {
    guard let growthError else { return }
    if growthsLeft == 0 { throw growthError }
    growthsLeft -= 1
  }

  /// Brings `range` to disk, or all of it.
  func sync(_ range: Range<Int>? = nil) throws(StructureError) {
    if let syncError { throw syncError }
    try step()
    let (start, count) = (bytes, log.count)
    if let during = duringSync {
      duringSync = nil
      during()
      duringSync = during
      if stepsLeft == 0 { throw Self.killed }
    }
    let range = range ?? 0..<start.count
    if base.count < range.upperBound { base += [UInt8](repeating: 0, count: range.upperBound - base.count) }
    base.replaceSubrange(range, with: start[range])
    log = log[..<count].flatMap { Self.outside(range, $0.offset, $0.bytes) } + log[count...]
  }

  /// What a store has put outside of a range: up to two stores.
  private static func outside(
    _ range: Range<Int>, _ offset: Int, _ stored: [UInt8]
  ) -> [(offset: Int, bytes: [UInt8])] {
    let all = offset..<(offset + stored.count)
    let parts = [all.clamped(to: 0..<range.lowerBound), all.clamped(to: range.upperBound..<Int.max)]
    return parts.filter { !$0.isEmpty }.map { part in
      (part.lowerBound, [UInt8](stored[(part.lowerBound - offset)..<(part.upperBound - offset)]))
    }
  }

  private func put(_ stored: [UInt8], _ offset: Int, _ target: inout [UInt8]) {
    unsafe target.withUnsafeMutableBytes { all in
      unsafe stored.withUnsafeBytes { source in
        if let from = source.baseAddress, let to = all.baseAddress {
          unsafe (to + offset).copyMemory(from: from, byteCount: stored.count)
        }
      }
    }
  }

  /// What is found after the power has failed: of the stores since the last sync each unit of `unit` bytes has got the
  /// first few, however many; the file has any length that it had.
  func afterPowerFailure(unit: Int, _ numbers: inout Numbers) -> Disk {
    var image = base
    let size = pick(base.count, bytes.count, &numbers)
    if image.count < bytes.count { image += [UInt8](repeating: 0, count: bytes.count - image.count) }
    var units: [Int: [(offset: Int, bytes: ArraySlice<UInt8>)]] = [:]
    for (offset, stored) in log {
      var done = 0
      while done < stored.count {
        let number = (offset + done) / unit
        let part = min(stored.count - done, (number + 1) * unit - offset - done)
        units[number, default: []].append((offset + done, stored[done..<(done + part)]))
        done += part
      }
    }
    for number in units.keys.sorted() {
      guard let stores = units[number] else { continue }
      for store in stores.prefix(pick(0, stores.count, &numbers)) {
        image.replaceSubrange(store.offset..<(store.offset + store.bytes.count), with: store.bytes)
      }
    }
    return Disk([UInt8](image.prefix(max(size, base.count))))
  }

  /// What is found after the process was killed: all of it.
  func afterKill() -> Disk {
    stepsLeft = nil
    duringSync = nil
    return self
  }

  /// One end, the other, or something between.
  private func pick(_ low: Int, _ high: Int, _ numbers: inout Numbers) -> Int {
    switch Int.random(in: 0..<3, using: &numbers) {
    case 0: low
    case 1: high
    default: Int.random(in: low...high, using: &numbers)
    }
  }
}

struct SimulatedStorage: Storage, ~Copyable {
  let disk: Disk

  var size: Int { disk.bytes.count }
  func read(at offset: Int, count: Int, into target: UnsafeMutableRawPointer) throws(StructureError) {
    try unsafe disk.read(at: offset, count: count, into: target)
  }
  func read(
    word: Int, head: Int, data: Int, count: Int,
    into target: (_ word: UInt, _ head: (UInt, UInt)) throws(StructureError) -> UnsafeMutableRawBufferPointer
  ) throws(StructureError) {
    let first = UInt(bitPattern: try loadWord(at: word))
    var words: (UInt, UInt) = (0, 0)
    try unsafe read(at: head, count: 16, into: &words)
    let bytes = try unsafe target(first, (UInt(littleEndian: words.0), UInt(littleEndian: words.1)))
    guard let start = bytes.baseAddress, bytes.count <= count else { return }
    try unsafe read(at: data, count: bytes.count, into: start)
  }
  func write(_ source: UnsafeRawPointer, count: Int, at offset: Int) throws(StructureError) {
    try unsafe disk.write(source, count: count, at: offset)
  }
  func storeWord(_ value: Int, at offset: Int) throws(StructureError) {
    var value = value.littleEndian
    try unsafe disk.write(&value, count: 8, at: offset)
  }
  func loadWord(at offset: Int) throws(StructureError) -> Int {
    var value = 0
    try unsafe disk.read(at: offset, count: 8, into: &value)
    return Int(littleEndian: value)
  }
  func changeWord(at offset: Int, _ change: (Int) -> Int?) throws(StructureError) -> Bool {
    guard let new = change(try loadWord(at: offset)) else { return false }
    try storeWord(new, at: offset)
    return true
  }
  func allocate(from start: Int, to end: Int) throws(StructureError) { try disk.allocate(to: end) }
  func populate(from start: Int, to end: Int) throws(StructureError) { try disk.populate() }
  func readAhead(from start: Int, to end: Int) throws(StructureError) {}
  func beginSync(_ range: Range<Int>) {}
  func syncData() throws(StructureError) { try disk.sync() }
  func syncData(_ range: Range<Int>) throws(StructureError) { try disk.sync(range) }
  func checkLength() throws(StructureError) {}
  func tryLock() throws(StructureError) -> Bool { true }
  func close() throws(StructureError) {}
}
