"""Stateless random numbers: a seed is a pair of integers, derived from another seed and never from a global state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl import _moved

# Philox, because the algorithm that TensorFlow would choose takes 3 to 5 times as long under XLA on CPU. With either
# algorithm, XLA draws other numbers than TensorFlow's own kernels from the same seed. Derived seeds are the same in
# both. The raw operations are called here because `tf.random` derives Philox's key and counter by some 40 operations,
# of which graphs of many draws largely consisted. The numbers are those of `tf.random` with alg="philox".
_PHILOX = tf.random.Algorithm.PHILOX.value
_SCRAMBLING_KEY = 0x02461E293EC8F720  # TensorFlow's


class MemberSeed(NamedTuple):
    """The seed of one member of M that are computed apart, so that a member's draws are those it has among all M.

    From such a seed, `normal`, `fast_normal` and `uniform` return the draws [..., K] of one member: its part of the
    draws [..., M, K] that the pair gives for all members. `split` and `fold_in` return seeds of the same member.
    `fast_normal` computes no more than that part; the others draw the numbers of all members.
    """

    pair: tf.Tensor  # int32 [2], the seed of all members
    index: tf.Tensor  # int32 [], which member
    total: int  # M


def as_seed(seed) -> tf.Tensor:
    """Return `seed` as a stateless seed pair, int32 [2].

    Args:
        seed: an integer, or a pair of integers (a tensor or sequence of shape [2]).

    Raises:
        ValueError: if `seed` has another shape or type.
    """
    if _is_integer(seed):
        seed = int(seed)  # NumPy's small integer types overflow under the mask
        return tf.constant([seed >> 31 & 0x7FFFFFFF, seed & 0x7FFFFFFF], tf.int32)
    try:
        pair = tf.convert_to_tensor(seed)
    except (TypeError, ValueError, tf.errors.InvalidArgumentError):  # None, a ragged list, an object
        pair = tf.constant(False)
    if pair.shape != (2,) or not pair.dtype.is_integer:
        raise ValueError(f"Invalid `seed`: expected an integer or a pair of integers. Received: {seed!r}")
    return tf.cast(pair, tf.int32)


def split(seed, num: int = 2) -> list:
    """Return `num` independent seeds derived from `seed`: pairs, or each a `MemberSeed` if `seed` is one."""
    if isinstance(seed, MemberSeed):
        return [seed._replace(pair=pair) for pair in split(seed.pair, num)]
    return tf.unstack(_integers([num, 2], seed))


def fold_in(seed, index):
    """Return the seed of the `index`-th child of `seed`: a pair, or a `MemberSeed`; `index` may be a tensor."""
    if isinstance(seed, MemberSeed):
        return seed._replace(pair=fold_in(seed.pair, index))
    return tf.stack([_integers([], seed), tf.cast(index, tf.int32)])


def normal(shape, seed) -> tf.Tensor:
    """Return standard normal draws, float32."""

    def draw(shape, seed) -> tf.Tensor:
        return tf.raw_ops.StatelessRandomNormalV2(shape=_shape(shape), **_generator(seed), dtype=tf.float32)

    return _draw(draw, shape, seed)


def fast_normal(shape, seed) -> tf.Tensor:
    """Return standard normal draws, float32, six times as fast as `normal` in a loop that XLA compiles for the CPU.

    XLA evaluates its own generators number by number, and the operations of this one as vectors. It is Threefry-2x32
    with 20 rounds (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011), with the seed as the key and
    0, 1, 2, ... as counters. A draw is the normal quantile of 23 random bits, so its absolute value is at most 5.3.
    The draws differ from those of `normal` for the same seed.
    """
    if isinstance(seed, MemberSeed):
        *lead, last = shape
        at = tf.range(math.prod(lead))[:, tf.newaxis] * seed.total + seed.index  # the row, among those of all members
        at, size = at * last + tf.range(last), math.prod(lead) * seed.total * last
        half, pair = (size + 1) // 2, seed.pair
        first, second = _threefry(tf.bitcast(pair, tf.uint32), tf.cast(at % half, tf.uint32))
        bits = tf.where(at < half, first, second)
    else:
        size = math.prod(shape)
        counter = tf.cast(tf.range((size + 1) // 2), tf.uint32)
        bits = tf.concat(_threefry(tf.bitcast(as_seed(seed), tf.uint32), counter), axis=0)[:size]
    cell = tf.cast(tf.bitcast(tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32)), tf.int32), tf.float32)
    centred = (cell + 0.5) * 2.0**-22 - 1.0  # in the open interval (−1, 1), where the quantile is finite
    return tf.reshape(math.sqrt(2.0) * tf.math.erfinv(centred), shape)


def _threefry(key: tf.Tensor, counter: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the two words of Threefry-2x32-20 for the counters (counter, 0) and the key.

    Args:
        key: uint32 [2].
        counter: uint32 [n].

    Returns:
        Two tensors of random bits, uint32 [n].
    """
    number = lambda value: tf.constant(value, tf.uint32)
    keys = [key[0], key[1], key[0] ^ key[1] ^ number(0x1BD11BDA)]
    x, y = counter + keys[0], tf.zeros_like(counter) + keys[1]
    for i in range(1, 6):
        for rotation in (13, 15, 26, 6) if i % 2 else (17, 29, 16, 24):
            x += y
            y = (tf.bitwise.left_shift(y, number(rotation)) | tf.bitwise.right_shift(y, number(32 - rotation))) ^ x
        x, y = x + keys[i % 3], y + keys[(i + 1) % 3] + number(i)
    return x, y


