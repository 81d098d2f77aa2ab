"""Bayesian sharpness-aware minimisation, bSAM (Möllenhoff & Khan 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import tensorflow as tf

from bnnrl.checks import check_count, check_fields, check_fraction, check_nonnegative, check_positive
from bnnrl.inference.base import Info, OptimizationMethod, starting_point
from bnnrl.inference.gradients import likelihood_grad, require_normal_prior
from bnnrl.inference.schedules import Schedule, check_rate, rate
from bnnrl.posterior import MeanField
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import fast_normal


class BSAMState(NamedTuple):
    """State of bSAM."""

    step: tf.Tensor  # [] int32, steps taken
    theta: tf.Tensor  # [..., D] w, the mean of q
    gm: tf.Tensor  # [..., D] momentum
    s: tf.Tensor  # [..., D] scale of the precision


@dataclass(frozen=True)
class BSAM(OptimizationMethod):
    """Sharpness-aware minimisation (SAM) that keeps a Gaussian q(θ) = N(w, T / (N s)).

        θ = w + ε √T / √(N s)           g  = −∇ log p(data | θ) / N
        e = ρ clip(g / s, ±ξ)           ge = −∇ log p(data | w + e) / N         e moves the mean w, not θ
        gm = β₁ gm + (1 − β₁)(mean(ge) + δ (w − m₀))         δ = λ / N, the prior being N(m₀, 1/λ)
        w −= α clip(gm / s, ±ξ)
        s = β₂ s + (1 − β₂)( mean(√s |g|) + δ + γ )

    gm starts at 0 and s at `s_init`, without bias correction. The step of w uses the s that the draw of θ used, and s
    is updated afterwards, as in the authors' code; in the paper s comes first. If γ and δ are small, s converges to
    E[|g|]², so that the width of q depends on the batch size, as with VADAM. The damping γ bounds the standard
    deviation of q by √(T / (N γ)).

    Both moves divide a gradient by s, not by √s as Adam does. If s has been small for long, as for a unit that was
    inactive, one large gradient moves w very far. ξ bounds both moves; ξ = ∞, the default, is the paper's method.

    Source: Möllenhoff & Khan, "SAM as an Optimal Relaxation of Bayes", ICLR 2023, algorithm 1.

    Args:
        learning_rate: α, a number or a Schedule.
        beta_1: β₁ in [0, 1).
        beta_2: β₂ in [0, 1).
        rho: ρ ≥ 0, the size of the adversarial move.
        damping: γ ≥ 0.
        s_init: s at the start.
        draws: S, the number of draws of θ per step, each with its own adversarial move.
        temperature: T; q approximates p(θ | data)^(1/T), which for T < 1 is a cold posterior.
        clip_radius: ξ > 0, the largest move of an entry of w in units of α, and of the adversarial move in units of ρ.

    Raises:
        ValueError: for a hyper-parameter out of its range; in `init` if the prior is not normal.
    """

    learning_rate: float | Schedule = 0.5
    beta_1: float = 0.9
    beta_2: float = 0.999
    rho: float = 0.05
    damping: float = 0.1
    s_init: float = 1.0
    draws: int = 1
    temperature: float = 1.0
    clip_radius: float = math.inf

    tensor_fields: ClassVar = ("learning_rate", "rho", "damping", "s_init", "temperature")
    members_are_independent: ClassVar[bool] = True

    def __post_init__(self):
        radius = partial(check_positive, infinite=True)
        check_fields(self, learning_rate=check_rate, beta_1=check_fraction, beta_2=check_fraction)
        check_fields(self, rho=check_nonnegative, damping=check_nonnegative, s_init=check_positive)
        check_fields(self, draws=check_count, temperature=check_positive, clip_radius=radius)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> BSAMState:
        """Return the state before the first step, with gm = 0 and s = `s_init`."""
        start = starting_point(problem, seed, theta)
        require_normal_prior(problem, self)
        return BSAMState(tf.constant(0), start, tf.zeros_like(start), tf.fill(start.shape, self.s_init))

    def step(self, problem: Problem, state: BSAMState, batch: Batch, seed) -> tuple[BSAMState, Info]:
        """Return the state after one step: draw, adversarial move, momentum, mean and scale."""
        N = tf.cast(problem.num_data, tf.float32)
        w, s, prior = state.theta, state.s, require_normal_prior(problem, self)
        delta = prior.precision / N
        theta = w + fast_normal([self.draws, *w.shape], seed) * tf.sqrt(self.temperature / (N * s))
        log_joint, g = likelihood_grad(problem, theta, batch)
        clip = lambda move: tf.clip_by_value(move, -self.clip_radius, self.clip_radius)
        _, ge = likelihood_grad(problem, w + self.rho * clip(g / s), batch)
        gradient = tf.reduce_mean(ge, axis=0) + delta * (w - prior.mean)
        gm = self.beta_1 * state.gm + (1 - self.beta_1) * gradient
        w -= rate(self.learning_rate, state.step) * clip(gm / s)
        size = tf.reduce_mean(tf.sqrt(s) * tf.abs(g), axis=0)
        s = self.beta_2 * s + (1 - self.beta_2) * (size + delta + self.damping)
        return BSAMState(state.step + 1, w, gm, s), Info.unadjusted(log_joint, tf.norm(gradient, axis=-1))

    def posterior(self, problem: Problem, state: BSAMState) -> MeanField:
        """Return q(θ) = N(w, T / (N s))."""
        N = tf.cast(problem.num_data, tf.float32)
        return MeanField(state.theta, tf.sqrt(self.temperature / (N * state.s)))
