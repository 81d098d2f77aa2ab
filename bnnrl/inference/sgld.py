"""Stochastic gradient Langevin dynamics, plain (Welling & Teh 2011) and preconditioned (Li et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import tensorflow as tf

from bnnrl.checks import check_fields, check_fraction, check_positive
from bnnrl.inference.base import Info, starting_point, value_and_grad
from bnnrl.inference.draw_buffer import DrawBuffer
from bnnrl.inference.gradient_chain import (
    CurvatureStep,
    GradientChain,
    StepSize,
    StepState,
    check_step_size,
    expected_squares,
)
from bnnrl.inference.gradients import prior_grad
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import fast_normal


class SGLDState(NamedTuple):
    """State of SGLD and of cyclical SGLD."""

    step: tf.Tensor  # [] int32, steps taken
    theta: tf.Tensor  # [..., D]
    draws: DrawBuffer
    found: StepState | tuple[()] = ()


@dataclass(frozen=True)
class SGLD(GradientChain):
    """Stochastic gradient Langevin dynamics: gradient steps on minibatches, with noise whose variance is the step size.

        θ += (η/2) ∇ log p(θ, data) + N(0, η)

    The gradient is that of the log joint of the whole data set, or the unbiased estimate of a minibatch. Some authors
    write the step as α = η/2 and the variance of the noise as 2α. No step is rejected, so that the draws are biased:
    with all rows at each step, a normal posterior of variance σ² is sampled with variance σ² / (1 − η / 4σ²), and the
    chain is unstable for η ≥ 4σ². Minibatches add η²/4 times the variance of their gradients to the variance of the
    noise. `Ensemble(SGLD())` runs parallel chains.

    Source: Welling & Teh, "Bayesian Learning via Stochastic Gradient Langevin Dynamics", ICML 2011.

    Args:
        step_size: η, a number, a Schedule, Polynomial(a, b, gamma) for the paper's a (b + t)^−γ, or CurvatureStep().
        burn_in: number of first steps that give no draw, see `Sampler`.
        thin: number of steps for each draw that is kept.
        max_draws: K, the number of draws kept, the newest.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    step_size: StepSize = 1e-5
    burn_in: int = 1000
    thin: int = 10
    max_draws: int = 100

    tensor_fields: ClassVar = ("step_size", "burn_in", "thin")
    members_are_independent: ClassVar[bool] = True

    def __post_init__(self):
        check_fields(self, step_size=check_step_size)
        super().__post_init__()

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> SGLDState:
        """Return the state before the first step, without draws."""
        theta = starting_point(problem, seed, theta)
        return SGLDState(tf.constant(0), theta, DrawBuffer.empty(theta, self.max_draws), self._nothing_found(theta))

    def step(self, problem: Problem, state: SGLDState, batch: Batch, seed) -> tuple[SGLDState, Info]:
        """Return the state after one Langevin step."""
        log_joint, grad = value_and_grad(problem, state.theta, batch)
        eta, found = self._step_size(problem, state, batch, seed)
        theta = state.theta + eta / 2 * grad + tf.sqrt(eta) * fast_normal(state.theta.shape, seed)
        draws = state.draws.append(theta, state.step >= self.burn_in, self.thin)
        info = Info.unadjusted(log_joint, tf.norm(grad, axis=-1) / tf.cast(problem.num_data, tf.float32))
        return SGLDState(state.step + 1, theta, draws, found), info


class PSGLDState(NamedTuple):
    """State of preconditioned SGLD."""

    step: tf.Tensor  # [] int32, steps taken
    theta: tf.Tensor  # [..., D]
    v: tf.Tensor  # [..., D] running mean of g²
    draws: DrawBuffer
    found: StepState | tuple[()] = ()


@dataclass(frozen=True)
class PSGLD(GradientChain):
    """Preconditioned SGLD: each parameter has a step size of its own, as in RMSprop.

        V = α V + (1 − α) g²        G = 1 / (λ + √V)        g = −∇ log p(batch | θ) / B
        θ += (η/2) G ∇ log p(θ, data) + N(0, η G)

    The term Γ, the divergence of G, is left out as in the paper's experiments. The chain therefore samples from p(θ |
    data) only if V is nearly constant: if the noise of minibatches dominates g, or if α is so near 1 that V averages
    over the posterior. With all rows at each step and the default α, V follows g(θ)², and in one dimension small steps
    sample from p(θ | data) (λ + |g(θ)|), whose density has a dip at the mode.

    Source: Li, Chen, Carlson & Carin, "Preconditioned Stochastic Gradient Langevin Dynamics for Deep Neural Networks",
    AAAI 2016, algorithm 1.

    Args:
        step_size: η, a number, a Schedule, a Polynomial, or CurvatureStep(), with which V starts at its expected value.
        alpha: α in [0, 1).
        damping: λ > 0.
        burn_in: number of first steps that give no draw, see `Sampler`.
        thin: number of steps for each draw that is kept.
        max_draws: K, the number of draws kept, the newest.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    step_size: StepSize = 1e-5
    alpha: float = 0.99
    damping: float = 1e-5
    burn_in: int = 1000
    thin: int = 10
    max_draws: int = 100

    tensor_fields: ClassVar = ("step_size", "damping", "burn_in", "thin")
    members_are_independent: ClassVar[bool] = True

    def __post_init__(self):
        check_fields(self, step_size=check_step_size, alpha=check_fraction, damping=check_positive)
        super().__post_init__()

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> PSGLDState:
        """Return the state before the first step, with V = 0 and without draws."""
        theta = starting_point(problem, seed, theta)
        draws = DrawBuffer.empty(theta, self.max_draws)
        return PSGLDState(tf.constant(0), theta, tf.zeros_like(theta), draws, self._nothing_found(theta))

    def step(self, problem: Problem, state: PSGLDState, batch: Batch, seed) -> tuple[PSGLDState, Info]:
        """Return the state after one preconditioned Langevin step."""
        log_joint, grad = value_and_grad(problem, state.theta, batch)
        num_data = tf.cast(problem.num_data, tf.float32)
        g = -grad / num_data - prior_grad(problem, state.theta)
        v = self.alpha * self._v(problem, state, batch) + (1 - self.alpha) * tf.square(g)
        preconditioner = 1.0 / (self.damping + tf.sqrt(v))
        eta, found = self._step_size(problem, state, batch, seed, tf.sqrt(preconditioner))
        eta_g = eta * preconditioner
        theta = state.theta + eta_g / 2 * grad + tf.sqrt(eta_g) * fast_normal(state.theta.shape, seed)
        draws = state.draws.append(theta, state.step >= self.burn_in, self.thin)
        return PSGLDState(state.step + 1, theta, v, draws, found), Info.unadjusted(
            log_joint, tf.norm(grad, axis=-1) / num_data
        )

    def _v(self, problem: Problem, state: PSGLDState, batch: Batch) -> tf.Tensor:
        """Return V before a step [..., D]: the state's, or where the curvature is found first, what g² will average."""
        if not isinstance(self.step_size, CurvatureStep):
            return state.v
        start = lambda: expected_squares(problem, state.theta, batch)
        return tf.cond(state.step == 0, start, lambda: state.v)
