"""The compiled driver: many steps of a method in one call."""

from __future__ import annotations

from functools import partial
from typing import Any

import tensorflow as tf

from bnnrl.checks import check_count
from bnnrl.inference.base import Info, Method, State
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import as_seed, fold_in, split, uniform


class Driver:
    """Runs `method` on `problem` over data held on the device, minibatches gathered inside the compiled loop.

    Each epoch is a fresh permutation of the rows, one for each member, cut into N // B batches of B rows. The N mod B
    rows left over sit that epoch out, others in the next, so that every row is used equally often in the long run.
    Where N < B there is one batch in an epoch, whose last rows repeat its first: its log joint is unbiased too.
    Batches and noise depend on (seed, step number) alone, so that a run cut in two gives what the whole would.

    Args:
        problem: the problem; its `num_data` is not used, each call says how many rows count.
        method: the inference method.
        batch_size: B, rows in a minibatch, or None for all rows at every step.
        jit_compile: whether XLA compiles the loop. Networks XLA cannot compile need False.

    Raises:
        ValueError: if `batch_size` is below 1.
    """

    def __init__(self, problem: Problem, method: Method, batch_size: int | None = 32, jit_compile: bool = True):
        self._problem, self._method = problem, method
        self._batch_size = None if batch_size is None else check_count("batch_size", batch_size)
        self.num_traces = 0
        # A partial has no code object of its own: TensorFlow counts traces by that, over all objects of a class, and
        # would warn of retracing at the fifth Driver.
        self._compiled = tf.function(partial(self._loop), jit_compile=jit_compile)

    def run(
        self, state: State, data: Batch, num_steps: int, seed, start: int = 0, num_data: int | None = None
    ) -> tuple[State, Info]:
        """Take `num_steps` steps.

        Args:
            state: the method's state.
            data: (x, y) with rows first. Rows from `num_data` on are padding, so that data can grow in place.
            num_steps: how many steps.
            seed: the run's seed, the same in every call of one run.
            start: the number of the first step, counted from 0 over the whole run.
            num_data: N; all rows if None.

        Returns:
            The new state, and the Info averaged over these steps.

        Raises:
            ValueError: if the data's parts have different numbers of rows, `num_data` exceeds it, a count is
                negative, or XLA cannot compile the network.
        """
        rows = {int(a.shape[0]) if len(a.shape) else 0 for a in tf.nest.flatten(data)}
        if len(data) != 2 or len(rows) != 1:
            raise ValueError(
                f"Invalid `data`: expected (x, y) with as many rows of x as of y. Received: "
                f"{[tuple(a.shape) for a in tf.nest.flatten(data)]}"
            )
        capacity = rows.pop()
        count = capacity if num_data is None else int(num_data)
        if not 1 <= count <= capacity:
            raise ValueError(f"Invalid `num_data`: expected 1 to {capacity}, the data's rows. Received: {count}")
        if num_steps < 0 or start < 0:
            raise ValueError(
                f"Invalid `num_steps` or `start`: expected at least 0. Received: num_steps={num_steps}, start={start}"
            )
        as_int = lambda value: tf.constant(value, tf.int32)
        try:
            return self._compiled(state, data, as_int(num_steps), as_seed(seed), as_int(start), as_int(count))
        except tf.errors.InvalidArgumentError as error:
            if "XLA" not in str(error):
                raise
            raise ValueError(
                "Invalid `jit_compile`: expected False for this network, which XLA cannot compile (convolutions with "
                "several members, and recurrent layers without `unroll=True`). Received: True."
            ) from error

    def _loop(self, state: State, data: Batch, num_steps, seed, start, count) -> tuple[State, Info]:
        self.num_traces += 1
        problem = self._problem.with_num_data(count)
        capacity = int(data[1].shape[0])
        lead = state.theta.shape[:-1]  # [] or [M]
        batch_size = self._batch_size
        order_seed, noise_seed = split(seed)
        steps_per_epoch = tf.maximum(1, count // batch_size) if batch_size else tf.constant(1)

        def permutation(step):
            keys = uniform([*lead, capacity], fold_in(order_seed, step // steps_per_epoch))
            keys = tf.where(tf.range(capacity) < count, keys, 2.0)  # padding sorts last
            return tf.argsort(keys, axis=-1)

        def batch_at(step, order) -> Batch:
            if batch_size is None:
                weight = tf.cast(tf.range(capacity) < count, tf.float32)
                return _map(lambda a: tf.broadcast_to(a, [*lead, *a.shape]), (*data, weight))
            positions = (step % steps_per_epoch) * batch_size + tf.range(batch_size)
            rows = tf.gather(order, positions % count, axis=-1)  # [B] or [M, B]
            return _map(lambda a: tf.gather(a, rows), data)

        def body(i, state, total, order):
            step = start + i
            if batch_size is not None:
                new_epoch = tf.equal(step % steps_per_epoch, 0)
                order = tf.cond(new_epoch, lambda: permutation(step), lambda: order)
            state, info = self._method.step(problem, state, batch_at(step, order), fold_in(noise_seed, step))
            return i + 1, state, _map(tf.add, total, info), order

        zeros = Info(tf.zeros(lead), tf.zeros(lead))
        order = permutation(start) if batch_size else tf.zeros([*lead, capacity], tf.int32)
        _, state, total, _ = tf.while_loop(lambda i, *_: i < num_steps, body, (tf.constant(0), state, zeros, order))
        steps = tf.cast(tf.maximum(num_steps, 1), tf.float32)
        return state, _map(lambda a: a / steps, total)


_map: Any = tf.nest.map_structure
