import CSystem
import MemoryMap

@testable import Structures

/// What went wrong in a history.
struct Violation: Error, CustomStringConvertible {
  let description: String
}

/// A queue on a simulated disk beside what it must contain, through random operations, kills and power failures.
final class History {
  private var numbers: Numbers
  private let omissions: Omissions
  private let unit: Int
  /// All messages have one size, so that what lies behind a torn tail begins where a later record does.
  private let isUniform: Bool
  private var disk = Disk()
  private var queue: Box?
  /// All messages ever pushed, by number, and how many each consumer has had.
  private var messages: [[UInt8]] = []
  private var heads: [Int]
  /// The same when the last sync began that has ended.
  private var durableMessages = 0
  private var durableHeads: [Int]
  private var made = 0
  private(set) var crashes = 0

  /// The queue in memory that does not move.
  final class Box {
    let queue: Queue<SimulatedStorage>
    var names: [ConsumerName] = []
    init(_ disk: Disk, _ omissions: Omissions, consumers: Int) throws(StructureError) {
      var options = QueueOptions()
      options.shift = 16
      options.omissions = omissions
      queue = try Queue.open(SimulatedStorage(disk: disk), options)
      for index in 0..<consumers {
        let name = [UInt8](repeating: 97, count: index)
        var found: ConsumerName? = nil
        try unsafe withBuffers([name]) { (buffers) throws(StructureError) in
          found = try unsafe queue.consumer(buffers[0], fromOldest: true)
        }
        if let found { names.append(found) }
      }
    }
  }

  init(seed: UInt64, _ omissions: Omissions = []) throws {
    numbers = Numbers(state: seed &* 2_862_933_555_777_941_757 &+ 3_037_000_493)
    self.omissions = omissions
    // 16: less than any disk writes at a time, so that what is longer is torn in tests, too.
    unit = [16, 64, 512, 4096][Int.random(in: 0..<4, using: &numbers)]
    isUniform = Bool.random(using: &numbers)
    let consumers = Int.random(in: 1...2, using: &numbers)
    heads = [Int](repeating: 0, count: consumers)
    durableHeads = heads
    queue = try Box(disk, omissions, consumers: consumers)
  }

  private func random(_ range: Range<Int>) -> Int { Int.random(in: range, using: &numbers) }
  private func happens(_ percent: Int) -> Bool { random(0..<100) < percent }

  private func message() -> [UInt8] {
    made += 1
    let size = size()
    let byte = UInt8(truncatingIfNeeded: made)
    var result = [UInt8](repeating: byte, count: size)
    for index in 0..<min(8, size) { result[index] = UInt8(truncatingIfNeeded: made >> (8 * index)) }
    return result
  }

  /// Segments have 64 KiB: some messages go over the end of one, some are longer, and some leave a few bytes of it, or
  /// none.
  private func size() -> Int {
    if happens(8), let queue {
      let end = queue.queue.pusher.locked { $0.position } & 0xFFFF
      let rest = 65536 - max(end, 64) - 8 * random(1..<7)
      if rest > 0 { return rest }
    }
    if isUniform { return 24 }
    if happens(70) { return random(0..<40) }
    return happens(60) ? random(0..<2000) : happens(80) ? random(0..<30000) : random(0..<150_000)
  }

  private func push(_ batch: [[UInt8]]) throws(StructureError) {
    guard let queue else { return }
    try unsafe withBuffers(batch) { (buffers) throws(StructureError) in
      try unsafe queue.queue.push(buffers.count, mayBlock: true) { unsafe buffers[$0] }
    }
  }

  private func pop(_ consumer: Int, _ most: Int) throws(StructureError) -> [[UInt8]] {
    guard let queue else { return [] }
    var result: [[UInt8]] = []
    _ = try unsafe queue.queue.pop(most, queue.names[consumer], mayBlock: true) { unsafe result.append([UInt8]($0)) }
    return result
  }

  /// Runs `count` operations. Throws a violation.
  func run(_ count: Int) throws {
    for _ in 0..<count { try step() }
  }

