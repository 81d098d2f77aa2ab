"""Stochastic gradient Hamiltonian Monte Carlo, SGHMC (Chen, Fox & Guestrin 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import tensorflow as tf

from bnnrl.checks import check_fields, check_fraction, check_within
from bnnrl.inference.base import Info, starting_point, value_and_grad
from bnnrl.inference.draw_buffer import DrawBuffer
from bnnrl.inference.gradient_chain import GradientChain, StepSize, StepState, check_step_size
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import fast_normal


class SGHMCState(NamedTuple):
    """State of SGHMC."""

    step: tf.Tensor  # [] int32, steps taken
    theta: tf.Tensor  # [..., D]
    v: tf.Tensor  # [..., D] velocity, of variance η at equilibrium
    draws: DrawBuffer
    found: StepState | tuple[()] = ()


@dataclass(frozen=True)
class SGHMC(GradientChain):
    """Stochastic gradient Hamiltonian Monte Carlo: SGLD with momentum, whose noise balances the friction.

        v = (1 − α) v + η ∇ log p(θ, data) + N(0, 2 (α − β) η)        θ += v

    This is the paper's equation 15, but θ moves by the new velocity. The time step is √η, and the velocity decays
    within about 1/α steps; α = 1 is SGLD with the step size 2η. No step is rejected, so that the draws have a bias of
    order η.

    Source: Chen, Fox & Guestrin, "Stochastic Gradient Hamiltonian Monte Carlo", ICML 2014, equation 15.

    Args:
        step_size: η, a number, a Schedule, a Polynomial or CurvatureStep().
        friction: α in (0, 1].
        noise_estimate: β in [0, α), the noise of minibatches in units of friction: η/2 times the variance of their
            gradients.
        burn_in: number of first steps that give no draw, see `Sampler`.
        thin: number of steps for each draw that is kept.
        max_draws: K, the number of draws kept, the newest.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    step_size: StepSize = 1e-5
    friction: float = 0.05
    noise_estimate: float = 0.0
    burn_in: int = 1000
    thin: int = 10
    max_draws: int = 100

    tensor_fields: ClassVar = ("step_size", "burn_in", "thin")
    members_are_independent: ClassVar[bool] = True

    def __post_init__(self):
        share = partial(check_within, interval="(0, 1]")
        check_fields(self, step_size=check_step_size, friction=share, noise_estimate=check_fraction)
        if self.noise_estimate >= self.friction:
            raise ValueError(
                f"Invalid `noise_estimate`: expected a number in [0, friction) with friction={self.friction!r}. "
                f"Received: {self.noise_estimate!r}"
            )
        super().__post_init__()

    @property
    def _factor(self) -> float:
        return self.friction

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> SGHMCState:
        """Return the state before the first step, with velocity 0 and without draws."""
        theta = starting_point(problem, seed, theta)
        draws = DrawBuffer.empty(theta, self.max_draws)
        return SGHMCState(tf.constant(0), theta, tf.zeros_like(theta), draws, self._nothing_found(theta))

    def step(self, problem: Problem, state: SGHMCState, batch: Batch, seed) -> tuple[SGHMCState, Info]:
        """Return the state after one step of velocity and θ."""
        log_joint, grad = value_and_grad(problem, state.theta, batch)
        eta, found = self._step_size(problem, state, batch, seed)
        scale = tf.sqrt(2 * (self.friction - self.noise_estimate) * eta)
        v = (1 - self.friction) * state.v + eta * grad + scale * fast_normal(state.theta.shape, seed)
        theta = state.theta + v
        draws = state.draws.append(theta, state.step >= self.burn_in, self.thin)
        info = Info.unadjusted(log_joint, tf.norm(grad, axis=-1) / tf.cast(problem.num_data, tf.float32))
        return SGHMCState(state.step + 1, theta, v, draws, found), info
