"""A lock on a folder, so that no two processes write to it at once.

The lock is one of the operating system, on the file `.lock` in the folder. It ends with the process that holds it,
however that process ends: a file that was left behind locks nothing.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bnnrl.storage.atomic import explained

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = ".lock"
_PATIENCE = 5.0  # seconds that a holder has to end in: runs that are told to stop take up to 3
_POLL_INTERVAL = 0.1  # seconds
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

_descriptors: set[int] = set()


class FolderInUseError(ValueError):
    """A folder that another process writes to."""


@contextmanager
def hold(folder: str | os.PathLike[str], warn: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a folder during the block.

    On a file system without locks, and on Windows, the block runs without one.

    Args:
        folder: an existing folder.
        warn: called with a message if the file system has no locks.

    Raises:
        FolderInUseError: if another process, or another block of this process, holds the lock and does not release it
            within 5 seconds.
        WriteError: if the folder cannot be written.
    """
    path = Path(folder) / NAME
    if fcntl is None:
        yield
        return
    with explained(path):
        descriptor = _acquire(path, warn)
    _descriptors.add(descriptor)
    try:
        yield
    finally:
        _descriptors.discard(descriptor)
        with suppress(OSError):
            if _is_at(path, descriptor):
                path.unlink()
        os.close(descriptor)


def _acquire(path: Path, warn: Callable[[str], None]) -> int:
    """Return the descriptor of the locked file; it is not locked if the file system has no locks."""
    deadline = time.monotonic() + _PATIENCE
    while (descriptor := _try_to_acquire(path, warn, is_last=time.monotonic() > deadline)) is None:
        time.sleep(_POLL_INTERVAL)
    _write_holder(descriptor)
    return descriptor


def _try_to_acquire(path: Path, warn: Callable[[str], None], is_last: bool) -> int | None:
    """Return the descriptor of the locked file, or None; raise FolderInUseError instead if the try is the last."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    locked = False
    try:
        _lock(descriptor, path, warn)
        locked = _is_at(path, descriptor)  # its last holder may have removed the file since it was opened
    except BlockingIOError:
        if is_last:
            raise _in_use(path, os.read(descriptor, 10_000)) from None
    finally:
        if not locked:
            os.close(descriptor)
    return descriptor if locked else None


def _lock(descriptor: int, path: Path, warn: Callable[[str], None]) -> None:
    """Lock the file, or raise BlockingIOError if another process has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # pyright: ignore[reportOptionalMemberAccess]
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        warn(f"The file system of {path.parent} has no locks: take care that no other process writes to this folder.")


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int) -> None:
    """Describe this process in the locked file. A full disk does not matter: others then do not learn who it is."""
    command = shlex.join(["bnnrl" if Path(sys.argv[0]).stem in ("bnnrl", "__main__") else sys.argv[0], *sys.argv[1:]])
    holder = {"process": os.getpid(), "host": socket.gethostname(), "command": command}
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(holder).encode())


def _in_use(path: Path, description: bytes) -> FolderInUseError:
    try:
        holder = json.loads(description)
        who = f"process {holder['process']} on {holder['host']} ({holder['command']})"
    except (ValueError, TypeError, KeyError):  # the holder could not write its description
        who = "another process"
    return FolderInUseError(
        f"Invalid run folder: expected one that no other process writes to. Received: {path.parent}, which {who} is "
        "writing to. Wait until that process has ended, stop it, or name another folder."
    )


def _close_inherited() -> None:
    """Close the descriptors in a forked child, which would otherwise keep the lock beyond its parent's end."""
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)
