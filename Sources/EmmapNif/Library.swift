import CErlNif
import ErlNif
import MemoryMap
import Structures

/// A handle as Erlang holds it: the object of a resource.
struct Handle: ~Copyable {
  // First, so that it stands where the resource does: every call goes through it.
  let file: File
  /// The name that was given to `open`.
  let name: StoredTerm
  /// In the list of all handles.
  var place: RegistryPlace
}

/// What is found at load and used by every call.
@safe struct LibraryState {
  let handles: ResourceType<Handle>
  let regions: ResourceType<Region>
  let queues: ResourceType<QueueHandle>
  let blocks: ResourceType<BlocksHandle>
  let waiters: ResourceType<Waiter>
  let atoms: Atoms
  let registry: UnsafeMutablePointer<Registry>
}

// SAFETY: set while the VM loads the library and nothing of it runs yet, then only read. An upgrade sets it to what it
// is already: atoms and types that are taken over stay the same words.
nonisolated(unsafe) private var state: LibraryState? = nil

var library: LibraryState {
  @inline(__always) get { unsafe state.unsafelyUnwrapped }
}

/// - Parameters:
///   - data: where the VM keeps what belongs to this copy of the library: the registry.
///   - before: the same of the copy before.
private func start(
  _ env: OpaquePointer?, _ data: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, before: UnsafeMutableRawPointer?
) -> Int32 {
  let env = unsafe Environment(env)
  guard
    let handles = unsafe ResourceType<Handle>(
      env, "emmap_handle_2",
      destructor: { _, object in
        guard let handle = unsafe object?.assumingMemoryBound(to: Handle.self) else { return }
        unsafe library.registry.pointee.remove(handle)
        unsafe handle.deinitialize(count: 1)
      }),
    let regions = unsafe ResourceType<Region>(
      env, "emmap_region_2",
      destructor: { _, object in
        unsafe object?.assumingMemoryBound(to: Region.self).deinitialize(count: 1)
      }),
    let queues = unsafe ResourceType<QueueHandle>(
      env, "emmap_queue_2",
      destructor: { _, object in
        unsafe object?.assumingMemoryBound(to: QueueHandle.self).deinitialize(count: 1)
      },
      down: { env, object, process, _ in
        guard let process = unsafe process, let object = unsafe object else { return }
        unsafe object.assumingMemoryBound(to: QueueHandle.self).pointee
          .ended(Process(process.pointee), Environment(env))
      }),
    let blocks = unsafe ResourceType<BlocksHandle>(
      env, "emmap_blocks_2",
      destructor: { _, object in
        unsafe object?.assumingMemoryBound(to: BlocksHandle.self).deinitialize(count: 1)
      }),
    let waiters = unsafe ResourceType<Waiter>(
      env, "emmap_waiter_2",
      destructor: { _, object in
        guard let waiter = unsafe object?.assumingMemoryBound(to: Waiter.self) else { return }
        unsafe library.registry.pointee.awaiting.end(waiter)
        unsafe waiter.deinitialize(count: 1)
      })
  else { return 1 }
  let isFirst = unsafe state == nil
  let registry: UnsafeMutablePointer<Registry>
  if let before = unsafe before {
    unsafe registry = before.assumingMemoryBound(to: Registry.self)
    unsafe registry.pointee.awaiting.dismiss()
  } else {
    guard let made = Registry(), let place = unsafe allocateMemory(for: Registry.self) else { return 1 }
    unsafe registry = place
    unsafe registry.initialize(to: made)
  }
  unsafe data?.pointee = UnsafeMutableRawPointer(registry)
  unsafe withUnsafePointer(to: registry.pointee.statistics) { unsafe Statistics.count(in: $0) }
  unsafe state = LibraryState(
    handles: handles, regions: regions, queues: queues, blocks: blocks, waiters: waiters, atoms: Atoms(env),
    registry: registry)
  if isFirst {
    guard unsafe startThread("emmap_reaper", { _ in Reaper.run() }) else { return 2 }
    guard unsafe startThread("emmap_remover", { _ in Reaper.runSlow() }) else { return 2 }
    guard unsafe startThread("emmap_postman", { _ in Postman.run() }) else { return 2 }
  }
  return 0
}

/// Describes the library to the VM.
@_cdecl("nif_init")
public func nifInit() -> UnsafeMutableRawPointer? {
  let entry = unsafe nifEntry(
    module: "emmap_nif", functionTable,
    load: { env, data, _ in unsafe start(env, data, before: nil) },
    upgrade: { env, data, before, _ in unsafe start(env, data, before: before?.pointee) })
  return UnsafeMutableRawPointer(entry)
}

/// Regions live in resources, so that binaries can own shares of them.
let regionMemory = unsafe RegionMemory(
  allocate: { unsafe library.regions.allocate() },
  release: { unsafe releaseResource($0) })
