import CErlNif
import CSystem
import ErlNif
import MemoryMap

/// How many bytes one access looks through: a writer in `lock` mode waits for no more.
private let pieceBytes = 1 << 20
/// After how many bytes, counted once for each pattern, a call comes back: a process that is killed is gone then.
private let callBytes = 64 << 20
/// And after how many matches; each takes some 15 nanoseconds.
private let callMatches = 16 << 10
private let inlineMatches = 1 << 10
/// More patterns than this, or longer ones than a sixteenth of a small read, are not even looked at on a normal
/// scheduler.
private let inlinePatterns = 64

/// `search(Handle, Patterns, From, To | eof, Limit | last)`: `{Next | done, Matches}`, of a part of the range. `Next` is
/// where to go on: the new `From` or, for `last`, the new `To`. `out_of_range` if the range ends past the end.
enum Search: NifCall {
  static var name: StaticString { "search" }
  static var blocking: NifFunction { { unsafe perform(Search.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    var patterns = Patterns()
    var isMuch = false
    let isList = try call.env.forEach(in: call[1]) { (term) throws(Failure) in
      guard let bytes = unsafe call.env.bytes(term) else { throw .badArgument }
      isMuch = isMuch || (patience == .none && (patterns.count == inlinePatterns || bytes.count > smallReadBytes / 16))
      if !isMuch { try unsafe patterns.append(bytes) }
    }
    if isMuch { return nil }
    guard isList, patterns.count > 0 else { throw .badArgument }
    var from = try call.natural(2)
    var to = call[3] == call.atoms.eof ? nil : try call.natural(3)
    let isBackwards = call[4] == call.atoms.last
    let limit = min(isBackwards ? 1 : try call.natural(4), patience == .none ? inlineMatches : callMatches)
    let budget = max((patience == .none ? smallReadBytes : callBytes) / patterns.count, 1)

    var found = GrowableArray<Match>()
    var looked = 0
    while true {
      let piece = min(pieceBytes, budget)
      let outcome =
        isBackwards
        ? try unsafe handle.pointee.file.searchBackwards(
          patterns, from: from, to: to, piece: piece, into: &found, patience)
        : try unsafe handle.pointee.file.search(
          patterns, from: from, to: to, piece: piece, limit: limit - found.count, into: &found, patience)
      guard case .done(let state) = outcome else {
        // What has been searched stays so; the rest comes with the next call.
        guard looked > 0, let place = isBackwards ? to : from else { return nil }
        return answer(call, call.env.integer(place), found, patience)
      }
      looked += max(piece, patterns.longest)
      switch state {
      case .finished: return answer(call, call.atoms.done, found, patience)
      case .next(let place):
        if found.count == limit || (looked >= budget && patience != .none) {
          return answer(call, call.env.integer(place), found, patience)
        }
        // What is not found at once is looked for elsewhere.
        if patience == .none { return nil }
        if isBackwards { to = place } else { from = place }
      }
    }
  }

  private static func answer(
    _ call: Call, _ next: Term, _ found: borrowing GrowableArray<Match>, _ patience: Patience
  ) -> Term {
    if patience == .none { call.env.consumeTimeslice(percent: 1 + found.count / 500) }
    var list = call.env.emptyList
    for index in found.indices.reversed() {
      let match = found[index]
      list = call.env.cell(call.env.tuple(call.env.integer(match.position), call.env.integer(match.length)), list)
    }
    return call.env.tuple(next, list)
  }
}

/// How many lines one call makes at most; each takes some 15 nanoseconds.
private let callLines = 4 << 10

/// `lines(Handle, Limit)`: a list of lines, each as `read_line` has it, in binaries that are part of one of at most
/// `smallReadBytes` bytes; or one line that is longer.
enum Lines: NifCall {
  static var name: StaticString { "lines" }
  static var blocking: NifFunction { { unsafe perform(Lines.self, $0, $1, $2, mayBlock: true) } }

  static func run(_ call: Call, _ patience: Patience) throws(Failure) -> Term? {
    guard let handle = try unsafe call.handle(patience) else { return nil }
    let limit = try min(call.natural(1), callLines)
    guard limit > 0 else { throw .badArgument }
    guard let lines = unsafe allocateMemory(for: Line.self, count: limit) else { throw .noMemory }
    defer { unsafe free(lines) }
    return try unsafe call.atPosition(handle, atEnd: call.atoms.eof) { (start) throws(Failure) in
      try unsafe call.lines(handle, at: start, lines, limit, patience)
    }
  }
}

/// A line in a piece of the file.
private struct Line {
  /// Where the next one begins.
  let end: Int32
  /// Whether it ends with `\r\n`.
  let hasReturn: Bool
}

extension Call {
  /// Makes a list of lines from `offset` on; `lines` has room for `limit` of them.
  @inline(__always)
  fileprivate func lines(
    _ handle: UnsafeMutablePointer<Handle>, at offset: Int, _ lines: UnsafeMutablePointer<Line>, _ limit: Int,
    _ patience: Patience
  ) throws(Failure) -> Outcome<Bytes> {
    var isTooLong = false
    let outcome = try unsafe handle.pointee.file.access(.read, at: offset, count: smallReadBytes, patience) {
      region, start, count -> (Bytes?, touched: Int) in
      var (number, done, returns) = (0, 0, 0)
      func add(upTo end: Int) {
        // SAFETY: of the bytes of the line, end - done of them, this is the last but one.
        let hasReturn = unsafe end &- done > 1 && start.load(fromByteOffset: end &- 2, as: UInt8.self) == 0x0D
        // SAFETY: `number` is below `limit`, and `lines` has room for as many.
        unsafe lines[number] = Line(end: Int32(truncatingIfNeeded: end), hasReturn: hasReturn)
        number &+= 1
        returns &+= hasReturn ? 1 : 0
        done = end
      }
      var looked = 0
      while number < limit && looked &+ 64 <= count {
        var newlines = unsafe sys_newlines(start + looked)
        while newlines != 0 && number < limit {
          add(upTo: looked &+ newlines.trailingZeroBitCount &+ 1)
          newlines &= newlines &- 1
        }
        looked &+= 64
      }
      while number < limit && done < count {
        let from = max(done, looked)
        if let newline = unsafe memchr(start + from, 0x0A, count &- from) {
          add(upTo: unsafe UnsafeRawPointer(newline) - UnsafeRawPointer(start) &+ 1)
        } else if count == smallReadBytes {
          // It goes on; the next call begins with it.
          break
        } else {
          unsafe lines[number] = Line(end: Int32(truncatingIfNeeded: count), hasReturn: false)
          number &+= 1
          done = count
        }
      }
      if number == 0 {
        isTooLong = true
        return (nil, touched: count)
      }
      let found = unsafe UnsafeBufferPointer(start: lines, count: number)
      let isDirect = unsafe handle.pointee.file.traits.contains(.direct)
      let list = unsafe isDirect ? parts(region, start, found) : copies(start, found, returns)
      return (list.map { Bytes(term: $0, count: done) }, touched: done)
    }
    if isTooLong { return try unsafe longLine(handle, at: offset, patience) }
    if patience == .none, case .done(let bytes?) = outcome {
      env.consumeTimeslice(percent: 1 + bytes.count / (2 << 10))
    }
    return try orNoMemory(outcome)
  }

  /// A line that is longer than what many are made of is one of its own.
  @inline(never)
  private func longLine(
    _ handle: UnsafeMutablePointer<Handle>, at offset: Int, _ patience: Patience
  ) throws(Failure) -> Outcome<Bytes> {
    switch try unsafe line(handle, at: offset, patience) {
    case .done(let line): return .done(Bytes(term: env.cell(line.term, env.emptyList), count: line.count))
    case .outside: return .outside
    case .wouldWait: return .wouldWait
    }
  }

  /// Makes a list of lines that are parts of one copy. Nil when memory is out.
  @inline(__always)
  private func copies(
    _ start: UnsafeMutableRawPointer, _ lines: UnsafeBufferPointer<Line>, _ returns: Int
  ) -> Term? {
    let count = unsafe Int(lines[lines.count &- 1].end)
    let copy = unsafe env.binary(count: count &- returns) { target in
      if returns == 0 { return unsafe sys_copy(target, start, count) }
      var (from, to) = (0, 0)
      for index in lines.indices {
        let line = unsafe lines[index]
        let end = Int(line.end)
        let text = end &- from &- (line.hasReturn ? 2 : 0)
        unsafe sys_copy(target + to, start + from, text)
        to &+= text
        if line.hasReturn {
          unsafe target.storeBytes(of: 0x0A, toByteOffset: to, as: UInt8.self)
          to &+= 1
        }
        from = end
      }
    }
    var list = env.emptyList
    var end = count &- returns
    for index in lines.indices.reversed() {
      let line = unsafe lines[index]
      let before = unsafe index == 0 ? 0 : Int(lines[index &- 1].end)
      let length = Int(line.end) &- before &- (line.hasReturn ? 1 : 0)
      end &-= length
      list = env.cell(env.part(of: copy, at: end, count: length), list)
    }
    return list
  }

  /// Makes a list of lines that point into the mapping; what ends with `\r\n` is a copy.
  private func parts(
    _ region: UnsafeMutablePointer<Region>, _ start: UnsafeMutableRawPointer, _ lines: UnsafeBufferPointer<Line>
  ) -> Term? {
    let all = unsafe env.binary(of: region, start, count: Int(lines[lines.count &- 1].end))
    var list = env.emptyList
    for index in lines.indices.reversed() {
      let line = unsafe lines[index]
      let from = unsafe index == 0 ? 0 : Int(lines[index &- 1].end)
      let length = Int(line.end) &- from
      let term =
        line.hasReturn
        ? unsafe env.binary(count: length &- 1) { target in
          unsafe sys_copy(target, start + from, length &- 2)
          unsafe target.storeBytes(of: 0x0A, toByteOffset: length &- 2, as: UInt8.self)
        }
        : env.part(of: all, at: from, count: length)
      list = env.cell(term, list)
    }
    return list
  }
}
