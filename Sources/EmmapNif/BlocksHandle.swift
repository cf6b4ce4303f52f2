import Structures

/// Blocks as Erlang holds them: the object of a resource.
struct BlocksHandle: ~Copyable {
  let blocks: Blocks<MappedStorage>
  let syncs: SharedSync

  /// Opens a file, once there is memory for the rest. Throws what opening does.
  init(_ storage: consuming MappedStorage, _ options: BlocksOptions) throws(StructureError) {
    let syncs = try SharedSync()
    self.blocks = try Blocks.open(storage, options)
    self.syncs = syncs
  }
}
