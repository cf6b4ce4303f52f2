#if DEBUG
  /// Rules of the formats that a test may leave out, to see that it finds what they are there for.
  public struct Omissions: OptionSet, Sendable {
    /// The bits.
    public let rawValue: Int
    /// Takes the bits as they are.
    public init(rawValue: Int) { self.rawValue = rawValue }

    /// Opening takes a new epoch.
    public static let newEpoch = Omissions(rawValue: 1 << 0)
    /// Opening syncs what it found before it is written down as found.
    public static let syncBeforeOpen = Omissions(rawValue: 1 << 1)
    /// Opening syncs consumers' places and superblock before anything else.
    public static let syncAfterOpen = Omissions(rawValue: 1 << 2)
    /// Segments are reused only when a superblock that does not need them is on disk.
    public static let lateReuse = Omissions(rawValue: 1 << 3)
    /// Records and blocks are checked.
    public static let checksum = Omissions(rawValue: 1 << 4)
    /// The checksum covers the epoch.
    public static let epochInChecksum = Omissions(rawValue: 1 << 5)
    /// A sync syncs.
    public static let syncData = Omissions(rawValue: 1 << 6)
    /// One that makes room syncs what consumers have not passed.
    public static let syncWhatIsLeft = Omissions(rawValue: 1 << 15)
    /// The copy of a place that is on disk is not written to.
    public static let keepSafeCopy = Omissions(rawValue: 1 << 7)
    /// Neither is the one that the sync in progress brings there.
    public static let keepPendingCopy = Omissions(rawValue: 1 << 8)
    /// The superblock is written after the data are on disk.
    public static let superblockLast = Omissions(rawValue: 1 << 9)
    /// A batch that is not complete is cut.
    public static let wholeBatches = Omissions(rawValue: 1 << 10)
    /// A message whose last piece is missing is cut.
    public static let wholeMessages = Omissions(rawValue: 1 << 11)
    /// There are two superblocks.
    public static let twoSuperblocks = Omissions(rawValue: 1 << 12)
    /// A scan never goes back to an older epoch.
    public static let epochsAscend = Omissions(rawValue: 1 << 13)
    /// A consumer above the tail is moved down.
    public static let consumersBelowTail = Omissions(rawValue: 1 << 14)
    /// A sync begins an epoch of blocks.
    public static let epochOfSync = Omissions(rawValue: 1 << 15)
    /// A word of a bitmap says when it was changed.
    public static let tags = Omissions(rawValue: 1 << 16)
    /// A block whose data did not come to disk is dropped.
    public static let dropTorn = Omissions(rawValue: 1 << 17)
    /// A descriptor is made void only when it is on disk that the block is free.
    public static let lateVoid = Omissions(rawValue: 1 << 18)
    /// A block whose descriptor is not void is not stored to: what is freed waits until that is on disk.
    public static let voidBeforeStore = Omissions(rawValue: 1 << 19)
    /// The bit is set behind the data.
    public static let bitLast = Omissions(rawValue: 1 << 20)
    /// The checks of bitmaps and marks.
    public static let seals = Omissions(rawValue: 1 << 21)
    /// What is left of a group that the file is too short for is cleared.
    public static let clearRest = Omissions(rawValue: 1 << 22)
  }
#endif
