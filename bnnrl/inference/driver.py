"""The driver: many steps of a method in one compiled call."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from typing import Any, cast

import numpy as np
import tensorflow as tf

from bnnrl.checks import check_count
from bnnrl.compiled import CompiledFunction, share
from bnnrl.inference.base import Diverged, Info, Method, State, as_method, innermost
from bnnrl.inference.dealing import Dealing, Progress, gathered, starts
from bnnrl.inference.divergence import describe
from bnnrl.inference.ranking import order_of
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import MemberSeed, as_seed, fold_in, split, uniform
from bnnrl.structure import key_or_none, numbers, structure, with_numbers


class Driver:
    """Runs steps of a method over data on the device; minibatches are gathered inside the compiled loop.

    An epoch is a new permutation of the rows, one for each member, cut into N // B batches of B rows. The remaining N
    mod B rows are not used in that epoch; they differ between epochs, so that in the long run all rows are used equally
    often. If N < B, an epoch is one batch whose last rows repeat its first rows, and whose log joint is unbiased too.

    The rows of a batch and the seed of a step depend on the run's seed and the number of the step alone, so that a run
    may be cut in two. A run stops at the first step whose log joint, gradient or new θ is not finite.

    Drivers of problems and methods of the same structure share one compiled loop, which takes their numbers, such as
    the learning rate and the prior's scale, as tensors.

    Args:
        problem: the problem. Its `num_data` is not used: each run says how many rows there are.
        method: the inference method.
        batch_size: B, number of rows in a minibatch, or None for all rows at every step.
        jit_compile: whether XLA compiles the loop; if None, whenever XLA can. It cannot compile convolutions with
            several members, nor recurrent layers without `unroll=True`.
        threads: how many independent members of an `Ensemble` are computed at a time, each in a compiled call of its
            own; 1 for all members in one call. None for as many as TensorFlow runs operations at a time, or as there
            are GPUs, if that is faster. Members are computed apart for chains of Dense layers only. Their random
            numbers and rows do not depend on `threads`, and their results are equal bit for bit for all values above 1.

    Attributes:
        num_traces: how often TensorFlow has traced the loop in runs of this driver.

    Raises:
        ValueError: if `batch_size` or `threads` is below 1, or `batch_size` is given for a method that needs all rows.
    """

    def __init__(
        self,
        problem: Problem,
        method: Method,
        batch_size: int | None = 32,
        jit_compile: bool | None = None,
        threads: int | None = None,
    ):
        self._problem, self._method = problem, as_method(method)
        if jit_compile is None and (problem.network.never_by_xla or not innermost(self._method).uses_xla):
            jit_compile = False
        if threads is not None:
            check_count("threads", threads)
        self._batch_size = None if batch_size is None else check_count("batch_size", batch_size)
        if batch_size is not None and self._method.full_batch_only:
            raise ValueError(
                f"Invalid `batch_size`: expected None, for all rows, with {type(innermost(self._method)).__name__}. "
                f"Received: {batch_size}. The method accepts steps by the exact log joint; with minibatches it would "
                "sample another distribution."
            )
        self._numbers = [*problem.numbers(), *numbers(self._method)]
        self._loop = share(
            self._key(jit_compile, threads),
            lambda: _Loop(problem, self._method, self._batch_size, jit_compile, threads),
        )
        self.num_traces = 0

    def _key(self, jit_compile: bool | None, threads: int | None) -> Hashable | None:
        """Return the key of the compiled loop, or None if it cannot be shared."""
        settings = self._batch_size, jit_compile, threads
        return key_or_none(lambda: (_Loop, self._problem.structure, structure(self._method), *settings))

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
            state: the method's state, from `init` or an earlier run.
            data: (x, y) or (x, y, weight), see `Problem.log_likelihood`, with rows first. Rows from `num_data` on are
                padding: the data can grow without a new trace.
            num_steps: number of steps.
            seed: the seed of the whole run, the same in every call of it.
            start: number of the first step, counted from 0 over the whole run.
            num_data: N, the number of rows before the padding; None for no padding.
            origin: number of the step at which the first epoch over these rows began.
            total: N of the log joint, if these rows are a part of a data set; `num_data` if None.

        Returns:
            The new state, and the Info averaged over these steps.

        Raises:
            ValueError: if x and y have different numbers of rows, `num_data` exceeds the rows, a count is negative, or
                `jit_compile` is True and XLA cannot compile the network.
            Diverged: if the log joint, its gradient or the new θ of a step is not finite.
        """
        count = _check_rows(data, num_data)
        if num_steps < 0 or start < 0:
            raise ValueError(
                f"Invalid `num_steps` or `start`: expected at least 0. Received: num_steps={num_steps}, start={start}"
            )
        as_int = lambda value: tf.constant(value, tf.int32)
        more = as_seed(seed), as_int(start), as_int(count), as_int(origin), as_int(count if total is None else total)
        run = lambda steps: self._call(state, data, as_int(steps), *more)
        after, info, taken, finite = run(num_steps)
        if not np.all(finite):
            # The loop keeps the newest state alone. Steps repeat bit for bit, so they are taken again up to the last
            # finite state: that at which the diagnostics were not finite, or the one before.
            last = max(int(taken) - 1, 0)
            kept = run(last)[0]
            if last and not np.all(_finite(kept)):
                last -= 1
                kept = run(last)[0]
            # Of members that ran on alone, or had become infinite too, only those that failed in this step are named.
            after, _, _, finite = run(last + 1)
            found = self._describe(kept, after, np.atleast_1d(finite), data, count)
            raise self._diverged(kept, start + last, np.atleast_1d(finite), found)
        return after, info

    def advance_member(
        self, progress: Progress, data: Batch, num_steps, seed, index, members: int, *counts
    ) -> Progress:
        """Return the progress of one member that is computed apart.

        Args:
            progress: the member's progress before these steps.
            data: as in `run`.
            num_steps: number of steps, int32 [].
            seed: the seed of the whole run, a pair.
            index: which member, int32 [].
            members: M, the number of members.
            *counts: `start`, `num_data`, `origin` and `total` of `run`, int32 [].
        """
        return self._loop.call("member", self._numbers, progress, data, num_steps, seed, index, members, *counts)

    def _call(self, *args):
        before = self._loop.num_traces
        try:
            return self._loop(self._numbers, *args)
        finally:
            self.num_traces += self._loop.num_traces - before

    def _describe(self, kept: State, after: State, finite: np.ndarray, data: Batch, num_data: int) -> str:
        """Return what is not finite in the first member that diverged, with a colon before it, or nothing."""
        member = int(np.argmin(finite))
        before, after = (state.theta[member] if state.theta.shape.rank == 2 else state.theta for state in (kept, after))
        with suppress(tf.errors.OpError):  # some distributions raise an error for a target outside their support
            if found := describe(self._problem, before, after, data, num_data):
                return f": {found}"
        return ""

    def _diverged(self, state: State, step: int, finite: np.ndarray, found: str) -> Diverged:
        name, value = self._method.current_rate(step) or (None, 0.0)
        at_rate = f" with {name}={value:.3g}" if name else ""
        members = f" of members {np.flatnonzero(~finite).tolist()}" if len(finite) > 1 else ""
        return Diverged(
            f"Diverged at step {step}{at_rate}: the log joint, its gradient or the new θ{members} is not finite{found}."
            f" {f'Lower `{name}`' if name else 'Take smaller steps'}, and standardise inputs and targets. "
            "The state before that step is this error's `state`.",
            state,
            step,
        )


