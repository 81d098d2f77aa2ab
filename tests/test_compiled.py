"""Programs shared by objects of the same structure."""

import pytest
import tensorflow as tf

from bnnrl.compiled import CompiledFunction, SharedPrograms


def test_an_equal_key_gives_the_same_object_and_none_a_new_one():
    shared = SharedPrograms()
    first = shared.get(("a", 1), object)
    assert shared.get(("a", 1), object) is first
    assert shared.get(("a", 2), object) is not first
    assert shared.get(None, object) is not shared.get(None, object)
    assert len(shared) == 2


def test_the_least_recently_used_object_is_dropped():
    shared = SharedPrograms(capacity=2)
    a, b = shared.get("a", object), shared.get("b", object)
    assert shared.get("a", object) is a
    shared.get("c", object)
    assert shared.get("a", object) is a
    assert shared.get("b", object) is not b
    assert len(shared) == 2


def test_clear_drops_all():
    shared = SharedPrograms()
    first = shared.get("a", object)
    shared.clear()
    assert len(shared) == 0
    assert shared.get("a", object) is not first


def test_a_capacity_below_1_is_refused():
    with pytest.raises(ValueError, match="Invalid `capacity`"):
        SharedPrograms(capacity=0)


@pytest.mark.parametrize("eagerly", [False, True])
def test_nothing_is_traced_where_functions_run_eagerly(eagerly):
    calls = []
    function = CompiledFunction(lambda x: calls.append(x) or 2 * x, jit_compile=False)
    tf.config.run_functions_eagerly(eagerly)
    try:
        function.trace(tf.constant(1.0))
        assert len(calls) == (not eagerly)
        assert function(tf.constant(1.0)).numpy() == 2.0 and len(calls) == 1
    finally:
        tf.config.run_functions_eagerly(False)
