import CSystem
import MemoryMap

@testable import Structures

/// Blocks that do not move, on a simulated disk or a mapped file.
final class HeldBlocks<Store: Storage & ~Copyable>: @unchecked Sendable {
  let blocks: Blocks<Store>

  init(_ storage: consuming Store, _ options: BlocksOptions) throws(StructureError) {
    blocks = try Blocks.open(storage, options)
  }

  func store(_ data: [UInt8], caller: UInt = 0, mayBlock: Bool = true) throws(StructureError) -> Int {
    try unsafe withBuffers([data]) { (buffers) throws(StructureError) in
      try unsafe blocks.store(buffers[0], caller: caller, mayBlock: mayBlock)
    }
  }

  func read(_ address: Int, mayBlock: Bool = true) throws(StructureError) -> [UInt8] {
    let copy = UnsafeMutableRawPointer.allocate(byteCount: blocks.blockSize, alignment: 8)
    defer { unsafe copy.deallocate() }
    let count = try unsafe blocks.read(address, mayBlock: mayBlock) { _ in unsafe copy }
    return unsafe [UInt8](UnsafeRawBufferPointer(start: copy, count: count))
  }

  func free(_ address: Int, caller: UInt = 0) throws(StructureError) {
    try blocks.free(address, caller: caller, mayBlock: true)
  }

  /// All that is stored, by address.
  func all() throws(StructureError) -> [Int: [UInt8]] {
    var addresses: [Int] = []
    var next: Int? = 0
    while let from = next {
      next = try blocks.forEach(from: from, words: 16) { (address) throws(StructureError) in
        addresses.append(address)
        return true
      }
    }
    var result: [Int: [UInt8]] = [:]
    for address in addresses { result[address] = try read(address) }
    return result
  }
}

/// Blocks of `size` bytes in a file with room for `count` of them, in groups of 32 for each of `words`.
func blockOptions(
  _ size: Int, count: Int = 15_000, words: Int = BlockLayout.wordsPerGroup, _ omissions: Omissions = []
) -> BlocksOptions {
  var options = BlocksOptions()
  options.blockSize = size
  options.wordsPerGroup = words
  let layout = BlockLayout(blockSize: max(size, 1), wordsPerGroup: words)
  options.maximumSize = layout.offset(ofData: count - 1) + size
  options.omissions = omissions
  return options
}

func openBlocks(
  _ disk: Disk, _ options: BlocksOptions = blockOptions(64)
) throws(StructureError) -> HeldBlocks<SimulatedStorage> {
  try HeldBlocks(SimulatedStorage(disk: disk), options)
}

func openBlocks(
  _ path: String, _ options: BlocksOptions = blockOptions(64), creates: Bool = true
) throws(StructureError) -> HeldBlocks<MappedStorage> {
  try HeldBlocks(try mapped(path, creates: creates), options)
}

func mapped(_ path: String, creates: Bool = true) throws(StructureError) -> MappedStorage {
  let copy = unsafe strdup(path)
  defer { unsafe free(copy) }
  guard let copy = unsafe copy else { throw .file(.noMemory) }
  return try unsafe MappedStorage(copy, mode: 0o600, creates: creates, memory: regions)
}

/// Blocks on a simulated disk beside what they must contain, through random operations, kills and power failures.
final class BlockHistory {
  private var numbers: Numbers
  private let options: BlocksOptions
  private let unit: Int
  private var disk = Disk()
  private var held: HeldBlocks<SimulatedStorage>?
  /// What is stored.
  private var stored: [Int: [UInt8]] = [:]
  /// What has been at an address since the last sync began that has ended, and since the one in progress began.
  private var since: [Int: [[UInt8]?]] = [:]
  private var sinceSync: [Int: [[UInt8]?]] = [:]
  private var made = 0
  private(set) var crashes = 0

  init(seed: UInt64, _ omissions: Omissions = []) throws {
    numbers = Numbers(state: seed &* 2_862_933_555_777_941_757 &+ 3_037_000_493)
    unit = [16, 64, 512, 4096][Int.random(in: 0..<4, using: &numbers)]
    let size = [24, 64, 200][Int.random(in: 0..<3, using: &numbers)]
    let words = [1, 2, BlockLayout.wordsPerGroup][Int.random(in: 0..<3, using: &numbers)]
    options = blockOptions(size, count: Int.random(in: 20..<120, using: &numbers), words: words, omissions)
    held = try HeldBlocks(SimulatedStorage(disk: disk), options)
  }

  private func random(_ range: Range<Int>) -> Int { Int.random(in: range, using: &numbers) }
  private func happens(_ percent: Int) -> Bool { random(0..<100) < percent }

  private func data() -> [UInt8] {
    made += 1
    return message(made, happens(80) ? options.blockSize : random(0..<(options.blockSize + 1)))
  }