class _Loop:
    """The compiled loop of a driver; arguments as there.

    Attributes:
        num_traces: how often TensorFlow has traced the loop.
    """

    def __init__(self, problem: Problem, method: Method, batch_size: int | None, jit_compile: bool | None, threads):
        self._problem, self._method, self._batch_size = problem, method, batch_size
        self._dealing = Dealing(threads)
        self.num_traces = 0
        self._may_fall_back = jit_compile is None
        self._compiled = self._compile(jit_compile is not False)

    def _compile(self, jit_compile: bool) -> dict[str, CompiledFunction]:
        self._by_xla = jit_compile
        return {
            "together": CompiledFunction(self._together, jit_compile),
            "member": CompiledFunction(self._member, jit_compile),
            # TensorFlow runs compiled calls in parallel if their caller is a graph that is not itself compiled.
            "apart": CompiledFunction(self._apart, jit_compile=False),
        }

    def __call__(self, tensors, state: State, data: Batch, *args):
        """Return the result of `_together`, for all members in one call or computed apart."""
        apart = self._dealing.is_worthwhile(self._method, self._problem, state, self._batch_size or data[1].shape[0])
        return self.call("apart" if apart else "together", tensors, state, data, *args)

    def call(self, name: str, *args):
        """Call a compiled function, without XLA if XLA cannot compile it and the driver leaves the choice."""
        try:
            return self._compiled[name](*args)
        except tf.errors.InvalidArgumentError as error:
            if "xla" not in str(error).lower():
                raise
            if not self._may_fall_back:
                raise ValueError(
                    "Invalid `jit_compile`: expected None or False for this network, which XLA cannot compile "
                    "(convolutions with several members, and recurrent layers without `unroll=True`). Received: True."
                ) from error
        self._may_fall_back, self._compiled = False, self._compile(False)
        return self._compiled[name](*args)

    def _together(self, tensors, state: State, data: Batch, num_steps, seed, *counts):
        """Return the new state, the mean Info, the number of steps taken, and which members are finite, [...].

        Args:
            tensors: the numbers of the problem, then those of the method.
            state: the method's state.
            data: (x, y), padding included.
            num_steps: number of steps.
            seed: the seed of the whole run.
            *counts: number of the first step; number of rows before the padding; number of the step at which the first
                epoch over these rows began; N of the log joint.
        """
        after = self._advance(self._method, tensors, Progress.start(state), data, num_steps, seed, *counts)
        return after.state, after.mean(num_steps), after.taken, after.finite

    def _apart(self, tensors, state: State, data: Batch, num_steps, seed, start, *counts):
        """Return the same as `_together`, from calls of `_member` that TensorFlow runs in parallel."""
        members = state.theta.shape[0]

        def advance(index: int, progress: Progress, begin, end) -> Progress:
            more = end - begin, seed, tf.constant(index), members, start + begin, *counts
            return self._compiled["member"](tensors, progress, data, *more)

        after = gathered(state, self._dealing.run(advance, starts(state), num_steps))
        return after.state, after.mean(num_steps), after.taken, after.finite

    def _member(self, tensors, progress: Progress, data: Batch, num_steps, seed, index, members: int, *counts):
        """Return the progress of one member of `members`, with θ [D]."""
        seed = MemberSeed(seed, index, members)
        return self._advance(cast(Method, self._method.member), tensors, progress, data, num_steps, seed, *counts)

    def _advance(
        self, method: Method, tensors, progress: Progress, data: Batch, num_steps, seed, start, count, origin, total
    ) -> Progress:
        """Return the progress after `num_steps` more steps, or the first that is not finite."""
        self.num_traces += 1
        of_problem = len(self._problem.numbers())
        problem = self._problem.with_numbers(tensors[:of_problem]).with_num_data(total)
        method = with_numbers(method, iter(tensors[of_problem:]))
        lead = progress.state.theta.shape[:-1]  # [] or [M]
        order_seed, noise_seed = split(seed)
        batches = _Batches(data, lead, self._batch_size, order_seed, count, origin, self._by_xla)
        # A sampler with Metropolis steps needs the same log joint at all steps.
        noise = problem.network.draws_noise and not self._method.full_batch_only

        def body(i, progress: Progress, order):
            step = start + i
            step_seed = fold_in(noise_seed, step)
            noisy = problem.with_noise(fold_in(step_seed, _MASKS)) if noise else problem
            state, info = method.step(noisy, progress.state, batches.at(step, order), step_seed)
            # If an entry of θ is not finite, neither are these: checking them is cheaper than checking all of θ.
            finite = tf.math.is_finite(info.log_joint) & tf.math.is_finite(info.grad_norm)
            return i + 1, Progress(state, _map(tf.add, progress.sums, info), progress.taken + 1, finite)

        def epoch(i, progress: Progress):
            # A loop of its own, whose steps share the order: from a conditional within a step, XLA copies all of it.
            order, end = batches.order(start + i), tf.minimum(num_steps, i + batches.steps_left(start + i, num_steps))
            going = lambda i, progress: (i < end) & tf.reduce_all(progress.finite)
            return tf.while_loop(going, lambda i, progress: body(i, progress, order), (i, progress))

        going = lambda i, progress: (i < num_steps) & tf.reduce_all(progress.finite)
        progress = tf.while_loop(going, epoch, (tf.constant(0), progress))[-1]
        return progress._replace(finite=progress.finite & _finite(progress.state))


