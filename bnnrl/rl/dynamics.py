"""The dynamics model: a Bayesian neural network from observation and action to the next observation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.checks import check_count, check_positive
from bnnrl.data import Scaler, pad_rows
from bnnrl.inference import SVGD, SWAG, Adam, Driver, Ensemble, Laplace, Method, Schedule
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


# By held-out likelihood on two to six episodes of cart-pole under random forces. The variational methods' exact
# posteriors, at temperature 1, are so wide for 5000 weights and 50 rows that little of the data is left in them.
_RATES = {"sgd": 1e-3, "swag": 5e-3, "vadam": 1e-2, "bsam": 0.3, "ivon": 0.1}
_SETTINGS: dict[str, dict[str, Any]] = {
    "bbb": {"temperature": 0.3, "draws": 2},
    "vadam": {"temperature": 0.05, "draws": 2},
    "bsam": {"beta_2": 0.998, "s_init": 100.0, "temperature": 0.3},
    "ivon": {"temperature": 0.05, "hess_init": 0.1, "clip_radius": 0.3},
}


@dataclass(frozen=True)
class Dynamics:
    """next_obs = obs + f_θ(features(obs), action) + noise, with inputs and differences standardised.

    Args:
        hidden: widths of the hidden layers.
        activation: a Keras activation.
        method: an inference method or its name.
        size: members of method "ensemble" by name, particles of "svgd".
        likelihood: noise of the standardised differences.
        prior_std: standard deviation of the N(0, ·²) prior over standardised weights.
        steps: training steps each trial.
        batch_size: rows in a minibatch.
        learning_rate: of the first step, for a method given by name; decays to a hundredth of it by a cosine, but for
            SWAG, whose collections need it constant. Each method has its own if None.

    Raises:
        ValueError: for a number out of its range or an unknown method.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: str = "swish"
    method: str | Method = "ensemble"
    size: int = 10
    likelihood: Gaussian = field(default_factory=lambda: Gaussian("heteroscedastic", floor=3e-2))
    prior_std: float = 1.0
    steps: int = 2000
    batch_size: int = 32
    learning_rate: float | None = None

    def __post_init__(self):
        object.__setattr__(self, "hidden", tuple(check_count("hidden", width) for width in self.hidden))
        for name in ("size", "steps", "batch_size"):
            check_count(name, getattr(self, name))
        check_positive("prior_std", self.prior_std)
        if self.learning_rate is not None:
            check_positive("learning_rate", self.learning_rate)
        self.resolve_method()

    def resolve_method(self) -> Method:
        """Return the method, with the schedule of its learning rate."""
        if not isinstance(self.method, str):
            return self.method
        name = self.method_name
        rate = _RATES.get(name, 3e-3) if self.learning_rate is None else self.learning_rate
        schedule = lambda steps: Schedule(rate, rate / 100, max(1, steps))
        if name == "ensemble":
            return Ensemble(Adam(schedule(self.steps)), self.size)
        if name == "swag":
            every = max(1, self.steps // 200)
            return SWAG(Adam(rate), 4 * rate, start=max(1, self.steps // 2), every=every, scale=1.0)
        if name == "laplace":  # a fortieth of the run is some epochs of what control has for data
            start = max(1, self.steps - self.steps // 40 - 1)
            return Laplace(Adam(schedule(start)), start)
        if name == "svgd":
            return SVGD(schedule(self.steps), self.size)
        return get_method(name, learning_rate=schedule(self.steps), **_SETTINGS.get(name, {}))

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
        self.driver = Driver(self.problem, self._method, dynamics.batch_size)
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
        state, _ = self.driver.run(state, data, self._dynamics.steps, run_seed, num_data=len(inputs))
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
