"""Registration of the environments of bnnrl with Gymnasium, without importing Gymnasium before its user does."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def install() -> None:
    """Make `gymnasium.make("bnnrl/...")` work: register now if Gymnasium is imported, else as soon as it is.

    Gymnasium reads no entry points since version 1.0, and importing it takes longer than `import bnnrl` itself.
    """
    if "gymnasium" in sys.modules:
        importlib.import_module("bnnrl_envs")  # whose import registers the environments
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds Gymnasium as the other finders do, and has the environments registered once it is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "gymnasium":
            return None
        sys.meta_path.remove(self)  # so that the next line asks the other finders
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                importlib.import_module("bnnrl_envs")

            spec.loader.exec_module = execute_and_register
        return spec
