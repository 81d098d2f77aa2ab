"""Bayesian sharpness-aware minimisation (Möllenhoff & Khan 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from bnnrl.checks import check_count, check_fraction, check_positive
from bnnrl.inference.base import Info, OptimizationMethod, starting_point
from bnnrl.inference.gradients import likelihood_grad, require_normal_prior
from bnnrl.inference.schedules import Schedule, check_rate, rate
from bnnrl.posterior import MeanField
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import fast_normal


class BSAMState(NamedTuple):
    step: tf.Tensor  # [] int32, steps taken
    theta: tf.Tensor  # [..., D] w
    gm: tf.Tensor  # [..., D] momentum
    s: tf.Tensor  # [..., D] scale of the precision


@dataclass(frozen=True)
class BSAM(OptimizationMethod):
    """SAM with an adversary in the natural parameters' space, and q(θ) = N(w, T / (N s)) from it.

        θ = w + ε √T / √(N s)           g  = −∇ log p(data | θ) / N
        e = ρ clip(g / s, ±ξ)           ge = −∇ log p(data | w + e) / N         the mean is moved, not θ
        gm = β₁ gm + (1 − β₁)(mean(ge) + δ (w − m₀))         δ = λ / N, the prior being N(m₀, 1/λ)
        w −= α clip(gm / s, ±ξ)
        s = β₂ s + (1 − β₂)( mean(√s |g|) + δ + γ )

    Moments start at gm = 0 and s = `s_init` and are not corrected for it. w moves by the s its draw was made with, and
    s after it, as in the authors' code; the paper has them the other way round. Where γ and δ are small s settles at
    E[|g|]², so that q depends on the batch, as in VADAM; by γ it is never wider than √(T / (N γ)).

    Both moves are gradients over s, not over its root as Adam's: where s has been small for long, as for a unit that
    was off, one large gradient throws w far off. ξ bounds them; at infinity, the default, this is the paper's method.

    Source: Möllenhoff & Khan, "SAM as an Optimal Relaxation of Bayes", ICLR 2023, algorithm 1.

    Args:
        learning_rate: α, a number or a Schedule.
        beta_1: β₁ in [0, 1).
        beta_2: β₂ in [0, 1).
        rho: ρ ≥ 0, size of the adversary's move.
        damping: γ ≥ 0.
        s_init: s at the start.
        draws: draws of θ a step, each with its own adversary.
        temperature: T; below 1 the posterior is sharper.
        clip_radius: ξ > 0, the most an entry moves in units of α, and of ρ in the adversary's move.

    Raises:
        ValueError: for a hyper-parameter out of its range; by `step` if the prior is not normal.
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

    def __post_init__(self):
        check_rate("learning_rate", self.learning_rate)
        check_fraction("beta_1", self.beta_1)
        check_fraction("beta_2", self.beta_2)
        for name in ("rho", "damping"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"Invalid `{name}`: expected a finite number >= 0. Received: {name}={getattr(self, name)!r}."
                )
        check_positive("s_init", self.s_init)
        check_count("draws", self.draws)
        check_positive("temperature", self.temperature)
        check_positive("clip_radius", self.clip_radius, infinite=True)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> BSAMState:
        start = starting_point(problem, seed, theta)
        require_normal_prior(problem, self)
        return BSAMState(tf.constant(0), start, tf.zeros_like(start), tf.fill(start.shape, self.s_init))

    def step(self, problem: Problem, state: BSAMState, batch: Batch, seed) -> tuple[BSAMState, Info]:
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
        N = tf.cast(problem.num_data, tf.float32)
        return MeanField(state.theta, tf.sqrt(self.temperature / (N * state.s)))
