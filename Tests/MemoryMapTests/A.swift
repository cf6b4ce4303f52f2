import Testing
@testable import MemoryMap
@Test func empty() {}
