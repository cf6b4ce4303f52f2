import CErlNif
import CSystem
import ErlNif
import MemoryMap
import Structures

extension Call {
  @inline(__always)
  fileprivate func queue() throws(StructureError) -> UnsafeMutablePointer<QueueHandle> {
    guard let handle = unsafe library.queues.object(env, self[0]) else { throw .badArgument }
    return unsafe handle
  }

  /// A consumer: its index, and which one of that index it is, in one number.
  @inline(__always)
  fileprivate func consumer(_ index: Int) throws(StructureError) -> ConsumerName {
    let word = try number(index)
    return ConsumerName(index: word & 255, incarnation: word >> 8)
  }

  fileprivate func receipt(_ index: Int) throws(StructureError) -> Receipt {
    Receipt(number: try number(index), delivery: try number(index + 1))
  }

  fileprivate func term(_ name: ConsumerName) -> Term { env.integer(name.incarnation << 8 | name.index) }

  /// A binary of the message.
  @inline(__always)
  fileprivate func binary(_ bytes: UnsafeRawBufferPointer) throws(StructureError) -> Term {
    try unsafe binary(count: bytes.count) { target in
      if let source = bytes.baseAddress { unsafe target.copyMemory(from: source, byteCount: bytes.count) }
    }
  }

  /// What a message stands for: a term, or in a queue of bytes the binary.
  @inline(__always)
  fileprivate func decode(
    _ bytes: UnsafeRawBufferPointer, _ handle: UnsafeMutablePointer<QueueHandle>
  ) throws(StructureError) -> Term {
    if unsafe handle.pointee.queue.type != 0 { return try unsafe binary(bytes) }
    guard let term = unsafe env.decode(bytes) else { throw .undecodable }
    return term
  }
}

