import CErlNif

/// A type of objects that the VM counts the owners of. The object stands in the VM's memory and never moves.
@safe public struct ResourceType<Object: ~Copyable> {
  private let raw: OpaquePointer

  /// Creates the type, or takes it over from an older version of the library: objects made by that one then have this
  /// destructor. The name must change when the layout of the object does.
  ///
  /// - Parameter destructor: must deinitialise the object; called on any scheduler.
  public init?(
    _ environment: Environment, _ name: StaticString,
    destructor: @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?) -> Void
  ) {
    let flags = ErlNifResourceFlags(ERL_NIF_RT_CREATE.rawValue | ERL_NIF_RT_TAKEOVER.rawValue)
    let name = unsafe UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
    guard
      let raw = unsafe enif_open_resource_type(environment.raw, nil, name, destructor, flags, nil)
    else { return nil }
    unsafe self.raw = raw
  }

  /// The same for objects that monitor processes.
  ///
  /// - Parameter down: called with the environment, the object and the process that has ended.
  public init?(
    _ environment: Environment, _ name: StaticString,
    destructor: @escaping @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?) -> Void,
    down:
      @escaping @convention(c) (
        OpaquePointer?, UnsafeMutableRawPointer?, UnsafeMutablePointer<ErlNifPid>?, UnsafeMutablePointer<ErlNifMonitor>?
      ) -> Void
  ) {
    let flags = ErlNifResourceFlags(ERL_NIF_RT_CREATE.rawValue | ERL_NIF_RT_TAKEOVER.rawValue)
    let name = unsafe UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
    var callbacks = ErlNifResourceTypeInit()
    unsafe callbacks.dtor = destructor
    unsafe callbacks.down = down
    guard let raw = unsafe enif_open_resource_type_x(environment.raw, name, &callbacks, flags, nil) else { return nil }
    unsafe self.raw = raw
  }

  /// Allocates memory for an object, with one owner. The caller initialises it before anybody else sees it.
  public func allocate() -> UnsafeMutablePointer<Object>? {
    unsafe enif_alloc_resource(raw, MemoryLayout<Object>.size)?.bindMemory(to: Object.self, capacity: 1)
  }

  /// The object that a term stands for; nil for any other term. Alive as long as the call.
  @inline(__always)
  public func object(_ environment: Environment, _ term: Term) -> UnsafeMutablePointer<Object>? {
    var object: UnsafeMutableRawPointer? = nil
    guard unsafe enif_get_resource(environment.raw, term.raw, raw, &object) != 0 else { return nil }
    // SAFETY: the VM has checked the type, and set the pointer.
    return unsafe object.unsafelyUnwrapped.assumingMemoryBound(to: Object.self)
  }
}

/// Gives an object one more owner.
public func keepResource(_ object: UnsafeMutableRawPointer) { unsafe enif_keep_resource(object) }

/// Takes away one owner of an object.
public func releaseResource(_ object: UnsafeMutableRawPointer) { unsafe enif_release_resource(object) }

extension Environment {
  /// Makes a term that owns a share of the object.
  public func resource(_ object: UnsafeMutableRawPointer) -> Term { unsafe Term(enif_make_resource(raw, object)) }

  /// Makes a binary of bytes that belong to an object; it owns a share of the object.
  @inline(__always)
  public func binary(of object: UnsafeMutableRawPointer, _ start: UnsafeMutableRawPointer, count: Int) -> Term {
    unsafe Term(enif_make_resource_binary(raw, object, start, count))
  }
}
