"""`bnnrl cache`: the cache of compiled programs."""

from __future__ import annotations

from dataclasses import dataclass

from bnnrl import _compilation_cache


@dataclass
class Cache:
    """Show the cache of compiled programs, which makes a second run start sooner, or clear it.

    Set the environment variable BNNRL_CACHE to 0 to turn the cache off, or to the path of another folder.
    """

    clear: bool = False
    """Remove all programs."""

    def run(self) -> int:
        """Print folder, number of programs and size, and return the exit code."""
        root = _compilation_cache.root()
        if root is None:
            print("The cache is off: BNNRL_CACHE=0.")
            return 0
        if self.clear:
            _compilation_cache.clear(root)
        sizes = [path.stat().st_size for path in _compilation_cache.programs(root)]
        print(f"folder: {root}\nprograms: {len(sizes)}\nmegabytes: {sum(sizes) / 2**20:.1f}")
        print(f"most_megabytes: {_compilation_cache.MOST_BYTES / 2**20:g}")
        return 0
