"""Cyclical stochastic gradient Langevin dynamics, cSGLD (Zhang et al. 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from bnnrl.checks import check_count, check_fields, check_fraction, check_positive
from bnnrl.inference.base import Info, starting_point, value_and_grad
from bnnrl.inference.draw_buffer import DrawBuffer
from bnnrl.inference.gradient_chain import CurvatureStep, GradientChain, curvature_step_or
from bnnrl.inference.sgld import SGLDState
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import fast_normal


@dataclass(frozen=True)
class CyclicalSGLD(GradientChain):
    """SGLD with a cyclical step size: each cycle of C steps finds a mode with large steps, then samples around it.

        η = (η₀/2) [cos(π r) + 1]       r = (t mod C) / C,  t counted from 0
        r < β:  θ += (η/2) ∇ log p(θ, data)                  exploration, no noise and no draws
        r ≥ β:  θ += (η/2) ∇ log p(θ, data) + N(0, η)        sampling

    η is the step size of `SGLD`, twice the paper's α. The draws of all cycles have the same weight.

    Source: Zhang, Li, Zhang, Chen & Wilson, "Cyclical Stochastic Gradient MCMC for Bayesian Deep Learning", ICLR 2020,
    equation 1 and algorithm 1.

    Args:
        step_size: η₀, the first and largest step size of each cycle, or CurvatureStep().
        cycle: C, number of steps in a cycle.
        exploration: β in [0, 1), the share of a cycle without noise.
        thin: number of steps of sampling for each draw that is kept, see `Sampler`.
        max_draws: K, the number of draws kept, the newest.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    step_size: float | CurvatureStep = 1e-5
    cycle: int = 1000
    exploration: float = 0.8
    thin: int = 10
    max_draws: int = 100

    burn_in: ClassVar[int] = 0  # the exploration of the first cycle takes its place
    tensor_fields: ClassVar = ("step_size", "thin")
    members_are_independent: ClassVar[bool] = True

    def __post_init__(self):
        check_fields(self, step_size=curvature_step_or(check_positive), cycle=check_count, exploration=check_fraction)
        if math.ceil(self.exploration * self.cycle) >= self.cycle:
            raise ValueError(
                f"Invalid `exploration`: expected a share that leaves at least one step of a cycle to sample. "
                f"Received: exploration={self.exploration!r} of cycle={self.cycle!r}."
            )
        super().__post_init__()

    @property
    def _factor(self) -> float:
        return 2.0  # as half of η₀ is the mean of a cycle

    def _is_due(self, step: tf.Tensor) -> tf.Tensor:
        return step % self.cycle == 0

    @property
    def min_steps(self) -> int:
        """The exploration of the first cycle, and the step of the first draw."""
        return math.ceil(self.exploration * self.cycle) + 1

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> SGLDState:
        """Return the state before the first step, without draws."""
        theta = starting_point(problem, seed, theta)
        return SGLDState(tf.constant(0), theta, DrawBuffer.empty(theta, self.max_draws), self._nothing_found(theta))

    def step(self, problem: Problem, state: SGLDState, batch: Batch, seed) -> tuple[SGLDState, Info]:
        """Return the state after one step: of exploration, or of sampling with a draw."""
        log_joint, grad = value_and_grad(problem, state.theta, batch)
        position = state.step % self.cycle
        r = tf.cast(position, tf.float32) / self.cycle
        largest, found = self._step_size(problem, state, batch, seed)
        eta = largest / 2 * (tf.cos(math.pi * r) + 1)
        sampling = position + 1 >= self.min_steps
        scale = tf.where(sampling, tf.sqrt(eta), 0.0)
        theta = state.theta + eta / 2 * grad + scale * fast_normal(state.theta.shape, seed)
        draws = state.draws.append(theta, sampling, self.thin)
        info = Info.unadjusted(log_joint, tf.norm(grad, axis=-1) / tf.cast(problem.num_data, tf.float32))
        return SGLDState(state.step + 1, theta, draws, found), info
