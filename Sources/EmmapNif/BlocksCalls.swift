import CErlNif
import CSystem
import ErlNif
import MemoryMap
import Structures

/// How many words of bitmaps are looked at on a normal scheduler: most of them without a block.
private let inlineWords = 4096
/// How many bytes, or blocks, are checked before somebody else may have the dirty scheduler.
private let checkedBytes = 64 << 20
private let checkedBlocks = 1 << 17

extension Call {
  @inline(__always)
  fileprivate func blocks() throws(StructureError) -> UnsafeMutablePointer<BlocksHandle> {
    guard let handle = unsafe library.blocks.object(env, self[0]) else { throw .badArgument }
    return unsafe handle
  }

  /// Tells processes apart: the lower bits of a process's word are the same for all.
  @inline(__always)
  fileprivate var callerNumber: UInt { (env.caller()?.word ?? 0) >> 4 }

  /// A binary of a block of few bytes; `total` is their number.
  @inline(__always)
  fileprivate func smallBlock(
    _ handle: UnsafeMutablePointer<BlocksHandle>, _ address: Int, _ total: inout Int
  ) throws(StructureError) -> Term {
    var term = atoms.ok
    total = try unsafe handle.pointee.blocks.read(address, mayBlock: false) { (count) throws(StructureError) in
      if count > inlineBytes { throw .wouldWait }
      guard let binary = unsafe env.newBinary(count: count) else { throw .file(.noMemory) }
      unsafe term = binary.term
      return unsafe binary.start
    }
    return term
  }

  /// A binary of any block; or its bytes go to `buffer`, and a binary is not made. Their number is added to `total`.
  @inline(never)
  fileprivate func block(
    _ handle: UnsafeMutablePointer<BlocksHandle>, _ address: Int, _ buffer: UnsafeMutableRawPointer?, mayBlock: Bool,
    _ total: inout Int
  ) throws(StructureError) -> Term {
    var term = atoms.ok
    var large: LargeBinary? = nil
    total &+= try unsafe handle.pointee.blocks.read(address, mayBlock: mayBlock) { (count) throws(StructureError) in
      if let buffer = unsafe buffer { return unsafe buffer }
      if !mayBlock && count > inlineBytes { throw .wouldWait }
      // A second one takes the place of the first.
      large = nil
      if count > largeBytes {
        large = LargeBinary(count: count)
        guard let start = unsafe large?.start else { throw .file(.noMemory) }
        return unsafe start
      }
      guard let binary = unsafe env.newBinary(count: count) else { throw .file(.noMemory) }
      unsafe term = binary.term
      return unsafe binary.start
    }
    return large.take()?.term(in: env) ?? term
  }

  /// An address, or `done`.
  fileprivate func next(_ address: Int?) -> Term { address.map { env.integer($0) } ?? atoms.done }
}

