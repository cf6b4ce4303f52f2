import CSystem
import MemoryMap
import Synchronization

/// Which blocks can be stored to: a tree of summaries, in memory, that any number of threads change at once.
///
///     level 3   17 words         a bit for each word of level 2   (where there may be 2^36 blocks)
///     level 2   1,041 words      a bit for each word of level 1
///     level 1   66,577 words     a bit for each group
///     group     lines            a bit for each line of 8 words
///               taken            504 words of 32 bits, one for each block: clear where it can be stored to
///               owned            a bit for each line: set where somebody stores already
///               freed            as taken: what was freed, and must wait for a sync
///
/// A bit of a summary is set if there may be something below it. Whoever frees a block sets the bits above it; whoever
/// finds nothing below a bit clears it, looks again, and sets it again if there is something by now. So nothing is lost,
/// and a search takes as many steps as there are levels.
@safe public struct FreeMap: ~Copyable {
  typealias Word = Atomic<UInt>

  /// The addresses of the groups, then levels 1, 2 and 3. Only what is used is ever touched.
  private let start: UnsafeMutablePointer<Word>

  private let groupCount: Int

  /// Where a level begins, and how many words it has.
  @inline(__always)
  private static func bounds(ofLevel level: Int, _ groupCount: Int) -> (start: Int, count: Int) {
    let one = (groupCount + 63) / 64
    let two = (one + 63) / 64
    switch level {
    case 1: return (groupCount, one)
    case 2: return (groupCount + one, two)
    default: return (groupCount + one + two, (two + 63) / 64)
    }
  }

  @inline(__always)
  private func bounds(ofLevel level: Int) -> (start: Int, count: Int) { Self.bounds(ofLevel: level, groupCount) }

  /// Where what is in the memory of a group.
  private enum Place {
    static let lines = 0
    static let owned = 1
    static let hasFreed = 2
    static let taken = 8
    static let freed = 8 + wordsPerGroup
    static let count = 8 + 2 * wordsPerGroup
  }

  static let wordsPerLine = 8
  /// As many as in the file, in which tests have less.
  static let wordsPerGroup = BlockLayout.wordsPerGroup
  static let linesPerGroup = wordsPerGroup / wordsPerLine

  private static func groups(of blocks: Int) -> Int {
    let perGroup = wordsPerGroup * BlockLayout.bitsPerWord
    return (blocks + perGroup - 1) / perGroup
  }

  /// For as many blocks as there ever will be.
  init(blocks: Int) throws(StructureError) {
    groupCount = Self.groups(of: blocks)
    let top = Self.bounds(ofLevel: 3, groupCount)
    guard let memory = unsafe calloc(top.start + top.count, 8) else { throw .file(.noMemory) }
    unsafe start = memory.assumingMemoryBound(to: Word.self)
  }

  deinit {
    var group = 0
    while let memory = unsafe self.group(group) {
      unsafe free(memory)
      group += 1
    }
    unsafe free(start)
  }

  // MARK: Parts

  @inline(__always)
  private func group(_ index: Int) -> UnsafeMutablePointer<Word>? {
    guard index < groupCount else { return nil }
    // Acquiring: what is in a group is there before its address.
    return unsafe UnsafeMutablePointer(bitPattern: start[index].load(ordering: .acquiring))
  }

  // SAFETY, of all that follows: offsets are those of Place and of levels, below what was allocated.

  @inline(__always)
  private func level(_ level: Int, _ index: Int) -> UnsafeMutablePointer<Word> {
    unsafe start + bounds(ofLevel: level).start + index
  }

  /// Sees to it that so many blocks are known, of which new ones cannot be stored to yet. One thread at a time.
  func add(blocks: Int) throws(StructureError) {
    let end = Self.groups(of: blocks)
    var index = end
    while unsafe index > 0 && group(index - 1) == nil { index -= 1 }
    while index < end {
      try add(group: index)
      index += 1
    }
  }

  private func add(group: Int) throws(StructureError) {
    guard group < groupCount else { throw .full }
    var memory: UnsafeMutableRawPointer? = nil
    guard unsafe posix_memalign(&memory, 64, Place.count * 8) == 0, let memory = unsafe memory else {
      throw .file(.noMemory)
    }
    unsafe memset(memory, 0, Place.count * 8)
    let words = unsafe memory.assumingMemoryBound(to: Word.self)
    for index in 0..<Self.wordsPerGroup {
      unsafe words[Place.taken + index].store(BlockLayout.allBits, ordering: .relaxed)
    }
    unsafe start[group].store(UInt(bitPattern: words), ordering: .releasing)
  }

