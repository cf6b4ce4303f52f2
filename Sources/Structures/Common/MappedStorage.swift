import CSystem
import MemoryMap
import Synchronization

/// A mapped file: every access is one of `File`'s checked ones.
public struct MappedStorage: Storage, ~Copyable {
  private let file: File

  /// Maps a file, or makes a new one, which is empty.
  ///
  /// - Parameters:
  ///   - path: a C string.
  ///   - mode: the permissions of a new file.
  public init(_ path: UnsafePointer<CChar>, mode: UInt32, memory: RegionMemory) throws(StructureError) {
    do throws(Failure) {
      // Addresses are free: a large step keeps the number of regions, each of which touches its pages anew, small.
      let options = OpenOptions(
        flags: [.write, .create, .shared, .noLock], address: 0, mode: mode, size: 0, maximumStep: 1 << 30)
      self.file = try unsafe File.open(path, offset: 0, length: 0, options: options, memory: memory)
    } catch {
      throw .file(error)
    }
  }

  /// Bytes in the file.
  @inline(__always)
  public var size: Int { file.size }

  /// See `Storage`.
  @inline(__always)
  public func read(at offset: Int, count: Int, into target: UnsafeMutableRawPointer) throws(StructureError) {
    if let view = file.viewInside(at: offset, count: count), view.count == count,
      unsafe file.tryRead(view, into: target)
    {
      return
    }
    try unsafe readCarefully(at: offset, count: count, into: target)
  }

  @inline(never)
  private func readCarefully(
    at offset: Int, count: Int, into target: UnsafeMutableRawPointer
  ) throws(StructureError) {
    if count == 0 { return }
    do throws(Failure) {
      guard let view = try file.view(at: offset, count: count), view.count == count else { throw .truncated }
      try unsafe file.read(view, into: target, mayWait: true)
    } catch {
      throw .file(error)
    }
  }

  /// See `Storage`.
  @inline(__always)
  public func write(_ source: UnsafeRawPointer, count: Int, at offset: Int) throws(StructureError) {
    if unsafe file.tryWrite(UnsafeRawBufferPointer(start: source, count: count), at: offset) { return }
    try unsafe writeCarefully(source, count: count, at: offset)
  }

  @inline(never)
  private func writeCarefully(_ source: UnsafeRawPointer, count: Int, at offset: Int) throws(StructureError) {
    guard fits(offset, count, in: file.size) else { throw .file(.truncated) }
    do throws(Failure) {
      try unsafe File.withPiece(UnsafeRawBufferPointer(start: source, count: count)) { (pieces) throws(Failure) in
        try unsafe file.write(pieces, at: offset, mayBlock: true)
      }
    } catch {
      throw .file(error)
    }
  }

  /// See `Storage`.
  @inline(__always)
  public func storeWord(_ value: Int, at offset: Int) throws(StructureError) {
    do throws(Failure) {
      // Releasing: what was written before is there for whoever sees the word.
      try file.withWord(
        at: offset, writing: true,
        { (word: borrowing Atomic<Int>) in word.store(value.littleEndian, ordering: .releasing) }, written: { value })
    } catch {
      throw .file(error)
    }
  }

  /// Allocates, and touches each page.
  public func grow(from start: Int, to end: Int) throws(StructureError) {
    do throws(Failure) {
      do throws(Failure) {
        try file.allocate(at: start, count: end - start)
      } catch .system(EOPNOTSUPP) {
        if end > file.size { _ = try file.resize(to: end) }
      }
      try populate(start, end)
    } catch {
      throw .file(error)
    }
  }

  /// Touches each page once, here, where waiting does no harm. One by one and without reading ahead: pages that come in
  /// large folios are written to disk in whole folios, for each record that changes.
  private func populate(_ start: Int, _ end: Int) throws(Failure) {
    try file.advise(at: start, count: end - start, .random)
    for offset in stride(from: start, to: end, by: PageSize.system.bytes) {
      try file.withWord(
        at: offset, writing: true, { (word: borrowing Atomic<Int>) in word.store(0, ordering: .relaxed) },
        written: { 0 })
    }
    try file.advise(at: start, count: end - start, .normal)
  }

  /// See `Storage`.
  public func syncData() throws(StructureError) {
    // syncAll: the first one also brings a new file's name to disk.
    do throws(Failure) { try file.syncAll() } catch { throw .file(error) }
  }

  /// See `Storage`.
  public func tryLock() throws(StructureError) -> Bool {
    do throws(Failure) { return try file.tryLock() } catch { throw .file(error) }
  }

  /// See `Storage`.
  public func close() throws(StructureError) {
    do throws(Failure) { try file.close(mayBlock: true) } catch { throw .file(error) }
  }
}
