"""The contract of an inference method: `Method`, its State, and `Info` for diagnostics."""

from __future__ import annotations

import functools
import types
from abc import ABC, abstractmethod
from copy import copy
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.inference.schedules import Rate, rate
from bnnrl.posterior import Posterior
from bnnrl.priors import PriorLike
from bnnrl.problem import Batch, Problem
from bnnrl.structure import HasNumbers

State = Any  # a NamedTuple of tensors, of one type for each method: see Method


class Info(NamedTuple):
    """Diagnostics of one step, each [] or [M] with M members. The driver averages them over steps."""

    log_joint: tf.Tensor  # log p(θ, data) at the θ before the step, in nats, for the whole data set
    grad_norm: tf.Tensor  # norm of the gradient of log_joint, divided by N
    accept: tf.Tensor  # acceptance probability of the Metropolis step; 1 without one
    divergent: tf.Tensor  # 1 if the trajectory diverged and was rejected, else 0

    @classmethod
    def unadjusted(cls, log_joint: tf.Tensor, grad_norm: tf.Tensor) -> Info:
        """Return the Info of a method without a Metropolis step."""
        return cls(log_joint, grad_norm, tf.ones_like(log_joint), tf.zeros_like(log_joint))


class Diverged(ArithmeticError):
    """The log joint, its gradient or the new θ of a step is not finite.

    Attributes:
        state: the last finite state.
        step: the number of the step that started from `state`.
    """

    def __init__(self, message: str, state: State, step: int):
        super().__init__(message)
        self.state, self.step = state, step


class Method(HasNumbers, ABC):
    """An inference method: hyper-parameters and three pure functions that turn a log joint into a posterior.

    A method is a frozen dataclass of its hyper-parameters. Its functions keep nothing on the instance: what one step
    leaves for the next is in the State, and all randomness comes from the seeds. The driver compiles `step` into a
    loop, so that `step` consists of TensorFlow operations whose shapes do not change.

    θ is the flat vector of all D parameters: [D], or [M, D] for M members that are trained side by side, as in
    `Ensemble`. A method written with `theta.shape` and `axis=-1` serves both.

    A State is a NamedTuple of tensors, or of other such tuples. Its attribute `theta` is the present θ. Tensors of
    rank 0 are shared by all members; every other tensor has the members on its first axis.

    The properties below have defaults for a method that takes minibatches and has a posterior from the start. A method
    for which a default is wrong overrides the property, or sets it as in `full_batch_only: ClassVar[bool] = True`.
    """

    @abstractmethod
    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> State:
        """Return the state before the first step.

        Args:
            problem: the log joint; `problem.num_data` is N.
            seed: an integer or a seed pair, the only source of randomness.
            theta: θ to start from, [D] or [M, D]; if None, one draw of the network's initialisers, [D].
                `starting_point` does both.

        Raises:
            ValueError: if `theta` has another shape, or the method does not support the problem.
        """

    @abstractmethod
    def step(self, problem: Problem, state: State, batch: Batch, seed) -> tuple[State, Info]:
        """Return the state after one step, and the diagnostics of the step.

        Args:
            problem: the log joint. `problem.num_data` is a tensor within the driver.
            state: a state from `init` or `step`. The new one has the same structure, shapes and types.
            batch: (x, y) with B rows first, or M batches, [M, B, ...], for θ [M, D]. With all rows at each step
                (x, y, weight), weight [B] or [M, B] being 0 for padding. `problem.log_joint` takes each of them.
            seed: a seed pair, another one at each step.
        """

    @abstractmethod
    def posterior(self, problem: Problem, state: State) -> Posterior:
        """Return the posterior of a state with θ [D], taken after at least `min_steps` steps.

        `posterior` runs once, outside of the compiled loop: tensors have values, and may become NumPy arrays.
        `Ensemble` calls it once for each member. Methods with `has_members` see θ [M, D].
        """

    @property
    def full_batch_only(self) -> bool:
        """Whether the method is correct only if every step sees all rows, as with Metropolis steps."""
        return False

    @property
    def has_members(self) -> bool:
        """Whether θ is always [M, D], as with chains or particles; `Ensemble` refuses such a method."""
        return False

    @property
    def members_are_independent(self) -> bool:
        """Whether the members of an `Ensemble` of this method may be computed apart, each with θ [D].

        This is so if a member's step depends on no other member, and draws its random numbers by `normal`,
        `fast_normal` and `uniform` of `bnnrl.seeds` alone, in shapes [..., K] for θ [D] and [..., M, K] for θ [M, D].
        The seed is then a `bnnrl.seeds.MemberSeed`, and the member's draws are those it would have among all members.
        A subclass that overrides `step` has to declare this again.
        """
        return False

    @property
    def linearised(self) -> bool:
        """Whether predictions use the network's expansion in its weights, see `bnnrl.linearised`."""
        return False

    @property
    def default_prior(self) -> PriorLike:
        """The prior of a `BayesianModel` of this method that is given none."""
        return tfd.Normal(0.0, 1.0)

    @property
    def uses_xla(self) -> bool:
        """Whether the driver compiles steps by XLA, which is slow at factorising matrices."""
        return True

    @property
    def member(self) -> Method | None:
        """The method of one member with θ [D], for a method over [M, D] whose members may be computed apart, else None.

        A state of the method for one member has the structure of a state for all, without their axis.
        """
        return None

    @property
    def min_steps(self) -> int:
        """The number of steps from which on there is a posterior, such as the burn-in and the first draw."""
        return 0

    @property
    def inner(self) -> Method | None:
        """The method whose posterior this one gives, for a wrapper such as `Ensemble` or `WarmStart`, else None."""
        return None

    def current_rate(self, step: int) -> tuple[str, float] | None:
        """Return the learning rate at a step, for messages and callbacks; None for a method without one.

        Args:
            step: the number of the step, counted from 0.

        Returns:
            The name of the hyper-parameter, such as "learning_rate" or "step_size", and its value.
        """
        return None


