"""The contract of an inference method, on one page."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import tensorflow as tf

from bnnrl.posterior import Posterior
from bnnrl.problem import Batch, Problem

State = Any  # a NamedTuple of tensors with a field `theta`, one type for each method


class Info(NamedTuple):
    """What diagnostics need of one step. The driver averages it over steps."""

    log_joint: tf.Tensor  # [...] at the θ the step started from, in nats, for the whole data set
    grad_norm: tf.Tensor  # [...] of its gradient, divided by N
    accept: tf.Tensor  # [...] probability that a Metropolis step accepts
    divergent: tf.Tensor  # [...] 1 where a trajectory diverged and was rejected, else 0

    @classmethod
    def unadjusted(cls, log_joint: tf.Tensor, grad_norm: tf.Tensor) -> Info:
        """Return the Info of a method without a Metropolis step."""
        return cls(log_joint, grad_norm, tf.ones_like(log_joint), tf.zeros_like(log_joint))


class Diverged(ArithmeticError):
    """A step whose log joint, gradient or new θ is not finite.

    Attributes:
        state: the last finite state.
        step: the number of the step that started from it.
    """

    def __init__(self, message: str, state: State, step: int):
        super().__init__(message)
        self.state, self.step = state, step


@runtime_checkable
class Method(Protocol):
    """A frozen dataclass of hyper-parameters with three pure functions.

    θ is [D], or [M, D] for M members that go side by side; then batches are [M, B, ...]. A State's scalars are shared
    by the members, and every other tensor of it has the members first. `init` takes θ to start from, or draws one
    from the network's initialisers. Everything random comes from the seeds handed in.

    Three attributes are optional: `full_batch_only`, True for a method that is wrong on minibatches; `has_members`,
    True for one whose θ is always [M, D]; and `min_steps`, the fewest steps after which there is a posterior.
    """

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> State: ...

    def step(self, problem: Problem, state: State, batch: Batch, seed) -> tuple[State, Info]: ...

    def posterior(self, problem: Problem, state: State) -> Posterior: ...


def innermost(method: Any) -> Any:
    """Return the method, or state, inside wrappers such as Ensemble and WarmStart, or `method` itself."""
    while hasattr(method, "method"):
        method = method.method
    return method


def starting_point(problem: Problem, seed, theta=None, n: int | None = None) -> tf.Tensor:
    """Return a user's `theta` to start from, [D] or [M, D], in float32.

    If it is None, a draw of the network's initialisers, [D], or `n` of them, [n, D].

    Raises:
        ValueError: if it has another shape.
    """
    if theta is None:
        return problem.init(seed, 1)[0] if n is None else problem.init(seed, n)
    theta = tf.cast(theta, tf.float32)
    if theta.shape.rank not in (1, 2) or theta.shape[-1] != problem.num_params:
        raise ValueError(
            f"Invalid `theta`: expected shape [D] or [M, D] with D = {problem.num_params}. Received: {theta.shape}"
        )
    return theta


def value_and_grad(problem: Problem, theta: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the log joint [...] and its gradient with respect to θ [..., D]."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(theta)
        log_joint = problem.log_joint(theta, batch)
    # Members do not meet in the log joint, so the gradient of their sum is each one's own.
    grad = tape.gradient(log_joint, theta)
    return log_joint, grad
