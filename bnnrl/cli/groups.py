"""Groups of settings on the command line, such as `--dynamics.hidden`: one for each dataclass that a command sets.

The fields of the groups "method", "policy" and "likelihood" are those of the class that is named, so that the options
of `bnnrl train --method hmc --help` are those of HMC.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import tyro

from bnnrl.cli import schema, values
from bnnrl.cli.schema import Field, Kind

Group = tyro.conf.Suppress[dict[str, Any]]  # the annotation of a command's field that holds the settings of a group

UNNAMED_METHOD = "ensemble"  # the method whose settings are options where none is named
_NAMED = ("method", "policy", "likelihood")  # groups whose class a setting of the same name gives
_FIELDS = "_fields"  # ends the name of a command's field that holds such a group
_DEFAULTS = {"method": "chosen for the run", "_OF_PRESET": "that of the method"}


def groups_of(command: type) -> dict[str, str]:
    """Return the groups of a command, and the field of the command that holds each."""
    groups = [field.name for field in dataclasses.fields(command) if field.type == "Group"]
    return {name.removesuffix(_FIELDS): name for name in groups}


def plain_fields(command: type) -> tuple[Field, ...]:
    """Return the settings of a command that are in no group."""
    found = []
    for field in dataclasses.fields(command):
        if field.type != "Group":
            kinds = schema.kinds_of(ast.parse(str(field.type), mode="eval").body, __name__)
            found.append(Field(field.name, kinds, None, ""))
    return tuple(found)


def fields_of_group(group: str, names: Mapping[str, Sequence[str]]) -> tuple[Field, ...]:
    """Return the fields of a group.

    Args:
        group: its name.
        names: for the groups "method", "policy" and "likelihood", the names that are chosen. Of several methods, the
            fields that all of them have are returned.
    """
    if group in _NAMED:
        classes = [cls for name in names[group] if (cls := schema.class_of_name(group, name))]
        fields = [schema.fields_of(cls) for cls in classes] or [()]
        common = set.intersection(*({field.name for field in each} for each in fields))
        return tuple(field for field in fields[0] if field.name in common)
    if group == "search":
        return schema.fields_of(schema.SEARCH)
    fields = {field.name: field for field in schema.fields_of(schema.DYNAMICS)}
    method = fields.pop("method")
    if group == "reward_model":
        fields = {
            name: field._replace(doc=f"As --dynamics.{name.replace('_', '-')}.") for name, field in fields.items()
        }
        fields["method"] = method._replace(kinds=(Kind("str"),), doc="Name of the inference method.")
    return tuple(fields.values())


def options_class(path: str, fields: Sequence[Field], chosen: Mapping[str, str], doc: str = "") -> type:
    """Return a dataclass from which tyro makes the options of a group.

    Args:
        path: where the group is, such as "method" or "method.optimizer".
        fields: the fields of the group.
        chosen: the names of classes for the settings within the group, by their path.
        doc: the description of the group.
    """
    options: list[tuple[str, Any, Any]] = []
    for field in fields:
        inner = f"{path}.{field.name}"
        if len(field.classes) > 1 or not field.default_class or "Method" in (kind.name for kind in field.kinds):
            options.append((field.name, _annotation(path, field), dataclasses.field(default=_UNSET)))
        if field.default_class:
            cls = schema.class_of_name("method", chosen.get(inner, "")) or field.default_class
            group = options_class(inner, schema.fields_of(cls), chosen, f"Settings of {cls[1]}, in `{inner}`.")
            options.append((field.name + _FIELDS, named(group, field.name), dataclasses.field(default_factory=group)))
    made = dataclasses.make_dataclass("Options", options)
    made.__doc__ = doc or None
    return made


def named(cls: type, name: str) -> Any:
    """Return the annotation of a field whose options begin with a name of their own."""
    return Annotated[cls, tyro.conf.arg(name=name)]


def given(options: Any) -> dict[str, Any]:
    """Return what was given of the options of a group, as JSON-able data."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            if inner := given(value):
                name = field.name.removesuffix(_FIELDS)
                found[name] = {**found.get(name, {}), **inner}
        elif value is not _UNSET:
            found[field.name] = value
    return found


def merged(below: Any, above: Any) -> Any:
    """Return settings of two sources; where both give a value, the one `above`. Another class replaces all fields."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    if above.get("class", below.get("class")) != below.get("class"):
        return above
    return {**below, **{name: merged(below.get(name), value) for name, value in above.items()}}


def paths_of(options: type, path: str) -> list[str]:
    """Return the dotted names of the options of a group and of the groups within."""
    found = []
    for field in dataclasses.fields(options):
        inner = f"{path}.{field.name.removesuffix(_FIELDS)}"
        group = field.default_factory
        found += paths_of(group, inner) if isinstance(group, type) else [inner]
    return found


_UNSET: Any = type("Unset", (), {"__repr__": lambda self: "not given"})()  # the value of an option that is not given


def _annotation(path: str, field: Field) -> Any:
    is_tuple = any(kind.name == "tuple" for kind in field.kinds)
    spec = tyro.constructors.PrimitiveConstructorSpec(
        nargs="*" if is_tuple else 1,
        metavar=_metavar(field),
        instance_from_str=lambda words: values.from_words(field, words),
        is_instance=lambda value: True,
        str_from_instance=lambda value: [],
    )
    group, _, inner = path.partition(".")
    source = "_OF_PRESET" if inner and group in ("dynamics", "reward_model") else field.default or ""
    default = _DEFAULTS.get(group) or _DEFAULTS.get(source, source)
    return Annotated[Any, spec, tyro.conf.arg(help=field.doc, help_behavior_hint=f"(default: {default})")]


def _metavar(field: Field) -> str:
    names = {"int": "INT", "float": "FLOAT", "bool": "{True,False}", "str": "STR", "None": "None", "Method": "NAME"}
    words = []
    for kind in field.kinds:
        if kind.name == "tuple":
            words.append(f"{names[kind.entry]} [{names[kind.entry]} ...]")
        else:
            words.append(names.get(kind.name, "JSON"))
    return "|".join(dict.fromkeys(words))
