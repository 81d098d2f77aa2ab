"""Options of the environment on the command line: keyword arguments, wrappers and reset options."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

_WORDS = {"true": True, "false": False, "none": None}


def parse_arguments(option: str, words: Iterable[str]) -> dict[str, Any]:
    """Return the keyword arguments that words such as "gravity=9.8" name.

    A value is read as Python writes it, such as 9.8, True, [1, 2] or 'text', and otherwise taken as text.

    Args:
        option: the name of the option, for the error.
        words: the words.

    Raises:
        ValueError: if a word is not name=value.
    """
    arguments = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (equals and name.isidentifier()):
            raise ValueError(f"Invalid `--{option}`: expected name=value, such as gravity=9.8. Received: {word!r}.")
        arguments[name] = _parse(value)
    return arguments


def _parse(value: str) -> Any:
    if value.lower() in _WORDS:
        return _WORDS[value.lower()]
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def arguments_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of PILCO and check for the options "preset", "env_kwargs", "wrapper" and "reset_options"."""
    env_kwargs = parse_arguments("env-kwargs", options["env_kwargs"] or ())
    if options["preset"]:
        env_kwargs = {"preset": options["preset"], **env_kwargs}
    reset_options = parse_arguments("reset-options", options["reset_options"] or ())
    return {
        "env_kwargs": env_kwargs,
        "wrappers": tuple(options["wrapper"] or ()),
        "reset_options": reset_options or None,
    }
