"""TensorFlow functions as bnnrl compiles them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf

from bnnrl import _compilation_cache


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
        self._function = tf.function(partial(function), autograph=False, jit_compile=jit_compile)

    def __call__(self, *args: Any) -> Any:
        """Return the function's value.

        Raises:
            RuntimeError: if the compiled program can be neither written to the cache nor read from it.
        """
        try:
            return self._function(*args)
        except tf.errors.OpError as error:
            if not _compilation_cache.recover(error):
                raise
        try:
            return self._function(*args)
        except tf.errors.OpError as error:
            if not _compilation_cache.is_cause(error):
                raise
            raise RuntimeError(
                "The cache of compiled programs cannot be used although it was emptied. Free some space on its disk, "
                f"or set the environment variable BNNRL_CACHE=0 to go on without it. TensorFlow says: {error.message}"
            ) from error
