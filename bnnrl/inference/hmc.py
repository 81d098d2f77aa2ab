"""Hamiltonian Monte Carlo (Neal 2011): exact up to Monte Carlo error, on all rows at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from bnnrl.checks import check_count, check_fraction, check_positive
from bnnrl.inference.base import Info, starting_point, value_and_grad
from bnnrl.inference.draw_buffer import DrawBuffer, append, no_draws, ordered
from bnnrl.inference.sampler import Sampler
from bnnrl.posterior import Posterior, Samples, mixture
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import split, uniform

_DIVERGENT = 1000.0  # nats of energy; Stan's bound


class Adaptation(NamedTuple):
    """Dual averaging of log ε: Hoffman & Gelman 2014, section 3.2, with their constants."""

    step_size: tf.Tensor  # [] ε, the next step's
    average: tf.Tensor  # [] ε̄, the one to keep
    error: tf.Tensor  # [] H̄, the running mean of target − acceptance


class HMCState(NamedTuple):
    step: tf.Tensor  # [] int32, transitions so far
    theta: tf.Tensor  # [C, D]
    log_joint: tf.Tensor  # [C] float64, of θ
    grad: tf.Tensor  # [C, D] its gradient
    adaptation: Adaptation
    draws: DrawBuffer  # [C, K, D]


@dataclass(frozen=True)
class HMC(Sampler):
    """Parallel chains of Hamiltonian Monte Carlo with an identity mass matrix in units of the prior.

        p ~ N(0, I);  L times:  p += (ε/2) σ ∇ log p(θ, data);  θ += ε σ p;  p += (ε/2) σ ∇ log p(θ, data)
        accept (θ', p') with probability min(1, exp(H − H')),  H = −log p(θ, data) + |p|²/2

    σ is each weight's prior standard deviation, so that the prior is N(0, I) in units of θ/σ, and a trajectory of
    length Lε = π/2 leads to a point independent of where it started, as far as the data say nothing. ε is adapted to
    the acceptance over the burn-in by dual averaging, one ε for all chains, and then kept. Each trajectory's step is
    that, times a number from [1 − jitter, 1 + jitter], as trajectories of one length can be periodic.

    Energies are sums of many terms, of which float32 would lose the difference: they are summed in float64.

    One step of the driver is one transition, of L gradients on all rows. A state belongs to its data: when they
    change, start from its θ with `init`. The posterior is the equal mixture of the chains' draws.

    Source: Neal, "MCMC using Hamiltonian dynamics", 2011, section 3; Izmailov et al., "What Are Bayesian Neural Network
    Posteriors Really Like?", ICML 2021, for the trajectory's length; Hoffman & Gelman, "The No-U-Turn Sampler", JMLR
    2014, section 3.2, for ε.

    Args:
        step_size: ε at the start, or throughout if `target_accept` is None.
        num_leapfrog: L; None for as many as `trajectory` takes, `max_leapfrog` at most.
        trajectory: Lε, in prior standard deviations, if `num_leapfrog` is None.
        max_leapfrog: the most gradients of a transition, if `num_leapfrog` is None.
        chains: C.
        burn_in: first transitions, which adapt ε and give no draw.
        thin: transitions for each draw kept.
        max_draws: K, draws kept of each chain, the newest.
        target_accept: the mean acceptance probability ε is adapted to, in (0, 1), or None.
        jitter: in [0, 1).

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    step_size: float = 0.01
    num_leapfrog: int | None = None
    trajectory: float = math.pi / 2
    max_leapfrog: int = 200
    chains: int = 4
    burn_in: int = 100
    thin: int = 1
    max_draws: int = 100
    target_accept: float | None = 0.8
    jitter: float = 0.1

    full_batch_only: ClassVar[bool] = True
    has_members: ClassVar[bool] = True

    def __post_init__(self):
        check_sampler(self.step_size, self.chains, self.target_accept)
        super().__post_init__()
        if self.num_leapfrog is not None:
            check_count("num_leapfrog", self.num_leapfrog)
        check_positive("trajectory", self.trajectory)
        check_count("max_leapfrog", self.max_leapfrog)
        check_fraction("jitter", self.jitter)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> HMCState:
        return start_chains(problem, seed, theta, self.chains, self.step_size, self.max_draws)

    def step(self, problem: Problem, state: HMCState, batch: Batch, seed) -> tuple[HMCState, Info]:
        momentum_seed, accept_seed, jitter_seed = split(seed, 3)
        log_joint, grad = current(problem, state, batch)
        epsilon = state.adaptation.step_size * uniform([], jitter_seed, 1 - self.jitter, 1 + self.jitter)
        # The kernel moves θ and leaves the Metropolis step to us: it would take the energies' difference in float32.
        kernel = tfp.mcmc.UncalibratedHamiltonianMonteCarlo(
            lambda theta: problem.log_joint(theta, batch),
            step_size=epsilon * problem.prior_stddev(),
            num_leapfrog_steps=self._leapfrogs(state.adaptation.step_size),
        )
        results = kernel.bootstrap_results(state.theta)._replace(
            target_log_prob=tf.cast(log_joint, tf.float32), grads_target_log_prob=[grad]
        )
        proposal, results = kernel.one_step(state.theta, results, seed=momentum_seed)
        proposed = problem.log_joint(proposal, batch, tf.float64)
        (before,), (after,) = results.initial_momentum, results.final_momentum
        kinetic = tf.reduce_sum(tf.cast((before - after) * (before + after), tf.float64), axis=-1) / 2
        log_ratio = tf.cast(proposed - log_joint + kinetic, tf.float32)  # H − H'
        log_ratio = tf.where(tf.math.is_finite(log_ratio), log_ratio, -math.inf)
        accept = tf.exp(tf.minimum(log_ratio, 0.0))
        accepted = uniform(accept.shape, accept_seed) < accept
        info = Info(
            tf.cast(log_joint, tf.float32),
            tf.norm(grad, axis=-1) / tf.cast(problem.num_data, tf.float32),
            accept,
            tf.cast(log_ratio < -_DIVERGENT, tf.float32),
        )
        theta = tf.where(accepted[:, tf.newaxis], proposal, state.theta)
        log_joint = tf.where(accepted, proposed, log_joint)
        grad = tf.where(accepted[:, tf.newaxis], results.grads_target_log_prob[0], grad)
        return advance(self, state, theta, log_joint, grad, accept), info

    def posterior(self, problem: Problem, state: HMCState) -> Posterior:
        return mixture([Samples(draws) for draws in tf.unstack(ordered(state.draws, self.thin))])

    def _leapfrogs(self, epsilon: tf.Tensor) -> tf.Tensor:
        if self.num_leapfrog is not None:
            return tf.constant(self.num_leapfrog)
        count = tf.math.ceil(tf.minimum(self.trajectory / epsilon, float(self.max_leapfrog)))
        return tf.maximum(tf.cast(count, tf.int32), 1)


def check_sampler(step_size: float, chains: int, target_accept: float | None) -> None:
    """Raise ValueError unless the hyper-parameters that HMC and NUTS share are in their ranges."""
    check_positive("step_size", step_size)
    check_count("chains", chains)
    if target_accept is not None and not 0 < target_accept < 1:
        raise ValueError(f"Invalid `target_accept`: expected a number in (0, 1), or None. Received: {target_accept!r}")


def start_chains(problem: Problem, seed, theta, chains: int, step_size: float, max_draws: int) -> HMCState:
    """Return the state before the first transition, from θ [D], [C, D], or the network's initialisers.

    Raises:
        ValueError: if θ has another shape.
    """
    theta = starting_point(problem, seed, theta, chains)
    if theta.shape.rank == 1:
        theta = tf.tile(theta[tf.newaxis], [chains, 1])
    if theta.shape[0] != chains:
        raise ValueError(
            f"Invalid `theta`: expected shape [D], or [C, D] with C = {chains} chains. Received: {theta.shape}"
        )
    adaptation = Adaptation(tf.constant(step_size), tf.constant(step_size), tf.constant(0.0))
    log_joint = tf.zeros([chains], tf.float64)
    return HMCState(tf.constant(0), theta, log_joint, tf.zeros_like(theta), adaptation, no_draws(theta, max_draws))


def current(problem: Problem, state: HMCState, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the log joint of θ [C] in float64 and its gradient [C, D]: the state's, computed for its first step."""

    def compute():
        _, grad = value_and_grad(problem, state.theta, batch)
        return problem.log_joint(state.theta, batch, tf.float64), grad

    return tf.cond(tf.equal(state.step, 0), compute, lambda: (state.log_joint, state.grad))


def advance(method, state: HMCState, theta, log_joint, grad, accept: tf.Tensor) -> HMCState:
    """Return the next state, of `method`'s transition to θ with acceptance probabilities [C]."""
    burning = state.step < method.burn_in
    adaptation = state.adaptation
    if method.target_accept is not None:
        t = tf.cast(state.step + 1, tf.float32)
        eta = 1 / (t + 10)
        error = (1 - eta) * adaptation.error + eta * (method.target_accept - tf.reduce_mean(accept))
        log_step = math.log(10 * method.step_size) - tf.sqrt(t) / 0.05 * error
        weight = t**-0.75
        log_average = weight * log_step + (1 - weight) * tf.math.log(adaptation.average)
        last = tf.equal(state.step + 1, method.burn_in)
        adapted = Adaptation(tf.exp(tf.where(last, log_average, log_step)), tf.exp(log_average), error)
        adaptation = tf.nest.map_structure(lambda new, old: tf.where(burning, new, old), adapted, adaptation)
    draws = append(state.draws, theta, ~burning, method.thin)
    return HMCState(state.step + 1, theta, log_joint, grad, adaptation, draws)
