"""The No-U-Turn Sampler (Hoffman & Gelman 2014): Hamiltonian Monte Carlo that chooses the length of a trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf
import tensorflow_probability as tfp

from bnnrl.checks import check_count, check_fields
from bnnrl.inference.base import Info
from bnnrl.inference.hamiltonian import HamiltonianSampler, HMCState
from bnnrl.problem import Batch, Problem


@dataclass(frozen=True)
class NUTS(HamiltonianSampler):
    """No-U-Turn Sampler: parallel chains, with multinomial sampling from a trajectory.

    A trajectory is doubled, forward or backward in time, until its ends approach each other; then one of its points is
    drawn with probability proportional to its density. `HMC` explains the scales, the adaptation, and the steps of
    the driver. Chains run side by side, so that a transition takes as long as the longest trajectory of all chains.

    Source: Hoffman & Gelman, "The No-U-Turn Sampler", JMLR 2014; Betancourt, "A Conceptual Introduction to Hamiltonian
    Monte Carlo", 2017, appendix A.3, for the multinomial sampling.

    Args:
        step_size: ε at the start, or at all steps if `target_accept` is None.
        max_doublings: largest number of doublings of a trajectory, which then has 2^max_doublings − 1 gradients.
        chains: C, the number of chains.
        burn_in: number of first transitions, which adapt ε and give no draw.
        thin: number of transitions for each draw that is kept, see `Sampler`.
        max_draws: K, the number of draws kept of each chain, the newest.
        target_accept: mean acceptance probability to which ε is adapted, in (0, 1); None for no adaptation.
        mass: "diagonal" for scales that the burn-in estimates from the chains' draws; "identity" for the
            prior's standard deviations.

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
    mass: str = "identity"

    tensor_fields: ClassVar = ("step_size", "burn_in", "thin")

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, max_doublings=check_count)

    def step(self, problem: Problem, state: HMCState, batch: Batch, seed) -> tuple[HMCState, Info]:
        """Return the state after one trajectory and the draw of one of its points."""
        log_joint, grad = self._current(problem, state, batch)
        # TFP's kernel compares energies in float32: relative to the energy of the start, they keep enough digits.
        relative = lambda theta: tf.cast(problem.log_joint(theta, batch, tf.float64) - log_joint, tf.float32)
        kernel = tfp.mcmc.NoUTurnSampler(
            relative, state.adaptation.step_size * state.scales.scale, max_tree_depth=self.max_doublings
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
