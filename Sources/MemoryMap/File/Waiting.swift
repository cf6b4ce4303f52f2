import CSystem
import Synchronization

extension File {
  /// Wakes all who wait for the word at `position`, a multiple of 8, in this process and in others: futex(2) on its lower
  /// half. Throws what reading the word would.
  public func wakeAll(at position: Int) throws(Failure) {
    try unsafe withWord(bytes: 8, at: position, writing: false) { start in
      // Where the page is lost this finds out; the system call would not.
      _ = unsafe start.assumingMemoryBound(to: Atomic<UInt32>.self).pointee.load(ordering: .relaxed)
      unsafe sys_futex_wake_shared(start)
    }
  }

  /// The place of the word at `position` for futex(2). Throws what reading the word would, or a reason of the system.
  ///
  /// Asking the system to wait for a word of a page that may be written makes the page dirty, and so waits, too, while the
  /// file system is frozen. Where the file is shared and may be written it is therefore a page of its own, which may only
  /// be read; the kernel knows the word by its place in the file. Otherwise it is the handle's page.
  public func waitingPlace(at position: Int) throws(Failure) -> WaitingPlace {
    let inHandle = try unsafe withWord(bytes: 8, at: position, writing: false) { UInt(bitPattern: $0) }
    var place = WaitingPlace(address: inHandle, mapped: nil)
    if traits.isSuperset(of: [.shared, .writable]) && !traits.contains(.anonymous) {
      place = try descriptor.withDescriptor { (number) throws(Failure) in
        let (bytes, offset) = (mapping.page.bytes, mapping.fileOffset &+ slack &+ position)
        let start = mapping.page.roundDown(offset)
        let result = sys_mmap(0, bytes, PROT_READ, sys_map_shared, number, off_t(start))
        if result < 0 { throw .system(Int32(truncatingIfNeeded: -result)) }
        let base = UInt(bitPattern: result)
        return WaitingPlace(address: base &+ UInt(bitPattern: offset &- start), mapped: (base, bytes))
      }
    }
    // A page that can be read and not waited for would be asked for again and again.
    if !place.isReachable {
      place.release()
      throw .system(EFAULT)
    }
    return place
  }
}

/// Where a word is waited for. Whoever has it releases it, while what it was made of is still there.
@safe public struct WaitingPlace: Sendable {
  let address: UInt
  fileprivate let mapped: (base: UInt, bytes: Int)?

  fileprivate var isReachable: Bool {
    guard let word = unsafe UnsafeRawPointer(bitPattern: address) else { return false }
    // Not what is there, or if it is, for no time.
    // SAFETY: the system looks whether the address can be read.
    return unsafe sys_futex_wait_shared(word, .max - 1, 0) != EFAULT
  }

  /// Wakes all who wait for the word.
  public func wakeAll() { unsafe sys_futex_wake_shared(UnsafeRawPointer(bitPattern: address)) }

  /// Gives back what it has taken. Who waits already is woken as before.
  public func release() {
    // SAFETY: it was mapped for this place alone, and nobody touches it.
    if let mapped { _ = unsafe munmap(UnsafeMutableRawPointer(bitPattern: mapped.base), mapped.bytes) }
  }
}

/// The words that one thread waits for, at most `capacity` of them, and a word of the process's own, which whoever wants
/// something else of the thread changes: futex_waitv(2) for all of them (Linux 5.16).
///
/// A word is waited for by its lower half. Its upper half is asked for behind that, where nobody wakes: so that no change
/// of it comes between looking and waiting. Whatever changes then finds the lower half waited for.
///
/// Where the system cannot wait for several words it is one or none, and when the time is over it counts as woken: of an
/// upper half that has changed in between nothing else tells.
@safe public struct WaitingSet: ~Copyable {
  private var words = InlineArray<128, sys_futex_t> { _ in sys_futex_t() }
  private var entries = 0

  /// What has ended a wait.
  public enum Event: Equatable {
    /// The word was woken that was added so many words after the first.
    case woken(Int)
    /// The process's own word has changed, or nothing at all has happened.
    case nothing
    /// Some word is not, or no longer, what it is expected to be.
    case changed
    /// Some word is in no memory any more.
    case unreachable
    /// The time is over.
    case late
  }

  /// How many words one thread can wait for.
  public static let capacity = sys_futex_wait_any(nil, 0, 0) == -EINVAL ? (Int(sys_futex_most) - 1) / 2 : 1

  /// An empty one.
  public init() {}

  /// Forgets all words, and waits for a change of this one, which must stay where it is.
  public mutating func reset(_ own: UnsafePointer<Atomic<UInt32>>, expected: UInt32) {
    entries = 0
    append(UInt(bitPattern: own), UInt64(expected), sys_futex_private)
  }

  /// Adds a word.
  public mutating func add(_ place: WaitingPlace, expected: Int) {
    let bits = UInt64(bitPattern: Int64(expected))
    // Both supported machines are little-endian.
    append(place.address, bits & 0xFFFF_FFFF, sys_futex_shared)
    append(place.address &+ 4, bits >> 32, sys_futex_shared)
  }

  private mutating func append(_ address: UInt, _ value: UInt64, _ flags: UInt32) {
    if entries == words.count { return }
    words[entries] = sys_futex_t(value: value, address: UInt64(address), flags: flags, reserved: 0)
    entries += 1
  }

  /// Waits, for so many milliseconds at most.
  public func wait(milliseconds: Int) -> Event {
    if Self.capacity > 1 {
      return Self.event(waitForAny(0, entries, milliseconds))
    }
    if entries > 1 {
      // Nobody has asked for the upper half: now and then who waits looks itself.
      let event = waitForOne(0, milliseconds)
      return event == .late ? .woken(0) : event
    }
    unsafe sys_futex_wait_for(address(0), UInt32(truncatingIfNeeded: words[0].value), milliseconds)
    return .late
  }

  /// Tells what a wait for nothing but this word would have ended with; `late` if it would not have ended.
  public func look(at index: Int) -> Event {
    if Self.capacity == 1 { return waitForOne(index, 0) }
    return Self.event(waitForAny(2 * index + 1, 2, 0))
  }

  private func waitForAny(_ first: Int, _ count: Int, _ milliseconds: Int) -> Int32 {
    unsafe withUnsafePointer(to: words) { start in
      // SAFETY: an array of this kind is nothing but its elements, one behind the other.
      let start = unsafe UnsafeRawPointer(start).assumingMemoryBound(to: sys_futex_t.self)
      return unsafe sys_futex_wait_any(start + first, UInt32(truncatingIfNeeded: count), milliseconds)
    }
  }

  private func waitForOne(_ index: Int, _ milliseconds: Int) -> Event {
    let expected = UInt32(truncatingIfNeeded: words[2 * index + 1].value)
    let error = unsafe sys_futex_wait_shared(address(2 * index + 1), expected, milliseconds)
    return Self.event(error == 0 ? 1 : -error)
  }

  private func address(_ entry: Int) -> UnsafeRawPointer? {
    unsafe UnsafeRawPointer(bitPattern: UInt(words[entry].address))
  }

  private static func event(_ result: Int32) -> Event {
    switch result {
    case 1...: .woken((Int(result) - 1) / 2)
    case -EAGAIN: .changed
    case -EFAULT: .unreachable
    case -ETIMEDOUT: .late
    default: .nothing
    }
  }
}
