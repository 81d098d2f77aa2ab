"""Fixtures of the tests of learning agents."""

import pytest
import tensorflow as tf


@pytest.fixture(scope="module")
def without_xla():
    """Make tf.function build plain graphs for a module: XLA takes longer to compile than a small agent to learn."""
    make = tf.function
    plain = lambda function=None, **settings: make(function, **settings | {"jit_compile": False, "autograph": False})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf, "function", plain)
        yield
