"""Hamiltonian Monte Carlo (Neal 2011): exact up to Monte Carlo error, on all rows at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow as tf
import tensorflow_probability as tfp

from bnnrl import _moved
from bnnrl.checks import check_count, check_fraction, check_positive
from bnnrl.inference.base import Info
from bnnrl.inference.hamiltonian import HamiltonianSampler, HMCState
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import split, uniform

_DIVERGENT = 1000.0  # nats of energy; Stan's bound


@dataclass(frozen=True)
class HMC(HamiltonianSampler):
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

    def __post_init__(self):
        super().__post_init__()
        if self.num_leapfrog is not None:
            check_count("num_leapfrog", self.num_leapfrog)
        check_positive("trajectory", self.trajectory)
        check_count("max_leapfrog", self.max_leapfrog)
        check_fraction("jitter", self.jitter)

    def step(self, problem: Problem, state: HMCState, batch: Batch, seed) -> tuple[HMCState, Info]:
        momentum_seed, accept_seed, jitter_seed = split(seed, 3)
        log_joint, grad = self._current(problem, state, batch)
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
        return self._advance(state, theta, log_joint, grad, accept), info

    def _leapfrogs(self, epsilon: tf.Tensor) -> tf.Tensor:
        if self.num_leapfrog is not None:
            return tf.constant(self.num_leapfrog)
        count = tf.math.ceil(tf.minimum(self.trajectory / epsilon, float(self.max_leapfrog)))
        return tf.maximum(tf.cast(count, tf.int32), 1)


__getattr__ = _moved.lookup(__name__)
