"""Module paths and names of version 0.1.0 still work; those that have moved warn."""

import importlib
import pkgutil
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest

from bnnrl import _moved

# Each line is a public module of version 0.1.0 and the names that it defined.
_LINES = (Path(__file__).parent / "fixtures" / "0.1.0" / "names.txt").read_text().splitlines()
NAMES_0_1_0 = {module: names.split() for module, names in (line.split(":") for line in _LINES)}


def import_quietly(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(module)


def test_importing_the_package_warns_of_nothing():
    found = subprocess.run([sys.executable, "-W", "error", "-c", "import bnnrl"], capture_output=True, timeout=60)
    assert (found.returncode, found.stderr) == (0, b"")


@pytest.mark.parametrize("module", NAMES_0_1_0)
def test_every_name_of_0_1_0_resolves_at_its_old_path(module):
    old = import_quietly(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        values = {name: getattr(old, name) for name in NAMES_0_1_0[module]}
    # A new module of the same path as an old function would resolve too, and be the wrong thing.
    modules = [name for name, value in values.items() if isinstance(value, ModuleType)]
    assert module == "bnnrl" or not modules


def deprecation_of(old, new):
    """Return the context that expects the warning for `old`."""
    message = f"{old} is deprecated and will be removed in 0.3.0. Use {new}."
    return pytest.warns(DeprecationWarning, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize("module", _moved.MODULES)
def test_an_old_module_path_warns_once(module, monkeypatch):
    import_quietly(module.rpartition(".")[0])
    monkeypatch.delitem(sys.modules, module, raising=False)
    with deprecation_of(module, " or ".join(_moved.MODULES[module])) as warned:
        importlib.import_module(module)
    assert len(warned) == 1


@pytest.mark.parametrize(("old", "new"), _moved.NAMES.items())
def test_an_old_name_warns_once_and_is_the_new_one(old, new):
    module, name = old.rsplit(".", 1)
    new_module, new_name = new.rsplit(".", 1)
    with deprecation_of(old, new) as warned:
        value = getattr(import_quietly(module), name)
    assert len(warned) == 1
    assert value is getattr(importlib.import_module(new_module), new_name)


@pytest.mark.parametrize(("old", "new"), _moved.REPLACED.items())
def test_a_replaced_name_warns_of_its_successor(old, new):
    module, name = old.rsplit(".", 1)
    with deprecation_of(old, new) as warned:
        getattr(import_quietly(module), name)
    assert len(warned) == 1
    assert pkgutil.resolve_name(new) is not None


def test_run_folders_by_the_old_functions(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from bnnrl.folders import create, kind_of, read_config  # pyright: ignore[reportMissingImports]
    assert kind_of(tmp_path) is None
    assert create(tmp_path / "a", "digits", "fit", {"seed": 3}, "run it again", ".") == tmp_path / "a"
    assert kind_of(tmp_path / "a") == "fit" and [p.name for p in (tmp_path / "a").iterdir()] == ["config.json"]
    assert read_config(tmp_path / "a", "fit", "bnnrl fit")["settings"] == {"seed": 3}
    with pytest.raises(ValueError, match="made by `bnnrl train`"):
        read_config(tmp_path / "a", "run", "bnnrl train")


def test_warnings_point_at_the_users_line(monkeypatch):
    monkeypatch.delitem(sys.modules, "bnnrl.files", raising=False)
    with deprecation_of("bnnrl.files", "bnnrl.storage.atomic") as warned:
        import bnnrl.files  # pyright: ignore[reportMissingImports]
    with deprecation_of("bnnrl.files.replacing", "bnnrl.storage.atomic.atomic_write") as warned_of_name:
        bnnrl.files.replacing  # noqa: B018
    assert [w.filename for w in (*warned, *warned_of_name)] == [__file__] * 2


@pytest.mark.parametrize("module", ["bnnrl.files", "bnnrl.seeds", "bnnrl.commands.runs", "bnnrl.rl.search"])
def test_an_unknown_name_is_an_attribute_error(module):
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'nonsense'"):
        import_quietly(module).nonsense  # noqa: B018


def test_the_tables_hold_only_modules_of_0_1_0():
    assert {*_moved.MODULES, *(old.rpartition(".")[0] for old in (*_moved.NAMES, *_moved.REPLACED))} <= set(NAMES_0_1_0)
