import CSystem

/// A file that is to be deleted, as with its handle, and its name.
@safe struct AutoUnlink {
  /// Allocated with malloc.
  let path: UnsafeMutablePointer<CChar>
  let device: UInt
  let inode: UInt

  /// Deletes the name, unless it names another file by now, and frees the path. To be called once.
  consuming func run() {
    var status = stat()
    if unsafe sys_lstat(path, &status) == 0, UInt(status.st_dev) == device, UInt(status.st_ino) == inode {
      _ = unsafe unlink(path)
    }
    unsafe free(path)
  }
}
