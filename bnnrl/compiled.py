"""TensorFlow functions as bnnrl compiles them, and the programs that objects of the same structure share."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar

import tensorflow as tf

from bnnrl import _compilation_cache, _function_names
from bnnrl._tensorflow import cores
from bnnrl.checks import check_count

T = TypeVar("T")

_compilation_cache.check()


def num_threads() -> int:
    """Return how many operations TensorFlow runs at a time: its setting, or else the number of usable processors."""
    return tf.config.threading.get_inter_op_parallelism_threads() or cores()


class CompiledFunction:
    """A `tf.function` without AutoGraph, which recovers from a failure of the cache of compiled programs.

    AutoGraph would take longer to read the code than XLA to compile it, and nothing here needs it.

    Args:
        function: the function to compile, made of TensorFlow operations.
        jit_compile: whether XLA compiles it.
    """

    def __init__(self, function: Callable[..., Any], jit_compile: bool):
        # A partial, because TensorFlow counts the traces of a method over all objects of its class, and warns of
        # retracing at the fifth object.
        self._function = tf.function(partial(_trace, function), autograph=False, jit_compile=jit_compile)

    def __call__(self, *args: Any) -> Any:
        """Return the function's value.

        Raises:
            CacheError: if the compiled program can be neither written to the cache nor read from it.
        """
        try:
            return self._call(*args)
        except tf.errors.OpError as error:
            if not _compilation_cache.recover(error):
                raise
        try:
            return self._call(*args)
        except tf.errors.OpError as error:
            if not _compilation_cache.is_cause(error):
                raise
            raise _compilation_cache.CacheError(
                "The cache of compiled programs cannot be used although it was emptied. Free some space on its disk, "
                "make its folder writable, or set the environment variable BNNRL_CACHE=0 to go on without it. "
                f"TensorFlow says: {error.message}."
            ) from error

    def trace(self, *args: Any) -> None:
        """Trace the function for arguments of these types, unless it is traced for them, without compiling it.

        Nothing is traced where TensorFlow runs functions eagerly.
        """
        if not tf.config.functions_run_eagerly():
            with _function_names.restored():
                self._function.get_concrete_function(*args)

    def _call(self, *args: Any) -> Any:
        with _function_names.restored():
            return self._function(*args)


def _trace(function: Callable[..., Any], *args: Any) -> Any:
    _function_names.begin(function, args)
    return function(*args)


class CompiledForShapes:
    """A function that is compiled for the shapes of its arguments, where many shapes are to be expected.

    TensorFlow warns of retracing where a single `tf.function` meets many shapes. Predictions meet as many as there are
    numbers of draws and of rows.

    Args:
        function: the function to compile, as for `CompiledFunction`.
        jit_compile: whether XLA compiles it.
    """

    def __init__(self, function: Callable[..., Any], jit_compile: bool):
        self._make = partial(CompiledFunction, function, jit_compile)
        self._compiled: dict[Hashable, CompiledFunction] = {}

    def __call__(self, *args: Any) -> Any:
        """Return the function's value."""
        shapes = tuple(tuple(tensor.shape) for tensor in tf.nest.flatten(args))
        if shapes not in self._compiled:
            self._compiled[shapes] = self._make()
        return self._compiled[shapes](*args)


class SharedPrograms:
    """Objects that hold compiled functions, each shared by all who need a program of the same structure.

    XLA keeps a program until the process ends, some 200 memory maps and 17 MB each, and the kernel ends a process with
    65,530 memory maps. Compiling also takes seconds. A second model of the same structure therefore calls the functions
    that the first one has compiled, and passes its own numbers as tensors.

    Args:
        capacity: the number of objects kept; of more, the one that was used least recently is dropped.
    """

    def __init__(self, capacity: int = 64):
        self.capacity = check_count("capacity", capacity)
        self._programs: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of objects kept."""
        return len(self._programs)

    def get(self, key: Hashable | None, make: Callable[[], T]) -> T:
        """Return the object of a key, made by `make` if there is none.

        Args:
            key: everything that shapes the compiled functions: objects of equal keys must be interchangeable. None for
                an object that is not shared.
            make: makes the object. What it refers to is kept alive with it.
        """
        if key is None:
            return make()
        with self._lock:
            if key in self._programs:
                self._programs.move_to_end(key)
                return self._programs[key]
        made = make()
        with self._lock:
            made = self._programs.setdefault(key, made)  # another thread may have made one meanwhile
            self._programs.move_to_end(key)
            while len(self._programs) > self.capacity:
                self._programs.popitem(last=False)
        return made

    def clear(self) -> None:
        """Drop all objects. Models that use one go on with it; models made later compile anew."""
        with self._lock:
            self._programs.clear()


SHARED = SharedPrograms()


def share(key: Hashable | None, make: Callable[[], T]) -> T:
    """Return the object of compiled functions of a key from this process's `SHARED`; see `SharedPrograms.get`."""
    return SHARED.get(key, make)


def clear() -> None:
    """Drop the compiled functions that this process keeps for models of the same structure."""
    SHARED.clear()