/// `blocks_open(Path, BlockSize, MaxSize, Mode, Uuid)`: `{ok, Blocks, BlockSize}`. Path is a binary that ends with NUL.
enum BlocksOpen: StructureCall {
  static var name: StaticString { "blocks_open" }
  static var blocking: NifFunction { { unsafe perform(BlocksOpen.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    var options = BlocksOptions()
    options.blockSize = try call.number(1)
    options.maximumSize = try call.number(2)
    options.uuid = try call.uuid(4)
    let storage = try call.storage(path: 0, mode: 3, creates: options.blockSize > 0)
    let opened = try BlocksHandle(storage, options)
    guard let handle = unsafe library.blocks.allocate() else { throw .file(.noMemory) }
    unsafe handle.initialize(to: opened)
    let term = unsafe call.env.resource(handle)
    unsafe releaseResource(handle)
    return unsafe call.env.tuple([call.atoms.ok, term, call.env.integer(handle.pointee.blocks.blockSize)])
  }
}

/// `blocks_store(Blocks, Binary)`: the address.
enum BlocksStore: StructureCall {
  static var name: StaticString { "blocks_store" }
  static var blocking: NifFunction { { unsafe perform(BlocksStore.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.blocks()
    let bytes = try unsafe call.message(1)
    if !mayBlock && bytes.count > inlineBytes { return nil }
    let address = try unsafe handle.pointee.blocks.store(bytes, caller: call.callerNumber, mayBlock: mayBlock)
    call.charge(1, bytes.count)
    return call.env.integer(address)
  }
}

/// `blocks_read(Blocks, Address)`: a binary.
enum BlocksRead: StructureCall {
  static var name: StaticString { "blocks_read" }
  static var blocking: NifFunction { { unsafe perform(BlocksRead.self, $0, $1, $2, mayBlock: true) } }

  @inline(__always)
  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let (handle, address) = (try unsafe call.blocks(), try call.number(1))
    var total = 0
    let block =
      unsafe mayBlock
      ? try call.block(handle, address, nil, mayBlock: true, &total) : try call.smallBlock(handle, address, &total)
    call.charge(1, total)
    return block
  }
}

/// `blocks_free(Blocks, Address)`
enum BlocksFree: StructureCall {
  static var name: StaticString { "blocks_free" }
  static var blocking: NifFunction { { unsafe perform(BlocksFree.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.blocks()
    try unsafe handle.pointee.blocks.free(try call.number(1), caller: call.callerNumber, mayBlock: mayBlock)
    return call.atoms.ok
  }
}

/// `blocks_read_list(Blocks, From, Max)`: `{[{Address, Binary}], Next}`, with at most Max blocks, and no more than a
/// normal scheduler should read at once: there may be none in it, and more behind Next. Next is `done` if there are none.
/// A damaged one is an error if it is the first, and Next otherwise.
enum BlocksReadList: StructureCall {
  static var name: StaticString { "blocks_read_list" }
  static var blocking: NifFunction { { unsafe perform(BlocksReadList.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.blocks()
    let from = try call.number(1)
    let most = min(try call.number(2), inlineCount)
    var total = 0
    var (blocks, count) = (call.env.emptyList, 0)
    var next: Int? = nil
    do throws(StructureError) {
      var stop: Int? = nil
      next = try unsafe handle.pointee.blocks.forEach(from: from, words: inlineWords) {
        (address) throws(StructureError) in
        if count >= most || total > inlineBytes {
          stop = address
          return false
        }
        do throws(StructureError) {
          let block = try unsafe call.block(handle, address, nil, mayBlock: mayBlock, &total)
          blocks = call.env.cell(call.env.tuple(call.env.integer(address), block), blocks)
          count &+= 1
          return true
        } catch {
          switch error {
          // Freed meanwhile.
          case .notFound: return true
          case .corrupt: throw .corrupt(address)
          default: throw error
          }
        }
      }
      next = stop ?? next
    } catch {
      guard case .corrupt(let place) = error else { throw error }
      // A word of a bitmap stands for blocks before the first, too.
      next = max(place, from)
      if count == 0 { throw .corrupt(max(place, from)) }
    }
    // What was looked at in vain costs something, too.
    call.charge(count &+ 16, total)
    return call.env.tuple(call.env.reversed(blocks), call.next(next))
  }
}

/// `blocks_check(Blocks, From)`: `{Blocks, Bytes, [Address], Next}`: how many are good, their bytes, and which are not;
/// Next as in `blocks_read_list`.
enum BlocksCheck: StructureCall {
  static var name: StaticString { "blocks_check" }
  static var blocking: NifFunction { { unsafe perform(BlocksCheck.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.blocks()
    let from = try call.number(1)
    guard let buffer = unsafe malloc(handle.pointee.blocks.blockSize) else { throw .file(.noMemory) }
    defer { unsafe free(buffer) }
    var (count, total, damaged) = (0, 0, 0)
    var corrupt = call.env.emptyList
    var next: Int? = nil
    do throws(StructureError) {
      next = try unsafe handle.pointee.blocks.forEach(from: from, words: checkedBlocks) {
        (address) throws(StructureError) in
        do throws(StructureError) {
          _ = try unsafe call.block(handle, address, buffer, mayBlock: true, &total)
          count &+= 1
        } catch {
          switch error {
          case .notFound: break
          case .corrupt:
            corrupt = call.env.cell(call.env.integer(address), corrupt)
            damaged &+= 1
          default: throw error
          }
        }
        return total < checkedBytes && count &+ damaged < checkedBlocks
      }
    } catch {
      guard case .corrupt(let place) = error else { throw error }
      // A word of a bitmap: nobody knows which of its blocks there are.
      corrupt = call.env.cell(call.env.integer(max(place, from)), corrupt)
      next = max(place, from) &+ 1
    }
    return call.env.tuple([
      call.env.integer(count), call.env.integer(total), call.env.reversed(corrupt), call.next(next),
    ])
  }
}

/// `blocks_count(Blocks)`
enum BlocksCount: StructureCall {
  static var name: StaticString { "blocks_count" }
  static var blocking: NifFunction { { unsafe perform(BlocksCount.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    call.env.integer(try unsafe call.blocks().pointee.blocks.count(mayBlock: mayBlock))
  }
}

/// `blocks_info(Blocks)`: a tuple that emmap_blocks.erl makes a map of.
enum BlocksInfo: StructureCall {
  static var name: StaticString { "blocks_info" }
  static var blocking: NifFunction { { unsafe perform(BlocksInfo.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.blocks()
    let count = try unsafe handle.pointee.blocks.count(mayBlock: true)
    let waiting = try unsafe handle.pointee.blocks.waitingCount()
    let found = unsafe handle.pointee.blocks.recovered
    return unsafe call.env.tuple([
      call.env.integer(handle.pointee.blocks.blockSize), call.env.integer(count), call.env.integer(waiting),
      call.env.integer(handle.pointee.blocks.room), call.env.integer(handle.pointee.blocks.fileSize),
      found.wasClean ? call.atoms.clean : call.env.integer(found.dropped),
    ])
  }
}

/// `blocks_sync(Blocks, Reference, Ticket)`: `ok`, or the ticket to ask again with after `{emmap_blocks, Reference}`.
enum BlocksSync: StructureCall {
  static var name: StaticString { "blocks_sync" }
  static var blocking: NifFunction { { unsafe perform(BlocksSync.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.blocks()
    return try unsafe term(
      handle.pointee.syncs.ask(
        call, call.atoms.blocks, call[1], try call.number(2), mayBlock: mayBlock,
        check: { () throws(StructureError) in try unsafe handle.pointee.blocks.check() },
        sync: { () throws(StructureError) in try unsafe handle.pointee.blocks.sync() }), call)
  }
}

/// `blocks_close(Blocks)`
enum BlocksClose: StructureCall {
  static var name: StaticString { "blocks_close" }
  static var blocking: NifFunction { { unsafe perform(BlocksClose.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.blocks()
    defer { unsafe handle.pointee.syncs.wakeAll(call.env) }
    try unsafe handle.pointee.blocks.close()
    return call.atoms.ok
  }
}
