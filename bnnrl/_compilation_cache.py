"""A cache of compiled programs on disk, so that a second process does not compile what a first one has compiled.

TensorFlow itself reads and writes the programs (`--tf_xla_persistent_cache_directory` in TF_XLA_FLAGS). TensorFlow
raises an error, however, where a program is damaged or cannot be written. This module therefore chooses the folder,
removes damaged programs before bnnrl compiles its first function, bounds the size, and recovers from a full disk.

Programs are machine code, so the folder's name holds TensorFlow's version and the processor's features. The folder
belongs to the user alone. The environment variable BNNRL_CACHE is "0" for no cache, or another folder.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import platform
import re
import zlib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

MOST_BYTES = 256 * 2**20  # some 500 programs
_FREE_BYTES = 2**29  # on a disk with less space left, the cache is not used
_CHECKSUMS = "checksums.json"  # file name -> [time of the last change in ns, CRC-32]
_FLAG = "tf_xla_persistent_cache"

_folder: Path | None = None  # the folder in use
_checked: Path | None = None  # the folder from which damaged programs were removed


class CacheError(RuntimeError):
    """The cache can be neither read nor written, although it was emptied. TensorFlow cannot stop using a cache."""


def root() -> Path | None:
    """Return the folder of all caches, or None if BNNRL_CACHE turns the cache off."""
    setting = os.environ.get("BNNRL_CACHE", "")
    if setting.lower() in ("0", "off", "false", "no"):
        return None
    if setting:
        return Path(setting).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("bnnrl") / "programs"


def programs(folder: Path) -> list[Path]:
    """Return the compiled programs below a folder."""
    return sorted(folder.rglob("*.pb"))


def enable() -> None:
    """Make TensorFlow use the cache, if TensorFlow has run no operation yet; otherwise this changes nothing.

    The cache is left off where BNNRL_CACHE says so, where TF_XLA_FLAGS names another cache, and where the folder cannot
    be written, belongs to somebody else, or is on a full disk.
    """
    global _folder
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if _folder is not None:
        return
    if _FLAG in flags:
        _folder = _inherited(flags)
        return
    with suppress(OSError, RuntimeError, PackageNotFoundError):  # RuntimeError: no home folder
        parent = root()
        if parent is None:
            return
        folder = parent / f"{version('tensorflow')}-{_key(flags)}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_usable(folder):
            return
        cache = f"--{_FLAG}_directory={folder} --{_FLAG}_prefix=bnnrl"
        os.environ["TF_XLA_FLAGS"] = f"{flags} {cache}".strip()
        _folder = folder


def check() -> None:
    """Remove damaged programs from the cache in use and bound its size, at the first call in a process.

    The check reads every program, which takes some 0.1 s for a full cache. The module `bnnrl.compiled` therefore calls
    it, and not `import bnnrl`. A function of the user's own that XLA compiles before bnnrl compiles one is not covered.
    """
    global _checked
    if _folder is None or _folder == _checked:
        return
    _checked = _folder
    with suppress(OSError):
        _bound(_folder.parent, MOST_BYTES)
        _remove_damaged(_folder)
        atexit.register(_record, _folder, os.getpid())


def is_cause(error: Exception) -> bool:
    """Return whether an error comes from reading or writing a program of the cache."""
    return _folder is not None and str(_folder) in str(error)


def recover(error: Exception) -> bool:
    """Empty the cache if an error comes from it, and return whether that was so.

    A damaged program is compiled anew at the next call, and there is space for new ones. TensorFlow cannot stop using
    a cache.
    """
    if _folder is None or not is_cause(error):
        return False
    clear(_folder)
    return True


def clear(folder: Path) -> int:
    """Remove the programs below a folder, and return the number of files removed."""
    removed = 0
    for path in (*programs(folder), *folder.rglob("*.tmp"), *folder.rglob(_CHECKSUMS)):
        with suppress(OSError):
            path.unlink()
            removed += 1
    return removed


def _inherited(flags: str) -> Path | None:
    """Return the folder that a parent process has enabled, or None if the cache is the user's own."""
    found = re.search(rf"--{_FLAG}_directory=(\S+) --{_FLAG}_prefix=bnnrl", flags)
    return Path(found[1]) if found else None


def _key(flags: str) -> str:
    """Return a hash of what a compiled program depends on, besides the program and TensorFlow's version."""
    return hashlib.sha256("\n".join((_processor(), os.environ.get("XLA_FLAGS", ""), flags)).encode()).hexdigest()[:16]


def _processor() -> str:
    """Return a description of the processor, with its instruction sets where Linux lists them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.platform()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU "))}))


def _is_usable(folder: Path) -> bool:
    owned = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()  # programs of others are not run
    space = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize if hasattr(os, "statvfs") else _FREE_BYTES
    return owned and os.access(folder, os.W_OK | os.X_OK) and space >= _FREE_BYTES


def _bound(parent: Path, most: int) -> None:
    """Remove the programs that were not used for longest, of all versions, until they take three quarters of `most`."""
    found = [(path.stat(), path) for path in programs(parent)]
    size = sum(stat.st_size for stat, _ in found)
    if size <= most:
        return
    for stat, path in sorted(found, key=lambda pair: max(pair[0].st_atime, pair[0].st_mtime)):
        if size <= 0.75 * most:
            break
        path.unlink(missing_ok=True)
        size -= stat.st_size


def _remove_damaged(folder: Path) -> None:
    """Remove programs that are not as they were written."""
    known = _read_checksums(folder)
    for path in programs(folder):
        content, (changed, checksum) = path.read_bytes(), known.get(path.name, (0, 0))
        is_whole = zlib.crc32(content) == checksum if path.stat().st_mtime_ns == changed else _is_message(content)
        if not is_whole:
            path.unlink(missing_ok=True)


def _record(folder: Path, process: int) -> None:
    """Write the checksums of the programs; called when the process that checked the cache ends."""
    if os.getpid() != process:  # a forked child
        return
    with suppress(OSError):
        known = _read_checksums(folder)
        for path in programs(folder):
            changed = path.stat().st_mtime_ns
            if known.get(path.name, (0, 0))[0] != changed:
                known[path.name] = (changed, zlib.crc32(path.read_bytes()))
        unfinished = folder / f"{_CHECKSUMS}.{process}"
        unfinished.write_text(json.dumps(known))
        unfinished.replace(folder / _CHECKSUMS)


def _read_checksums(folder: Path) -> dict[str, tuple[int, int]]:
    try:
        found = json.loads((folder / _CHECKSUMS).read_text())
        return {name: (changed, checksum) for name, (changed, checksum) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # there is none yet, or it is damaged
        return {}


def _is_message(content: bytes) -> bool:
    """Return whether `content` is a whole protocol buffer message: its fields fill it to the last byte.

    This check is for programs without a checksum yet, as those of a process that is still running or was killed. It
    finds a file that was cut off or overwritten.
    """
    position, size = 0, len(content)
    try:
        while position < size:
            tag, position = _varint(content, position)
            kind = tag & 7
            if tag >> 3 == 0 or kind not in (0, 1, 2, 5):
                return False
            if kind == 0:
                _, position = _varint(content, position)
            elif kind == 2:
                length, position = _varint(content, position)
                position += length
            else:
                position += 8 if kind == 1 else 4
    except IndexError:
        return False
    return size > 0 and position == size


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Return the number at a position, seven bits a byte, and the position behind it."""
    value = shift = 0
    while True:
        byte = content[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128 or shift > 63:
            return value, position