  // MARK: Giving back

  /// Lets blocks of a word be stored to.
  func makeAvailable(_ word: Int, _ bits: UInt) {
    if bits == 0 { return }
    let (index, rest) = word.quotientAndRemainder(dividingBy: Self.wordsPerGroup)
    guard let group = unsafe group(index) else { return }
    // Before the summaries are looked at: see `lower`.
    unsafe group[Place.taken + rest].bitwiseAnd(~bits, ordering: .sequentiallyConsistent)
    unsafe raise(index, group, line: rest / Self.wordsPerLine)
  }

  private func raise(_ index: Int, _ group: UnsafeMutablePointer<Word>, line: Int) {
    unsafe Self.set(group + Place.lines, line)
    var index = index
    for level in 1..<4 {
      unsafe Self.set(self.level(level, index / 64), index % 64)
      index /= 64
    }
  }

  @inline(__always)
  private static func set(_ word: UnsafeMutablePointer<Word>, _ bit: Int) {
    let bit: UInt = 1 &<< UInt(bit)
    if unsafe word.pointee.load(ordering: .sequentiallyConsistent) & bit == 0 {
      unsafe word.pointee.bitwiseOr(bit, ordering: .sequentiallyConsistent)
    }
  }

  /// Clears the summaries above a line that has nothing. All of it, and what `makeAvailable` does, in one order that all
  /// agree on: either this sees what has been given back meanwhile, or that sees what was cleared here.
  private func lower(_ index: Int, _ group: UnsafeMutablePointer<Word>, line: Int) {
    unsafe Self.clear(group + Place.lines, line)
    let words = unsafe group + Place.taken + line * Self.wordsPerLine
    for word in 0..<Self.wordsPerLine
    where unsafe words[word].load(ordering: .sequentiallyConsistent) != BlockLayout.allBits {
      return unsafe raise(index, group, line: line)
    }
    if unsafe group[Place.lines].load(ordering: .sequentiallyConsistent) == 0 { unsafe lowerLevels(index, group) }
  }

  private func lowerLevels(_ index: Int, _ group: UnsafeMutablePointer<Word>) {
    var (above, below) = unsafe (index, group + Place.lines)
    for level in 1..<4 {
      let word = unsafe self.level(level, above / 64)
      unsafe Self.clear(word, above % 64)
      if unsafe below.pointee.load(ordering: .sequentiallyConsistent) != 0 {
        var index = above
        for level in level..<4 {
          unsafe Self.set(self.level(level, index / 64), index % 64)
          index /= 64
        }
        return
      }
      if unsafe word.pointee.load(ordering: .sequentiallyConsistent) != 0 { return }
      unsafe below = word
      above /= 64
    }
  }

  private static func clear(_ word: UnsafeMutablePointer<Word>, _ bit: Int) {
    unsafe word.pointee.bitwiseAnd(~(1 &<< UInt(bit)), ordering: .sequentiallyConsistent)
  }

  // MARK: Searching

  /// Whether anything can be stored to.
  var hasFree: Bool {
    for index in 0..<bounds(ofLevel: 3).count
    where unsafe level(3, index).pointee.load(ordering: .sequentiallyConsistent) != 0 { return true }
    return false
  }

  /// The first group from `index` on that may have something.
  private func next(from index: Int) -> Int? {
    var (level, index) = (1, index)
    while index / 64 < bounds(ofLevel: level).count {
      let word = unsafe self.level(level, index / 64).pointee.load(ordering: .relaxed)
      let rest = word & (UInt.max &<< UInt(index % 64))
      if rest != 0 {
        index = index & ~63 | rest.trailingZeroBitCount
        if level == 1 { return index }
        level -= 1
        index *= 64
      } else if level < 3 {
        level += 1
        index = index / 64 + 1
      } else {
        index = (index / 64 + 1) * 64
      }
    }
    return nil
  }

  /// Takes all blocks of a word, for somebody who stores in `line`, or will from now on; nil if there are none. Lines in
  /// which others store come last.
  func take(_ line: inout Int) -> (word: Int, bits: UInt)? {
    if line >= 0 {
      let (index, rest) = line.quotientAndRemainder(dividingBy: Self.linesPerGroup)
      if let group = unsafe group(index), let found = unsafe take(index, group, line: rest) { return found }
    }
    return search(&line)
  }

