import MemoryMap

/// A consumer as the file has it: 256 bytes.
///
///     0    state            u64: 0 for a free slot. Stored when the rest is on disk, so the slot is one or the other
///     8    length of name   u32
///     12   crc              u32, of the length and the name
///     16   name             112 bytes
///     128  copy 0 .. 3      of {position u64, number u64, generation u64, epoch u32, crc u32}; the newest valid counts
///
/// Of the copies, the one that the last sync has brought to disk (`safe`), and the one that the sync in progress will
/// have brought there (`pending`), are not written to; the others take turns. So a place that cannot be read any more is
/// never the only one, whether the VM is killed or the power fails.
enum ConsumerSlot {
  static let count = 192
  static let bytes = 256
  static let maximumName = 112
  static let copies = 4
  static let inUse = 0x5245_4D55_534E_4F43  // "CONSUMER"

  static func offset(_ index: Int) -> Int { Format.consumers + index * bytes }
  static func offset(_ index: Int, copy: Int) -> Int { offset(index) + 128 + copy * 32 }

  static func writeName<Store: Storage & ~Copyable>(
    _ name: UnsafeRawBufferPointer, _ index: Int, to storage: borrowing Store, _ checksum: Checksum
  ) throws(StructureError) {
    try unsafe withBytes(8 + maximumName) { (bytes) throws(StructureError) in
      unsafe bytes.storeBytes(of: UInt32(name.count).littleEndian, as: UInt32.self)
      if let start = name.baseAddress { unsafe (bytes + 8).copyMemory(from: start, byteCount: name.count) }
      unsafe bytes.storeBytes(of: crc(bytes, checksum).littleEndian, toByteOffset: 4, as: UInt32.self)
      try unsafe storage.write(bytes, count: 8 + maximumName, at: offset(index) + 8)
    }
  }

  /// The name of a slot in use, in its first `length` bytes of 112; nil for a free one.
  static func withName<R, Store: Storage & ~Copyable>(
    _ index: Int, in storage: borrowing Store, _ checksum: Checksum,
    _ body: (UnsafeRawBufferPointer) throws(StructureError) -> R
  ) throws(StructureError) -> R? {
    switch try storage.loadWord(at: offset(index)) {
    case 0: return nil
    case inUse: break
    default: throw .corrupt(offset(index))
    }
    return try unsafe withBytes(8 + maximumName) { (bytes) throws(StructureError) -> R in
      try unsafe storage.read(at: offset(index) + 8, count: 8 + maximumName, into: bytes)
      let length = Int(UInt32(littleEndian: unsafe bytes.load(as: UInt32.self)))
      let stored = UInt32(littleEndian: unsafe bytes.load(fromByteOffset: 4, as: UInt32.self))
      guard unsafe length <= maximumName && stored == crc(bytes, checksum) else { throw .corrupt(offset(index)) }
      return try unsafe body(UnsafeRawBufferPointer(start: bytes + 8, count: length))
    }
  }

  private static func crc(_ bytes: UnsafeRawPointer, _ checksum: Checksum) -> UInt32 {
    var state = Checksum.State()
    unsafe checksum.add(bytes, count: 4, to: &state)
    unsafe checksum.add(bytes + 8, count: maximumName, to: &state)
    return state.value
  }

  @inline(__always)
  static func write<Store: Storage & ~Copyable>(
    _ place: Place, generation: Int, _ index: Int, copy: Int, to storage: borrowing Store, _ checksum: Checksum
  ) throws(StructureError) {
    var words = (
      place.position.littleEndian, place.number.littleEndian, generation.littleEndian,
      UInt64(UInt32(truncatingIfNeeded: place.epoch)).littleEndian
    )
    let failure = unsafe withUnsafeMutableBytes(of: &words) { bytes -> StructureError? in
      guard let start = bytes.baseAddress else { return nil }
      let crc = unsafe checksum.of(start, count: 28)
      unsafe start.storeBytes(of: crc.littleEndian, toByteOffset: 28, as: UInt32.self)
      do throws(StructureError) {
        try unsafe storage.write(start, count: 32, at: offset(index, copy: copy))
        return nil
      } catch {
        return error
      }
    }
    if let failure { throw failure }
  }

  static func read<Store: Storage & ~Copyable>(
    _ index: Int, copy: Int, from storage: borrowing Store, _ checksum: Checksum
  ) throws(StructureError) -> (place: Place, generation: Int)? {
    try unsafe withBytes(32) { (bytes) throws(StructureError) -> (place: Place, generation: Int)? in
      try unsafe storage.read(at: offset(index, copy: copy), count: 32, into: bytes)
      let crc = UInt32(littleEndian: unsafe bytes.load(fromByteOffset: 28, as: UInt32.self))
      guard unsafe crc == checksum.of(bytes, count: 28) else { return nil }
      let word = { (offset: Int) -> Int in Int(littleEndian: unsafe bytes.load(fromByteOffset: offset, as: Int.self)) }
      let epoch = UInt32(littleEndian: unsafe bytes.load(fromByteOffset: 24, as: UInt32.self))
      return (Place(position: word(0), number: word(8), epoch: Int(epoch)), word(16))
    }
  }
}
