"""Stochastic gradient Langevin dynamics (Welling & Teh 2011), plain and preconditioned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from bnnrl.checks import check_fraction, check_positive
from bnnrl.inference.base import Info, starting_point, value_and_grad
from bnnrl.inference.draw_buffer import DrawBuffer
from bnnrl.inference.gradients import prior_grad
from bnnrl.inference.sampler import Sampler
from bnnrl.inference.schedules import Rate, check_rate, rate
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import fast_normal


class SGLDState(NamedTuple):
    step: tf.Tensor  # [] int32, steps taken
    theta: tf.Tensor  # [..., D]
    draws: DrawBuffer


@dataclass(frozen=True)
class SGLD(Sampler):
    """Gradient steps with noise whose variance is the step size: a chain that needs no more than minibatches.

        θ += (η/2) ∇ log p(θ, data) + N(0, η)

    The gradient is that of the whole data set's log joint, or a minibatch's unbiased estimate of it. Mind the factor 2:
    many write the step as α = η/2 and the noise's variance as 2α. No step is rejected, so that the draws' law has a
    bias: with all rows at each step, a normal posterior of variance σ² is given the variance σ² / (1 − η / 4σ²), and
    the chain is unstable from η = 4σ² on. Minibatches add to the noise's variance η²/4 times that of their gradients.
    `Ensemble(SGLD())` runs parallel chains.

    Source: Welling & Teh, "Bayesian Learning via Stochastic Gradient Langevin Dynamics", ICML 2011.

    Args:
        step_size: η, a number, a Schedule, or Polynomial(a, b, gamma) for the paper's a (b + t)^−γ.
        burn_in: first steps that give no draw.
        thin: steps for each draw kept.
        max_draws: K, draws kept, the newest.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    step_size: Rate = 1e-5
    burn_in: int = 1000
    thin: int = 10
    max_draws: int = 100

    def __post_init__(self):
        check_rate("step_size", self.step_size)
        super().__post_init__()

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> SGLDState:
        theta = starting_point(problem, seed, theta)
        return SGLDState(tf.constant(0), theta, DrawBuffer.empty(theta, self.max_draws))

    def step(self, problem: Problem, state: SGLDState, batch: Batch, seed) -> tuple[SGLDState, Info]:
        log_joint, grad = value_and_grad(problem, state.theta, batch)
        eta = rate(self.step_size, state.step)
        theta = state.theta + eta / 2 * grad + tf.sqrt(eta) * fast_normal(state.theta.shape, seed)
        draws = state.draws.append(theta, state.step >= self.burn_in, self.thin)
        info = Info.unadjusted(log_joint, tf.norm(grad, axis=-1) / tf.cast(problem.num_data, tf.float32))
        return SGLDState(state.step + 1, theta, draws), info


class PSGLDState(NamedTuple):
    step: tf.Tensor  # [] int32, steps taken
    theta: tf.Tensor  # [..., D]
    v: tf.Tensor  # [..., D] running mean of g²
    draws: DrawBuffer


@dataclass(frozen=True)
class PSGLD(Sampler):
    """SGLD with RMSprop's step size for each weight.

        V = α V + (1 − α) g²        G = 1 / (λ + √V)        g = −∇ log p(batch | θ) / B
        θ += (η/2) G ∇ log p(θ, data) + N(0, η G)

    The term Γ, the divergence of G, is left out as in the paper's own experiments. What is sampled is therefore
    p(θ | data) only as far as V is constant: where the noise of minibatches dominates g, or α is so near 1 that V
    averages over the posterior. With all rows at each step and the default α, V follows g(θ)², and small steps sample,
    in one dimension, from p(θ | data) (λ + |g(θ)|), which has a dent at the mode.

    Source: Li, Chen, Carlson & Carin, "Preconditioned Stochastic Gradient Langevin Dynamics for Deep Neural Networks",
    AAAI 2016, algorithm 1.

    Args:
        step_size: η, a number, a Schedule or a Polynomial.
        alpha: α in [0, 1).
        damping: λ > 0.
        burn_in: first steps that give no draw.
        thin: steps for each draw kept.
        max_draws: K, draws kept, the newest.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    step_size: Rate = 1e-5
    alpha: float = 0.99
    damping: float = 1e-5
    burn_in: int = 1000
    thin: int = 10
    max_draws: int = 100

    def __post_init__(self):
        check_rate("step_size", self.step_size)
        check_fraction("alpha", self.alpha)
        check_positive("damping", self.damping)
        super().__post_init__()

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> PSGLDState:
        theta = starting_point(problem, seed, theta)
        return PSGLDState(tf.constant(0), theta, tf.zeros_like(theta), DrawBuffer.empty(theta, self.max_draws))

    def step(self, problem: Problem, state: PSGLDState, batch: Batch, seed) -> tuple[PSGLDState, Info]:
        log_joint, grad = value_and_grad(problem, state.theta, batch)
        num_data = tf.cast(problem.num_data, tf.float32)
        g = -grad / num_data - prior_grad(problem, state.theta)
        v = self.alpha * state.v + (1 - self.alpha) * tf.square(g)
        eta_g = rate(self.step_size, state.step) / (self.damping + tf.sqrt(v))
        theta = state.theta + eta_g / 2 * grad + tf.sqrt(eta_g) * fast_normal(state.theta.shape, seed)
        draws = state.draws.append(theta, state.step >= self.burn_in, self.thin)
        return PSGLDState(state.step + 1, theta, v, draws), Info.unadjusted(
            log_joint, tf.norm(grad, axis=-1) / num_data
        )