/// `queue_open(Path, ConsumerName, SegmentShift, MaxSize, Type, Mode, Uuid)`: Path is a binary that ends with NUL.
enum QueueOpen: StructureCall {
  static var name: StaticString { "queue_open" }
  static var blocking: NifFunction { { unsafe perform(QueueOpen.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    var options = QueueOptions()
    options.shift = try call.number(2)
    options.maximumSize = try call.number(3)
    options.type = UInt32(truncatingIfNeeded: try call.number(4))
    options.uuid = try call.uuid(6)
    let storage = try call.storage(path: 0, mode: 5)
    let opened = try QueueHandle(storage, options)
    guard let handle = unsafe library.queues.allocate() else { throw .file(.noMemory) }
    unsafe handle.initialize(to: opened)
    let term = unsafe call.env.resource(handle)
    unsafe releaseResource(handle)
    let name = try unsafe call.message(1)
    var found: ConsumerName? = nil
    try unsafe handle.pointee.queue.forEachConsumer { (other, consumer) in
      if unsafe other.elementsEqual(name) { found = consumer }
    }
    let consumer = found.map { call.term($0) } ?? call.atoms.notFound
    let type = unsafe call.env.integer(Int(handle.pointee.queue.type))
    return call.env.tuple([call.atoms.ok, term, type, consumer])
  }
}

/// `queue_push(Queue, Binary)`
enum QueuePush: StructureCall {
  static var name: StaticString { "queue_push" }
  static var blocking: NifFunction { { unsafe perform(QueuePush.self, $0, $1, $2, mayBlock: true) } }

  @inline(__always)
  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.queue()
    let bytes = try unsafe call.message(1)
    if !mayBlock && bytes.count > inlineBytes { return nil }
    try unsafe handle.pointee.queue.push(1, mayBlock: mayBlock) { _ in unsafe bytes }
    unsafe handle.pointee.wake(1, call.env)
    return call.atoms.ok
  }
}

/// `queue_push_list(Queue, [Binary])`
enum QueuePushList: StructureCall {
  static var name: StaticString { "queue_push_list" }
  static var blocking: NifFunction { { unsafe perform(QueuePushList.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.queue()
    var total = 0
    var messages = unsafe GrowableArray<UnsafeRawBufferPointer>()
    guard unsafe messages.reserve(128) else { throw .file(.noMemory) }
    let isList = try call.env.forEach(in: call[1]) { (element) throws(StructureError) in
      guard let bytes = unsafe call.env.bytes(element) else { throw .badArgument }
      total &+= bytes.count
      if unsafe !mayBlock && (total > inlineBytes || messages.count >= inlineCount) { throw .wouldWait }
      guard unsafe messages.append(bytes) else { throw .file(.noMemory) }
    }
    guard isList else { throw .badArgument }
    let elements = unsafe messages.elements
    try unsafe handle.pointee.queue.push(elements.count, mayBlock: mayBlock) { unsafe elements[$0] }
    unsafe call.charge(messages.count, total)
    unsafe handle.pointee.wake(messages.count, call.env)
    return call.atoms.ok
  }
}

/// `queue_pop(Queue, Consumer)`: `{ok, Term}`, or `empty`.
enum QueuePop: StructureCall {
  static var name: StaticString { "queue_pop" }
  static var blocking: NifFunction { { unsafe perform(QueuePop.self, $0, $1, $2, mayBlock: true) } }

  @inline(__always)
  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.queue()
    let name = try call.consumer(1)
    var result: Term? = nil
    _ = try unsafe handle.pointee.queue.pop(1, name, mayBlock: mayBlock) { (bytes) throws(StructureError) in
      if !mayBlock && bytes.count > inlineBytes { throw .wouldWait }
      result = try unsafe call.decode(bytes, handle)
    }
    guard let result else { return call.atoms.empty }
    return call.ok(result)
  }
}

/// `queue_pop_list(Queue, Consumer, Max)`: `{ok, [Term]}`, or `empty`.
enum QueuePopList: StructureCall {
  static var name: StaticString { "queue_pop_list" }
  static var blocking: NifFunction { { unsafe perform(QueuePopList.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.queue()
    let name = try call.consumer(1)
    let most = try call.number(2)
    var total = 0
    // Faster than cell by cell.
    var terms = GrowableArray<Term>()
    guard terms.reserve(min(most, 128)) else { throw .file(.noMemory) }
    // Nothing is gone before all are there: what does not fit here is done again elsewhere, from the start.
    _ = try unsafe handle.pointee.queue.pop(most, name, mayBlock: mayBlock) { (bytes) throws(StructureError) in
      total &+= bytes.count
      if !mayBlock && (total > inlineBytes || terms.count >= inlineCount) { throw .wouldWait }
      guard terms.append(try unsafe call.decode(bytes, handle)) else { throw .file(.noMemory) }
    }
    if terms.isEmpty { return most == 0 ? call.ok(call.env.emptyList) : call.atoms.empty }
    call.charge(terms.count, total)
    return call.ok(unsafe call.env.list(terms.elements))
  }
}

/// `queue_peek(Queue, Consumer)`: `{ok, Term}`, or `empty`.
enum QueuePeek: StructureCall {
  static var name: StaticString { "queue_peek" }
  static var blocking: NifFunction { { unsafe perform(QueuePeek.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.queue()
    let found = try unsafe handle.pointee.queue.peek(try call.consumer(1), mayBlock: mayBlock) {
      (bytes) throws(StructureError) in
      if !mayBlock && bytes.count > inlineBytes { throw .wouldWait }
      return try unsafe call.decode(bytes, handle)
    }
    guard let found else { return call.atoms.empty }
    return call.ok(found)
  }
}

/// `queue_take(Queue, Consumer)`: `{ok, Term, {Number, Delivery}}`, or `empty`.
enum QueueTake: StructureCall {
  static var name: StaticString { "queue_take" }
  static var blocking: NifFunction { { unsafe perform(QueueTake.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.queue()
    let consumer = try call.consumer(1)
    let found = try unsafe handle.pointee.queue.take(
      consumer,
      owner: { () throws(StructureError) in try unsafe handle.pointee.owner(call, of: consumer.index, handle) },
      mayBlock: mayBlock
    ) { (bytes) throws(StructureError) in
      if !mayBlock && bytes.count > inlineBytes { throw .wouldWait }
      return try unsafe call.decode(bytes, handle)
    }
    guard let (term, receipt) = found else { return call.atoms.empty }
    let name = call.env.tuple(call.env.integer(receipt.number), call.env.integer(receipt.delivery))
    return call.env.tuple([call.atoms.ok, term, name])
  }
}

/// `queue_ack(Queue, Consumer, Number, Delivery)`
enum QueueAck: StructureCall {
  static var name: StaticString { "queue_ack" }
  static var blocking: NifFunction { { unsafe perform(QueueAck.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let (handle, name) = (try unsafe call.queue(), try call.consumer(1))
    try unsafe handle.pointee.queue.acknowledge(try call.receipt(2), name, mayBlock: mayBlock)
    return call.atoms.ok
  }
}

/// `queue_nack(Queue, Consumer, Number, Delivery)`
enum QueueNack: StructureCall {
  static var name: StaticString { "queue_nack" }
  static var blocking: NifFunction { { unsafe perform(QueueNack.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let (handle, name) = (try unsafe call.queue(), try call.consumer(1))
    try unsafe handle.pointee.queue.giveBack(try call.receipt(2), name, mayBlock: mayBlock)
    unsafe handle.pointee.wake(1, of: name.index, call.env)
    return call.atoms.ok
  }
}

/// `queue_wait(Queue, Consumer, Reference)`: `ok` if `{emmap_queue, Reference}` is going to be sent, or `ready`.
enum QueueWait: StructureCall {
  static var name: StaticString { "queue_wait" }
  static var blocking: NifFunction { { unsafe perform(QueueWait.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let (handle, name) = (try unsafe call.queue(), try call.consumer(1))
    guard name.index < 192 else { throw .badArgument }
    return try unsafe handle.pointee.wait(call, call[2], name, handle) ? call.atoms.ok : call.atoms.ready
  }
}

/// `queue_cancel(Queue, Consumer, Reference)`: whether the message was not sent.
enum QueueCancel: StructureCall {
  static var name: StaticString { "queue_cancel" }
  static var blocking: NifFunction { { unsafe perform(QueueCancel.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let (handle, name) = (try unsafe call.queue(), try call.consumer(1))
    guard name.index < 192 else { throw .badArgument }
    return unsafe handle.pointee.takeBack(call[2], name) ? call.atoms.true : call.atoms.false
  }
}

/// `queue_sync(Queue, Reference, Ticket)`: `ok`, or the ticket to ask again with after `{emmap_queue, Reference}`.
enum QueueSync: StructureCall {
  static var name: StaticString { "queue_sync" }
  static var blocking: NifFunction { { unsafe perform(QueueSync.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.queue()
    return try unsafe term(
      handle.pointee.syncs.ask(
        call, call.atoms.queue, call[1], try call.number(2), mayBlock: mayBlock,
        check: { () throws(StructureError) in try unsafe handle.pointee.queue.check() },
        sync: { () throws(StructureError) in try unsafe handle.pointee.queue.sync() }), call)
  }
}

/// `queue_purge(Queue, Consumer)`
enum QueuePurge: StructureCall {
  static var name: StaticString { "queue_purge" }
  static var blocking: NifFunction { { unsafe perform(QueuePurge.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    try unsafe call.queue().pointee.queue.purge(try call.consumer(1))
    return call.atoms.ok
  }
}

/// `queue_consumer(Queue, Name, FromOldest)`: `{ok, Consumer}`.
enum QueueConsumer: StructureCall {
  static var name: StaticString { "queue_consumer" }
  static var blocking: NifFunction { { unsafe perform(QueueConsumer.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.queue()
    let name = try unsafe call.message(1)
    if name.count > 112 { throw .badArgument }
    return call.ok(
      call.term(try unsafe handle.pointee.queue.consumer(name, fromOldest: call[2] == call.atoms.true)))
  }
}

/// `queue_remove_consumer(Queue, Name)`
enum QueueRemoveConsumer: StructureCall {
  static var name: StaticString { "queue_remove_consumer" }
  static var blocking: NifFunction { { unsafe perform(QueueRemoveConsumer.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.queue()
    try unsafe handle.pointee.queue.removeConsumer(try call.message(1))
    unsafe handle.pointee.wakeAll(call.env)
    return call.atoms.ok
  }
}

/// `queue_read(Queue, Consumer, Position, Number, Epoch, Max)`: `{[Term], Position, Number, Epoch}`, without taking
/// them. With epoch 0 from the first message.
enum QueueRead: StructureCall {
  static var name: StaticString { "queue_read" }
  static var blocking: NifFunction { { unsafe perform(QueueRead.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let (handle, name) = (try unsafe call.queue(), try call.consumer(1))
    let (position, number, epoch) = (try call.number(2), try call.number(3), try call.number(4))
    let most = try call.number(5)
    var total = 0
    var (terms, count) = (call.env.emptyList, 0)
    let place = epoch == 0 ? nil : Place(position: position, number: number, epoch: epoch)
    let next = try unsafe handle.pointee.queue.read(from: place, name, mayBlock: mayBlock) {
      (bytes) throws(StructureError) in
      total &+= bytes.count
      if !mayBlock && total > inlineBytes { throw .wouldWait }
      terms = call.env.cell(try unsafe call.decode(bytes, handle), terms)
      count &+= 1
      return count < most && total < 1 << 20
    }
    call.charge(count, total)
    return call.env.tuple([
      call.env.reversed(terms), call.env.integer(next.position), call.env.integer(next.number),
      call.env.integer(next.epoch),
    ])
  }
}

/// `queue_length(Queue, Consumer)`
enum QueueLength: StructureCall {
  static var name: StaticString { "queue_length" }
  static var blocking: NifFunction { { unsafe perform(QueueLength.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.queue()
    return call.env.integer(try unsafe handle.pointee.queue.length(try call.consumer(1), mayBlock: mayBlock).messages)
  }
}

/// `queue_info(Queue, Consumer)`: a tuple that emmap_queue.erl makes a map of.
enum QueueInfo: StructureCall {
  static var name: StaticString { "queue_info" }
  static var blocking: NifFunction { { unsafe perform(QueueInfo.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let (handle, name) = (try unsafe call.queue(), try call.consumer(1))
    let (messages, bytes) = try unsafe handle.pointee.queue.length(name, mayBlock: true)
    let taken = try unsafe handle.pointee.queue.takenCount(name)
    var names = call.env.emptyList
    try unsafe handle.pointee.queue.forEachConsumer { (name, _) throws(StructureError) in
      names = call.env.cell(try unsafe call.binary(name), names)
    }
    let found = unsafe handle.pointee.queue.recovered
    let recovered =
      found.wasClean
      ? call.atoms.clean : call.env.tuple(call.env.integer(found.messages), call.env.integer(found.bytes))
    return unsafe call.env.tuple([
      call.env.integer(messages), call.env.integer(bytes), call.env.integer(taken),
      call.env.integer(handle.pointee.queue.fileSize), call.env.integer(handle.pointee.queue.sizeOfSegments),
      call.env.reversed(names), recovered,
    ])
  }
}

/// `queue_close(Queue)`
enum QueueClose: StructureCall {
  static var name: StaticString { "queue_close" }
  static var blocking: NifFunction { { unsafe perform(QueueClose.self, $0, $1, $2, mayBlock: true) } }

  static func answer(_ call: Call, mayBlock: Bool) throws(StructureError) -> Term? {
    let handle = try unsafe call.queue()
    defer { unsafe handle.pointee.wakeAll(call.env) }
    try unsafe handle.pointee.queue.close()
    return call.atoms.ok
  }
}
