"""Microcanonical Langevin Monte Carlo (Robnik et al. 2023): chains of constant speed, on all rows at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import tensorflow as tf

from bnnrl.checks import check_count, check_fields, check_flag, check_positive
from bnnrl.inference.base import Info, value_and_grad
from bnnrl.inference.draw_buffer import DrawBuffer
from bnnrl.inference.hamiltonian import Adaptation, HamiltonianSampler
from bnnrl.inference.scales import Scales
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import fold_in, normal, split, uniform

# The minimal-norm integrator of Omelyan et al. 2003: u turns by λ, θ moves by 1/2, u turns by 1 − 2λ, and back.
_LAMBDA = 0.1931833275037836


class MCLMCState(NamedTuple):
    """State of MCLMC, with C chains."""

    step: tf.Tensor  # [] int32, transitions so far
    theta: tf.Tensor  # [C, D]
    direction: tf.Tensor  # [C, D] u, of length 1
    log_joint: tf.Tensor  # [C] float64, log p(θ, data)
    grad: tf.Tensor  # [C, D] its gradient
    adaptation: Adaptation
    scales: Scales
    draws: DrawBuffer  # [C, K, D]


class _Path(NamedTuple):
    """A trajectory under way."""

    theta: tf.Tensor  # [C, D]
    direction: tf.Tensor  # [C, D]
    log_joint: tf.Tensor  # [C] float32
    grad: tf.Tensor  # [C, D]
    work: tf.Tensor  # [C] float64, gain of kinetic energy since the start
    squares: tf.Tensor  # [C] sum of the squared energy errors of the steps


@dataclass(frozen=True)
class MCLMC(HamiltonianSampler):
    """Microcanonical Langevin Monte Carlo: parallel chains of constant speed, whose direction u follows the gradient.

        dθ = s u dt,  du = (I − u uᵀ) (s ∇ log p(θ, data) / (D − 1) dt + η dW),  |u| = 1

    The density of θ under these dynamics is p(θ | data). s are scales of θ: the prior's standard deviations at first,
    then those of the chains' own draws. A step is ε √D long, so that ε is its length for each entry, in scales. A
    transition is a trajectory of L / ε steps, at most `max_leapfrog`, each of which takes two gradients. The noise η
    is such that u forgets its direction over the length L.

    Without a Metropolis step, the draws are biased by the integrator alone. ε is adapted over the burn-in until the
    variance of a step's energy error is `energy_error` for each dimension, which bounds the bias. With `adjusted`, u is
    drawn anew before each trajectory, the trajectory's length is uniform between 0 and 2 L and free of noise, its end
    is accepted with the probability min(1, exp(−energy error)), and ε is adapted to `target_accept`: then the chains
    are exact, as those of HMC.

    `WarmStart(MCLMC())` starts each chain at the member of a deep ensemble.

    Source: Robnik, De Luca, Silverstein & Seljak, "Microcanonical Hamiltonian Monte Carlo", JMLR 2023; Robnik & Seljak,
    "Fluctuation without Dissipation: Microcanonical Langevin Monte Carlo", 2024, for the noise; Robnik, Cohn-Gordon &
    Seljak, "Metropolis Adjusted Microcanonical Hamiltonian Monte Carlo", 2025; Sommer et al., "Microcanonical Langevin
    Ensembles", ICLR 2025, for the warm start.

    Args:
        step_size: ε at the start, in scales; all steps have it if `burn_in` is 0.
        trajectory: L, in scales of each entry: the whole length is L √D.
        max_leapfrog: largest number of steps of a transition.
        energy_error: variance of a step's energy error for each dimension, in nats², to which ε is adapted.
        adjusted: whether trajectories end with a Metropolis step.
        chains: C, the number of chains.
        burn_in: number of first transitions, which adapt ε and the scales and give no draw.
        thin: number of transitions for each draw that is kept, see `Sampler`.
        max_draws: K, the number of draws kept of each chain, the newest.
        target_accept: mean acceptance probability to which ε is adapted if `adjusted`; None for no adaptation.
        mass: "diagonal" for scales from the burn-in's draws, "identity" for the prior's standard deviations.

    Raises:
        ValueError: for a hyper-parameter out of its range, or a problem with fewer than two parameters.
    """

    step_size: float = 0.01
    trajectory: float = 1.0
    max_leapfrog: int = 100
    energy_error: float = 5e-4
    adjusted: bool = False
    chains: int = 4
    burn_in: int = 100
    thin: int = 1
    max_draws: int = 100
    target_accept: float | None = 0.9
    mass: str = "diagonal"

    tensor_fields: ClassVar = ("step_size", "trajectory", "energy_error", "burn_in", "thin")

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, trajectory=check_positive, max_leapfrog=check_count, energy_error=check_positive)
        check_fields(self, adjusted=check_flag)

    @property
    def has_metropolis_step(self) -> bool:
        """Whether the end of a trajectory is accepted or rejected."""
        return self.adjusted

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> MCLMCState:
        """Return the state before the first transition, all chains at θ [D], or each at its own θ [C, D]."""
        if problem.num_params < 2:
            raise ValueError(
                f"Invalid network for MCLMC: expected at least 2 parameters, as a direction in one dimension cannot "
                f"turn. Received: {problem.num_params}. Use HMC."
            )
        start = super().init(problem, seed, theta)
        direction = _unit(normal(start.theta.shape, fold_in(seed, 1)))
        return MCLMCState(**start._asdict(), direction=direction)

    def step(self, problem: Problem, state: MCLMCState, batch: Batch, seed) -> tuple[MCLMCState, Info]:
        """Return the state after one trajectory, and its Metropolis step if `adjusted`."""
        direction_seed, noise_seed, length_seed, accept_seed = split(seed, 4)
        log_joint, grad = self._current(problem, state, batch)
        anew = _unit(normal(state.theta.shape, direction_seed))
        start = _Path(
            state.theta,
            anew if self.adjusted else state.direction,
            tf.cast(log_joint, tf.float32),
            grad,
            tf.zeros_like(log_joint),
            tf.zeros_like(log_joint, tf.float32),
        )
        steps = self._steps(state.adaptation.step_size, length_seed)
        end = self._trajectory(problem, state, batch, start, steps, noise_seed)
        proposed = problem.log_joint(end.theta, batch, tf.float64)
        error = tf.cast(end.work - (proposed - log_joint), tf.float32)  # [C], of the whole trajectory
        squares = end.squares / tf.cast(steps, tf.float32)
        # Ten nats, or one for the root of each dimension, are far beyond any stable step.
        largest = tf.maximum(float(problem.num_params), 100.0)
        finite = tf.math.is_finite(error) & tf.math.is_finite(squares) & (squares < largest)
        accept = tf.where(finite, tf.exp(-tf.maximum(error, 0.0)) if self.adjusted else 1.0, 0.0)
        accepted = uniform(accept.shape, accept_seed) < accept
        choose = lambda new, old: tf.where(accepted[:, tf.newaxis], new, old)
        info = Info(
            tf.cast(log_joint, tf.float32),
            tf.norm(grad, axis=-1) / tf.cast(problem.num_data, tf.float32),
            accept,
            tf.cast(~finite, tf.float32),
        )
        signal = accept if self.adjusted else tf.where(finite, squares, largest)
        after = self._advance(
            state._replace(direction=choose(end.direction, anew)),
            choose(end.theta, state.theta),
            tf.where(accepted, proposed, log_joint),
            choose(end.grad, grad),
            signal,
        )
        return after, info

    def _steps(self, epsilon: tf.Tensor, seed) -> tf.Tensor:
        """Return the number of steps of a trajectory, int32 []."""
        length = self.trajectory * (uniform([], seed, 0.0, 2.0) if self.adjusted else 1.0)
        return tf.maximum(tf.cast(tf.math.ceil(tf.minimum(length / epsilon, float(self.max_leapfrog))), tf.int32), 1)

    def _trajectory(
        self, problem: Problem, state: MCLMCState, batch: Batch, start: _Path, steps: tf.Tensor, seed
    ) -> _Path:
        """Return the end of a trajectory of `steps` steps."""
        scale, epsilon = state.scales.scale, state.adaptation.step_size
        dim = float(problem.num_params)
        length = epsilon * math.sqrt(dim)
        noise = tf.sqrt(tf.math.expm1(2 * epsilon / self.trajectory) / dim)

        def move(path: _Path) -> _Path:
            theta = path.theta + length / 2 * scale * path.direction
            log_joint, grad = value_and_grad(problem, theta, batch)
            return path._replace(theta=theta, log_joint=log_joint, grad=grad)

        def turn(path: _Path, share: float) -> _Path:
            direction, work = _turned(path.direction, scale * path.grad, share * length)
            return path._replace(direction=direction, work=path.work + tf.cast(work, tf.float64))

        def body(i, path: _Path):
            after = turn(move(turn(move(turn(path, _LAMBDA)), 1 - 2 * _LAMBDA)), _LAMBDA)
            error = tf.cast(after.work - path.work, tf.float32) - (after.log_joint - path.log_joint)
            direction = after.direction
            if not self.adjusted:
                direction = _unit(direction + noise * normal(direction.shape, fold_in(seed, i)))
            return i + 1, after._replace(direction=direction, squares=path.squares + tf.square(error))

        return tf.while_loop(lambda i, _: i < steps, body, (tf.constant(0), start))[1]

    @property
    def _adapts(self) -> bool:
        """Whether ε is adapted over the burn-in."""
        return not self.adjusted or self.target_accept is not None

    def _adapted(self, state: MCLMCState, signal: tf.Tensor) -> Adaptation:
        """Return ε after a transition of the burn-in, from its acceptance or its squared energy errors, [C]."""
        if self.adjusted:
            return super()._adapted(state, signal)
        adaptation = state.adaptation
        dim = tf.cast(tf.shape(state.theta)[-1], tf.float32)
        ratio = tf.reduce_mean(signal) / (dim * self.energy_error)
        # The error's variance grows as ε⁶. Each transition counts t^−3/4, a single one ten times ε at most.
        weight = tf.cast(adaptation.count + 1, tf.float32) ** -0.75
        mean = tf.where(ratio > 1, 1 + weight * (ratio - 1), tf.maximum(ratio, 1e-6) ** weight)
        step_size = adaptation.step_size * tf.minimum(mean, 1e6) ** (-1 / 6)
        return adaptation._replace(step_size=step_size, average=step_size, count=adaptation.count + 1)


def _unit(vectors: tf.Tensor) -> tf.Tensor:
    """Return vectors [..., D] divided by their lengths."""
    return vectors / tf.norm(vectors, axis=-1, keepdims=True)


def _turned(direction: tf.Tensor, grad: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return u [C, D] after following the gradient for a length at fixed θ, and the kinetic energy gained, [C].

    With e = g/|g|, δ = length |g| / (D − 1) and ζ = exp(−δ), the exact solution is

        u' ∝ e (1 − ζ) (1 + ζ + e·u (1 − ζ)) + 2 ζ u
        ΔK = (D − 1) (δ + log(1 + e·u + (1 − e·u) ζ²) − log 2)
    """
    rank = float(direction.shape[-1] - 1)
    size = tf.norm(grad, axis=-1, keepdims=True)  # [C, 1]
    e = grad / tf.maximum(size, 1e-30)
    delta = length * size / rank
    along = tf.reduce_sum(e * direction, axis=-1, keepdims=True)
    zeta = tf.exp(-delta)
    turned = e * (1 - zeta) * (1 + zeta + along * (1 - zeta)) + 2 * zeta * direction
    # By log1p and expm1, as the terms of ΔK nearly cancel for short steps.
    work = rank * (delta + tf.math.log1p((1 - along) / 2 * tf.math.expm1(-2 * delta)))
    return _unit(turned), work[..., 0]