def uniform(shape, seed, low: float = 0, high: float = 1, dtype=tf.float32) -> tf.Tensor:
    """Return uniform draws from [low, high) of type `dtype`."""
    low, high = tf.convert_to_tensor(low, dtype), tf.convert_to_tensor(high, dtype)

    def draw(shape, seed) -> tf.Tensor:
        arguments = {"shape": _shape(shape), **_generator(seed)}
        if dtype.is_integer:
            return tf.raw_ops.StatelessRandomUniformIntV2(**arguments, minval=low, maxval=high)
        return low + tf.raw_ops.StatelessRandomUniformV2(**arguments, dtype=dtype) * (high - low)

    return _draw(draw, shape, seed)


def _integers(shape, seed) -> tf.Tensor:
    """Return uniform draws from all values of int32."""
    return tf.raw_ops.StatelessRandomUniformFullIntV2(shape=_shape(shape), **_generator(seed), dtype=tf.int32)


def _generator(seed) -> dict[str, Any]:
    """Return the arguments of TensorFlow's stateless random operations for a seed: key [1], counter [2], algorithm."""
    counter = tf.cast(as_seed(seed), tf.uint64)
    words = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[2], key=tf.constant([_SCRAMBLING_KEY], tf.uint64), counter=counter, alg=_PHILOX, dtype=tf.uint64
    )
    return {"key": tf.split(words, 2)[0], "counter": words * tf.constant([0, 1], tf.uint64), "alg": _PHILOX}


def _shape(shape) -> tf.Tensor:
    return tf.convert_to_tensor(shape, dtype_hint=tf.int32)  # the hint is for [], a scalar's


def _draw(draw: Callable[[list[int], tf.Tensor], tf.Tensor], shape, seed) -> tf.Tensor:
    """Return draws of a shape: those of one member, [..., K], out of [..., M, K], if the seed is a `MemberSeed`."""
    if not isinstance(seed, MemberSeed):
        return draw(shape, as_seed(seed))
    *lead, last = shape
    # A slice would be compiled anew by XLA for each index.
    return tf.gather(draw([*lead, seed.total, last], seed.pair), seed.index, axis=-2)


def host_seed(*entropy) -> int:
    """Return a 31-bit integer seed for code outside TensorFlow's graph, such as Gymnasium and Keras initialisers.

    Args:
        *entropy: the seeds and indices to derive it from, each an integer or a pair of integers.

    Raises:
        ValueError: if an argument is neither an integer nor a pair of integers.
    """
    words: list[int] = []
    for part in entropy:
        if _is_integer(part):
            words.append(int(part) & 0xFFFFFFFFFFFFFFFF)  # SeedSequence refuses negative numbers
        else:
            words.extend(int(word) & 0xFFFFFFFF for word in as_seed(part).numpy())
    return int(np.random.SeedSequence(words).generate_state(1)[0] >> 1)


def _is_integer(value) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


__getattr__ = _moved.lookup(__name__)
