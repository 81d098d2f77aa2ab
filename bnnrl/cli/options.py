"""How options are shown by `--help`, and options whose values have names."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

import tyro

_WORDS = {"true": True, "false": False, "none": None}


def optional(metavar: str, default: str) -> Any:
    """Return the annotation of an option whose default is None.

    Args:
        metavar: how the help shows the value, such as "INT".
        default: what is used if the option is not given, as the help shows it.
    """
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


def named_values(words: Iterable[str], option: str = "set", example: str = "rank=10") -> dict[str, Any]:
    """Return the values by name that words of the form name=value give.

    A value is read as Python writes it, such as 9.8, True, [1, 2] or 'text', and otherwise taken as text.

    Args:
        words: the words.
        option: the name of the option, for the error.
        example: a valid word, for the error.

    Raises:
        ValueError: if a word is not name=value.
    """
    values = {}
    for word in words:
        name, _, value = word.partition("=")
        if not (value and name.isidentifier()):
            raise ValueError(f"Invalid `--{option}`: expected name=value, such as {example}. Received: {word!r}.")
        values[name] = _parse(value)
    return values


def _parse(value: str) -> Any:
    if value.lower() in _WORDS:
        return _WORDS[value.lower()]
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
