import MemoryMap

/// A place in the list of all handles: a handle's, or the one that a walk has come to.
@safe struct RegistryPlace {
  var previous: UnsafeMutablePointer<RegistryPlace>?
  var next: UnsafeMutablePointer<RegistryPlace>?
  let handle: UnsafeMutablePointer<Handle>?

  init(_ handle: UnsafeMutablePointer<Handle>?) {
    unsafe self.handle = handle
  }
}

/// All handles that were opened and not collected, what is counted of them, and who waits for their words. It is made
/// once in the life of the VM: each copy of the library hands it on to the next one, with the handles.
///
/// A handle's memory goes after it has left the list, for which its destructor takes the lock. So all that are in the
/// list can be looked at while the lock is held, also one that nobody owns any more.
@safe struct Registry: ~Copyable {
  let statistics = Statistics()
  let awaiting: Awaiting
  private let lock = Lock()
  private let head: UnsafeMutablePointer<RegistryPlace>

  /// Nothing yet; it must not move. Nil when memory is out.
  init?() {
    guard let awaiting = Awaiting(), let head = unsafe allocateMemory(for: RegistryPlace.self) else { return nil }
    unsafe head.initialize(to: RegistryPlace(nil))
    self.awaiting = awaiting
    unsafe self.head = head
  }

  /// Adds a handle that is initialised.
  func add(_ handle: UnsafeMutablePointer<Handle>) {
    unsafe withUnsafeMutablePointer(to: &handle.pointee.place) { place in
      unsafe withList { unsafe Self.insert(place, after: $0) }
    }
  }

  /// Takes away a handle that is about to go.
  func remove(_ handle: UnsafeMutablePointer<Handle>) {
    unsafe withUnsafeMutablePointer(to: &handle.pointee.place) { place in
      unsafe withList { _ in unsafe Self.remove(place) }
    }
  }

  /// Calls `body` with each handle, some at a time, so that nobody waits long for the lock. Those that are opened
  /// meanwhile may be left out.
  func forEach(_ body: (UnsafeMutablePointer<Handle>) -> Void) {
    var here = unsafe RegistryPlace(nil)
    unsafe withUnsafeMutablePointer(to: &here) { here in
      unsafe withList { unsafe Self.insert(here, after: $0) }
      var isDone = false
      while !isDone {
        isDone = unsafe withList { _ in
          for _ in 0..<16 {
            let next = unsafe here.pointee.next
            unsafe Self.remove(here)
            guard let next = unsafe next else { return true }
            unsafe Self.insert(here, after: next)
            if let handle = unsafe next.pointee.handle { unsafe body(handle) }
          }
          return false
        }
      }
    }
  }

  private func withList<R>(_ body: (UnsafeMutablePointer<RegistryPlace>) -> R) -> R {
    lock.withLock { unsafe body(head) }
  }

  // SAFETY, of both: the lock is held, and all places in the list are there.
  private static func insert(
    _ place: UnsafeMutablePointer<RegistryPlace>, after other: UnsafeMutablePointer<RegistryPlace>
  ) {
    unsafe place.pointee.previous = other
    unsafe place.pointee.next = other.pointee.next
    unsafe other.pointee.next?.pointee.previous = place
    unsafe other.pointee.next = place
  }

  private static func remove(_ place: UnsafeMutablePointer<RegistryPlace>) {
    unsafe place.pointee.previous?.pointee.next = place.pointee.next
    unsafe place.pointee.next?.pointee.previous = place.pointee.previous
  }
}
