import CSystem

// Searching for bytes, a piece of the file at a time. What a piece is looked through for is one access: in `lock` mode
// no half of a write is seen in it. A match across the border of two pieces is found, because a piece goes on behind
// its border for as long as the longest pattern is.

/// What to search for: one pattern or several, none of them empty. Copies, because a caller's may change meanwhile.
public struct Patterns: ~Copyable {
  private var bytes = GrowableArray<UInt8>()
  private var needles = GrowableArray<Needle>()
  /// Bytes of the longest one.
  public private(set) var longest = 0

  /// None yet.
  public init() {}

  /// How many there are.
  public var count: Int { needles.count }

  /// Adds one. Throws `badArgument` if it is empty; `truncated` or a reason of the system if it lies in a mapping and is
  /// lost; `noMemory`.
  public mutating func append(_ pattern: UnsafeRawBufferPointer) throws(Failure) {
    if unsafe pattern.isEmpty { throw .badArgument }
    // SAFETY: bytes of any kind are bytes.
    let source = unsafe UnsafeBufferPointer(
      start: pattern.baseAddress?.assumingMemoryBound(to: UInt8.self), count: pattern.count)
    guard unsafe bytes.append(contentsOf: source) else { throw .noMemory }
    if File.mayHaveLost { try unsafe File.checkNotLost(pattern) }
    guard needles.append(unsafe Needle(pattern, end: bytes.count)) else { throw .noMemory }
    longest = max(longest, pattern.count)
  }

  /// Bytes of one of them.
  @inline(__always)
  func length(_ index: Int) -> Int { needles[index].length }

  /// Finds the first place of one of them that begins from `from` on and ends by `end`; nil if there is none.
  fileprivate func first(_ index: Int, in start: UnsafeRawPointer, from: Int, by end: Int) -> Int? {
    let needle = needles[index]
    guard end &- from >= needle.length else { return nil }
    // SAFETY: needles know where they end in `bytes`, and there is at least one.
    let pattern = unsafe bytes.elements.baseAddress.unsafelyUnwrapped + (needle.end &- needle.length)
    guard let place = unsafe needle.first(pattern, in: start + from, end &- from) else { return nil }
    return unsafe place - start
  }

  /// Finds the last place that begins before the end, of all of them; of those that begin there, the longest.
  fileprivate func last(in start: UnsafeRawPointer, _ count: Int) -> Match? {
    var best: Match? = nil
    // Many small windows: in the last of them that has a match all matches are gone through.
    let window = max(16 << 10, longest)
    var end = count
    while true {
      let begin = max(0, end &- window &- longest &+ 1)
      for index in 0..<self.count {
        var from = begin
        while let place = unsafe first(index, in: start, from: from, by: end) {
          if best.map({ place > $0.position || (place == $0.position && length(index) > $0.length) }) ?? true {
            best = Match(position: place, length: length(index))
          }
          from = place &+ 1
        }
      }
      if best != nil || begin == 0 { return best }
      end = begin &+ longest &- 1
    }
  }
}

/// A place where a pattern was found.
public struct Match: Equatable, BitwiseCopyable {
  /// Its first byte.
  public let position: Int
  /// How many there are.
  public let length: Int
}

/// What a search has come to.
public enum SearchState: Equatable {
  /// There is nothing left to look through.
  case finished
  /// It may go on: from this position, or where it goes backwards, up to it.
  case next(Int)
}

extension File {
  /// Finds matches that lie from `from` up to `to`, or up to the end if that is nil, none of them overlapping, as
  /// `binary:matches/2` does: the first one, of those that begin there the longest, and so on behind it. Adds up to
  /// `limit` of them to `found`; looks at one piece, at matches that begin in its first `piece` bytes.
  ///
  /// Throws `outOfRange` if the range ends behind the end; `closed`; `truncated` or a reason of the system; `noMemory`.
  public func search(
    _ patterns: borrowing Patterns, from: Int, to: Int?, piece: Int, limit: Int,
    into found: inout GrowableArray<Match>, _ patience: Patience
  ) throws(Failure) -> Outcome<SearchState> {
    if let to, !(try reaches(to)) { throw .outOfRange }
    let rest = max((to ?? .max) &- from, 0)
    let border = max(piece, patterns.longest)
    let (sum, overflow) = border.addingReportingOverflow(patterns.longest - 1)
    let wanted = overflow ? rest : min(rest, sum)
    let before = found.count
    guard var places = GrowableArray(repeating: -1, count: patterns.count) else { throw .noMemory }
    var hasMemory = true
    let outcome = try unsafe access(.read, at: from, count: wanted, patience) {
      _, start, count -> (SearchState, touched: Int) in
      found.keep(first: before)
      for index in places.indices { places[index] = -1 }
      // Where no more bytes were wanted or are there, all of them are looked through; else what begins before the border.
      let isLast = count < wanted || wanted == rest
      let border = isLast ? count : border
      var done = 0
      while found.count &- before < limit {
        var (best, length) = (Int.max, 0)
        for index in places.indices {
          if places[index] < done {
            let end = isLast ? count : min(count, border &- 1 &+ patterns.length(index))
            places[index] = unsafe patterns.first(index, in: start, from: done, by: end) ?? .max
          }
          if places[index] < best || (places[index] == best && best < .max && patterns.length(index) > length) {
            (best, length) = (places[index], patterns.length(index))
          }
        }
        if best == .max {
          return (isLast ? .finished : .next(from &+ max(border, done)), touched: count)
        }
        hasMemory = found.append(Match(position: from &+ best, length: length))
        if !hasMemory { break }
        done = best &+ length
        if found.count &- before == limit {
          return (.next(from &+ done), touched: min(count, best &+ patterns.longest))
        }
      }
      return (.next(from), touched: 0)
    }
    if !hasMemory { throw .noMemory }
    // The end was met.
    if case .outside = outcome { return .done(.finished) }
    return outcome
  }

  /// Finds the last match that lies from `from` up to `to`, or up to the end if that is nil; of those that begin there,
  /// the longest. Adds it to `found`, or none; looks at one piece of the range's end. Throws as `search` does.
  public func searchBackwards(
    _ patterns: borrowing Patterns, from: Int, to: Int?, piece: Int, into found: inout GrowableArray<Match>,
    _ patience: Patience
  ) throws(Failure) -> Outcome<SearchState> {
    if let to, !(try reaches(to)) { throw .outOfRange }
    let before = found.count
    guard found.reserve(1) else { throw .noMemory }
    var end = to ?? size
    if to == nil && traits.contains(.follow) { end = max(end, try self.end()) }
    let (length, overflow) = max(piece, patterns.longest).addingReportingOverflow(patterns.longest - 1)
    let start = overflow ? from : max(from, end - length)
    let wanted = max(end - start, 0)
    let outcome = try unsafe access(.read, at: start, count: wanted, patience) {
      _, bytes, count -> (SearchState, touched: Int) in
      found.keep(first: before)
      guard let match = unsafe patterns.last(in: bytes, count) else {
        return (start == from ? .finished : .next(start &+ patterns.longest &- 1), touched: count)
      }
      _ = found.append(Match(position: start &+ match.position, length: match.length))
      return (.finished, touched: count)
    }
    if case .outside = outcome { return .done(.finished) }
    return outcome
  }

  /// Whether a range may end at `end`; looks whether a file that is followed has become as long.
  private func reaches(_ end: Int) throws(Failure) -> Bool {
    let length = size
    if end <= length { return true }
    if isClosed { throw .closed }
    return traits.contains(.follow) ? try self.end() >= end : false
  }
}
