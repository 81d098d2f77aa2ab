"""Options and settings of version 0.2.0 that have other names now, which work until version 0.3.0."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bnnrl._moved import REMOVED_IN
from bnnrl.cli.options import named_values

# Option of `bnnrl train` and `bnnrl compare`, a field of Train in 0.2.0 -> group and field.
_MOVED = {
    "hidden": ("dynamics", "hidden"),
    "members": ("dynamics", "size"),
    "steps": ("dynamics", "steps"),
    **{name: ("search", name) for name in ("restarts", "updates", "rounds", "scout_updates", "candidates")},
}
_HYPER = "hyper"  # field of Fit in 0.2.0: hyper-parameters of the method as name=value, by the option --set


def renamed(argv: Sequence[str], warn: Callable[[str], None]) -> list[str]:
    """Return a command line with the present names of options, and warn of each old one."""
    command = argv[0] if argv else ""
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if command in ("train", "compare") and word.startswith("--") and name in _MOVED:
            new = "--" + ".".join(_MOVED[name]).replace("_", "-")
            words.append(new + equals + value)
        elif command == "fit" and word == "--set":
            pairs = [rest.pop(0) for _ in range(_count_values(rest))]
            new = "--method.NAME VALUE"
            words += [part for pair in pairs for part in _as_options(pair)]
        else:
            words.append(word)
            continue
        warn(f"--{name.replace('_', '-')} is deprecated and will be removed in {REMOVED_IN}. Use {new}.")
    return words


def _count_values(words: Sequence[str]) -> int:
    return next((i for i, word in enumerate(words) if word.startswith("--")), len(words))


def _as_options(pair: str) -> list[str]:
    named_values([pair])  # raises ValueError unless it is name=value
    name, _, value = pair.partition("=")
    return [f"--method.{name.replace('_', '-')}", *_words(value)]


def _words(value: str) -> list[str]:
    """Return the words of a value, several for a list or tuple as Python writes it."""
    found = named_values([f"value={value}"])["value"]
    return [str(entry) for entry in found] if isinstance(found, list | tuple) else [value.strip("'\"")]


def migrated(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run of any version as this version has them."""
    found = dict(settings)
    for old, (group, name) in _MOVED.items():
        is_old = "dataset" not in found and old in found  # `bnnrl fit` has an option --hidden of its own
        value = found.pop(old) if is_old else None
        if value is not None:
            found[group] = {name: value, **found.get(group, {})}
    if pairs := found.pop(_HYPER, None):
        found["method_fields"] = {**named_values(pairs), **found.get("method_fields", {})}
    return found
