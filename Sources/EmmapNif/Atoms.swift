import ErlNif

/// The atoms that calls return or understand, made once at load.
struct Atoms {
  var ok, error, eof, badarg: Term
  var bof, cur, `true`, `false`: Term
  var add, sub, band, bor, bxor, xchg, min, max: Term
  var i8, i16, i32, i64, u8, u16, u32, u64: Term
  var normal, random, sequential, willNeed, dontNeed, noReuse, hugePage, noHugePage, cold, pageOut: Term
  var closed, truncated, fixedSize, tooShort, notSupported: Term
  var misaligned, outOfRange, readOnly: Term
  var done, double, last, locked, shared, exclusive, none: Term
  var timeout, awaited: Term
  var tooLong, wrongBlockSize: Term
  var empty, full, corrupt, badMagic, notFound, lastConsumer, ready, queue, blocks, clean, term: Term

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
    min = env.atom("min")
    max = env.atom("max")
    i8 = env.atom("i8")
    i16 = env.atom("i16")
    i32 = env.atom("i32")
    i64 = env.atom("i64")
    u8 = env.atom("u8")
    u16 = env.atom("u16")
    u32 = env.atom("u32")
    u64 = env.atom("u64")
    normal = env.atom("normal")
    random = env.atom("random")
    sequential = env.atom("sequential")
    willNeed = env.atom("will_need")
    dontNeed = env.atom("dont_need")
    noReuse = env.atom("no_reuse")
    hugePage = env.atom("huge_page")
    noHugePage = env.atom("no_huge_page")
    cold = env.atom("cold")
    pageOut = env.atom("page_out")
    closed = env.atom("closed")
    truncated = env.atom("truncated")
    fixedSize = env.atom("fixed_size")
    tooShort = env.atom("too_short")
    notSupported = env.atom("eopnotsupp")
    misaligned = env.atom("misaligned")
    outOfRange = env.atom("out_of_range")
    readOnly = env.atom("read_only")
    done = env.atom("done")
    double = env.atom("double")
    last = env.atom("last")
    locked = env.atom("locked")
    shared = env.atom("shared")
    exclusive = env.atom("exclusive")
    none = env.atom("none")
    timeout = env.atom("timeout")
    awaited = env.atom("emmap_await")
    empty = env.atom("empty")
    full = env.atom("full")
    corrupt = env.atom("corrupt")
    badMagic = env.atom("bad_magic")
    notFound = env.atom("not_found")
    tooLong = env.atom("too_long")
    wrongBlockSize = env.atom("wrong_block_size")
    lastConsumer = env.atom("last_consumer")
    ready = env.atom("ready")
    queue = env.atom("emmap_queue")
    blocks = env.atom("emmap_blocks")
    clean = env.atom("clean")
    term = env.atom("term")
  }
}
