"""Fields of settings dataclasses, read from their source, so that the command line knows them without TensorFlow.

The dataclasses stand in modules that import TensorFlow, which takes seconds. Their source has all that an option needs:
the name, the type, the default value, and the description in the docstring's section "Args".
"""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

DYNAMICS = ("bnnrl.rl.simulator.settings", "Dynamics")
SEARCH = ("bnnrl.rl.search.settings", "PolicySearch")
_TABLES = {  # module and name of the dictionary that names the classes of a kind
    "method": ("bnnrl.inference.registry", "REGISTRY"),
    "policy": ("bnnrl.rl.pilco", "_POLICIES"),
    "likelihood": ("bnnrl.likelihoods", "_TYPES"),
}
_PLAIN = ("int", "float", "bool", "str", "None")

Class = tuple[str, str]  # module and name


class Kind(NamedTuple):
    """One of the types that a field allows."""

    name: str  # of a plain type, "tuple", "choice", or of a settings class
    entry: str = ""  # the type of a tuple's entries
    choices: tuple[str, ...] = ()
    module: str = ""  # of a settings class


class Field(NamedTuple):
    """A field of a settings dataclass."""

    name: str
    kinds: tuple[Kind, ...]
    default: str | None  # source of the default value; None if the field is required
    doc: str

    @property
    def classes(self) -> tuple[Kind, ...]:
        """The settings classes among the field's types."""
        return tuple(kind for kind in self.kinds if kind.module)

    @property
    def default_class(self) -> Class | None:
        """The class of the default value of a field that holds settings; None for any other field."""
        if not self.classes or len(self.classes) < len(self.kinds):
            return None
        named = re.search(r"default_factory=(?:lambda: )?(\w+)", self.default or "")
        wanted = named.group(1) if named else self.classes[0].name
        found = [(kind.module, kind.name) for kind in self.classes if kind.name == wanted]
        return found[0] if found else class_of_name("method", wanted)


@cache
def names(kind: str) -> dict[str, Class]:
    """Return the classes of a kind, "method", "policy" or "likelihood", by the names that its table gives them."""
    module, table = _TABLES[kind]
    value = _definition(module, table)
    if not isinstance(value, ast.Dict):
        raise TypeError(f"{module}.{table} is no dictionary of classes.")
    return {
        str(ast.literal_eval(key)): _locate(module, entry.id)
        for key, entry in zip(value.keys, value.values, strict=True)
        if key is not None and isinstance(entry, ast.Name)
    }


def class_of_name(kind: str, name: str) -> Class | None:
    """Return the class with a registered name or a class name; None if there is none."""
    found = names(kind)
    return found.get(name.lower()) or next((cls for cls in found.values() if cls[1] == name), None)


@cache
def fields_of(cls: Class) -> tuple[Field, ...]:
    """Return the fields of a settings dataclass that its constructor takes, those of its base classes first."""
    module, name = cls
    definition = _definition(module, name)
    if not isinstance(definition, ast.ClassDef):
        raise TypeError(f"{module}.{name} is no class.")
    docs = _argument_docs(ast.get_docstring(definition) or "")
    found = {field.name: field for base in _bases(module, definition) for field in fields_of(base)}
    for line in definition.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            default = None if line.value is None else ast.unparse(line.value)
            field, kinds = line.target.id, kinds_of(line.annotation, module)
            if default and "init=False" in default:
                found.pop(field, None)
            elif kinds:
                found[field] = Field(field, kinds, default, docs.get(field, ""))
    return tuple(found.values())


def kinds_of(annotation: ast.expr, module: str) -> tuple[Kind, ...]:
    """Return the types that an annotation allows; none for a ClassVar."""
    if isinstance(annotation, ast.BinOp):
        return kinds_of(annotation.left, module) + kinds_of(annotation.right, module)
    text = ast.unparse(annotation)
    if text in _PLAIN:
        return (Kind(text),)
    if isinstance(annotation, ast.Subscript):
        return _kinds_of_subscript(annotation, module)
    if not isinstance(annotation, ast.Name):
        return ()
    defining, name = _locate(module, text)
    if not defining.startswith("bnnrl"):
        return ()
    definition = _definition(defining, name)
    if isinstance(definition, ast.ClassDef):
        return (Kind(name, module=defining),)
    return kinds_of(definition, defining)  # an alias, such as StepSize = float | CurvatureStep


def _kinds_of_subscript(annotation: ast.Subscript, module: str) -> tuple[Kind, ...]:
    outer, inner = ast.unparse(annotation.value), annotation.slice
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if outer in ("Annotated", "tyro.conf.Positional", "tyro.conf.Suppress"):
        return kinds_of(parts[0], module)
    if outer == "Literal":
        return (Kind("choice", choices=tuple(ast.literal_eval(part) for part in parts)),)
    if outer == "tuple":
        return (Kind("tuple", entry=ast.unparse(parts[0])),)
    return ()


def _argument_docs(docstring: str) -> dict[str, str]:
    """Return the descriptions of arguments in a docstring's section "Args", by name."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", docstring, re.MULTILINE)
    found: dict[str, str] = {}
    name = ""
    for line in section.group(1).splitlines() if section else ():
        if entry := re.match(r" {4}(\w+): (.*)", line):
            name = entry.group(1)
            found[name] = entry.group(2)
        elif line.startswith(" " * 8):
            found[name] += " " + line.strip()
    return found


def _bases(module: str, definition: ast.ClassDef) -> list[Class]:
    """Return the base classes that are dataclasses of the same module."""
    same = {line.name: line for line in _tree(module).body if isinstance(line, ast.ClassDef)}
    bases = [base.id for base in definition.bases if isinstance(base, ast.Name) and base.id in same]
    return [(module, base) for base in bases if any("dataclass" in ast.unparse(d) for d in same[base].decorator_list)]


def _locate(module: str, name: str) -> Class:
    """Return where a name that a module uses is defined."""
    for line in _tree(module).body:
        if isinstance(line, ast.ImportFrom) and line.module:
            for alias in line.names:
                if (alias.asname or alias.name) == name:
                    return _locate(line.module, alias.name) if line.module.startswith("bnnrl") else (line.module, name)
    return module, name


def _definition(module: str, name: str) -> ast.ClassDef | ast.expr:
    """Return the class or the value that a module defines under a name."""
    for line in _tree(module).body:
        if isinstance(line, ast.ClassDef) and line.name == name:
            return line
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        value = getattr(line, "value", None)
        if value is not None and any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return value
    raise LookupError(f"{module} does not define {name}.")


@cache
def _tree(module: str) -> ast.Module:
    """Return the syntax tree of a module of bnnrl, without importing the module or its packages."""
    package = importlib.util.find_spec("bnnrl")
    if package is None or package.origin is None:
        raise LookupError("The package bnnrl has no files.")
    path = Path(package.origin).parent.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))
