import MemoryMap

/// A checkpoint of a structure: what was so when a sync had finished. There are two in a file, A and B; each sync writes
/// the older one, so that the other is whole whenever the power fails.
///
///     0   generation   u64; the higher one is the newer
///     8   epoch        u64; counts how often a queue was opened, or what of blocks is on disk
///     16  tail         u64 \
///     24  number       u64  |  of the structure; 0 where it has none
///     32  oldest       u64 /
///     40  clean        u32: 1 after a clean close; then nothing has changed since
///     44  places       u32: of the structure; a checksum of what else must be as it was closed
///     48  crc          u32, of the 48 bytes before
struct Superblock: Equatable {
  var generation: UInt64 = 0
  var epoch: UInt64 = 0
  var tail: UInt64 = 0
  var number: UInt64 = 0
  var oldest: UInt64 = 0
  var isClean = false
  var places: UInt32 = 0

  private static var bytes: Int { 56 }

  static func offset(_ index: Int) -> Int { 4096 + index * 4096 }

  /// Which of the two a superblock is kept in.
  private var index: Int { Int(generation & 1) }

  func write<Store: Storage & ~Copyable>(
    to storage: borrowing Store, _ checksum: Checksum, index: Int? = nil
  ) throws(StructureError) {
    let index = index ?? self.index
    try unsafe withBytes(Self.bytes) { (bytes) throws(StructureError) in
      let words = (generation, epoch, tail, number, oldest)
      unsafe bytes.storeBytes(of: words.0.littleEndian, as: UInt64.self)
      unsafe bytes.storeBytes(of: words.1.littleEndian, toByteOffset: 8, as: UInt64.self)
      unsafe bytes.storeBytes(of: words.2.littleEndian, toByteOffset: 16, as: UInt64.self)
      unsafe bytes.storeBytes(of: words.3.littleEndian, toByteOffset: 24, as: UInt64.self)
      unsafe bytes.storeBytes(of: words.4.littleEndian, toByteOffset: 32, as: UInt64.self)
      unsafe bytes.storeBytes(of: (isClean ? 1 : 0 as UInt32).littleEndian, toByteOffset: 40, as: UInt32.self)
      unsafe bytes.storeBytes(of: places.littleEndian, toByteOffset: 44, as: UInt32.self)
      let crc = unsafe checksum.of(bytes, count: 48)
      unsafe bytes.storeBytes(of: crc.littleEndian, toByteOffset: 48, as: UInt32.self)
      try unsafe storage.write(bytes, count: Self.bytes, at: Self.offset(index))
    }
  }

  private static func read<Store: Storage & ~Copyable>(
    _ index: Int, from storage: borrowing Store, _ checksum: Checksum
  ) throws(StructureError) -> Superblock? {
    try unsafe withBytes(bytes) { (bytes) throws(StructureError) -> Superblock? in
      try unsafe storage.read(at: offset(index), count: Self.bytes, into: bytes)
      let crc = UInt32(littleEndian: unsafe bytes.load(fromByteOffset: 48, as: UInt32.self))
      guard unsafe crc == checksum.of(bytes, count: 48) else { return nil }
      let word = { (offset: Int) -> UInt64 in
        UInt64(littleEndian: unsafe bytes.load(fromByteOffset: offset, as: UInt64.self))
      }
      return unsafe Superblock(
        generation: word(0), epoch: word(8), tail: word(16), number: word(24), oldest: word(32),
        isClean: UInt32(littleEndian: bytes.load(fromByteOffset: 40, as: UInt32.self)) == 1,
        places: UInt32(littleEndian: bytes.load(fromByteOffset: 44, as: UInt32.self)))
    }
  }

  /// The newest valid superblock; nil if there is none.
  static func newest<Store: Storage & ~Copyable>(
    in storage: borrowing Store, _ checksum: Checksum
  ) throws(StructureError) -> Superblock? {
    let (a, b) = (try read(0, from: storage, checksum), try read(1, from: storage, checksum))
    guard let a else { return b }
    guard let b else { return a }
    return a.generation > b.generation ? a : b
  }
}
