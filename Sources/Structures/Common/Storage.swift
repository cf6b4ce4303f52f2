import MemoryMap

/// What a structure needs of a file. Offsets are bytes from its start; all of them lie within `size`, or the call
/// throws. Any number of threads may call at once; who touches the same bytes is for the caller to settle.
///
/// A protocol, so that tests can stand between a structure and the disk. Structures are generic over it.
public protocol Storage: ~Copyable {
  /// Bytes in the file.
  var size: Int { get }

  /// Copies `count` bytes at `offset` to `target`.
  func read(at offset: Int, count: Int, into target: UnsafeMutableRawPointer) throws(StructureError)

  /// Reads what lies in three places, at the price of one: the word at `word`, a multiple of 8; the 16 bytes at `head`;
  /// and of the `count` bytes at `data`, which is behind both, as many as `target` has room for. It is given the word and
  /// the bytes at `head`, and may be called several times. What it throws goes through, but only if nothing got in the way
  /// of what it was given.
  func read(
    word: Int, head: Int, data: Int, count: Int,
    into target: (_ word: UInt, _ head: (UInt, UInt)) throws(StructureError) -> UnsafeMutableRawBufferPointer
  ) throws(StructureError)

  /// Copies `count` bytes to `offset`. Never makes the file longer.
  func write(_ source: UnsafeRawPointer, count: Int, at offset: Int) throws(StructureError)

  /// Stores a word at `offset`, a multiple of 8, in one piece, after all that was written before.
  func storeWord(_ value: Int, at offset: Int) throws(StructureError)

  /// The word at `offset`, a multiple of 8; what was written before it was stored is there.
  func loadWord(at offset: Int) throws(StructureError) -> Int

  /// Changes the word at `offset`, a multiple of 8, in one piece, after all that was written before. `change` is given
  /// the word and returns another one, or nil to leave it; it runs again where somebody else was quicker. Returns
  /// whether the word was changed.
  func changeWord(at offset: Int, _ change: (Int) -> Int?) throws(StructureError) -> Bool

  /// Makes the file `end` bytes long, if it is not that long, with room on the disk for what is from `start`. Nothing is
  /// read ahead there until `readAhead` is called. Of what was in the file nothing has changed when it throws. One thread
  /// at a time.
  func allocate(from start: Int, to end: Int) throws(StructureError)

  /// Gets memory, and room on the disk where `allocate` could not, for bytes in which there is nothing yet: some become
  /// 0.
  func populate(from start: Int, to end: Int) throws(StructureError)

  /// From now on bytes may be read ahead.
  func readAhead(from start: Int, to end: Int) throws(StructureError)

  /// Has what was written before to these bytes begin its way to disk. What goes wrong, the next sync tells.
  func beginSync(_ range: Range<Int>)

  /// Returns when all that was written before is on disk.
  func syncData() throws(StructureError)

  /// Returns when what was written before to these bytes is on disk, and as much of the file's length as they need. Of
  /// the rest anything may be.
  func syncData(_ range: Range<Int>) throws(StructureError)

  /// Throws `truncated` if others have made the file shorter: a sync has nothing to say about what they have cut off.
  func checkLength() throws(StructureError)

  /// Tells whether the file is now this storage's alone. The claim ends with `close`, or with the process.
  func tryLock() throws(StructureError) -> Bool

  /// Lets go of the file. Calls in progress and later ones throw `closed`.
  func close() throws(StructureError)
}

extension Storage where Self: ~Copyable {
  /// Makes the file `end` bytes long, with room on the disk, and pages in memory, for what is from `start`, in which there
  /// is nothing yet. One thread at a time.
  func grow(from start: Int, to end: Int) throws(StructureError) {
    try allocate(from: start, to: end)
    try populate(from: start, to: end)
    try readAhead(from: start, to: end)
  }

  /// Closes a file that is no structure that can be used: now, so that it is locked no longer than this call takes.
  func letGo() {
    do throws(StructureError) { try close() } catch {}
  }
}
