"""Values of settings, from the words of a command line or from a file, checked against the types of a field."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bnnrl.checks import nearest
from bnnrl.cli import schema
from bnnrl.cli.schema import Class, Field, Kind

_WORDS = {"true": True, "false": False, "none": None, "null": None}
_EXPECTED = {"int": "an integer", "float": "a number", "bool": "True or False", "str": "text", "None": "None"}
_ENTRIES = {"int": "integers", "float": "numbers", "str": "words"}
_WARM_START = ("bnnrl.inference.warm_start", "WarmStart")  # a wrapper, which has no name


class Refused(ValueError):
    """A value that a field does not take.

    Args:
        message: what was expected and received.
        path: names of the fields that lead to the value, the outermost first.
    """

    def __init__(self, message: str, path: tuple[str, ...] = ()):
        super().__init__(message)
        self.path = path


def from_words(field: Field, words: Sequence[str]) -> Any:
    """Return the value of a field that an option's words give, as JSON-able data.

    Settings, such as a Schedule, are written as JSON: '{"class": "Schedule", "initial": 0.01, "steps": 500}'.

    Raises:
        Refused: if the field does not take it.
    """
    if any(kind.name == "tuple" for kind in field.kinds):
        return convert(field, list(words))
    word = words[0]
    if field.classes and word.lstrip().startswith("{"):
        try:
            return convert(field, json.loads(word))
        except json.JSONDecodeError as error:
            raise Refused(f"expected JSON. Received: {word!r} ({error}).") from error
    return convert(field, word)


def convert_all(fields: Sequence[Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return values for several fields by name; an entry "class" is kept as it is.

    Raises:
        Refused: for an unknown field, or a value that its field does not take.
    """
    known = {field.name: field for field in fields}
    found = {}
    for name, value in given.items():
        if name == "class":
            found[name] = value
            continue
        if name not in known:
            near = nearest(str(name), known)
            raise Refused(f"expected one of {list(known)}. Received: {name!r}.{near}", (str(name),))
        try:
            found[name] = convert(known[name], value)
        except Refused as refused:
            raise Refused(str(refused), (name, *refused.path)) from refused
    return found


def convert(field: Field, value: Any) -> Any:
    """Return a value for a field as JSON-able data; settings as a mapping with the name of their "class".

    A mapping without a class gives some fields of the settings that the field has by default. Numbers and truth values
    may be given as text, because a shell knows text only, and because YAML reads 1e-3 as text.

    Raises:
        Refused: if the field takes no such value.
    """
    if isinstance(value, Mapping) and field.classes:
        return convert_all(schema.fields_of(_class_of(field, value)), value)
    for kind in sorted(field.kinds, key=lambda kind: kind.name == "str"):  # text last, since it takes every word
        found = _CONVERTERS.get(kind.name, _named)(kind, value)
        if found is not _UNFIT:
            return found
    raise Refused(f"expected {expected(field)}. Received: {value!r}.{_near(field, value)}")


def _class_of(field: Field, value: Mapping[str, Any]) -> Class:
    """Return the class of the settings that a mapping gives, or raise Refused if it is not one of the field's."""
    name = value.get("class")
    if name is None and field.default_class:
        return field.default_class
    allowed = {kind.name: (kind.module, kind.name) for kind in field.classes}
    if "Method" in allowed:
        allowed = {cls[1]: cls for cls in (*schema.names("method").values(), _WARM_START)}
    if not isinstance(name, str) or name not in allowed:
        near = nearest(name, allowed) if isinstance(name, str) else ""
        raise Refused(f"expected a class, one of {sorted(allowed)}. Received: {name!r}.{near}", ("class",))
    return allowed[name]


def expected(field: Field) -> str:
    """Return what a field takes, in words."""
    return " or ".join(dict.fromkeys(_expected_of(kind) for kind in field.kinds))


def _expected_of(kind: Kind) -> str:
    if kind.name == "choice":
        return f"one of {list(kind.choices)}"
    if kind.name == "tuple":
        return f"a list of {_ENTRIES[kind.entry]}"
    if kind.name == "Method":
        return f"a method, one of {sorted(schema.names('method'))}"
    return f"a mapping with the class {kind.name}" if kind.module else _EXPECTED[kind.name]


def _near(field: Field, value: Any) -> str:
    choices = [choice for kind in field.kinds for choice in kind.choices]
    if any(kind.name == "Method" for kind in field.kinds):
        choices += schema.names("method")
    return nearest(value, choices) if isinstance(value, str) else ""


_UNFIT: Any = object()  # what a converter returns for a value that is none of its type


def _none(kind: Kind, value: Any) -> Any:
    is_word = isinstance(value, str) and _WORDS.get(value.lower(), value) is None
    return None if value is None or is_word else _UNFIT


def _flag(kind: Kind, value: Any) -> Any:
    value = _WORDS.get(value.lower()) if isinstance(value, str) else value
    return value if isinstance(value, bool) else _UNFIT


def _number(read: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, bool) or (read is int and isinstance(value, float)):
        return _UNFIT
    try:
        return read(value)
    except (TypeError, ValueError, OverflowError):
        return _UNFIT


def _tuple(kind: Kind, value: Any) -> Any:
    if isinstance(value, Mapping) and kind.entry == "str":  # such as env_kwargs: {gravity: 9.8}
        value = [f"{name}={entry}" for name, entry in value.items()]
    if not isinstance(value, list | tuple):
        return _UNFIT
    entries = [_CONVERTERS[kind.entry](Kind(kind.entry), entry) for entry in value]
    return _UNFIT if any(entry is _UNFIT for entry in entries) else entries


def _named(kind: Kind, value: Any) -> Any:
    """Return the settings of the method that has a name, with its default values."""
    cls = schema.class_of_name("method", value) if isinstance(value, str) else None
    return {"class": cls[1]} if cls and kind.name in ("Method", cls[1]) else _UNFIT


_CONVERTERS: dict[str, Callable[[Kind, Any], Any]] = {
    "None": _none,
    "bool": _flag,
    "int": lambda kind, value: _number(int, value),
    "float": lambda kind, value: _number(float, value),
    "str": lambda kind, value: value if isinstance(value, str) else _UNFIT,
    "tuple": _tuple,
    "choice": lambda kind, value: value if value in kind.choices else _UNFIT,
}
