"""What HMC and NUTS share: parallel chains with a step size adapted over the burn-in."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, NamedTuple

import tensorflow as tf

from bnnrl.checks import check_count, check_fields, check_positive, check_within, optional
from bnnrl.inference.base import starting_point, value_and_grad
from bnnrl.inference.draw_buffer import DrawBuffer
from bnnrl.inference.sampler import Sampler
from bnnrl.posterior import Posterior, Samples, mixture
from bnnrl.problem import Batch, Problem


class Adaptation(NamedTuple):
    """Dual averaging of log ε: Hoffman & Gelman 2014, section 3.2, with the paper's constants."""

    step_size: tf.Tensor  # [] ε of the next step
    average: tf.Tensor  # [] ε̄, kept after the burn-in
    error: tf.Tensor  # [] H̄, the running mean of target − acceptance


class HMCState(NamedTuple):
    """State of HMC and of NUTS, with C chains."""

    step: tf.Tensor  # [] int32, transitions so far
    theta: tf.Tensor  # [C, D]
    log_joint: tf.Tensor  # [C] float64, log p(θ, data)
    grad: tf.Tensor  # [C, D] its gradient
    adaptation: Adaptation
    draws: DrawBuffer  # [C, K, D]


class HamiltonianSampler(Sampler):
    """Parallel chains that accept or reject trajectories of Hamiltonian dynamics, on all rows at every step.

    HMC and NUTS are dataclasses that have the fields of `Sampler` and those below among their own.

    Args:
        chains: C, the number of chains.
        target_accept: mean acceptance probability to which ε is adapted over the burn-in, in (0, 1); None for no
            adaptation.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    step_size: float
    chains: int
    target_accept: float | None

    full_batch_only: ClassVar[bool] = True
    has_members: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        in_between = partial(check_within, interval="(0, 1)", expected="a number in (0, 1), or None")
        check_fields(self, step_size=check_positive, chains=check_count, target_accept=optional(in_between))

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> HMCState:
        """Return the state before the first transition, all chains at θ [D], or each at its own θ [C, D]."""
        start = starting_point(problem, seed, theta, self.chains)
        if start.shape.rank == 1:
            start = tf.tile(start[tf.newaxis], [self.chains, 1])
        if start.shape[0] != self.chains:
            raise ValueError(
                f"Invalid `theta`: expected shape [D], or [C, D] with C = {self.chains} chains. Received: {start.shape}"
            )
        step_size = tf.convert_to_tensor(self.step_size, tf.float32)
        adaptation = Adaptation(step_size, step_size, tf.constant(0.0))
        log_joint = tf.zeros([self.chains], tf.float64)
        draws = DrawBuffer.empty(start, self.max_draws)
        return HMCState(tf.constant(0), start, log_joint, tf.zeros_like(start), adaptation, draws)

    def posterior(self, problem: Problem, state: HMCState) -> Posterior:
        """Return the equal mixture of the chains' draws."""
        return mixture([Samples(draws) for draws in tf.unstack(state.draws.in_order(self.thin))])

    def _current(self, problem: Problem, state: HMCState, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the log joint of θ [C] in float64 and its gradient [C, D], computed at the first step, then kept."""

        def compute():
            _, grad = value_and_grad(problem, state.theta, batch)
            return problem.log_joint(state.theta, batch, tf.float64), grad

        return tf.cond(tf.equal(state.step, 0), compute, lambda: (state.log_joint, state.grad))

    def _advance(self, state: HMCState, theta, log_joint, grad, accept: tf.Tensor) -> HMCState:
        """Return the state after a transition to θ [C, D] with acceptance probabilities [C]."""
        burning = state.step < self.burn_in
        adaptation = state.adaptation
        if self.target_accept is not None:
            adapted = self._adapt(state, accept, self.target_accept)
            adaptation = tf.nest.map_structure(lambda new, old: tf.where(burning, new, old), adapted, adaptation)
        draws = state.draws.append(theta, ~burning, self.thin)
        return HMCState(state.step + 1, theta, log_joint, grad, adaptation, draws)

    def _adapt(self, state: HMCState, accept: tf.Tensor, target: float) -> Adaptation:
        """Return ε, ε̄ and H̄ after a transition of the burn-in; its last one sets ε to ε̄."""
        # t₀ = 10, γ = 0.05, κ = 0.75 and μ = log(10 ε₁) of the paper.
        adaptation, t = state.adaptation, tf.cast(state.step + 1, tf.float32)
        eta = 1 / (t + 10)
        error = (1 - eta) * adaptation.error + eta * (target - tf.reduce_mean(accept))
        log_step = tf.math.log(10.0 * self.step_size) - tf.sqrt(t) / 0.05 * error
        weight = t**-0.75
        log_average = weight * log_step + (1 - weight) * tf.math.log(adaptation.average)
        last = tf.equal(state.step + 1, self.burn_in)
        return Adaptation(tf.exp(tf.where(last, log_average, log_step)), tf.exp(log_average), error)
