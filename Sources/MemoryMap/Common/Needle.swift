import CSystem

/// What is needed to find a pattern quickly: two of its bytes that are rare in what is mostly searched.
///
/// memmem(3) skips by what the pattern's length allows, so that it is slow for short ones. Looking for two bytes at their
/// distance, 64 places at a time, takes as long as the memory does, whatever the length. Where that finds much that is
/// no match, memmem goes on: its time is bounded.
struct Needle {
  /// Bytes of the pattern, and where it ends in the bytes of all patterns.
  let (length, end): (Int, Int)
  private var (place, other) = (0, 0)

  init(_ pattern: UnsafeRawBufferPointer, end: Int) {
    self.length = pattern.count
    self.end = end
    var (best, second) = (-1, -1)
    for index in pattern.indices.prefix(256) {
      let rank = unsafe Self.rank(pattern[index])
      if rank > best {
        (other, second) = (place, best)
        (place, best) = (index, rank)
      } else if unsafe rank > second && pattern[index] != pattern[place] {
        (other, second) = (index, rank)
      }
    }
  }

  /// How rare a byte is, in text and in numbers.
  private static func rank(_ byte: UInt8) -> Int {
    let common: StaticString = "\0 etaoinsrhldcu\nmfpgwybvk01,.-2x\"/"
    return unsafe UnsafeBufferPointer(start: common.utf8Start, count: common.utf8CodeUnitCount).firstIndex(of: byte)
      ?? 255
  }

  /// Finds the first place of the pattern in `count` bytes; nil if there is none.
  func first(_ pattern: UnsafePointer<UInt8>, in start: UnsafeRawPointer, _ count: Int) -> UnsafeRawPointer? {
    if length == 1 { return unsafe UnsafeRawPointer(memchr(start, Int32(pattern[0]), count)) }
    let places = count &- length &+ 1
    var (done, misses) = (0, 0)
    let (one, two) = unsafe (Vector(repeating: pattern[place]), Vector(repeating: pattern[other]))
    while done &+ 64 <= places && misses < 64 &+ done / 64 {
      let block = unsafe start + done
      let found = unsafe (
        match(block, one, two), match(block + 16, one, two), match(block + 32, one, two), match(block + 48, one, two)
      )
      let any = found.0 | found.1 | found.2 | found.3
      if any[0] | any[1] != 0 {
        let words: InlineArray<4, Words> = [found.0, found.1, found.2, found.3]
        for index in 0..<8 {
          var word = words[index / 2][index % 2]
          while word != 0 {
            let byte = word.trailingZeroBitCount / 8
            // SAFETY: one of the places at which the pattern still lies within the bytes.
            let candidate = unsafe block + (index &* 8 &+ byte)
            if unsafe memcmp(candidate, pattern, length) == 0 { return unsafe candidate }
            word &= ~(0xFF << UInt64(byte &* 8))
            misses &+= 1
          }
        }
      }
      done &+= 64
    }
    return unsafe UnsafeRawPointer(sys_find(start + done, count &- done, pattern, length))
  }

  private typealias Vector = SIMD16<UInt8>
  private typealias Words = SIMD2<UInt64>

  /// Which of 16 places have both bytes: all bits of a place's byte, or none.
  // SAFETY: the bytes of a pattern at any of these places lie within what is searched; the caller has checked it.
  @inline(__always)
  private func match(_ block: UnsafeRawPointer, _ one: Vector, _ two: Vector) -> Words {
    let first = unsafe block.loadUnaligned(fromByteOffset: place, as: Vector.self) .== one
    let second = unsafe block.loadUnaligned(fromByteOffset: other, as: Vector.self) .== two
    return unsafe unsafeBitCast(first .& second, to: Words.self)
  }
}
