import Structures

/// Blocks as Erlang holds them: the object of a resource.
struct BlocksHandle: ~Copyable {
  let blocks: Blocks<MappedStorage>
  let syncs = SharedSync()

  init(_ blocks: consuming Blocks<MappedStorage>) { self.blocks = blocks }
}