class _Batches:
    """The rows of each step, as tensors of the traced loop.

    Args:
        data: (x, y) with rows first, padding included.
        lead: [] or [M], the shape of the members.
        batch_size: B, or None for all rows at every step.
        seed: seed of the permutations.
        count: N, [] int32.
        origin: [] int32, the number of the step at which the first epoch began.
        by_xla: whether XLA compiles the loop.
    """

    def __init__(
        self, data: Batch, lead, batch_size: int | None, seed, count: tf.Tensor, origin: tf.Tensor, by_xla: bool
    ):
        self._data, self._lead, self._batch_size = data, lead, batch_size
        self._seed, self._count, self._origin, self._by_xla = seed, count, origin, by_xla
        self._capacity = int(data[1].shape[0])
        self._steps_per_epoch = tf.maximum(1, count // batch_size) if batch_size else tf.constant(1)

    def order(self, step: tf.Tensor) -> tf.Tensor | None:
        """Return the permutation of the rows in the epoch of `step`, [..., capacity]; None if a step takes all rows."""
        return self._permutation(step) if self._batch_size else None

    def steps_left(self, step: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
        """Return the number of steps that the epoch of `step` has left; `num_steps` if every step takes all rows."""
        if self._batch_size is None:
            return num_steps
        return self._steps_per_epoch - (step - self._origin) % self._steps_per_epoch

    def at(self, step: tf.Tensor, order: tf.Tensor | None) -> Batch:
        """Return the batch of a step: (x, y), [..., B, ...], or all rows with the weights [..., capacity]."""
        if self._batch_size is None or order is None:
            x, y, *given = self._data
            weight = tf.cast(tf.range(self._capacity) < self._count, tf.float32)
            weight = given[0] * weight if given else weight
            return _map(lambda a: tf.broadcast_to(a, [*self._lead, *a.shape]), (x, y, weight))
        first = ((step - self._origin) % self._steps_per_epoch) * self._batch_size
        positions = first + tf.range(self._batch_size)
        rows = tf.gather(order, positions % self._count, axis=-1)  # [B] or [M, B]
        return _map(lambda a: tf.gather(a, rows), self._data)

    def _permutation(self, step: tf.Tensor) -> tf.Tensor:
        epoch_seed = fold_in(self._seed, self._origin + (step - self._origin) // self._steps_per_epoch)
        keys = uniform([*self._lead, self._capacity], epoch_seed)
        keys = tf.where(tf.range(self._capacity) < self._count, keys, 2.0)  # padding sorts last
        return order_of(keys, self._by_xla)


_MASKS = 0x6D61736B  # the network's noise: a child of the step's seed that no method takes
_map: Any = tf.nest.map_structure


def _check_rows(data: Batch, num_data: int | None) -> int:
    """Return N, the number of rows before the padding.

    Raises:
        ValueError: if x and y have different numbers of rows, or `num_data` is not among 1 to that number.
    """
    rows = {int(a.shape[0]) if len(a.shape) else 0 for a in tf.nest.flatten(data)}
    if len(data) not in (2, 3) or len(rows) != 1:
        raise ValueError(
            f"Invalid `data`: expected (x, y) with as many rows of x as of y. Received: "
            f"{[tuple(a.shape) for a in tf.nest.flatten(data)]}"
        )
    capacity = rows.pop()
    count = capacity if num_data is None else int(num_data)
    if not 1 <= count <= capacity:
        raise ValueError(f"Invalid `num_data`: expected 1 to {capacity}, the data's rows. Received: {count}")
    return count


def _finite(state: State) -> tf.Tensor:
    """Return whether each member's tensors of θ's shape are finite, [...]."""
    shape = state.theta.shape
    parts = [a for a in tf.nest.flatten(state) if a.dtype.is_floating and a.shape == shape]
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(a), axis=-1) for a in parts], axis=0)
