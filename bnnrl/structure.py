"""What shapes a compiled program, as a key, apart from the numbers that the program takes as tensors.

Two objects of the same structure can use the same compiled function. `structure` is strict: an object whose behaviour
could change without its structure changing raises `NotShareable`, and its functions are compiled for it alone.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Hashable, Iterator
from copy import copy
from functools import partial
from typing import Any, ClassVar, TypeVar

import numpy as np
import tensorflow as tf

T = TypeVar("T")

# Modules whose attributes nobody changes while a program runs.
_FIXED_MODULES = ("bnnrl", "bnnrl_envs", "builtins", "keras", "math", "numpy", "tensorflow", "tensorflow_probability")


class NotShareable(Exception):
    """An object's compiled functions depend on more than can be compared."""


class HasNumbers:
    """A frozen dataclass of which some fields are numbers that a compiled function takes as tensors.

    Instances that differ in these fields alone share their compiled functions.
    """

    tensor_fields: ClassVar[tuple[str, ...]] = ()
    """The fields that compiled functions use in TensorFlow operations only, never in Python conditions or shapes.

    A subclass does not inherit them, because its own code may use them otherwise.
    """


def is_fixed(cls: type | types.FunctionType) -> bool:
    """Return whether a class or function belongs to a package whose code is the same throughout a process."""
    return cls.__module__ is not None and cls.__module__.split(".")[0] in _FIXED_MODULES


def structure(value: Any) -> Hashable:
    """Return a key that is equal for values that shape a compiled function in the same way.

    Numbers are compared by value, but for the `tensor_fields` of `HasNumbers`. Functions are compared by their code and
    by the values that their code refers to.

    Raises:
        NotShareable: for an object that is mutable or of an unknown kind.
    """
    try:
        return _structure(value)
    except RecursionError as error:  # a function that calls itself
        raise NotShareable("The object refers to itself.") from error


def key_or_none(make_key: Callable[[], Hashable]) -> Hashable | None:
    """Return the key that `make_key` returns, or None if it raises NotShareable."""
    try:
        return make_key()
    except NotShareable:
        return None


def _structure(value: Any) -> Hashable:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | tf.DType | type(...)):
        return type(value), value
    if isinstance(value, tuple | list):
        return type(value), tuple(structure(item) for item in value)
    if isinstance(value, dict | types.MappingProxyType):
        return dict, tuple((structure(key), structure(item)) for key, item in value.items())
    if isinstance(value, np.ndarray | np.generic):
        return np.ndarray, value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, tf.Tensor) and hasattr(value, "numpy"):
        return tf.Tensor, structure(value.numpy())
    if isinstance(value, type) and is_fixed(value):
        return value
    if isinstance(value, types.ModuleType) and value.__name__.split(".")[0] in _FIXED_MODULES:
        return types.ModuleType, value.__name__
    if isinstance(value, partial):
        return partial, structure(value.func), structure(value.args), structure(value.keywords)
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | types.MethodType | np.ufunc):
        return _structure_of_function(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _structure_of_dataclass(value)
    raise NotShareable(f"{value!r}")


def _structure_of_dataclass(value: Any) -> Hashable:
    if not (is_fixed(type(value)) and type(value).__dataclass_params__.frozen):
        raise NotShareable(f"{value!r}")
    fields = [(field, getattr(value, field.name)) for field in dataclasses.fields(value)]
    of = lambda field, item: "number" if _is_number(value, field, item) else structure(item)
    return type(value), tuple((field.name, of(field, item)) for field, item in fields)


def _structure_of_function(function: Any) -> Hashable:
    """Return the key of a function: its identity in a fixed package, else its code and what the code refers to."""
    if isinstance(function, types.MethodType):
        return types.MethodType, structure(function.__func__), structure(function.__self__)
    if isinstance(function, np.ufunc) or (is_fixed(function) and "<locals>" not in function.__qualname__):
        return function
    if not isinstance(function, types.FunctionType):
        raise NotShareable(f"{function!r}")
    closure = tuple(structure(cell.cell_contents) for cell in function.__closure__ or ())
    defaults = structure(function.__defaults__), structure(function.__kwdefaults__ or {})
    known = {name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__}
    return function.__code__, closure, defaults, structure(known)


def _names(code: types.CodeType) -> list[str]:
    """Return the names that a code object and the functions within it may look up in the module's globals."""
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return sorted({*code.co_names, *(name for const in inner for name in _names(const))})


def numbers(value: Any) -> list[tf.Tensor]:
    """Return the `tensor_fields` of a dataclass and of the dataclasses in its fields as scalars, in a fixed order."""
    found: list[tf.Tensor] = []
    for field, item in _fields_with_numbers(value):
        found += [_as_tensor(field, item)] if _is_number(value, field, item) else numbers(item)
    return found


def with_numbers(value: T, tensors: Iterator[tf.Tensor]) -> T:
    """Return a dataclass with the next of the tensors as its `tensor_fields`, in the order of `numbers`."""
    fields = _fields_with_numbers(value)
    other = copy(value) if fields else value
    for field, item in fields:
        is_number = _is_number(value, field, item)
        object.__setattr__(other, field.name, next(tensors) if is_number else with_numbers(item, tensors))
    return other


def _fields_with_numbers(value: Any) -> list[tuple[dataclasses.Field, Any]]:
    """Return the fields of a `HasNumbers` that are numbers, or have numbers in turn, and their values."""
    if not isinstance(value, HasNumbers) or not dataclasses.is_dataclass(value):
        return []
    fields = [(field, getattr(value, field.name)) for field in dataclasses.fields(value)]
    has_numbers = lambda field, item: _is_number(value, field, item) or isinstance(item, HasNumbers)
    return [(field, item) for field, item in fields if has_numbers(field, item)]


def _is_number(value: Any, field: dataclasses.Field, item: Any) -> bool:
    """Return whether `item`, the content of a field of `value`, is passed as a tensor."""
    declared = isinstance(value, HasNumbers) and field.name in vars(type(value)).get("tensor_fields", ())
    return declared and isinstance(item, int | float | np.number) and not isinstance(item, bool)


def _as_tensor(field: dataclasses.Field, number: int | float) -> tf.Tensor:
    """Return a number as a scalar of the field's declared type: a user may write 1 for the learning rate 1.0."""
    return tf.constant(number, tf.int32 if field.type in (int, "int") else tf.float32)
