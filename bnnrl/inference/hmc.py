"""Hamiltonian Monte Carlo (Neal 2011): exact up to Monte Carlo error, on all rows at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf
import tensorflow_probability as tfp

from bnnrl import _moved
from bnnrl.checks import check_count, check_fields, check_fraction, check_positive, optional
from bnnrl.inference.base import Info
from bnnrl.inference.hamiltonian import HamiltonianSampler, HMCState
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import split, uniform

_DIVERGENT = 1000.0  # the energy error, in nats, from which Stan counts a trajectory as divergent


@dataclass(frozen=True)
class HMC(HamiltonianSampler):
    """Hamiltonian Monte Carlo: parallel chains, with a diagonal mass matrix.

        p ~ N(0, I);  L times:  p += (ε/2) σ ∇ log p(θ, data);  θ += ε σ p;  p += (ε/2) σ ∇ log p(θ, data)
        accept (θ', p') with probability min(1, exp(H − H')),  H = −log p(θ, data) + |p|²/2

    σ is the scale of each parameter: the prior's standard deviation at first, so that the prior of θ/σ is N(0, I). With
    `mass="diagonal"`, as in Stan, three windows of the burn-in, each twice as long as the one before, set σ to the
    standard deviation of the chains' draws. If θ/σ is N(0, I), a trajectory of length Lε = π/2 ends at a point that is
    independent of its start. One ε for all chains is adapted to the acceptance probability over the burn-in by dual
    averaging, anew after each window, and then kept. Each transition multiplies ε by a random number from
    [1 − jitter, 1 + jitter], as trajectories of equal lengths can be periodic.

    Energies are summed in float64: the difference of two sums over all data would have few digits left in float32.

    One step of the driver is one transition, with L gradients on all rows. The state keeps the log joint of its θ, so
    that new data need a new state: `init` with the old θ. The posterior is the equal mixture of the chains' draws.

    Source: Neal, "MCMC using Hamiltonian dynamics", 2011, section 3; Izmailov et al., "What Are Bayesian Neural Network
    Posteriors Really Like?", ICML 2021, for the trajectory's length; Hoffman & Gelman, "The No-U-Turn Sampler", JMLR
    2014, section 3.2, for ε; Stan Reference Manual,
    "HMC algorithm parameters", for the windows.

    Args:
        step_size: ε at the start, or at all steps if `target_accept` is None.
        num_leapfrog: L; None for `trajectory` / ε, but `max_leapfrog` at most.
        trajectory: length Lε of a trajectory in units of σ, if `num_leapfrog` is None.
        max_leapfrog: largest number of gradients of a transition, if `num_leapfrog` is None.
        chains: C, the number of chains.
        burn_in: number of first transitions, which adapt ε and give no draw.
        thin: number of transitions for each draw that is kept, see `Sampler`.
        max_draws: K, the number of draws kept of each chain, the newest.
        target_accept: mean acceptance probability to which ε is adapted, in (0, 1); None for no adaptation.
        jitter: in [0, 1), relative range of the random factor of ε.
        mass: "diagonal" for scales that the burn-in estimates from the chains' draws; "identity" for the
            prior's standard deviations.

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
    mass: str = "identity"

    tensor_fields: ClassVar = ("step_size", "trajectory", "burn_in", "thin")

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, num_leapfrog=optional(check_count), trajectory=check_positive)
        check_fields(self, max_leapfrog=check_count, jitter=check_fraction)

    def step(self, problem: Problem, state: HMCState, batch: Batch, seed) -> tuple[HMCState, Info]:
        """Return the state after one trajectory and its Metropolis step."""
        momentum_seed, accept_seed, jitter_seed = split(seed, 3)
        log_joint, grad = self._current(problem, state, batch)
        epsilon = state.adaptation.step_size * uniform([], jitter_seed, 1 - self.jitter, 1 + self.jitter)
        # The uncalibrated kernel has no Metropolis step: TFP's would take the difference of energies in float32.
        kernel = tfp.mcmc.UncalibratedHamiltonianMonteCarlo(
            lambda theta: problem.log_joint(theta, batch),
            step_size=epsilon * state.scales.scale,
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
        """Return L, int32 []."""
        if self.num_leapfrog is not None:
            return tf.constant(self.num_leapfrog)
        count = tf.math.ceil(tf.minimum(self.trajectory / epsilon, float(self.max_leapfrog)))
        return tf.maximum(tf.cast(count, tf.int32), 1)


__getattr__ = _moved.lookup(__name__)
