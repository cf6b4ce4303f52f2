import ErlNif

/// The atoms that calls return or understand, made once at load.
struct Atoms {
  var ok, error, eof, badarg: Term
  var bof, cur, `true`, `false`: Term
  var add, sub, band, bor, bxor, xchg: Term
  var normal, random, sequential, willNeed, dontNeed, noReuse: Term
  var closed, truncated, fixedSize, tooShort, notSupported: Term
  var misaligned, outOfRange, readOnly: Term
  var double: Term
  var empty, locked, full, corrupt, badMagic, notFound, lastConsumer, ready, queue, clean, term: Term

  init(_ env: Environment) {
    ok = env.atom("ok")
    error = env.atom("error")
    eof = env.atom("eof")
    badarg = env.atom("badarg")
    bof = env.atom("bof")
    cur = env.atom("cur")
    `true` = env.atom("true")
    `false` = env.atom("false")
    add = env.atom("add")
    sub = env.atom("sub")
    band = env.atom("band")
    bor = env.atom("bor")
    bxor = env.atom("bxor")
    xchg = env.atom("xchg")
    normal = env.atom("normal")
    random = env.atom("random")
    sequential = env.atom("sequential")
    willNeed = env.atom("will_need")
    dontNeed = env.atom("dont_need")
    noReuse = env.atom("no_reuse")
    closed = env.atom("closed")
    truncated = env.atom("truncated")
    fixedSize = env.atom("fixed_size")
    tooShort = env.atom("too_short")
    notSupported = env.atom("eopnotsupp")
    misaligned = env.atom("misaligned")
    outOfRange = env.atom("out_of_range")
    readOnly = env.atom("read_only")
    double = env.atom("double")
    empty = env.atom("empty")
    locked = env.atom("locked")
    full = env.atom("full")
    corrupt = env.atom("corrupt")
    badMagic = env.atom("bad_magic")
    notFound = env.atom("not_found")
    lastConsumer = env.atom("last_consumer")
    ready = env.atom("ready")
    queue = env.atom("emmap_queue")
    clean = env.atom("clean")
    term = env.atom("term")
  }
}
