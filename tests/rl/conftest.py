"""What tests of learning agents share."""

import pytest
import tensorflow as tf


@pytest.fixture(scope="module")
def without_xla():
    """While it lasts, functions are made as plain graphs: XLA compiles longer than a small agent learns."""
    make = tf.function
    plain = lambda function=None, **settings: make(function, **settings | {"jit_compile": False, "autograph": False})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf, "function", plain)
        yield
