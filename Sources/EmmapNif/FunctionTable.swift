import ErlNif

/// Arity, scheduler, function: what emmap_nif.erl declares, and where each runs. Calls on normal schedulers move
/// themselves to a dirty one where they would have to wait.
let functionTable: [NifRow] = [
  // System calls that may wait for a disk.
  row(Open.self, 9, .dirtyIO),
  row(HandleInfo.self, 1, .dirtyIO),
  row(Resize.self, 2, .dirtyIO),
  row(Truncate.self, 1, .dirtyIO),
  row(Remap.self, 1, .dirtyIO),
  row(Allocate.self, 3, .dirtyIO),
  row(NextData.self, 2, .dirtyIO),
  row(MakersLock.self, 2, .dirtyIO),
  row(SetLock.self, 2, .dirtyIO),
  row(DataSync.self, 1, .dirtyIO),
  row(Sync.self, 1, .dirtyIO),
  row(SyncRange.self, 3, .dirtyIO),
  row(Flush.self, 1, .dirtyIO),
  row(Advise.self, 4, .dirtyIO),
  row(Resident.self, 3, .dirtyIO),
  row(Populate.self, 3, .dirtyIO),
  row(LockMemory.self, 3, .dirtyIO),
  row(UnlockMemory.self, 3, .dirtyIO),
  row(PunchHole.self, 3, .dirtyIO),
  row(PWriteVector.self, 3, .dirtyIO),
  row(WriteVector.self, 2, .dirtyIO),
  // Copies the name, however long it is.
  row(Info.self, 1, .dirtyIO),
  // As long as there are handles.
  row(Handles.self, 0, .dirtyIO),
  row(Stats.self, 0, .dirtyIO),
  // Copies: here while small and in memory.
  row(PRead.self, 3, .normal) { unsafe perform(PRead.self, $0, $1, $2, mayBlock: false) },
  row(Snapshot.self, 3, .normal) { unsafe perform(Snapshot.self, $0, $1, $2, mayBlock: false) },
  row(Read.self, 2, .normal) { unsafe perform(Read.self, $0, $1, $2, mayBlock: false) },
  row(ReadLine.self, 1, .normal) { unsafe perform(ReadLine.self, $0, $1, $2, mayBlock: false) },
  row(Lines.self, 2, .normal) { unsafe perform(Lines.self, $0, $1, $2, mayBlock: false) },
  row(Search.self, 5, .normal) { unsafe perform(Search.self, $0, $1, $2, mayBlock: false) },
  row(PWrite.self, 3, .normal) { unsafe perform(PWrite.self, $0, $1, $2, mayBlock: false) },
  row(Write.self, 2, .normal) { unsafe perform(Write.self, $0, $1, $2, mayBlock: false) },
  // Here while the mapping is small and the file only read.
  row(Close.self, 1, .normal) { unsafe perform(Close.self, $0, $1, $2, mayBlock: false) },
  // A few loads and stores.
  row(Position.self, 3, .normal) { unsafe perform(Position.self, $0, $1, $2, mayBlock: false) },
  row(PAtomic.self, 4, .normal) { unsafe perform(PAtomic.self, $0, $1, $2, mayBlock: false) },
  row(PAtomicRead.self, 2, .normal) { unsafe perform(PAtomicRead.self, $0, $1, $2, mayBlock: false) },
  row(PAtomicWrite.self, 3, .normal) { unsafe perform(PAtomicWrite.self, $0, $1, $2, mayBlock: false) },
  row(PAtomicCompareExchange.self, 4, .normal) {
    unsafe perform(PAtomicCompareExchange.self, $0, $1, $2, mayBlock: false)
  },
  row(TypedAtomic.self, 5, .normal) { unsafe perform(TypedAtomic.self, $0, $1, $2, mayBlock: false) },
  row(TypedAtomicRead.self, 3, .normal) { unsafe perform(TypedAtomicRead.self, $0, $1, $2, mayBlock: false) },
  row(TypedAtomicWrite.self, 4, .normal) { unsafe perform(TypedAtomicWrite.self, $0, $1, $2, mayBlock: false) },
  row(TypedAtomicCompareExchange.self, 5, .normal) {
    unsafe perform(TypedAtomicCompareExchange.self, $0, $1, $2, mayBlock: false)
  },
  // A system call that waits for nothing; the first one to wait starts a thread.
  row(Await.self, 4, .normal) { unsafe perform(Await.self, $0, $1, $2, mayBlock: false) },
  row(AwaitEnd.self, 1, .normal) { unsafe perform(AwaitEnd.self, $0, $1, $2, mayBlock: false) },
  row(Notify.self, 2, .normal) { unsafe perform(Notify.self, $0, $1, $2, mayBlock: false) },
  // Queues: what may wait for a disk.
  row(QueueOpen.self, 7, .dirtyIO),
  row(QueueConsumer.self, 3, .dirtyIO),
  row(QueueRemoveConsumer.self, 2, .dirtyIO),
  row(QueuePurge.self, 2, .dirtyIO),
  row(QueueInfo.self, 2, .dirtyIO),
  row(QueueClose.self, 1, .dirtyIO),
  // Here while messages are small, and neither a segment nor a lock has to be waited for.
  row(QueuePush.self, 2, .normal) { unsafe perform(QueuePush.self, $0, $1, $2, mayBlock: false) },
  row(QueuePushList.self, 2, .normal) { unsafe perform(QueuePushList.self, $0, $1, $2, mayBlock: false) },
  row(QueuePop.self, 2, .normal) { unsafe perform(QueuePop.self, $0, $1, $2, mayBlock: false) },
  row(QueuePopList.self, 3, .normal) { unsafe perform(QueuePopList.self, $0, $1, $2, mayBlock: false) },
  row(QueuePeek.self, 2, .normal) { unsafe perform(QueuePeek.self, $0, $1, $2, mayBlock: false) },
  row(QueueTake.self, 2, .normal) { unsafe perform(QueueTake.self, $0, $1, $2, mayBlock: false) },
  row(QueueAck.self, 4, .normal) { unsafe perform(QueueAck.self, $0, $1, $2, mayBlock: false) },
  row(QueueNack.self, 4, .normal) { unsafe perform(QueueNack.self, $0, $1, $2, mayBlock: false) },
  row(QueueRead.self, 6, .normal) { unsafe perform(QueueRead.self, $0, $1, $2, mayBlock: false) },
  row(QueueLength.self, 2, .normal) { unsafe perform(QueueLength.self, $0, $1, $2, mayBlock: false) },
  // Leaves a letter; the one who makes a sync moves.
  row(QueueWait.self, 3, .normal) { unsafe perform(QueueWait.self, $0, $1, $2, mayBlock: false) },
  row(QueueCancel.self, 3, .normal) { unsafe perform(QueueCancel.self, $0, $1, $2, mayBlock: false) },
  row(QueueSync.self, 3, .normal) { unsafe perform(QueueSync.self, $0, $1, $2, mayBlock: false) },
  // Blocks: what may wait for a disk, or reads all of it.
  row(BlocksOpen.self, 5, .dirtyIO),
  row(BlocksInfo.self, 1, .dirtyIO),
  row(BlocksCheck.self, 2, .dirtyIO),
  row(BlocksClose.self, 1, .dirtyIO),
  // Here while blocks are small, and neither a longer file nor a lock has to be waited for.
  row(BlocksStore.self, 2, .normal) { unsafe perform(BlocksStore.self, $0, $1, $2, mayBlock: false) },
  row(BlocksRead.self, 2, .normal) { unsafe perform(BlocksRead.self, $0, $1, $2, mayBlock: false) },
  row(BlocksFree.self, 2, .normal) { unsafe perform(BlocksFree.self, $0, $1, $2, mayBlock: false) },
  row(BlocksReadList.self, 3, .normal) { unsafe perform(BlocksReadList.self, $0, $1, $2, mayBlock: false) },
  row(BlocksCount.self, 1, .normal) { unsafe perform(BlocksCount.self, $0, $1, $2, mayBlock: false) },
  // The one who makes a sync moves.
  row(BlocksSync.self, 3, .normal) { unsafe perform(BlocksSync.self, $0, $1, $2, mayBlock: false) },
]

/// A row of the function that dirty schedulers call, or of another one. That is a closure in the table: the VM's kind
/// of function cannot be made of a generic one.
@safe private func row<C: NifCall>(
  _ type: C.Type, _ arity: UInt32, _ scheduler: Scheduler, _ function: NifFunction? = nil
) -> NifRow {
  unsafe NifRow(type.name, arity, scheduler, function ?? type.blocking)
}
