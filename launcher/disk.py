"""Have room on the disk before anything is written there."""

import ctypes
import errno
import os

UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What a file system answers that reserves nothing: NFS 3, Lustre on ZFS, FUSE."""


def allocate(descriptor: int, count: int) -> None:
    """Give an open file ``count`` bytes. Raises OSError, one of `UNSUPPORTED` where it cannot.

    Linux's own fallocate(2): where the file system has none, glibc's posix_fallocate, which
    Python has, writes to every block instead (its manual page, NOTES).
    """
    fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(descriptor, 0, 0, count) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
