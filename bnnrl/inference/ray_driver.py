"""`RayDriver`: the members of an ensemble as Ray tasks, on the machines of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from bnnrl import _ray
from bnnrl._tensorflow import limit_threads
from bnnrl.checks import check_count
from bnnrl.inference.base import Method, State
from bnnrl.inference.dealing import Progress, gathered, starts
from bnnrl.inference.driver import Driver
from bnnrl.problem import Batch, Problem

_CHECKPOINT_STEPS = 1000
_MAX_LOSSES = 3  # workers of one task: then the task itself is taken to be the cause

_map: Any = tf.nest.map_structure


class RayDriver(Driver):
    """A driver whose members are computed by Ray tasks, each on one core or GPU of the cluster at RAY_ADDRESS.

    Without RAY_ADDRESS, Ray is started on this machine, until the end of the process. Every machine has to have bnnrl
    installed. A member has the rows and random numbers that it has in a `Driver`, and for a chain of Dense layers its
    results are equal bit for bit to those of a `Driver` with two or more threads.

    The steps of a member in one `run` are a chain of tasks, each of which passes the member's state on to the next. A
    task whose worker is lost is begun anew by another worker, up to three times.

    Args:
        problem: as in `Driver`. It is pickled, and so are the method and the data.
        method: as in `Driver`; an `Ensemble` whose members may be computed apart.
        batch_size: as in `Driver`.
        jit_compile: as in `Driver`.
        checkpoint_steps: the largest number of steps of a task, and so of the steps that a lost worker costs.

    Raises:
        ValueError: if the members depend on each other, the network draws noise, Ray is not installed, or no cluster
            answers.
    """

    def __init__(
        self,
        problem: Problem,
        method: Method,
        batch_size: int | None = 32,
        jit_compile: bool | None = None,
        checkpoint_steps: int = _CHECKPOINT_STEPS,
    ):
        super().__init__(problem, method, batch_size, jit_compile)
        self._checkpoint_steps = check_count("checkpoint_steps", checkpoint_steps)
        _check_independent(self._method, problem)
        self._ray = _ray.connect("use engine='local'")
        # Ray replaces a reference among a task's arguments by the object. Within a list, the reference itself arrives.
        self._work = [self._put((problem, self._method, self._batch_size, jit_compile))]
        self._sent: tuple[Batch, list[Any]] | None = None  # the data of the last run, and the reference to them
        gpus = min(1, int(self._ray.cluster_resources().get("GPU", 0)))
        self._task = self._ray.remote(max_retries=_MAX_LOSSES, num_cpus=1, num_gpus=gpus)(advance_member)

    def _call(self, state: State, data: Batch, num_steps, seed, *counts):
        """Return the new state, the mean Info, the number of steps taken, and which members are finite, [...]."""
        sent, (seed, start, *counts), before = self._send(data), _on_host((seed, *counts)), starts(state)
        tasks: list[Any] = []
        ended: list[Any] = []
        for index, progress in enumerate(map(_on_host, before)):
            for first in range(0, int(num_steps), self._checkpoint_steps):
                where = index, len(before), min(self._checkpoint_steps, int(num_steps) - first)
                progress = self._task.remote(self._work, sent, progress, where, (seed, start + first, *counts))
                tasks.append(progress)
            ended.append(progress)
        try:
            progress = self._ray.get(ended) if tasks else before
        except BaseException:
            for task in tasks:
                self._ray.cancel(task, force=True)
            raise
        after = gathered(state, progress)
        return after.state, after.mean(num_steps), after.taken, after.finite

    def _put(self, work: tuple[Problem, Method, int | None, bool | None]) -> Any:
        try:
            return self._ray.put(work)
        except Exception as error:  # whatever the pickling of a user's object raises
            raise ValueError(
                "Invalid network, likelihood, prior or method for engine='ray': expected objects that can be pickled. "
                f"Received: {str(error).strip().splitlines()[0]} Use engine='local'."
            ) from error

    def _send(self, data: Batch) -> list[Any]:
        """Return a reference to the data on the cluster. The same data are sent once."""
        same = lambda other: all(a is b for a, b in zip(*map(tf.nest.flatten, (data, other)), strict=True))
        if self._sent is None or not same(self._sent[0]):
            self._sent = data, [self._ray.put(_on_host(_map(tf.convert_to_tensor, data)))]
        return self._sent[1]


def _on_host(tensors: Any) -> Any:
    """Return a structure of tensors as NumPy arrays."""
    return _map(lambda a: a.numpy(), tensors)


def _check_independent(method: Method, problem: Problem) -> None:
    """Raise ValueError unless the members of a method may be computed apart."""
    if method.member is None:
        raise ValueError(
            "Invalid `method` for engine='ray': expected an Ensemble whose members may be computed apart, such as "
            f"Ensemble(Adam()). Received: {method!r}. Use engine='local'."
        )
    if problem.network.draws_noise:
        raise ValueError(
            "Invalid network for engine='ray': expected one without layers that draw noise, such as Dropout. Received: "
            f"{problem.network.model.name!r}. Use engine='local', or Ensemble(MCDropout())."
        )


_cached: dict[str, tuple[str, Any]] = {}  # of a worker: the driver and the data of its last task, each with its key


def advance_member(work: list[Any], data: list[Any], progress: Progress, where: tuple[int, int, int], more) -> Progress:
    """Take steps of one member in a Ray worker, and return the member's progress as NumPy arrays.

    Args:
        work: the reference to problem, method, batch size and `jit_compile`, in a list.
        data: the reference to the data, in a list.
        progress: the member's progress before these steps.
        where: which member, the number of members, the number of steps.
        more: the seed of the whole run, then `start`, `num_data`, `origin` and `total` of `Driver.run`.
    """
    limit_threads(1)
    driver: Driver = _on_worker("driver", work, lambda parts: Driver(*parts))
    arrays = _on_worker("data", data, lambda arrays: _map(tf.constant, arrays))
    index, members, num_steps = where
    seed, *counts = map(tf.constant, more)
    after = driver.advance_member(
        _map(tf.constant, progress), arrays, tf.constant(num_steps), seed, tf.constant(index), members, *counts
    )
    return _on_host(after)


def _on_worker(name: str, reference: list[Any], make: Callable[[Any], Any]) -> Any:
    """Return what `make` makes of the object behind a reference: that of the last task if the reference is the same."""
    import ray

    key = reference[0].hex()
    if name not in _cached or _cached[name][0] != key:
        _cached[name] = key, make(ray.get(reference[0]))
    return _cached[name][1]