class OptimizationMethod(Method):
    """A method that descends a loss by steps of a learning rate: a point estimate or variational inference."""

    learning_rate: Rate

    def current_rate(self, step: int) -> tuple[str, float] | None:
        """Return "learning_rate" and its value at a step."""
        return "learning_rate", float(rate(self.learning_rate, tf.constant(step)))


def as_method(value: Any, name: str = "method", expected: str = "an instance of a method, such as Adam()") -> Method:
    """Return `value`, an instance of Method, or a copy of it as one if it only has the three functions.

    Raises:
        ValueError: if `value` is neither; the message contains `name` and `expected`.
    """
    if isinstance(value, Method):
        return value
    functions = [getattr(value, function, None) for function in ("init", "step", "posterior")]
    if isinstance(value, type) or not all(map(callable, functions)):
        raise ValueError(f"Invalid `{name}`: expected {expected}. Received: {value!r}")
    adopted = copy(value)
    object.__setattr__(adopted, "__class__", _adopt(type(value)))
    return adopted


@functools.cache
def _adopt(cls: type) -> type[Method]:
    """Return a subclass of `cls` and Method, always the same one, so that equal instances of `cls` stay equal."""
    return types.new_class(cls.__name__, (cls, Method))


def innermost(method: Method) -> Method:
    """Return the method inside wrappers such as Ensemble and WarmStart, or `method` itself."""
    while method.inner is not None:
        method = method.inner
    return method


def may_be_computed_apart(method: Method) -> bool:
    """Return `method.members_are_independent`, or False if a subclass of the class that says so overrides `step`."""
    declares = lambda cls: "members_are_independent" in vars(cls)
    first = next(cls for cls in type(method).__mro__ if declares(cls) or "step" in vars(cls))
    return declares(first) and method.members_are_independent


def starting_point(problem: Problem, seed, theta=None, n: int | None = None) -> tf.Tensor:
    """Return θ to start from, in float32: the user's, or a draw of the network's initialisers.

    Args:
        problem: the problem, with D parameters.
        seed: of the draw.
        theta: the user's, [D] or [M, D], or None for a draw.
        n: the number of draws, for θ [n, D]; if None, one draw, [D].

    Raises:
        ValueError: if `theta` has another shape.
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
    # The log joint of a member depends on its own θ alone, so the gradient of the sum holds each member's gradient.
    grad = tape.gradient(log_joint, theta)
    return log_joint, grad
