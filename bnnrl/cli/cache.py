"""`bnnrl cache`: the cache of compiled programs, shown or cleared."""

from __future__ import annotations

from dataclasses import dataclass

from bnnrl import _compilation_cache
from bnnrl.exit_codes import DONE


@dataclass
class Cache:
    """Show or clear the cache of compiled programs, which lets later runs start sooner.

    Example: `bnnrl cache --clear`. To turn the cache off, set the environment variable BNNRL_CACHE to 0; to move it,
    set BNNRL_CACHE to the path of another folder.
    """

    clear: bool = False
    """Remove all programs from the cache."""

    def run(self) -> int:
        """Print the folder, the number of programs and their size, and return the exit code."""
        root = _compilation_cache.root()
        if root is None:
            print("The cache is off: BNNRL_CACHE=0.")
            return DONE
        if self.clear:
            _compilation_cache.clear(root)
        sizes = [path.stat().st_size for path in _compilation_cache.programs(root)]
        print(f"folder: {root}\nprograms: {len(sizes)}\nmegabytes: {sum(sizes) / 2**20:.1f}")
        print(f"most_megabytes: {_compilation_cache.MOST_BYTES / 2**20:g}")
        return DONE
