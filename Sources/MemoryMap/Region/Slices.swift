import CSystem

/// Does something to a range of memory slice by slice: changing a mapping, and bringing pages in, holds a lock that every
/// allocation of the process needs, for a time that grows with the pages there. Others get their turn in between, after
/// a slice that took long enough to have had pages.
///
/// `body` is called with where a slice begins and its length, and returns whether to go on. Slices are pages, at the most
/// `largest` bytes of them, and become smaller while they take longer than others should wait: what a page costs differs
/// from system to system by far more than ten times.
func inSlices(_ start: UInt, _ length: Int, largest: Int, _ page: PageSize, _ body: (UInt, Int) -> Bool) {
  let largest = page.roundDown(max(largest, page.bytes))
  let smallest = min(largest, max(smallestSlice, page.bytes))
  var (size, done) = (largest, 0)
  while done < length {
    let count = min(size, length - done)
    let begin = sys_nanoseconds()
    guard body(start + UInt(done), count) else { return }
    done += count
    let took = sys_nanoseconds() &- begin
    if took > longWait && size > smallest { size = page.roundDown(max(size / 2, smallest)) }
    if took < longWait / 4 && size < largest { size = min(size * 2, largest) }
    if done < length && took > noticeableWait { sys_rest() }
  }
}

/// Nanoseconds that others may well wait for a slice, and those below which nobody has waited.
private var longWait: Int64 { 2_000_000 }
private var noticeableWait: Int64 { 20_000 }
private var smallestSlice: Int { 1 << 16 }
