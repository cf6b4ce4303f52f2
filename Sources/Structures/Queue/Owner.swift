import CSystem
import MemoryMap
import Synchronization

/// Somebody who takes messages of one consumer. Whoever makes one hands it to `Queue.end` when nobody is behind it any
/// more, or frees it after the queue.
@safe public struct Owner: ~Copyable {
  /// The index of the consumer.
  public let consumer: Int
  /// How many messages it has. Changed with the consumer's lock held.
  private let taken = Atomic<Int>(0)
  /// Set with the consumer's lock held by whoever gives back what it had, and frees it.
  var hasEnded = false
  /// For whoever has made it. Once nobody is behind it: the next one of which that is so.
  public var next: UnsafeMutablePointer<Owner>? = nil

  /// Makes one that has nothing; nil when memory is out.
  public static func make(consumer: Int) -> UnsafeMutablePointer<Owner>? {
    let owner = unsafe allocateMemory(for: Owner.self)
    unsafe owner?.initialize(to: Owner(consumer: consumer))
    return unsafe owner
  }

  /// Frees it, and those behind it.
  public static func freeAll(_ first: UnsafeMutablePointer<Owner>?) {
    var next = unsafe first
    while let owner = unsafe next {
      unsafe next = owner.pointee.next
      unsafe owner.deinitialize(count: 1)
      unsafe free(owner)
    }
  }

  @inline(__always)
  var count: Int { taken.load(ordering: .relaxed) }

  /// With the consumer's lock held: nobody else changes it meanwhile.
  @inline(__always)
  func add(_ more: Int) { taken.store(count &+ more, ordering: .relaxed) }
}

/// The owners of one consumer's messages that have ended, until whoever next has the consumer's lock gives back what
/// they had. So nobody waits for that lock because somebody else has ended, and no memory is needed for it.
///
/// How many they are is bounded: since the lock was held last nobody has become an owner. Public because the compiler
/// wants to see what a part of a `Queue` does at its end.
@safe public struct EndedOwners: ~Copyable {
  private let first = unsafe Atomic<UnsafeMutablePointer<Owner>?>(nil)

  @inline(__always)
  var isEmpty: Bool { unsafe first.load(ordering: .relaxed) == nil }

  func add(_ owner: UnsafeMutablePointer<Owner>) {
    var seen = unsafe first.load(ordering: .relaxed)
    while true {
      unsafe owner.pointee.next = seen
      // Who finds it finds the one behind it. And no later load comes before it: who adds one looks behind it for those
      // who wait (QueueHandle).
      let (isDone, now) = unsafe first.compareExchange(
        expected: seen, desired: owner, ordering: .sequentiallyConsistent)
      if isDone { return }
      unsafe seen = now
    }
  }

  /// Whether to give back what they had, among `count` messages, takes long. With the consumer's lock held.
  func areMany(among count: Int) -> Bool {
    var work = 0
    var next = unsafe first.load(ordering: .acquiring)
    while let owner = unsafe next, work <= Outstanding.brief {
      work &+= unsafe owner.pointee.count == 0 ? 1 : count
      unsafe next = owner.pointee.next
    }
    return work > Outstanding.brief
  }

  /// Takes all away. With the consumer's lock held.
  func removeAll() -> UnsafeMutablePointer<Owner>? { unsafe first.exchange(nil, ordering: .acquiring) }

  deinit { unsafe Owner.freeAll(removeAll()) }
}
