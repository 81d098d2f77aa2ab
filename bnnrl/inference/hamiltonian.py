"""What HMC, NUTS and MCLMC share: parallel chains with step sizes and scales adapted over the burn-in."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from bnnrl.checks import check_choice, check_count, check_fields, check_positive, check_within, optional
from bnnrl.inference.base import starting_point, value_and_grad
from bnnrl.inference.draw_buffer import DrawBuffer
from bnnrl.inference.sampler import Sampler
from bnnrl.inference.scales import Scales
from bnnrl.posterior import Posterior, Samples, mixture
from bnnrl.problem import Batch, Problem

MASSES = ("diagonal", "identity")


class Adaptation(NamedTuple):
    """Dual averaging of log ε: Hoffman & Gelman 2014, section 3.2, with the paper's constants."""

    step_size: tf.Tensor  # [] ε of the next step
    average: tf.Tensor  # [] ε̄, kept after the burn-in
    error: tf.Tensor  # [] H̄, the running mean of target − acceptance
    first: tf.Tensor  # [] ε₁, with which the averaging began
    count: tf.Tensor  # [] int32, transitions since then

    @classmethod
    def start(cls, step_size: tf.Tensor) -> Adaptation:
        """Return the averaging before its first transition, which takes steps of `step_size`."""
        return cls(step_size, step_size, tf.constant(0.0), step_size, tf.constant(0))


class HMCState(NamedTuple):
    """State of HMC and of NUTS, with C chains."""

    step: tf.Tensor  # [] int32, transitions so far
    theta: tf.Tensor  # [C, D]
    log_joint: tf.Tensor  # [C] float64, log p(θ, data)
    grad: tf.Tensor  # [C, D] its gradient
    adaptation: Adaptation
    scales: Scales
    draws: DrawBuffer  # [C, K, D]


class HamiltonianSampler(Sampler):
    """Parallel chains that follow Hamiltonian dynamics, on all rows at every step.

    HMC, NUTS and MCLMC are dataclasses that have the fields of `Sampler` and those below among their own.

    Args:
        chains: C, the number of chains.
        target_accept: mean acceptance probability to which ε is adapted over the burn-in, in (0, 1); None for no
            adaptation.
        mass: "diagonal" for scales of θ that the burn-in estimates, see `Scales`; "identity" for the prior's standard
            deviations. Without adaptation of ε, they are the prior's too.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    step_size: float
    chains: int
    target_accept: float | None
    mass: str

    full_batch_only: ClassVar[bool] = True
    has_members: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        in_between = partial(check_within, interval="(0, 1)", expected="a number in (0, 1), or None")
        check_fields(self, step_size=check_positive, chains=check_count, target_accept=optional(in_between))
        check_fields(self, mass=partial(check_choice, choices=MASSES))

    @property
    def has_metropolis_step(self) -> bool:
        """Whether the end of a trajectory is accepted or rejected."""
        return True

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> Any:
        """Return the state before the first transition, all chains at θ [D], or each at its own θ [C, D]."""
        start = starting_point(problem, seed, theta, self.chains)
        if start.shape.rank == 1:
            start = tf.tile(start[tf.newaxis], [self.chains, 1])
        if start.shape[0] != self.chains:
            raise ValueError(
                f"Invalid `theta`: expected shape [D], or [C, D] with C = {self.chains} chains. Received: {start.shape}"
            )
        return HMCState(
            tf.constant(0),
            start,
            tf.zeros([self.chains], tf.float64),
            tf.zeros_like(start),
            Adaptation.start(tf.convert_to_tensor(self.step_size, tf.float32)),
            Scales.start(problem.prior_stddev(), start),
            DrawBuffer.empty(start, self.max_draws),
        )

    def posterior(self, problem: Problem, state: Any) -> Posterior:
        """Return the equal mixture of the chains' draws."""
        return mixture([Samples(draws) for draws in tf.unstack(state.draws.in_order(self.thin))])

    def _current(self, problem: Problem, state: Any, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the log joint of θ [C] in float64 and its gradient [C, D], computed at the first step, then kept."""

        def compute():
            _, grad = value_and_grad(problem, state.theta, batch)
            return problem.log_joint(state.theta, batch, tf.float64), grad

        return tf.cond(tf.equal(state.step, 0), compute, lambda: (state.log_joint, state.grad))

    def _advance(self, state: Any, theta, log_joint, grad, signal: tf.Tensor) -> Any:
        """Return the state after a transition to θ [C, D].

        Args:
            state: the state before.
            theta: [C, D].
            log_joint: [C] of θ.
            grad: [C, D] of θ.
            signal: [C] what ε is adapted to: acceptance probabilities.
        """
        step, adapting = state.step + 1, state.step < self._adapting
        adaptation, scales = self._adapted(state, signal), state.scales
        if self.mass == "diagonal" and self._adapts:
            scales, ended = scales.updated(theta, step, self._adapting)
            again = Adaptation.start(_rescaled(adaptation.average, state.scales.scale, scales.scale))
            adaptation = _where(ended, again, adaptation)
        adaptation, scales = _where(adapting, (adaptation, scales), (state.adaptation, state.scales))
        draws = state.draws.append(theta, state.step >= self.burn_in, self.thin)
        return state._replace(
            step=step, theta=theta, log_joint=log_joint, grad=grad, adaptation=adaptation, scales=scales, draws=draws
        )

    @property
    def _adapting(self) -> Any:
        """Number of first transitions that adapt ε and the scales."""
        return self.burn_in

    @property
    def _adapts(self) -> bool:
        """Whether ε, and with it the scales, is adapted over the burn-in."""
        return self.target_accept is not None

    def _adapted(self, state: Any, accept: tf.Tensor) -> Adaptation:
        """Return ε, ε̄ and H̄ after a transition of the burn-in; its last one sets ε to ε̄."""
        adaptation: Adaptation = state.adaptation
        if self.target_accept is None:
            return adaptation
        # t₀ = 10, γ = 0.05, κ = 0.75 and μ = log(10 ε₁) of the paper.
        t = tf.cast(adaptation.count + 1, tf.float32)
        eta = 1 / (t + 10)
        error = (1 - eta) * adaptation.error + eta * (self.target_accept - tf.reduce_mean(accept))
        log_step = tf.math.log(10.0 * adaptation.first) - tf.sqrt(t) / 0.05 * error
        weight = t**-0.75
        log_average = weight * log_step + (1 - weight) * tf.math.log(adaptation.average)
        last = tf.equal(state.step + 1, self.burn_in)
        step_size = tf.exp(tf.where(last, log_average, log_step))
        return adaptation._replace(
            step_size=step_size, average=tf.exp(log_average), error=error, count=adaptation.count + 1
        )


def _rescaled(step_size: tf.Tensor, old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    """Return ε in units of the scales `new` [D] for which no entry takes longer steps than with `old`, 0.5 at most."""
    return tf.minimum(step_size * tf.reduce_max(old / new), 0.5)


def _where(condition: tf.Tensor, chosen: Any, other: Any) -> Any:
    """Return `chosen` if `condition` [] is true, else `other`, for structures of tensors."""
    return tf.nest.map_structure(lambda a, b: tf.where(condition, a, b), chosen, other)