  private func step() throws {
    // What the operation may have done if it does not return: that, or nothing.
    var pushing: [[UInt8]] = []
    var popping: (consumer: Int, count: Int)? = nil
    let isKilled = happens(8)
    disk.stepsLeft = isKilled ? random(0..<14) : nil
    let (messagesBefore, headsBefore) = (messages.count, heads)
    var changesDuringSync: [() throws -> Void] = []
    if happens(50) {
      // Others go on while a sync is in progress.
      disk.duringSync = { [unowned self] in
        for _ in 0..<self.random(0..<8) {
          let consumer = self.random(0..<self.heads.count)
          guard let got = try? self.pop(consumer, 1) else { return }
          for message in got {
            if self.heads[consumer] >= self.messages.count || message != self.messages[self.heads[consumer]] {
              changesDuringSync.append { throw Violation(description: "a wrong message during a sync") }
            }
            self.heads[consumer] += 1
          }
        }
      }
    } else {
      disk.duringSync = nil
    }
    do {
      switch random(0..<100) {
      case ..<45:
        pushing = (0..<(happens(70) ? 1 : random(2..<6))).map { _ in message() }
        try push(pushing)
        messages += pushing
        pushing = []
      case ..<85:
        let (consumer, most) = (random(0..<heads.count), happens(70) ? 1 : random(1..<6))
        popping = (consumer, most)
        let got = try pop(consumer, most)
        let wanted = [[UInt8]](messages.dropFirst(heads[consumer]).prefix(most))
        if got != wanted { throw Violation(description: "popped something else than what is next") }
        heads[consumer] += got.count
        popping = nil
      case ..<95:
        try queue?.queue.sync()
        (durableMessages, durableHeads) = (messagesBefore, headsBefore)
      case ..<97:
        disk.duringSync = nil
        try queue?.queue.close()
        queue = nil
        (durableMessages, durableHeads) = (messages.count, heads)
        queue = try Box(disk, omissions, consumers: heads.count)
      default:
        disk.stepsLeft = nil
        try crash(power: true, [], nil)
      }
    } catch let error as StructureError where isKilled && (error == Disk.killed || disk.stepsLeft == 0) {
      try changesDuringSync.first?()
      return try crash(power: happens(40), pushing, popping)
    }
    try changesDuringSync.first?()
    if isKilled { try crash(power: happens(40), pushing, popping) }
  }

  /// The process is gone, and the power too, perhaps; perhaps once more while the queue is opened. Opens it again and
  /// compares.
  private func crash(power: Bool, _ pushing: [[UInt8]], _ popping: (consumer: Int, count: Int)?) throws {
    crashes += 1
    queue = nil
    var powerFailed = power
    disk = power ? disk.afterPowerFailure(unit: unit, &numbers) : disk.afterKill()
    while happens(25) {
      disk.stepsLeft = random(0..<8)
      disk.duringSync = nil
      let opened = try? Box(disk, omissions, consumers: heads.count)
      if opened != nil && disk.stepsLeft != 0 { break }
      let powerFails = happens(50)
      powerFailed = powerFailed || powerFails
      disk = powerFails ? disk.afterPowerFailure(unit: unit, &numbers) : disk.afterKill()
    }
    disk.stepsLeft = nil
    disk.duringSync = nil
    let box: Box
    do { box = try Box(disk, omissions, consumers: heads.count) } catch {
      throw Violation(description: "the queue does not open: \(error)")
    }
    queue = box
    let number = box.queue.number.load(ordering: .relaxed)
    let least = powerFailed ? durableMessages : messages.count
    guard (least...(messages.count + pushing.count)).contains(number) else {
      throw Violation(description: "\(number) messages; at least \(least), at most \(messages.count + pushing.count)")
    }
    if number > messages.count && number != messages.count + pushing.count {
      throw Violation(description: "a part of a batch")
    }
    messages = [[UInt8]]((messages + pushing).prefix(number))
    for (index, name) in box.names.enumerated() {
      let place = box.queue.consumers[name.index].locked { $0.place.number }
      let least = powerFailed ? durableHeads[index] : heads[index]
      let most = heads[index] + (popping?.consumer == index ? popping?.count ?? 0 : 0)
      guard (min(least, number)...most).contains(place) else {
        throw Violation(description: "consumer \(index) at \(place); at least \(least), at most \(most)")
      }
      heads[index] = place
      var all: [[UInt8]] = []
      do {
        _ = try unsafe box.queue.read(from: nil, name, mayBlock: true) {
          unsafe all.append([UInt8]($0))
          return true
        }
      } catch {
        throw Violation(description: "what is there cannot be read: \(error)")
      }
      if all != [[UInt8]](messages.dropFirst(place)) {
        throw Violation(description: "consumer \(index) does not see what was pushed")
      }
    }
    // What is there was brought to disk by opening.
    (durableMessages, durableHeads) = (messages.count, heads)
  }
}

/// Runs `body` with the addresses of the messages.
func withBuffers<R>(
  _ messages: [[UInt8]], _ body: ([UnsafeRawBufferPointer]) throws(StructureError) -> R
) throws(StructureError) -> R {
  let buffers = unsafe messages.map { message in
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(message.count, 1), alignment: 8)
    unsafe copy.copyBytes(from: message)
    return unsafe UnsafeRawBufferPointer(rebasing: copy[..<message.count])
  }
  defer { unsafe buffers.forEach { unsafe $0.deallocate() } }
  return try unsafe body(buffers)
}
