import MemoryMap

/// What is written once, when a structure is made.
///
///     0   magic            8 bytes; written last, so that a file without it was never finished
///     8   version          u32
///     12  parameter        u32: of a queue, the log2 of its segment size; of blocks, their size
///     16  type             u32
///     20  0                u32
///     24  uuid             16 bytes
///     40  crc              u32, of the 40 bytes before
struct StaticPage: Equatable {
  var magic: UInt64
  var version: UInt32 = 1
  var parameter: UInt32
  var type: UInt32
  var uuid: (UInt64, UInt64)

  private static var bytes: Int { 48 }

  static func == (a: StaticPage, b: StaticPage) -> Bool {
    a.magic == b.magic && a.version == b.version && a.parameter == b.parameter && a.type == b.type && a.uuid == b.uuid
  }

  func write<Store: Storage & ~Copyable>(
    to storage: borrowing Store, _ checksum: Checksum
  ) throws(StructureError) {
    try unsafe withBytes(Self.bytes) { (bytes) throws(StructureError) in
      unsafe bytes.storeBytes(of: magic.littleEndian, as: UInt64.self)
      unsafe bytes.storeBytes(of: version.littleEndian, toByteOffset: 8, as: UInt32.self)
      unsafe bytes.storeBytes(of: parameter.littleEndian, toByteOffset: 12, as: UInt32.self)
      unsafe bytes.storeBytes(of: type.littleEndian, toByteOffset: 16, as: UInt32.self)
      unsafe bytes.storeBytes(of: uuid.0, toByteOffset: 24, as: UInt64.self)
      unsafe bytes.storeBytes(of: uuid.1, toByteOffset: 32, as: UInt64.self)
      let crc = unsafe checksum.of(bytes, count: 40)
      unsafe bytes.storeBytes(of: crc.littleEndian, toByteOffset: 40, as: UInt32.self)
      try unsafe storage.write(bytes + 8, count: Self.bytes - 8, at: 8)
    }
    try storage.storeWord(Int(bitPattern: UInt(magic)), at: 0)
  }

  /// Reads the page; nil if the file has none yet. Throws `badMagic` for another file, `corrupt` for a damaged page.
  static func read<Store: Storage & ~Copyable>(
    from storage: borrowing Store, magic: UInt64, _ checksum: Checksum
  ) throws(StructureError) -> StaticPage? {
    if storage.size < bytes {
      // Too short to be anything, or a file that somebody has cut.
      if storage.size == 0 { return nil }
      throw .badMagic
    }
    return try unsafe withBytes(bytes) { (bytes) throws(StructureError) -> StaticPage? in
      try unsafe storage.read(at: 0, count: Self.bytes, into: bytes)
      let found = UInt64(littleEndian: unsafe bytes.load(as: UInt64.self))
      if found == 0 { return nil }
      if found != magic { throw .badMagic }
      let crc = UInt32(littleEndian: unsafe bytes.load(fromByteOffset: 40, as: UInt32.self))
      if unsafe crc != checksum.of(bytes, count: 40) { throw .corrupt(0) }
      let page = unsafe StaticPage(
        magic: found, version: UInt32(littleEndian: bytes.load(fromByteOffset: 8, as: UInt32.self)),
        parameter: UInt32(littleEndian: bytes.load(fromByteOffset: 12, as: UInt32.self)),
        type: UInt32(littleEndian: bytes.load(fromByteOffset: 16, as: UInt32.self)),
        uuid: (
          bytes.load(fromByteOffset: 24, as: UInt64.self), bytes.load(fromByteOffset: 32, as: UInt64.self)
        ))
      if page.version != 1 { throw .badMagic }
      return page
    }
  }
}

extension StaticPage {
  /// Tells whether there is nothing in a file but what making a structure may have left when it was killed: up to `size`
  /// bytes, of which the pages at some offsets are written before the static page.
  static func isMissing<Store: Storage & ~Copyable>(
    from storage: borrowing Store, size: Int, _ made: [Int]
  ) throws(StructureError) -> Bool {
    if storage.size > size { return false }
    // A page.
    let step = 4096
    for offset in stride(from: 0, to: storage.size, by: step) where !made.contains(offset) {
      let count = min(step, storage.size - offset)
      let isZero = try unsafe withPage { (bytes) throws(StructureError) in
        try unsafe storage.read(at: offset, count: count, into: bytes)
        return unsafe UnsafeRawBufferPointer(start: bytes, count: count).allSatisfy { $0 == 0 }
      }
      // The static page without its first word.
      if !isZero && (offset != 0 || storage.size < size) { return false }
    }
    return true
  }
}

/// Runs `body` with some bytes on the stack, all zero, aligned to 8: at most 1024, beyond which Swift allocates them.
@inline(__always)
func withBytes<R>(
  _ count: Int, _ body: (UnsafeMutableRawPointer) throws(StructureError) -> R
) throws(StructureError) -> R {
  let result: Result<R, StructureError> = unsafe withUnsafeTemporaryAllocation(byteCount: count, alignment: 8) {
    buffer in
    guard let start = buffer.baseAddress else { return .failure(.file(.noMemory)) }
    unsafe start.initializeMemory(as: UInt8.self, repeating: 0, count: count)
    do throws(StructureError) {
      return .success(try unsafe body(start))
    } catch {
      return .failure(error)
    }
  }
  return try result.get()
}
