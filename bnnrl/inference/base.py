"""The contract of an inference method, on one page."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from bnnrl.posterior import Posterior
from bnnrl.problem import Batch, Problem

State = Any  # a NamedTuple of tensors, one type for each method


class Info(NamedTuple):
    """What diagnostics need of one step."""

    log_joint: tf.Tensor  # [...] at the θ the step started from, in nats, for the whole data set
    grad_norm: tf.Tensor  # [...] of its gradient, divided by N


class Method(Protocol):
    """A frozen dataclass of hyper-parameters with three pure functions.

    θ is [D], or [M, D] for M members that go side by side; then batches are [M, B, ...]. A State's scalars are shared
    by the members, and every other tensor of it has the members first. `init` takes θ to start from, or draws one
    from the network's initialisers. Everything random comes from the seeds handed in.
    """

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> State: ...

    def step(self, problem: Problem, state: State, batch: Batch, seed) -> tuple[State, Info]: ...

    def posterior(self, problem: Problem, state: State) -> Posterior: ...


def value_and_grad(problem: Problem, theta: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the log joint [...] and its gradient with respect to θ [..., D]."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(theta)
        log_joint = problem.log_joint(theta, batch)
    # Members do not meet in the log joint, so the gradient of their sum is each one's own.
    grad = tape.gradient(log_joint, theta)
    return log_joint, grad
