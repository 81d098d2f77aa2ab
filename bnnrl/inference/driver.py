"""The compiled driver: many steps of a method in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from bnnrl.checks import check_count
from bnnrl.compiled import CompiledFunction
from bnnrl.inference.base import Diverged, Info, Method, State, as_method, innermost
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import as_seed, fold_in, split, uniform


class Driver:
    """Runs `method` on `problem` over data held on the device, minibatches gathered inside the compiled loop.

    Each epoch is a fresh permutation of the rows, one for each member, cut into N // B batches of B rows. The N mod B
    rows left over sit that epoch out, others in the next, so that every row is used equally often in the long run.
    Where N < B there is one batch in an epoch, whose last rows repeat its first: its log joint is unbiased too.
    Batches and noise depend on (seed, step number) alone, so that a run cut in two gives what the whole would.
    A run stops at the first step whose log joint, gradient or new θ is not finite.

    Args:
        problem: the problem; its `num_data` is not used, each call says how many rows count.
        method: the inference method.
        batch_size: B, rows in a minibatch, or None for all rows at every step.
        jit_compile: whether XLA compiles the loop; where it can if None. It cannot compile convolutions of several
            members, nor recurrent layers without `unroll=True`.

    Raises:
        ValueError: if `batch_size` is below 1, or given for a method that needs all rows.
    """

    def __init__(self, problem: Problem, method: Method, batch_size: int | None = 32, jit_compile: bool | None = None):
        self._problem, self._method = problem, as_method(method)
        self._batch_size = None if batch_size is None else check_count("batch_size", batch_size)
        if batch_size is not None and self._method.full_batch_only:
            raise ValueError(
                f"Invalid `batch_size`: expected None, for all rows, with {type(innermost(self._method)).__name__}. "
                f"Received: {batch_size}. It accepts steps by the exact log joint; on minibatches it would sample "
                "something else."
            )
        self.num_traces = 0
        self._may_fall_back = jit_compile is None
        self._compiled = self._compile(jit_compile is not False)

    def run(
        self,
        state: State,
        data: Batch,
        num_steps: int,
        seed,
        start: int = 0,
        num_data: int | None = None,
        origin: int = 0,
        total: int | None = None,
    ) -> tuple[State, Info]:
        """Take `num_steps` steps.

        Args:
            state: the method's state.
            data: (x, y) with rows first. Rows from `num_data` on are padding, so that data can grow in place.
            num_steps: how many steps.
            seed: the run's seed, the same in every call of one run.
            start: the number of the first step, counted from 0 over the whole run.
            num_data: N; all rows if None.
            origin: the number of the step at which the first epoch over these rows began.
            total: N of the log joint, where these rows are a part of a data set; theirs if None.

        Returns:
            The new state, and the Info averaged over these steps.

        Raises:
            ValueError: if the data's parts have different numbers of rows, `num_data` exceeds it, a count is
                negative, or `jit_compile` is True and XLA cannot compile the network.
            Diverged: if a step's log joint, gradient or new θ is not finite.
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
        more = as_seed(seed), as_int(start), as_int(count), as_int(origin), as_int(count if total is None else total)
        run = lambda steps: self._call(state, data, as_int(steps), *more)
        after, info, taken, finite = run(num_steps)
        if not np.all(finite):
            # The loop keeps no state but the newest. Steps repeat bit for bit, so taking them again finds the last
            # finite one: the first bad step starts from it, or from the one after it.
            last = max(int(taken) - 1, 0)
            kept = run(last)[0]
            if last and not np.all(_finite(kept)):
                last -= 1
                kept = run(last)[0]
            raise self._diverged(kept, start + last, np.atleast_1d(finite))
        return after, info

    def _compile(self, jit_compile: bool):
        return CompiledFunction(self._loop, jit_compile)

    def _call(self, *args):
        try:
            return self._compiled(*args)
        except tf.errors.InvalidArgumentError as error:
            if "xla" not in str(error).lower():
                raise
            if not self._may_fall_back:
                raise ValueError(
                    "Invalid `jit_compile`: expected None or False for this network, which XLA cannot compile "
                    "(convolutions with several members, and recurrent layers without `unroll=True`). Received: True."
                ) from error
        self._compiled, self._may_fall_back = self._compile(False), False
        return self._compiled(*args)

    def _diverged(self, state: State, step: int, finite: np.ndarray) -> Diverged:
        name, value = self._method.current_rate(step) or (None, 0.0)
        at_rate = f" with {name}={value:.3g}" if name else ""
        members = f" of members {np.flatnonzero(~finite).tolist()}" if len(finite) > 1 else ""
        return Diverged(
            f"Diverged at step {step}{at_rate}: the log joint, its gradient or the new θ{members} is not finite. "
            f"{f'Lower `{name}`' if name else 'Take smaller steps'}, and standardise inputs and targets. "
            "The state before that step is this error's `state`.",
            state,
            step,
        )

    def _loop(self, state: State, data: Batch, num_steps, seed, start, count, origin, total):
        self.num_traces += 1
        problem = self._problem.with_num_data(total)
        capacity = int(data[1].shape[0])
        lead = state.theta.shape[:-1]  # [] or [M]
        batch_size = self._batch_size
        order_seed, noise_seed = split(seed)
        # A sampler that corrects its steps needs one log joint throughout.
        noise = problem.network.draws_noise and not self._method.full_batch_only
        steps_per_epoch = tf.maximum(1, count // batch_size) if batch_size else tf.constant(1)

        def permutation(step):
            keys = uniform([*lead, capacity], fold_in(order_seed, origin + (step - origin) // steps_per_epoch))
            keys = tf.where(tf.range(capacity) < count, keys, 2.0)  # padding sorts last
            return tf.argsort(keys, axis=-1)

        def batch_at(step, order) -> Batch:
            if batch_size is None:
                weight = tf.cast(tf.range(capacity) < count, tf.float32)
                return _map(lambda a: tf.broadcast_to(a, [*lead, *a.shape]), (*data, weight))
            positions = ((step - origin) % steps_per_epoch) * batch_size + tf.range(batch_size)
            rows = tf.gather(order, positions % count, axis=-1)  # [B] or [M, B]
            return _map(lambda a: tf.gather(a, rows), data)

        def body(i, state, sums, order, _):
            step = start + i
            if batch_size is not None:
                new_epoch = tf.equal((step - origin) % steps_per_epoch, 0)
                order = tf.cond(new_epoch, lambda: permutation(step), lambda: order)
            step_seed = fold_in(noise_seed, step)
            noisy = problem.with_noise(fold_in(step_seed, _MASKS)) if noise else problem
            state, info = self._method.step(noisy, state, batch_at(step, order), step_seed)
            # These few numbers are finite only if θ was, so that none of its D need be looked at.
            finite = tf.math.is_finite(info.log_joint) & tf.math.is_finite(info.grad_norm)
            return i + 1, state, _map(tf.add, sums, info), order, finite

        zeros = Info(*[tf.zeros(lead)] * len(Info._fields))
        order = permutation(start) if batch_size else tf.zeros([*lead, capacity], tf.int32)
        going = lambda i, state, sums, order, finite: (i < num_steps) & tf.reduce_all(finite)
        loop = (tf.constant(0), state, zeros, order, tf.ones(lead, tf.bool))
        taken, state, sums, _, finite = tf.while_loop(going, body, loop)
        steps = tf.cast(tf.maximum(num_steps, 1), tf.float32)
        return state, _map(lambda a: a / steps, sums), taken, finite & _finite(state)


_MASKS = 0x6D61736B  # apart from what methods fold into a step's seed
_map: Any = tf.nest.map_structure


def _finite(state: State) -> tf.Tensor:
    """Return whether each member's tensors of θ's shape are finite, [...]."""
    shape = state.theta.shape
    parts = [a for a in tf.nest.flatten(state) if a.dtype.is_floating and a.shape == shape]
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(a), axis=-1) for a in parts], axis=0)
