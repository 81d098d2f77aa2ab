"""The No-U-Turn Sampler (Hoffman & Gelman 2014): Hamiltonian Monte Carlo that finds its trajectories' lengths."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf
import tensorflow_probability as tfp

from bnnrl.checks import check_count
from bnnrl.inference.base import Info
from bnnrl.inference.hamiltonian import HamiltonianSampler, HMCState
from bnnrl.problem import Batch, Problem


@dataclass(frozen=True)
class NUTS(HamiltonianSampler):
    """Parallel chains of the No-U-Turn Sampler, with multinomial draws from a trajectory, in units of the prior.

    A trajectory doubles, forward or backward in time, until its ends approach each other, and a point of it is drawn by
    its density: see `HMC` for the units, the adaptation of ε, and what a step of the driver is. Chains go side by side,
    so that each transition takes as long as the longest of theirs.

    Source: Hoffman & Gelman, "The No-U-Turn Sampler", JMLR 2014; Betancourt, "A Conceptual Introduction to Hamiltonian
    Monte Carlo", 2017, appendix A.3, for the draw.

    Args:
        step_size: ε at the start, or throughout if `target_accept` is None.
        max_doublings: of a trajectory, so that it has 2^max_doublings − 1 gradients at most.
        chains: C.
        burn_in: first transitions, which adapt ε and give no draw.
        thin: transitions for each draw kept.
        max_draws: K, draws kept of each chain, the newest.
        target_accept: the mean acceptance probability ε is adapted to, in (0, 1), or None.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    step_size: float = 0.01
    max_doublings: int = 8
    chains: int = 4
    burn_in: int = 100
    thin: int = 1
    max_draws: int = 100
    target_accept: float | None = 0.8

    def __post_init__(self):
        super().__post_init__()
        check_count("max_doublings", self.max_doublings)

    def step(self, problem: Problem, state: HMCState, batch: Batch, seed) -> tuple[HMCState, Info]:
        log_joint, grad = self._current(problem, state, batch)
        # The kernel compares energies in float32: measured from the start's, they are small enough for that.
        relative = lambda theta: tf.cast(problem.log_joint(theta, batch, tf.float64) - log_joint, tf.float32)
        kernel = tfp.mcmc.NoUTurnSampler(
            relative, state.adaptation.step_size * problem.prior_stddev(), max_tree_depth=self.max_doublings
        )
        results = kernel.bootstrap_results(state.theta)._replace(
            target_log_prob=tf.zeros_like(log_joint, tf.float32), grads_target_log_prob=[grad]
        )
        theta, results = kernel.one_step(state.theta, results, seed=seed)
        accept = tf.exp(results.log_accept_ratio)
        info = Info(
            tf.cast(log_joint, tf.float32),
            tf.norm(grad, axis=-1) / tf.cast(problem.num_data, tf.float32),
            accept,
            tf.cast(results.has_divergence, tf.float32),
        )
        log_joint += tf.cast(results.target_log_prob, tf.float64)
        return self._advance(state, theta, log_joint, results.grads_target_log_prob[0], accept), info
