/// Where what is in a queue's file, little-endian:
///
///     0       static page (StaticPage)
///     4096    superblock A; 8192: superblock B (Superblock)
///     12288   tail hint: the position behind the last record that was pushed, and the number of messages up to there.
///             For the curious: recovery trusts records alone
///     16384   consumers (ConsumerSlot)
///     65536   segments, each a header and records
///
/// Positions count the bytes of all segments ever written and never wrap: segment number = position >> shift. Which
/// segment of the file it is in, the headers tell:
///
///     0   magic "SEG2"     u32
///     4   crc              u32, of the 24 bytes that follow
///     8   number           u64
///     16  epoch            u64
///     24  first            u64: the number of the message that is, or is to be, the first to begin in it
///
/// A record is padded to 8 bytes and never goes past the end of its segment, of which less than 16 bytes stay empty:
///
///     0   crc              u32, of the payload, the four bytes that follow the crc, epoch u32, position u64 and number
///                          u64. What is not stored is in it, so that a record is not taken for one from elsewhere, or
///                          from before
///     4   length << 3 | kind   u32
///     8   payload
enum Format {
  static let magic: UInt64 = 0x0A32_5150_414D_4D45  // "EMMAPQ2\n"
  static let segmentMagic: UInt32 = 0x3247_4553  // "SEG2"
  static let hint = 12288
  static let consumers = 16384
  static let segments = 65536
  static let segmentHeader = 64
  static let recordHeader = 8
  /// What a record with the least payload to speak of takes: a shorter rest of a segment stays empty. No record says so:
  /// it would have to be of the epoch before if the next record begins one.
  static let leastRecord = 16
  static let shifts = 16...29
}

enum Kind {
  /// A message, or the last one of a batch, or the last piece of one.
  static let message: UInt32 = 0
  /// A part of a message; more follow, in the next segment.
  static let piece: UInt32 = 1
  /// A message, or its last piece, after which more of the same batch follow.
  static let batch: UInt32 = 2
  /// The first record of an epoch; the payload is the epoch.
  static let epoch: UInt32 = 4
}

/// A place between two records.
public struct Place: Equatable, Sendable, BitwiseCopyable {
  /// Where in the queue.
  public var position: Int
  /// How many messages are before it.
  public var number: Int
  /// The epoch of the record before it.
  public var epoch: Int

  /// Takes all three as they were.
  public init(position: Int, number: Int, epoch: Int) {
    self.position = position
    self.number = number
    self.epoch = epoch
  }
}

@inline(__always)
func padded(_ count: Int) -> Int { (count &+ 7) & ~7 }

extension Checksum {
  /// Ends the checksum of a record whose payload was added already.
  @inline(__always)
  func record(_ payload: State, epoch: Int, position: Int, number: Int, tag: UInt32) -> UInt32 {
    var state = payload
    var words = (
      (UInt64(truncatingIfNeeded: epoch) &<< 32 | UInt64(tag)).littleEndian, position.littleEndian, number.littleEndian
    )
    unsafe withUnsafeBytes(of: &words) { bytes in
      if let start = bytes.baseAddress { unsafe add(start, count: 24, to: &state) }
    }
    return state.value
  }
}
