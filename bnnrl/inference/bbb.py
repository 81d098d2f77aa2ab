"""Bayes by Backprop (Blundell et al. 2015): mean-field variational inference by the reparameterisation trick."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import tensorflow as tf

from bnnrl.checks import check_count, check_fields, check_fraction, check_positive
from bnnrl.inference.adam import AdamInside, AdamState
from bnnrl.inference.base import Info, starting_point
from bnnrl.inference.gradients import likelihood_grad, prior_grad
from bnnrl.inference.schedules import Schedule, check_rate, rate
from bnnrl.posterior import MeanField
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import fast_normal


class BBBState(NamedTuple):
    """State of Bayes by Backprop: Adam's state of μ and of ρ."""

    mu: AdamState  # [..., D]
    rho: AdamState  # [..., D]

    @property
    def theta(self) -> tf.Tensor:
        """μ [..., D]."""
        return self.mu.theta


@dataclass(frozen=True)
class BBB(AdamInside):
    """Mean-field variational inference: maximise the evidence lower bound over q(θ) = N(μ, σ²), σ = softplus(ρ).

        loss = { E_q[ −log p(data | θ) − log p(θ) ] − T H(q) } / N        θ = μ + σ ε
        ∂μ = mean(g) + λ (μ − m₀) / N                  g = −∇ log p(data | θ) / N
        ∂σ = mean(g ε) + λ σ / N − T / (N σ)           ∂ρ = ∂σ sigmoid(ρ)
        (μ, ρ) by Adam along (∂μ, ∂ρ)

    At T = 1 the loss is KL(q ‖ posterior) / N up to a constant. Prior and entropy count once for the whole data set,
    whatever the batch size. The expectation of a normal prior N(m₀, 1/λ) is exact, as above; that of any other prior,
    such as the paper's scale mixture, is averaged over the draws of θ like the likelihood's. The entropy H is always
    exact. For a normal posterior with covariance Σ, q converges to the variances 1 / diag(Σ⁻¹), which are smaller than
    diag(Σ).

    Source: Blundell et al., "Weight Uncertainty in Neural Networks", ICML 2015. The paper estimates the entropy from
    draws too, and uses SGD.

    Args:
        learning_rate: α of Adam, a number or a Schedule.
        std_init: σ at the start. Small, so that μ fits the data before σ grows.
        draws: S, the number of draws of θ per step.
        temperature: T; q approximates p(θ | data)^(1/T), which for T < 1 is a cold posterior.
        beta_2: β₂ of Adam, in [0, 1).

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    learning_rate: float | Schedule = 1e-3
    std_init: float = 0.01
    draws: int = 1
    temperature: float = 1.0
    beta_2: float = 0.999

    tensor_fields: ClassVar = ("learning_rate", "temperature")
    members_are_independent: ClassVar[bool] = True

    def __post_init__(self):
        check_fields(self, learning_rate=check_rate, beta_2=check_fraction, std_init=check_positive)
        check_fields(self, draws=check_count, temperature=check_positive)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> BBBState:
        """Return the state before the first step, with μ at θ and σ at `std_init`."""
        start = starting_point(problem, seed, theta)
        rho = tf.fill(start.shape, math.log(math.expm1(self.std_init)))
        return BBBState(self._adam.start(start), self._adam.start(rho))

    def step(self, problem: Problem, state: BBBState, batch: Batch, seed) -> tuple[BBBState, Info]:
        """Return the state after one Adam step of μ and ρ."""
        N = tf.cast(problem.num_data, tf.float32)
        mu, rho = state.mu.theta, state.rho.theta
        # Softplus and sigmoid of ρ share one exponential: XLA recomputes it wherever one of them is used.
        e = tf.exp(tf.minimum(rho, 80.0))
        sigma, slope = tf.math.log1p(e), e / (1.0 + e)
        epsilon = fast_normal([self.draws, *mu.shape], seed)
        theta = mu + sigma * epsilon  # [S, ..., D]
        log_joint, g = likelihood_grad(problem, theta, batch)
        prior = problem.normal_prior
        if prior is None:
            g += prior_grad(problem, theta)
        grad_mu, grad_sigma = tf.reduce_mean(g, axis=0), tf.reduce_mean(g * epsilon, axis=0)
        if prior is not None:
            grad_mu += prior.precision * (mu - prior.mean) / N
            grad_sigma += prior.precision * sigma / N
        grad_sigma -= self.temperature / (N * sigma)
        alpha = rate(self.learning_rate, state.mu.step)
        mu = self._adam.update(state.mu, grad_mu, alpha)
        rho = self._adam.update(state.rho, grad_sigma * slope, alpha)
        return BBBState(mu, rho), Info.unadjusted(log_joint, tf.norm(grad_mu, axis=-1))

    def posterior(self, problem: Problem, state: BBBState) -> MeanField:
        """Return q(θ) = N(μ, σ²)."""
        return MeanField(state.mu.theta, tf.math.softplus(state.rho.theta))
