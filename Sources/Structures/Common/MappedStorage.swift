import CSystem
import MemoryMap
import Synchronization

/// A mapped file: every access is one of `File`'s checked ones.
public struct MappedStorage: Storage, ~Copyable {
  private let file: File
  /// Whether the file's name is on disk, if it was made here.
  private let hasSynced = Atomic<Bool>(false)

  /// Maps a file, or makes a new one, which is empty. Throws `ENOENT` if there is none and `creates` is false.
  ///
  /// - Parameters:
  ///   - path: a C string.
  ///   - mode: the permissions of a new file.
  public init(
    _ path: UnsafePointer<CChar>, mode: UInt32, creates: Bool = true, memory: RegionMemory
  ) throws(StructureError) {
    do throws(Failure) {
      // Addresses are free: a large step keeps the number of regions, each of which touches its pages anew, small.
      let options = OpenOptions(
        flags: creates ? [.write, .create, .shared, .noLock] : [.write, .shared, .noLock], address: 0, mode: mode,
        size: 0, maximumStep: 1 << 30)
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
    do throws(Failure) {
      // Of nothing there is no first byte that could lie within the file.
      if count == 0 && fits(offset, 0, in: file.size) { return }
      let outcome = try unsafe file.access(.read, at: offset, count: count, .unlimited) { region, source, found in
        (unsafe file.copy(target, source, found, region, source), touched: found)
      }
      // Less than was asked for is past the end, too.
      if case .done = outcome, fits(offset, count, in: file.size) { return }
      throw .truncated
    } catch {
      throw .file(error)
    }
  }

  /// See `Storage`.
  @inline(__always)
  public func read(
    word: Int, head: Int, data: Int, count: Int,
    into target: (_ word: UInt, _ head: (UInt, UInt)) throws(StructureError) -> UnsafeMutableRawBufferPointer
  ) throws(StructureError) {
    let outcome: Outcome<StructureError?>
    do throws(Failure) {
      outcome = try unsafe file.access(
        .load, at: data, count: count, besides: [Extent(word, 8), Extent(head, 16)], .unlimited
      ) { region, start, count in
        // SAFETY: both places lie before `data`, in the same region; a region begins on a page, so the word is aligned.
        let place = unsafe (start + (word &- data)).assumingMemoryBound(to: Atomic<UInt>.self)
        // Acquiring: see storeWord.
        let value = UInt(littleEndian: unsafe place.pointee.load(ordering: .acquiring))
        var words: (UInt, UInt) = (0, 0)
        unsafe sys_copy(&words, start + (head &- data), 16)
        do throws(StructureError) {
          let target = try unsafe target(value, (UInt(littleEndian: words.0), UInt(littleEndian: words.1)))
          guard let bytes = target.baseAddress, target.count <= count else { return (nil, touched: 0) }
          unsafe file.copy(bytes, start, target.count, region, start)
          return (nil, touched: target.count)
        } catch {
          return (error, touched: 0)
        }
      }
    } catch {
      throw .file(error)
    }
    guard case .done(let error) = outcome else { throw .file(.truncated) }
    if let error { throw error }
  }

  /// See `Storage`.
  @inline(__always)
  public func write(_ source: UnsafeRawPointer, count: Int, at offset: Int) throws(StructureError) {
    do throws(Failure) {
      let outcome = try unsafe file.access(.write, at: offset, count: count, .unlimited) { region, target, count in
        // Records are written one behind the other. The lines of memory that come next are fetched many at once: a fence,
        // in a lock or in the VM, waits for all that are on the way, and so it finds some but seldom.
        let (start, end) = (UInt(bitPattern: target), UInt(bitPattern: target) &+ UInt(bitPattern: count))
        if (start ^ end) > 1023 { unsafe sys_prefetch_kilobyte(UnsafeRawPointer(bitPattern: (end | 1023) &+ 1)) }
        return (unsafe file.copy(target, source, count, region, target), touched: count)
      }
      guard case .done = outcome else { throw .truncated }
    } catch {
      throw .file(error)
    }
  }

  /// See `Storage`.
  @inline(__always)
  public func storeWord(_ value: Int, at offset: Int) throws(StructureError) {
    do throws(Failure) {
      // Releasing: what was written before is there for whoever sees the word.
      try file.withWord(at: offset, writing: true) { (word: borrowing Atomic<Int>) in
        word.store(value.littleEndian, ordering: .releasing)
      }
    } catch {
      throw .file(error)
    }
  }

  /// See `Storage`.
  @inline(__always)
  public func loadWord(at offset: Int) throws(StructureError) -> Int {
    do throws(Failure) {
      // Acquiring: see storeWord.
      return try file.withWord(at: offset, writing: false) { (word: borrowing Atomic<Int>) in
        Int(littleEndian: word.load(ordering: .acquiring))
      }
    } catch {
      throw .file(error)
    }
  }

  /// See `Storage`.
  @inline(__always)
  public func changeWord(at offset: Int, _ change: (Int) -> Int?) throws(StructureError) -> Bool {
    do throws(Failure) {
      return try file.withWord(at: offset, writing: true) { (word: borrowing Atomic<Int>) in
        var old = word.load(ordering: .acquiring)
        while true {
          guard let new = change(Int(littleEndian: old)) else { return false }
          // Releasing, as storeWord; acquiring, as loadWord.
          let (exchanged, found) = word.compareExchange(
            expected: old, desired: new.littleEndian, ordering: .acquiringAndReleasing)
          if exchanged { return true }
          old = found
        }
      }
    } catch {
      throw .file(error)
    }
  }

  /// See `Storage`.
  public func allocate(from start: Int, to end: Int) throws(StructureError) {
    guard start < end else { return }
    do throws(Failure) {
      do throws(Failure) {
        try file.allocate(at: start, count: end - start)
      } catch .system(EOPNOTSUPP) {
        if end > file.size { _ = try file.resize(to: end) }
      }
      // Pages that come in large folios are written to disk in whole folios, for each record that changes.
      try file.advise(at: start, count: end - start, .random)
    } catch {
      throw .file(error)
    }
  }

  /// Touches each page once, one by one, where waiting does no harm.
  public func populate(from start: Int, to end: Int) throws(StructureError) {
    let page = PageSize.system.bytes
    // The first word, and then that at the beginning of each page. Less than a word at the end is left out.
    var offset = padded(start)
    while fits(offset, 8, in: end) {
      do throws(Failure) {
        try file.withWord(at: offset, writing: true) { (word: borrowing Atomic<Int>) in
          word.store(0, ordering: .relaxed)
        }
      } catch {
        throw .file(error)
      }
      offset = (offset | (page - 1)) + 1
    }
  }

  /// See `Storage`.
  public func readAhead(from start: Int, to end: Int) throws(StructureError) {
    guard start < end else { return }
    do throws(Failure) { try file.advise(at: start, count: end - start, .normal) } catch { throw .file(error) }
  }

  /// See `Storage`.
  public func beginSync(_ range: Range<Int>) {
    do throws(Failure) { try file.flush(at: range.lowerBound, count: range.count) } catch {}
  }

  /// See `Storage`.
  public func syncData() throws(StructureError) {
    do throws(Failure) {
      if hasSynced.load(ordering: .relaxed) { return try file.syncData() }
      // The first one also brings a new file's name to disk.
      try file.syncAll()
      hasSynced.store(true, ordering: .relaxed)
    } catch {
      throw .file(error)
    }
  }

  /// See `Storage`.
  public func syncData(_ range: Range<Int>) throws(StructureError) {
    guard hasSynced.load(ordering: .relaxed) else { return try syncData() }
    do throws(Failure) { try file.syncRange(at: range.lowerBound, count: range.count) } catch { throw .file(error) }
  }

  /// See `Storage`.
  public func checkLength() throws(StructureError) {
    do throws(Failure) {
      // In this order: it may grow meanwhile.
      let size = file.size
      if try file.end() < size { throw .truncated }
    } catch {
      throw .file(error)
    }
  }

  /// See `Storage`.
  public func tryLock() throws(StructureError) -> Bool {
    do throws(Failure) {
      guard try file.setLock(.exclusive, isWanted: { true }) else { return false }
      // Who had it before may have made the file longer since it was mapped here.
      _ = try file.remap()
      return true
    } catch {
      throw .file(error)
    }
  }

  /// See `Storage`.
  public func close() throws(StructureError) {
    do throws(Failure) { _ = try file.close(.unlimited) } catch { throw .file(error) }
  }
}
