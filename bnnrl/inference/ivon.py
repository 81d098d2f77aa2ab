"""Improved variational online Newton, IVON (Shen et al. 2024): mean-field variational inference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import tensorflow as tf

from bnnrl.checks import check_count, check_fields, check_fraction, check_positive
from bnnrl.inference.adam import one_minus_power
from bnnrl.inference.base import Info, OptimizationMethod, starting_point
from bnnrl.inference.gradients import likelihood_grad, require_normal_prior
from bnnrl.inference.schedules import Schedule, check_rate, rate
from bnnrl.posterior import MeanField
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import fast_normal


class IVONState(NamedTuple):
    """State of IVON."""

    step: tf.Tensor  # [] int32, steps taken
    theta: tf.Tensor  # [..., D] m, the mean of q
    g: tf.Tensor  # [..., D] momentum
    h: tf.Tensor  # [..., D] curvature of −log p(data | θ) / N


@dataclass(frozen=True)
class IVON(OptimizationMethod):
    """IVON: natural-gradient steps of q(θ) = N(m, σ²), σ² = T / (N (h + δ)), δ = λ / N, under the prior N(m₀, 1/λ).

        θ = m + σ ε                     ĝ = −∇ log p(data | θ) / N at each draw
        ĥ = mean( ĝ (θ − m) / σ² )      Price's theorem: the mean curvature under q
        g = β₁ g + (1 − β₁) mean(ĝ)
        h = β₂ h + (1 − β₂) ĥ + ½ (1 − β₂)² (h − ĥ)² / (h + δ)
        m −= α (h₀ + δ) clip( (ḡ + δ (m − m₀)) / (h + δ), ±ξ )          ḡ = g / (1 − β₁ᵗ)

    The last term of h keeps h + δ positive. Unlike VADAM's s, ĥ is linear in the gradient, and therefore unbiased for
    minibatches of any size: on a conjugate problem the variances of q are 1 / diag(Σ⁻¹). The noise of ĥ is averaged
    over about 1 / (1 − β₂) steps, 1e5 in the paper. For a run of some thousand steps, use β₂ = 0.999 and several draws.

    Source: Shen et al., "Variational Learning is Effective for Large Deep Networks", ICML 2024, algorithm 1. The
    paper's effective sample size is N / T, and its weight decay is δ.

    Args:
        learning_rate: α, a number or a Schedule.
        beta_1: β₁ in [0, 1).
        beta_2: β₂ in [0, 1).
        hess_init: h₀ > 0, h at the start.
        clip_radius: ξ > 0, the largest move of an entry of m in units of α (h₀ + δ).
        draws: S, the number of draws of θ per step.
        temperature: T; q approximates p(θ | data)^(1/T), which for T < 1 is a cold posterior.

    Raises:
        ValueError: for a hyper-parameter out of its range; in `init` if the prior is not normal.
    """

    learning_rate: float | Schedule = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    hess_init: float = 1.0
    clip_radius: float = math.inf
    draws: int = 1
    temperature: float = 1.0

    tensor_fields: ClassVar = ("learning_rate", "hess_init", "temperature")
    members_are_independent: ClassVar[bool] = True

    def __post_init__(self):
        check_fields(self, learning_rate=check_rate, beta_1=check_fraction, beta_2=check_fraction)
        check_fields(self, hess_init=check_positive, clip_radius=partial(check_positive, infinite=True))
        check_fields(self, draws=check_count, temperature=check_positive)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> IVONState:
        """Return the state before the first step, with g = 0 and h = h₀."""
        start = starting_point(problem, seed, theta)
        require_normal_prior(problem, self)
        return IVONState(tf.constant(0), start, tf.zeros_like(start), tf.fill(start.shape, self.hess_init))

    def step(self, problem: Problem, state: IVONState, batch: Batch, seed) -> tuple[IVONState, Info]:
        """Return the state after one step of m and h along the natural gradient."""
        N = tf.cast(problem.num_data, tf.float32)
        m, h, prior = state.theta, state.h, require_normal_prior(problem, self)
        delta = prior.precision / N
        sigma = tf.sqrt(self.temperature / (N * (h + delta)))
        epsilon = fast_normal([self.draws, *m.shape], seed)
        log_joint, g_hat = likelihood_grad(problem, m + sigma * epsilon, batch)
        h_hat = tf.reduce_mean(g_hat * epsilon, axis=0) / sigma
        mean_g = tf.reduce_mean(g_hat, axis=0)
        g = self.beta_1 * state.g + (1 - self.beta_1) * mean_g
        correction = 0.5 * (1 - self.beta_2) ** 2 * tf.square(h - h_hat) / (h + delta)
        h = self.beta_2 * h + (1 - self.beta_2) * h_hat + correction
        g_bar = g / one_minus_power(self.beta_1, state.step + 1)
        move = (g_bar + delta * (m - prior.mean)) / (h + delta)
        alpha = rate(self.learning_rate, state.step) * (self.hess_init + delta)
        m -= alpha * tf.clip_by_value(move, -self.clip_radius, self.clip_radius)
        return IVONState(state.step + 1, m, g, h), Info.unadjusted(
            log_joint, tf.norm(mean_g + delta * (state.theta - prior.mean), axis=-1)
        )

    def posterior(self, problem: Problem, state: IVONState) -> MeanField:
        """Return q(θ) = N(m, σ²)."""
        N = tf.cast(problem.num_data, tf.float32)
        delta = require_normal_prior(problem, self).precision / N
        return MeanField(state.theta, tf.sqrt(self.temperature / (N * (state.h + delta))))
