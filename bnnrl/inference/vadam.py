"""Vadam (Khan et al. 2018): mean-field variational inference by Adam with perturbed weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import tensorflow as tf

from bnnrl.checks import check_count, check_fields, check_fraction, check_positive, optional
from bnnrl.inference.adam import one_minus_power
from bnnrl.inference.base import Info, OptimizationMethod, starting_point
from bnnrl.inference.gradients import likelihood_grad, require_normal_prior
from bnnrl.inference.schedules import Schedule, check_rate, rate
from bnnrl.posterior import MeanField
from bnnrl.priors import NormalPrior
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import fast_normal


class VADAMState(NamedTuple):
    """State of Vadam."""

    step: tf.Tensor  # [] int32, steps taken
    theta: tf.Tensor  # [..., D] μ, the mean of q
    m: tf.Tensor  # [..., D] first moment of the gradient
    s: tf.Tensor  # [..., D] second moment of the likelihood's gradient


@dataclass(frozen=True)
class VADAM(OptimizationMethod):
    """Vadam: approximate natural-gradient steps of q(θ) = N(μ, T / (N s + λ)), under the prior N(m₀, 1/λ).

        θ = μ + ε √T / √(N s + λ)              g = −∇ log p(data | θ) / N at each draw
        m = β₁ m + (1 − β₁)(mean(g) + λ (μ − m₀) / N)
        s = β₂ s + (1 − β₂) mean(g²)
        μ −= α m̂ / ( √ŝ + λ / N )              m̂ = m / (1 − β₁ᵗ),  ŝ = s / (1 − β₂ᵗ)

    s approximates the likelihood's curvature by the mean of squared minibatch gradients. The gradient of B rows has 1/B
    of the variance of one row's, so that q is too wide for B > 1. On a conjugate problem the mean of q is right for any
    B, and its variance for B = 1. λ and m₀ come from the problem's prior, which must be normal.

    Source: Khan et al., "Fast and Scalable Bayesian Deep Learning by Weight-Perturbation in Adam", ICML 2018. As in
    figure 1 of the paper, the draws use s without bias correction.

    Args:
        learning_rate: α, a number or a Schedule.
        beta_1: β₁ in [0, 1).
        beta_2: β₂ in [0, 1).
        prec_init: precision N s + λ of the first draw, at least λ; if None, s starts at 1.
        draws: S, the number of draws of θ per step.
        temperature: T; q approximates p(θ | data)^(1/T), which for T < 1 is a cold posterior.

    Raises:
        ValueError: for a hyper-parameter out of its range; in `init` if the prior is not normal, or `prec_init` is
            below the prior's precision.
    """

    learning_rate: float | Schedule = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    prec_init: float | None = None
    draws: int = 1
    temperature: float = 1.0

    tensor_fields: ClassVar = ("learning_rate", "temperature")
    members_are_independent: ClassVar[bool] = True

    def __post_init__(self):
        check_fields(self, learning_rate=check_rate, beta_1=check_fraction, beta_2=check_fraction)
        check_fields(self, prec_init=optional(check_positive), draws=check_count, temperature=check_positive)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> VADAMState:
        """Return the state before the first step."""
        start = starting_point(problem, seed, theta)
        s = tf.ones_like(start)
        precision = require_normal_prior(problem, self).precision
        if self.prec_init is not None:
            highest = tf.get_static_value(tf.reduce_max(precision))  # None within a graph
            if highest is not None and self.prec_init < highest:
                raise ValueError(
                    f"Invalid `prec_init`: expected at least the prior's precision, {highest:.6g}. "
                    f"Received: prec_init={self.prec_init!r}."
                )
            s *= (self.prec_init - precision) / tf.cast(problem.num_data, tf.float32)
        return VADAMState(tf.constant(0), start, tf.zeros_like(start), s)

    def step(self, problem: Problem, state: VADAMState, batch: Batch, seed) -> tuple[VADAMState, Info]:
        """Return the state after one step along the natural gradient."""
        N = tf.cast(problem.num_data, tf.float32)
        mu, prior = state.theta, require_normal_prior(problem, self)
        epsilon = fast_normal([self.draws, *mu.shape], seed)
        log_joint, g = likelihood_grad(problem, mu + epsilon * self._std(prior, state.s, N), batch)
        gradient = tf.reduce_mean(g, axis=0) + prior.precision * (mu - prior.mean) / N
        m = self.beta_1 * state.m + (1 - self.beta_1) * gradient
        s = self.beta_2 * state.s + (1 - self.beta_2) * tf.reduce_mean(tf.square(g), axis=0)
        m_hat = m / one_minus_power(self.beta_1, state.step + 1)
        s_hat = s / one_minus_power(self.beta_2, state.step + 1)
        mu -= rate(self.learning_rate, state.step) * m_hat / (tf.sqrt(s_hat) + prior.precision / N)
        return VADAMState(state.step + 1, mu, m, s), Info.unadjusted(log_joint, tf.norm(gradient, axis=-1))

    def posterior(self, problem: Problem, state: VADAMState) -> MeanField:
        """Return q(θ) = N(μ, T / (N s + λ))."""
        N = tf.cast(problem.num_data, tf.float32)
        return MeanField(state.theta, self._std(require_normal_prior(problem, self), state.s, N))

    def _std(self, prior: NormalPrior, s: tf.Tensor, N: tf.Tensor) -> tf.Tensor:
        return tf.sqrt(self.temperature / (N * s + prior.precision))
