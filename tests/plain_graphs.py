"""A `tf.function` without XLA: XLA takes longer to compile a small model than the model takes to learn."""

import tensorflow as tf

from bnnrl.compiled import SharedPrograms
from bnnrl.inference import ranking

_make = tf.function

PLAIN = SharedPrograms()  # what models share in modules without XLA


def plain_function(function=None, **settings):
    """Stand for `tf.function`: build a plain graph whatever `jit_compile` says, without AutoGraph."""
    return _make(function, **settings | {"jit_compile": False, "autograph": False})


def use_plain_graphs() -> None:
    """Make `tf.function` build plain graphs for the rest of this process."""
    setattr(tf, "function", plain_function)  # noqa: B010, because `tf` declares no attribute of this name
    ranking.xla_sort = None
