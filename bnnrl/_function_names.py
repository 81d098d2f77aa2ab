"""Names of TensorFlow's functions that are the same in every process, so that compiled programs can be found again.

TensorFlow finds a program of its persistent compilation cache by a hash of the graph, in which every function has a
name: the compiled function, and the condition, the body and the gradients of each loop. The names end in a number that
TensorFlow counts up for every tensor and function of the process, in all threads. The number therefore depends on what
ran before and on how threads took turns, and the same graph would be compiled again in almost every process.

While a compiled function of bnnrl is traced, this module replaces that number by a hash of the function and of its
arguments' types, followed by a count. TensorFlow has no public way to name these functions. Where a version of
TensorFlow lacks one of the private functions that are replaced here, the names stay as they are, and the cache serves
fewer programs.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from importlib import import_module
from typing import Any

import tensorflow as tf

# Private functions of TensorFlow that return a name ending in "_" and a unique number.
_NAMING = {
    "tensorflow.python.eager.polymorphic_function.concrete_function": (
        "_inference_name",
        "_forward_name",
        "_backward_name",
    ),
    "tensorflow.python.ops.control_flow_util_v2": ("unique_fn_name", "unique_grad_fn_name"),
}

_of_thread = threading.local()  # `labels`: an iterator over the labels of the trace that this thread is in
_lock = threading.Lock()
_traces: Counter[str] = Counter()  # how often each hash was used: names must be unique in a process


@contextmanager
def restored() -> Iterator[None]:
    """Return to the enclosing trace, or to none, at the end of a call that may trace a function."""
    outer = getattr(_of_thread, "labels", None)
    try:
        yield
    finally:
        _of_thread.labels = outer


def begin(function: Callable, args: Any) -> None:
    """Name TensorFlow's functions after `function` and the types of its arguments, until the enclosing `restored` ends.

    Args:
        function: the function that is about to be traced.
        args: its arguments, nested structures of tensors.
    """
    types = tf.nest.map_structure(_type, args)
    digest = hashlib.sha256(f"{_qualified_name(function)} {types}".encode()).hexdigest()[:12]
    with _lock:
        _traces[digest] += 1
        trace = f"{digest}_{_traces[digest]}"
    _of_thread.labels = map(f"{trace}_{{}}".format, itertools.count())


def _qualified_name(function: Callable) -> str:
    while isinstance(function, partial):
        function = function.func
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"


def _type(value: Any) -> str:
    return f"{value.dtype.name}{value.shape}" if tf.is_tensor(value) else type(value).__qualname__


def _named(original: Callable[..., str]) -> Callable[..., str]:
    """Return a function that replaces the number in a name by the next label of the trace, if there is one."""

    @wraps(original)
    def name(*args: Any) -> str:
        found, labels = original(*args), getattr(_of_thread, "labels", None)
        return found if labels is None else f"{found.rpartition('_')[0]}_{next(labels)}"

    return name


for _module, _functions in _NAMING.items():
    with suppress(ImportError, AttributeError):
        _found = import_module(_module)
        for _function in _functions:
            setattr(_found, _function, _named(getattr(_found, _function)))
