"""The dynamics model: a Bayesian neural network from observation and action to the next observation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.checks import check_count, check_positive
from bnnrl.data import Scaler, pad_rows
from bnnrl.inference import Driver, Method
from bnnrl.inference import get as get_method
from bnnrl.likelihoods import Gaussian
from bnnrl.posterior import Posterior
from bnnrl.problem import Problem
from bnnrl.rl.methods import PRESETS, Preset
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


@dataclass(frozen=True)
class Dynamics:
    """next_obs = obs + f_θ(features(obs), action) + noise, with inputs and differences standardised.

    Args:
        hidden: widths of the hidden layers.
        activation: a Keras activation.
        method: an inference method or its name.
        size: members or chains, for "ensemble", "svgd" and samplers by name.
        likelihood: noise of the standardised differences.
        prior_std: standard deviation of the N(0, ·²) prior over standardised weights.
        steps: training steps each trial; if None a named method's own, see `bnnrl.rl.methods`, and 2000 for others.
        batch_size: rows in a minibatch; if None a named method's own, and all rows for others.
        learning_rate: of the first step, for a method given by name; its own if None. It falls to a hundredth by a
            cosine, but for SWAG, whose collections need it constant, and samplers, where it is that of the warm-up.

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
    batch_size: int | None = None
    learning_rate: float | None = None

    def __post_init__(self):
        object.__setattr__(self, "hidden", tuple(check_count("hidden", width) for width in self.hidden))
        check_count("size", self.size)
        for name in ("steps", "batch_size"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        check_positive("prior_std", self.prior_std)
        if self.learning_rate is not None:
            check_positive("learning_rate", self.learning_rate)
        least = getattr(self.resolve_method(), "min_steps", 0)
        if self.num_steps < least:
            raise ValueError(
                f"Invalid `steps`: expected at least {least} for {self.method_name}, its burn-in and first draw. "
                f"Received: {self.num_steps}."
            )

    @property
    def num_steps(self) -> int:
        """Training steps each trial."""
        return self.steps or (self._preset.steps if self._preset else 2000)

    @property
    def rows(self) -> int | None:
        """Rows in a minibatch, or None for all."""
        if getattr(self.resolve_method(), "full_batch_only", False):
            return None
        return self.batch_size or (self._preset.batch_size if self._preset else None)

    def resolve_method(self) -> Method:
        """Return the method, with the schedule of its learning rate."""
        if self._preset is None:
            return get_method(self.method)
        return self._preset.build(self.learning_rate or self._preset.learning_rate, self.num_steps, self.size)

    @property
    def _preset(self) -> Preset | None:
        return PRESETS.get(self.method_name) if isinstance(self.method, str) else None

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
        self.driver = Driver(self.problem, self._method, dynamics.rows)
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
        state = self._method.init(self.problem.with_num_data(len(inputs)), host_seed(seed, 1))
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
