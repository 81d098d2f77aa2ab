"""Names of TensorFlow's functions: the same in every process, and unique in each."""

import re
import threading

import tensorflow as tf

from bnnrl.compiled import CompiledFunction


def sine_sum(x):
    """Return a sum with a loop, the gradient of which takes functions of its own."""
    loop = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.sin(y)), (tf.constant(0), x), maximum_iterations=3)
    return tf.reduce_sum(loop[1])


def gradient(x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = sine_sum(x)
    return tape.gradient(value, x)


def names(function, *args) -> list[str]:
    """Return the names of a function that is traced anew, and of the functions in its graph, in order."""
    compiled = CompiledFunction(function, jit_compile=False)
    compiled.trace(*args)
    concrete = compiled._function.get_concrete_function(*args)
    inner = [f.signature.name for f in concrete.graph.as_graph_def().library.function]
    return sorted([concrete.name.decode(), *inner])


def without_traces(found: list[str]) -> list[str]:
    """Return names without the number of the trace in this process."""
    return [re.sub(r"([0-9a-f]{12})_\d+_", r"\1_", name) for name in found]


def test_names_follow_from_the_function_and_the_types_of_its_arguments():
    first = names(gradient, tf.ones(3))
    assert len(first) == 7  # the function; condition and body of its loop, again as rewritten, and of the gradient
    hashes = {found for name in first for found in re.findall(r"[0-9a-f]{12}", name)}
    assert len(hashes) == 1 and all(hashes.copy().pop() in name for name in first)
    tf.ones(2)  # TensorFlow's numbers would depend on earlier tensors
    again = names(gradient, tf.zeros(3))
    assert without_traces(again) == without_traces(first)
    assert not set(again) & set(first)  # a name must be unique in a process
    for other in (names(gradient, tf.ones(4)), names(lambda x: gradient(x), tf.ones(3))):
        assert not set(without_traces(other)) & set(without_traces(first))


def test_names_do_not_depend_on_other_threads():
    def traced(number):
        found[number] = names(gradient, tf.ones([5, number]))

    found = {}
    threads = [threading.Thread(target=traced, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, concurrent in found.items():
        assert without_traces(names(gradient, tf.ones([5, number]))) == without_traces(concurrent)


def test_a_function_called_by_another_has_names_of_its_own():
    inner = CompiledFunction(gradient, jit_compile=False)
    alone = without_traces(names(gradient, tf.ones(6)))
    both = without_traces(names(lambda x: inner(x) + sine_sum(x), tf.ones(6)))
    assert set(alone) < set(both) and len(both) == len(alone) + 3


def test_functions_that_others_trace_keep_their_names():
    CompiledFunction(gradient, jit_compile=False)(tf.ones(2))
    other = tf.function(lambda x: x + 1.0).get_concrete_function(tf.ones(2))
    assert re.fullmatch(r"__inference_\D+_\d+", other.name.decode())
