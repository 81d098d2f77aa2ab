"""Atomic writes: write a sibling file, then rename it. A reader finds the old file or the new one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REMEDIES = {
    errno.ENOSPC: "Free some space on its disk.",
    errno.EDQUOT: "Free some space of your quota on its disk.",
    errno.EFBIG: "Raise the limit on the size of files, see `ulimit -f`.",
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "Make the folder writable."),
    errno.EIO: "Check its disk.",
    errno.EMFILE: "Raise the limit on open files, see `ulimit -n`.",
}


class WriteError(OSError):
    """A file or folder that cannot be written. The message names the cause and a remedy.

    Args:
        message: the message.
        number: the operating system's number of the cause, as in the module `errno`.
    """

    def __init__(self, message: str, number: int | None = None):
        super().__init__(message)
        self.errno = number

    @property
    def disk_full(self) -> bool:
        """Whether the disk, the user's quota or the limit on the size of files is exhausted."""
        return self.errno in _FULL


@contextmanager
def explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise an OSError of the block, which writes to `path`, as a WriteError."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "Check the folder and its disk.")
        message = f"Cannot write {os.fspath(path)}: {error.strerror or error}. {remedy}"
        raise WriteError(message, error.errno) from error


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `path` to write to.

    The new file is flushed to disk and replaces `path` when the block ends. After an error the new file is removed, and
    `path` is left as it was.

    Raises:
        WriteError: if the operating system refuses to write.
    """
    path = Path(path)
    unfinished = path.parent / f".{path.name}.new"
    with explained(path):
        try:
            yield unfinished
            flush(unfinished)
            os.replace(unfinished, path)
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until the content of a file or the entries of a folder are on disk.

    Some file systems report a full disk no sooner than here. Windows cannot flush a folder, or a file that is open for
    reading: nothing happens there.
    """
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