  private func note(_ address: Int, _ new: [UInt8]?) {
    since[address, default: [stored[address]]].append(new)
    sinceSync[address, default: [stored[address]]].append(new)
    stored[address] = new
  }

  /// What an operation does if it does not return: that, or nothing.
  private enum Pending {
    case nothing
    case storing([UInt8])
    case freeing(Int)
  }
  private var pending = Pending.nothing

  private func store(mayBlock: Bool = true) throws {
    let new = data()
    pending = .storing(new)
    do {
      guard let address = try held?.store(new, caller: UInt(random(0..<3)), mayBlock: mayBlock) else { return }
      if stored[address] != nil { throw Violation(description: "stored over block \(address)") }
      note(address, new)
    } catch StructureError.full {} catch StructureError.wouldWait {}
    pending = .nothing
  }

  private func free() throws {
    guard let address = stored.keys.sorted().randomElement(using: &numbers) else { return }
    pending = .freeing(address)
    try held?.free(address, caller: UInt(random(0..<3)))
    note(address, nil)
    pending = .nothing
  }

  /// Others go on while a sync is in progress. What they do is not of that sync. Returns what went wrong.
  private func goOn() -> Error? {
    do {
      for _ in 0..<random(0..<8) {
        if happens(60) { try store(mayBlock: false) } else { try free() }
      }
      return nil
    } catch {
      return error
    }
  }

  /// Runs `count` operations. Throws a violation.
  func run(_ count: Int) throws {
    for _ in 0..<count { try step() }
  }

  private func step() throws {
    pending = .nothing
    let isKilled = happens(8)
    disk.stepsLeft = isKilled ? random(0..<14) : nil
    do {
      switch random(0..<100) {
      case ..<45: for _ in 0..<random(1..<8) { try store() }
      case ..<80: for _ in 0..<random(1..<8) { try free() }
      case ..<92:
        sinceSync = [:]
        var failure: Error? = nil
        if happens(50) { disk.duringSync = { [unowned self] in failure = self.goOn() } }
        defer { disk.duringSync = nil }
        try held?.blocks.sync()
        if let failure { throw failure }
        since = sinceSync
      case ..<95:
        try held?.blocks.close()
        held = nil
        since = [:]
        held = try HeldBlocks(SimulatedStorage(disk: disk), options)
      case ..<97:
        if let found = try held?.all(), found != stored { throw Violation(description: "something else is read") }
        if try held?.blocks.count(mayBlock: true) != stored.count { throw Violation(description: "a wrong count") }
      default:
        disk.stepsLeft = nil
        try crash(power: true)
      }
    } catch let error as StructureError {
      guard isKilled && (error == Disk.killed || disk.stepsLeft == 0) else {
        throw Violation(description: "an error: \(error)")
      }
      return try crash(power: happens(40))
    }
    if isKilled { try crash(power: happens(40)) }
  }

  /// The process is gone, and the power too, perhaps; perhaps once more while the file is opened. Opens it again and
  /// compares.
  private func crash(power: Bool) throws {
    crashes += 1
    held = nil
    var powerFailed = power
    disk = power ? disk.afterPowerFailure(unit: unit, &numbers) : disk.afterKill()
    while happens(25) {
      disk.stepsLeft = random(0..<8)
      let opened = try? HeldBlocks(SimulatedStorage(disk: disk), options)
      if opened != nil && disk.stepsLeft != 0 { break }
      let powerFails = happens(50)
      powerFailed = powerFailed || powerFails
      disk = powerFails ? disk.afterPowerFailure(unit: unit, &numbers) : disk.afterKill()
    }
    disk.stepsLeft = nil
    let again: HeldBlocks<SimulatedStorage>
    let found: [Int: [UInt8]]
    do {
      again = try HeldBlocks(SimulatedStorage(disk: disk), options)
      found = try again.all()
    } catch {
      throw Violation(description: "does not open, or cannot be read: \(error)")
    }
    held = again
    try compare(found, powerFailed)
    stored = found
    // What is there was brought to disk by opening.
    since = [:]
  }

  private func compare(_ found: [Int: [UInt8]], _ powerFailed: Bool) throws {
    var isPendingSeen = false
    for address in Set(found.keys).union(stored.keys).union(since.keys) {
      let now = found[address]
      if now == stored[address] { continue }
      if powerFailed, let before = since[address], before.contains(where: { $0 == now }) { continue }
      switch pending {
      case .storing(let new) where stored[address] == nil && now == new && !isPendingSeen: isPendingSeen = true
      case .freeing(address) where now == nil: break
      default:
        throw Violation(description: "block \(address) is not what it was: \(now?.count ?? -1) bytes")
      }
    }
    if try held?.blocks.count(mayBlock: true) != found.count { throw Violation(description: "a wrong count") }
  }
}
