"""The dynamics model: a Bayesian neural network from observation and action to the next observation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.checks import check_count, check_positive
from bnnrl.data import Scaler, pad_rows
from bnnrl.inference import (
    HMC,
    NUTS,
    PSGLD,
    SGHMC,
    SGLD,
    Adam,
    CyclicalSGLD,
    Driver,
    Ensemble,
    Method,
    Schedule,
    WarmStart,
)
from bnnrl.inference import get as get_method
from bnnrl.likelihoods import Gaussian
from bnnrl.posterior import Posterior
from bnnrl.problem import Problem
from bnnrl.seeds import host_seed


@dataclass(frozen=True)
class Features:
    """Observations [..., O] as what models and policies see [..., F]: angles become sine and cosine, put last.

    Args:
        num_obs: O.
        angles: indices of the entries that are angles, in radians.
        omitted: indices of entries that are left out.
    """

    num_obs: int
    angles: tuple[int, ...] = ()
    omitted: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        return len(self._others) + 2 * len(self.angles)

    @property
    def _others(self) -> list[int]:
        return [i for i in range(self.num_obs) if i not in (*self.angles, *self.omitted)]

    def __call__(self, obs: tf.Tensor) -> tf.Tensor:
        others = obs if len(self._others) == self.num_obs else tf.gather(obs, self._others, axis=-1)
        if not self.angles:
            return others
        angle = tf.gather(obs, self.angles, axis=-1)
        return tf.concat([others, tf.sin(angle), tf.cos(angle)], axis=-1)


class Simulator(NamedTuple):
    """A fitted model's draws and scalers: plain tensors, so that compiled rollouts take any trial's unretraced."""

    theta: tf.Tensor  # [S, D]
    input_mean: tf.Tensor  # [F + A]
    input_std: tf.Tensor  # [F + A]
    target_mean: tf.Tensor  # [O]
    target_std: tf.Tensor  # [O]


# By name, samplers start from as many maximum a posteriori estimates as there are members, and sample near them: what
# a fit of some seconds allows. N(0, 1) priors over the weights make the whole posterior thousands of times as far.
_SAMPLERS: dict[str, tuple[Callable[[int], Method], int, int]] = {  # by size; steps of warm-up, and in all
    "hmc": (lambda size: HMC(1e-3, 15, chains=size, burn_in=40, thin=20, max_draws=2), 600, 680),
    "nuts": (lambda size: NUTS(1e-3, 4, chains=size, burn_in=40, thin=20, max_draws=2), 600, 680),
    "sgld": (lambda size: Ensemble(SGLD(1e-6, 1000, 200, 5), size), 1000, 3000),
    "psgld": (lambda size: Ensemble(PSGLD(3e-6, burn_in=1000, thin=200, max_draws=5), size), 1000, 3000),
    "csgld": (lambda size: Ensemble(CyclicalSGLD(2e-6, 1000, 0.5, 100, 10), size), 1000, 3000),
    "sghmc": (lambda size: Ensemble(SGHMC(3e-7, 0.1, 0.0, 1000, 200, 5), size), 1000, 3000),
}


@dataclass(frozen=True)
class Dynamics:
    """next_obs = obs + f_θ(features(obs), action) + noise, with inputs and differences standardised.

    Args:
        hidden: widths of the hidden layers.
        activation: a Keras activation.
        method: an inference method or its name.
        size: members or chains, for "ensemble" and samplers by name.
        likelihood: noise of the standardised differences.
        prior_std: standard deviation of the N(0, ·²) prior over standardised weights.
        steps: training steps each trial; None for 2000, or what a sampler by name needs.
        batch_size: rows in a minibatch, for methods that may have them; None for all rows.
        learning_rate: of the first step, for a method given by name; decays to a hundredth of it by a cosine. A
            sampler's warm-up, which is shorter, starts from three times that.

    Raises:
        ValueError: for a number out of its range or an unknown method.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: str = "swish"
    method: str | Method = "ensemble"
    size: int = 10
    likelihood: Gaussian = field(default_factory=lambda: Gaussian("heteroscedastic", floor=3e-2))
    prior_std: float = 1.0
    steps: int | None = None
    batch_size: int | None = 32
    learning_rate: float = 3e-3

    def __post_init__(self):
        object.__setattr__(self, "hidden", tuple(check_count("hidden", width) for width in self.hidden))
        check_count("size", self.size)
        for name in ("steps", "batch_size"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        for name in ("prior_std", "learning_rate"):
            check_positive(name, getattr(self, name))
        least = getattr(self.resolve_method(), "min_steps", 0)
        if self.num_steps < least:
            raise ValueError(
                f"Invalid `steps`: expected at least {least} for {self.method_name}, its burn-in and first draw. "
                f"Received: {self.num_steps}."
            )

    @property
    def num_steps(self) -> int:
        """Training steps each trial."""
        if self.steps is not None:
            return self.steps
        return _SAMPLERS[self.method_name][2] if self._is_sampler else 2000

    def resolve_method(self) -> Method:
        """Return the method, with the schedule of its learning rate."""
        if not isinstance(self.method, str):
            return self.method
        if self._is_sampler:
            sampler, warm_up, _ = _SAMPLERS[self.method_name]
            highest = 3 * self.learning_rate  # a warm-up has fewer steps than a fit
            return WarmStart(sampler(self.size), Adam(Schedule(highest, highest / 100, warm_up)), warm_up)
        schedule = Schedule(self.learning_rate, self.learning_rate / 100, self.num_steps)
        if self.method_name == "ensemble":
            return Ensemble(Adam(schedule), self.size)
        return get_method(self.method, learning_rate=schedule)

    @property
    def _is_sampler(self) -> bool:
        return isinstance(self.method, str) and self.method_name in _SAMPLERS

    @property
    def method_name(self) -> str:
        """The method's name in the registry."""
        return self.method.lower() if isinstance(self.method, str) else type(self.method).__name__.lower()


class DynamicsModel:
    """The model that `dynamics` describes, for one environment's sizes.

    Args:
        dynamics: the description.
        features: from observations to the model's inputs.
        num_actions: A.
        capacity: room for rows; doubled, at the price of compiling once more, whenever data outgrow it.
    """

    def __init__(self, dynamics: Dynamics, features: Features, num_actions: int, capacity: int = 256):
        self._dynamics, self._features, self._capacity = dynamics, features, capacity
        outputs = features.num_obs * (2 if dynamics.likelihood.scale == "heteroscedastic" else 1)
        network = keras.Sequential(
            [
                keras.Input((features.size + num_actions,)),
                *[keras.layers.Dense(width, dynamics.activation) for width in dynamics.hidden],
                keras.layers.Dense(outputs),
            ]
        )
        self.problem = Problem(network, dynamics.likelihood, tfd.Normal(0.0, dynamics.prior_std), capacity)
        self._method = dynamics.resolve_method()
        all_rows = getattr(self._method, "full_batch_only", False)
        self.driver = Driver(self.problem, self._method, None if all_rows else dynamics.batch_size)
        self.posterior: Posterior | None = None
        self.scalers: tuple[Scaler, Scaler] | None = None  # of inputs and of differences

    def fit(self, obs: np.ndarray, actions: np.ndarray, next_obs: np.ndarray, seed: int) -> None:
        """Infer the posterior from transitions.

        Args:
            obs: [N, O].
            actions: [N, A].
            next_obs: [N, O].
            seed: of the initial weights, the order of the data and the method's noise.
        """
        inputs = np.concatenate([self._features(tf.constant(obs, tf.float32)), actions], axis=-1)
        targets = next_obs - obs
        while self._capacity < len(inputs):
            self._capacity *= 2
        self.scalers = Scaler.fit(inputs), Scaler.fit(targets)
        data = tuple(
            pad_rows(scaler.transform(a), self._capacity)
            for scaler, a in zip(self.scalers, (inputs, targets), strict=True)
        )
        state = self._method.init(self.problem, host_seed(seed, 1))
        run_seed = host_seed(seed, 2)
        state, _ = self.driver.run(state, data, self._dynamics.num_steps, run_seed, num_data=len(inputs))
        self.posterior = self._method.posterior(self.problem.with_num_data(len(inputs)), state)

    def simulator(self, num_draws: int, seed) -> Simulator:
        """Return `num_draws` draws of the fitted model, in the form rollouts take."""
        if self.posterior is None or self.scalers is None:
            raise ValueError("Invalid dynamics model: expected a fitted one. Call fit first.")
        inputs, targets = self.scalers
        arrays = (inputs.mean, inputs.std, targets.mean, targets.std)
        return Simulator(self.posterior.sample(num_draws, seed), *map(tf.constant, arrays))

    def stacked(self, simulator: Simulator):
        """Return the step function (obs [S, P, O], action [S, P, A], noise [S, P, O]) -> next_obs of a simulator.

        Everything that does not change from step to step is computed here, outside the rollout's loop.
        """
        network, likelihood = self.problem.network, self.problem.likelihood
        theta, unknowns = self.problem.split(simulator.theta)
        weights = network.stack(theta)

        def step(obs: tf.Tensor, action: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
            inputs = tf.concat([self._features(obs), action], axis=-1)
            z = (inputs - simulator.input_mean) / simulator.input_std
            distribution = likelihood(network.forward(weights, z), unknowns)
            delta = distribution.mean() + distribution.stddev() * noise
            return obs + simulator.target_mean + simulator.target_std * delta

        return step
