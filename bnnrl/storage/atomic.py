"""Atomic writes: write a sibling file, then rename it. A reader finds the old file or the new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `path` to write to.

    The new file replaces `path` when the block ends. After an error it is removed, and `path` is left as it was.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.new")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