  @inline(never)
  private func search(_ line: inout Int) -> (word: Int, bits: UInt)? {
    let here = max(line, 0).quotientAndRemainder(dividingBy: Self.linesPerGroup)
    for isAnyLine in [false, true] {
      var at = here.quotient
      for _ in 0..<Self.tries {
        guard let index = next(from: at) ?? next(from: 0), let group = unsafe group(index) else { return nil }
        let lines = unsafe group[Place.lines].load(ordering: .acquiring)
        if lines == 0 { unsafe lowerLevels(index, group) }
        let owned = isAnyLine ? 0 : unsafe group[Place.owned].load(ordering: .relaxed)
        let candidates = lines & ~owned
        let near = index == here.quotient ? candidates & (UInt.max &<< UInt(here.remainder)) : candidates
        let found = (near != 0 ? near : candidates).trailingZeroBitCount
        if candidates == 0 {
          at = index + 1
        } else if let result = unsafe take(index, group, line: found) {
          disown(line)
          unsafe Self.set(group + Place.owned, found)
          line = index * Self.linesPerGroup + found
          return result
        }
      }
    }
    return nil
  }

  /// How many groups are looked at for a line of one's own, and then for any.
  private static let tries = 8

  /// Nobody stores in a line any more.
  func disown(_ line: Int) {
    if line < 0 { return }
    let (index, rest) = line.quotientAndRemainder(dividingBy: Self.linesPerGroup)
    if let group = unsafe group(index) { unsafe Self.clear(group + Place.owned, rest) }
  }

  private func take(_ index: Int, _ group: UnsafeMutablePointer<Word>, line: Int) -> (word: Int, bits: UInt)? {
    let first = line * Self.wordsPerLine
    let words = unsafe group + Place.taken + first
    var found: (word: Int, bits: UInt)? = nil
    for word in 0..<Self.wordsPerLine {
      if unsafe words[word].load(ordering: .acquiring) == BlockLayout.allBits { continue }
      // Something is left in the line.
      if found != nil { return found }
      // Acquiring: who gave back is done with the block.
      let before = unsafe words[word].exchange(BlockLayout.allBits, ordering: .acquiringAndReleasing)
      let bits = ~before & BlockLayout.allBits
      if bits != 0 { found = (index * Self.wordsPerGroup + first + word, bits) }
    }
    unsafe lower(index, group, line: line)
    return found
  }

  // MARK: Freed blocks

  /// Notes that blocks of a word were freed, and are to wait for a sync.
  func addFreed(_ word: Int, _ bits: UInt) {
    let (index, rest) = word.quotientAndRemainder(dividingBy: Self.wordsPerGroup)
    guard let group = unsafe group(index) else { return }
    // In this order: who takes the flag takes the bits, or leaves both.
    unsafe group[Place.freed + rest].bitwiseOr(bits, ordering: .sequentiallyConsistent)
    unsafe Self.set(group + Place.hasFreed, 0)
  }

  /// Takes all that was noted. When memory is out some of it stays, and waits for the next sync.
  func takeFreed(into freed: inout GrowableArray<FreedBlocks>) {
    var index = 0
    while let group = unsafe group(index) {
      if unsafe group[Place.hasFreed].exchange(0, ordering: .sequentiallyConsistent) != 0 {
        for word in 0..<Self.wordsPerGroup
        where unsafe group[Place.freed + word].load(ordering: .sequentiallyConsistent) != 0 {
          guard freed.reserve(1) else { return unsafe Self.set(group + Place.hasFreed, 0) }
          let bits = unsafe group[Place.freed + word].exchange(0, ordering: .acquiringAndReleasing)
          _ = freed.append(FreedBlocks(word: index * Self.wordsPerGroup + word, bits: bits))
        }
      }
      index += 1
    }
  }

  /// How many blocks are noted.
  var freedCount: Int {
    var (count, index) = (0, 0)
    while let group = unsafe group(index) {
      if unsafe group[Place.hasFreed].load(ordering: .relaxed) != 0 {
        for word in 0..<Self.wordsPerGroup {
          count += unsafe group[Place.freed + word].load(ordering: .relaxed).nonzeroBitCount
        }
      }
      index += 1
    }
    return count
  }
}

/// Blocks of one word that were freed.
struct FreedBlocks: BitwiseCopyable {
  let word: Int
  let bits: UInt
}
