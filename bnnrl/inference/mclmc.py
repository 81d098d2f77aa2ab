"""Microcanonical Langevin Monte Carlo (Robnik et al. 2023): chains of constant speed, on all rows at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

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
_ADAPTING = 0.75  # share of the burn-in that adapts ε and the scales, if the rest of it measures L
_MEMORY = 0.4  # L in autocorrelation lengths
_FEWEST = 10  # draws of each chain from which L is measured


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
    memory: tf.Tensor  # [] the length over which u forgets its direction, in scales


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

    Three stages tune the chains over the burn-in: ε by the energy error, the scales by the draws, and the length over
    which u forgets its direction, if `tune_memory` is true. The last quarter of the burn-in then runs with fixed ε and
    scales, and sets this length to 0.4 times the autocorrelation length of the chains, n / ESS draws, the mean over the
    entries of θ. The length of a transition stays. With `adjusted`, u is drawn anew for each trajectory and has no
    memory to tune.

    Without a Metropolis step, the draws are biased by the integrator alone. ε is adapted over the burn-in until the
    variance of a step's energy error is `energy_error` for each dimension, which bounds the bias. With `adjusted`, u is
    drawn anew before each trajectory, the trajectory's length is uniform between 0 and 2 L and free of noise, its end
    is accepted with the probability min(1, exp(−energy error)), and ε is adapted to `target_accept`: then the chains
    are exact, as those of HMC.

    `WarmStart(MCLMC())` starts each chain at the member of a deep ensemble.

    A small `max_leapfrog` keeps more draws for the same number of gradients. On the outputs of a network 4-20-1,
    transitions of ten steps with `tune_memory` gave 1.8 to 2.8 times the effective draws for as many gradients (three
    seeds, experiments/benchmarks/effective_draws.py); they need ten times as many transitions.

    Source: Robnik, De Luca, Silverstein & Seljak, "Microcanonical Hamiltonian Monte Carlo", JMLR 2023, for the stages;
    Robnik & Seljak, "Fluctuation without Dissipation: Microcanonical Langevin Monte Carlo", 2024, for the noise;
    Robnik, Cohn-Gordon & Seljak, "Metropolis Adjusted Microcanonical Hamiltonian Monte Carlo", 2025; Sommer et al.,
    "Microcanonical Langevin Ensembles", ICLR 2025, for the warm start.

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
        tune_memory: whether the burn-in also tunes the length over which u forgets its direction.

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
    tune_memory: bool = False

    tensor_fields: ClassVar = ("step_size", "trajectory", "energy_error", "burn_in", "thin")

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, trajectory=check_positive, max_leapfrog=check_count, energy_error=check_positive)
        check_fields(self, adjusted=check_flag, tune_memory=check_flag)
        if self.adjusted and self.tune_memory:
            raise ValueError(
                "Invalid `tune_memory`: expected False with adjusted=True, whose trajectories have no noise. Received: "
                "tune_memory=True."
            )

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
        memory = tf.convert_to_tensor(self.trajectory, tf.float32)
        return MCLMCState(**start._asdict(), direction=direction, memory=memory)

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
        return self._remembering(after, steps) if self.tune_memory else after, info

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
        noise = tf.sqrt(tf.math.expm1(2 * epsilon / state.memory) / dim)

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
    def _adapting(self) -> Any:
        """Number of first transitions that adapt ε and the scales."""
        if not self.tune_memory:
            return self.burn_in
        return tf.cast(_ADAPTING * tf.cast(self.burn_in, tf.float32), tf.int32)

    def _remembering(self, state: MCLMCState, steps: tf.Tensor) -> MCLMCState:
        """Return the state after a transition of `steps` steps, with its draw if the transition measures L.

        The draws of the stretch take the place of those of the posterior, which begin after it.
        """
        stretch = self.burn_in - self._adapting
        every = (stretch + self.max_draws - 1) // self.max_draws  # transitions for each draw
        measures = (state.step > self._adapting) & (state.step <= self.burn_in)
        draws = state.draws.append(state.theta, measures, tf.maximum(every, 1))
        count = stretch // tf.maximum(every, 1)
        ended = tf.equal(state.step, self.burn_in) & (count >= _FEWEST)

        def measured() -> tf.Tensor:
            time = autocorrelation_time(draws.theta, count)
            return _MEMORY * state.adaptation.step_size * tf.cast(steps * every, tf.float32) * time

        memory = tf.cond(ended, measured, lambda: state.memory)
        seen = tf.where(tf.equal(state.step, self.burn_in), 0, draws.seen)
        return state._replace(draws=draws._replace(seen=seen), memory=memory)

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


def autocorrelation_time(draws: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Return n / ESS of the first n draws of chains [C, K, D], the mean over the entries that move, [].

    Autocorrelations within the chains are summed in pairs of lags while the pairs are positive, and a pair counts at
    most as much as the pair before (Geyer, "Practical Markov Chain Monte Carlo", 1992).

    Args:
        draws: [C, K, D].
        count: n, int32 [].
    """
    K = draws.shape[1]
    real = tf.cast(tf.range(K) < count, tf.float32)[:, tf.newaxis]
    n = tf.cast(count, tf.float32)
    centred = real * (draws - tf.reduce_sum(real * draws, axis=1, keepdims=True) / n)  # [C, K, D]
    padded = tf.pad(centred, [[0, 0], [0, K + 1], [0, 0]])  # so that a shifted chain meets zeros at its end
    variance = tf.reduce_sum(tf.square(centred), axis=[0, 1])

    def covariance(lag: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(centred * tf.slice(padded, [0, lag, 0], draws.shape), axis=[0, 1])

    def body(lag: tf.Tensor, total: tf.Tensor, pair: tf.Tensor):
        pair = tf.clip_by_value(covariance(lag) + covariance(lag + 1), 0.0, pair)
        return lag + 2, total + pair, pair

    start = tf.constant(0), tf.zeros_like(variance), tf.fill(variance.shape, math.inf)
    goes_on = lambda lag, _, pair: (lag < count) & tf.reduce_any(pair > 0)
    total = tf.while_loop(goes_on, body, start)[1]
    moves = variance > 0
    time = tf.where(moves, 2 * tf.math.divide_no_nan(total, variance) - 1, 0.0)
    return tf.maximum(tf.math.divide_no_nan(tf.reduce_sum(time), tf.reduce_sum(tf.cast(moves, tf.float32))), 1.0)
