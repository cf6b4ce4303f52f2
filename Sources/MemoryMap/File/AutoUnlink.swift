import CSystem

/// A file that is to be deleted, as with its handle, and its name: behind all links, so that a link stays.
@safe struct AutoUnlink {
  /// Allocated with malloc.
  private let path: UnsafeMutablePointer<CChar>
  private let device: UInt
  private let inode: UInt

  /// Takes the name that leads to a file now.
  init(_ path: UnsafePointer<CChar>, _ status: stat) throws(Failure) {
    guard let path = unsafe realpath(path, nil) else { throw .lastError }
    unsafe self.path = path
    device = UInt(status.st_dev)
    inode = UInt(status.st_ino)
  }

  /// Deletes the name, unless it names another file by now, and frees the path. To be called once, or `forget`.
  func run() {
    var status = stat()
    if unsafe sys_lstat(path, &status) == 0, UInt(status.st_dev) == device, UInt(status.st_ino) == inode {
      _ = unsafe unlink(path)
    }
    forget()
  }

  /// Frees the path.
  func forget() { unsafe free(path) }
}
