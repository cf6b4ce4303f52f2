import ErlNif

/// Name, arity, scheduler, function: what emmap.erl declares, and where each runs. Calls on normal schedulers move
/// themselves to a dirty one where they would have to wait.
let functionTable: [NifRow] = unsafe [
  // System calls that may wait for a disk.
  NifRow("open_nif", 9, .dirtyIO, Open.blocking),
  NifRow("handle_info_nif", 1, .dirtyIO, HandleInfo.blocking),
  NifRow("resize_nif", 2, .dirtyIO, Resize.blocking),
  NifRow("truncate_nif", 1, .dirtyIO, Truncate.blocking),
  NifRow("remap_nif", 1, .dirtyIO, Remap.blocking),
  NifRow("allocate_nif", 3, .dirtyIO, Allocate.blocking),
  NifRow("datasync_nif", 1, .dirtyIO, DataSync.blocking),
  NifRow("sync_nif", 1, .dirtyIO, Sync.blocking),
  NifRow("sync_range_nif", 3, .dirtyIO, SyncRange.blocking),
  NifRow("flush_nif", 1, .dirtyIO, Flush.blocking),
  NifRow("advise_nif", 4, .dirtyIO, Advise.blocking),
  NifRow("pwritev_nif", 3, .dirtyIO, PWriteVector.blocking),
  // Copies the name, however long it is.
  NifRow("info_nif", 1, .dirtyIO, Info.blocking),
  // Copies: here while small and in memory.
  NifRow("pread_nif", 3, .normal) { unsafe perform(PRead.self, $0, $1, $2, mayBlock: false) },
  unsafe NifRow("snapshot_nif", 3, .normal) { unsafe perform(Snapshot.self, $0, $1, $2, mayBlock: false) },
  unsafe NifRow("read_nif", 2, .normal) { unsafe perform(Read.self, $0, $1, $2, mayBlock: false) },
  unsafe NifRow("read_line_nif", 1, .normal) { unsafe perform(ReadLine.self, $0, $1, $2, mayBlock: false) },
  unsafe NifRow("pwrite_nif", 3, .normal) { unsafe perform(PWrite.self, $0, $1, $2, mayBlock: false) },
  unsafe NifRow("write_nif", 2, .normal) { unsafe perform(Write.self, $0, $1, $2, mayBlock: false) },
  // Here while the mapping is small and the file only read.
  NifRow("close_nif", 1, .normal) { unsafe perform(Close.self, $0, $1, $2, mayBlock: false) },
  // A few loads and stores.
  unsafe NifRow("position_nif", 3, .normal) { unsafe perform(Position.self, $0, $1, $2, mayBlock: false) },
  unsafe NifRow("patomic_nif", 4, .normal) { unsafe perform(PAtomic.self, $0, $1, $2, mayBlock: false) },
  unsafe NifRow("patomic_read_nif", 2, .normal) { unsafe perform(PAtomicRead.self, $0, $1, $2, mayBlock: false) },
  unsafe NifRow("patomic_write_nif", 3, .normal) { unsafe perform(PAtomicWrite.self, $0, $1, $2, mayBlock: false) },
  unsafe NifRow("patomic_cas_nif", 4, .normal) {
    unsafe perform(PAtomicCompareExchange.self, $0, $1, $2, mayBlock: false)
  },
]
