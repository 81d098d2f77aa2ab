"""Bayesian networks that an agent infers anew as its data grow: of dynamics, reward and termination."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import posterior
from bnnrl.checks import check_count, check_positive
from bnnrl.data import Scaler, pad_rows
from bnnrl.inference import Driver, Method
from bnnrl.inference import get as get_method
from bnnrl.likelihoods import Bernoulli, Gaussian
from bnnrl.posterior import Posterior
from bnnrl.problem import Problem
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.presets import PRESETS, Preset
from bnnrl.seeds import host_seed
from bnnrl.storage import config
from bnnrl.storage.arrays import flatten, select

_MOST_ROWS = 512  # of a buffer that is trained on as a whole, unless the method needs that


class Draws(NamedTuple):
    """A fitted model's draws and scalers: plain tensors, so that compiled rollouts take any trial's unretraced."""

    theta: tf.Tensor  # [S, D]
    input_mean: tf.Tensor  # [I]
    input_std: tf.Tensor  # [I]
    target_mean: tf.Tensor  # [T]
    target_std: tf.Tensor  # [T]


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
        steps: training steps each trial; if None a named method's own, see `bnnrl.rl.simulator.presets`, and 2000
            for others.
        batch_size: rows in a minibatch; if None a named method's own, and all rows for others, 256 at most.
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


config.register(Dynamics)


def _rows(dynamics: Dynamics, method: Method, capacity: int) -> int | None:
    """Return the rows of a minibatch, or None for all; of a large buffer, all would take long."""
    if dynamics.rows is None and capacity > _MOST_ROWS and not getattr(method, "full_batch_only", False):
        return _MOST_ROWS // 2
    return dynamics.rows


class Regressor:
    """A network from inputs [N, I] to targets [N, T], with data of a growing number of rows.

    Inputs are standardised, and so are targets, unless they are 0 or 1.

    Args:
        dynamics: the network and the inference.
        num_inputs: I.
        num_targets: T.
        likelihood: of the standardised targets.
        capacity: room for rows; doubled, at the price of compiling once more, whenever data outgrow it.
    """

    def __init__(
        self, dynamics: Dynamics, num_inputs: int, num_targets: int, likelihood: Gaussian | Bernoulli, capacity: int
    ):
        self._dynamics, self._capacity = dynamics, capacity
        two = isinstance(likelihood, Gaussian) and likelihood.scale == "heteroscedastic"
        network = keras.Sequential(
            [
                keras.Input((num_inputs,)),
                *[keras.layers.Dense(width, dynamics.activation) for width in dynamics.hidden],
                keras.layers.Dense(num_targets * (2 if two else 1)),
            ]
        )
        self.problem = Problem(network, likelihood, tfd.Normal(0.0, dynamics.prior_std), capacity)
        self._method = dynamics.resolve_method()
        self.driver = Driver(self.problem, self._method, _rows(dynamics, self._method, capacity))
        self.posterior: Posterior | None = None
        self.scalers: tuple[Scaler, Scaler] | None = None  # of inputs and of targets

    def infer(self, inputs: np.ndarray, targets: np.ndarray, seed: int) -> None:
        """Infer the posterior.

        Args:
            inputs: [N, I].
            targets: [N, T].
            seed: of the initial weights, the order of the data and the method's noise.
        """
        while self._capacity < len(inputs):
            self._capacity *= 2
        binary, size = isinstance(self.problem.likelihood, Bernoulli), targets.shape[1]
        scale = Scaler(np.zeros(size, np.float32), np.ones(size, np.float32)) if binary else Scaler.fit(targets)
        self.scalers = Scaler.fit(inputs), scale
        data = tuple(
            pad_rows(scaler.transform(a), self._capacity)
            for scaler, a in zip(self.scalers, (inputs, targets), strict=True)
        )
        state = self._method.init(self.problem.with_num_data(len(inputs)), host_seed(seed, 1))
        run_seed = host_seed(seed, 2)
        state, _ = self.driver.run(state, data, self._dynamics.num_steps, run_seed, num_data=len(inputs))
        self.posterior = self._method.posterior(self.problem.with_num_data(len(inputs)), state)

    def sample(self, num_draws: int, seed) -> Draws:
        """Return `num_draws` draws of the fitted model, in the form rollouts take."""
        if self.posterior is None or self.scalers is None:
            raise ValueError("Invalid model: expected a fitted one. Call fit first.")
        inputs, targets = self.scalers
        arrays = (inputs.mean, inputs.std, targets.mean, targets.std)
        return Draws(self.posterior.sample(num_draws, seed), *map(tf.constant, arrays))

    def predictive(self, draws: Draws) -> Callable[[tf.Tensor], tfd.Distribution]:
        """Return the function from inputs [S, P, I] to the distribution of standardised targets [S, P, T].

        Everything that does not change from call to call is computed here, outside the rollout's loop.
        """
        network, likelihood = self.problem.network, self.problem.likelihood
        theta, unknowns = self.problem.split(draws.theta)
        weights = network.stack(theta)

        def given(inputs: tf.Tensor) -> tfd.Distribution:
            z = (inputs - draws.input_mean) / draws.input_std
            return likelihood(network.forward(weights, z), unknowns)

        return given

    # Saving

    def to_arrays(self) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]:
        """Return the posterior's description, None if not fitted, and its arrays and the scalers'."""
        if self.posterior is None or self.scalers is None:
            return None, {}
        described, values = self.posterior.to_arrays()
        inputs, targets = self.scalers
        groups = {"posterior": values, "scalers/inputs": vars(inputs), "scalers/targets": vars(targets)}
        return described, flatten(groups)

    def from_arrays(self, described: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Take over what `to_arrays` returned."""
        self.posterior = posterior.from_arrays(described, select(arrays, "posterior"))
        self.scalers = Scaler(**select(arrays, "scalers/inputs")), Scaler(**select(arrays, "scalers/targets"))


class DynamicsModel(Regressor):
    """The model that `dynamics` describes, for one environment's sizes.

    Args:
        dynamics: the description.
        features: from observations to the model's inputs.
        num_actions: A.
        capacity: room for rows; doubled, at the price of compiling once more, whenever data outgrow it.
        velocities: of a Task.
        dt: seconds of a step, for them.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        features: Features,
        num_actions: int,
        capacity: int = 256,
        velocities: Mapping[int, int] | None = None,
        dt: float | None = None,
    ):
        self._features, self._velocities, self._dt = features, dict(velocities or {}), dt
        super().__init__(dynamics, features.size + num_actions, features.num_obs, dynamics.likelihood, capacity)

    def fit(self, obs: np.ndarray, actions: np.ndarray, next_obs: np.ndarray, seed: int) -> None:
        """Infer the posterior from transitions.

        Args:
            obs: [N, O].
            actions: [N, A].
            next_obs: [N, O].
            seed: of the initial weights, the order of the data and the method's noise.
        """
        inputs = np.concatenate([self._features(tf.constant(obs, tf.float32)), actions], axis=-1)
        self.infer(inputs, next_obs - obs, seed)

    def make_step(self, draws: Draws):
        """Return the step function (obs [S, P, O], action [S, P, A], noise [S, P, O]) -> next_obs of draws."""
        given = self.predictive(draws)

        def step(obs: tf.Tensor, action: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
            distribution = given(tf.concat([self._features(obs), action], axis=-1))
            delta = distribution.mean() + distribution.stddev() * noise
            return integrated(obs, obs + draws.target_mean + draws.target_std * delta, self._velocities, self._dt)

        return step


def integrated(obs: tf.Tensor, next_obs: tf.Tensor, velocities: Mapping[int, int], dt: float | None) -> tf.Tensor:
    """Return the next observations [..., O] with positions that follow from their velocities; see bnnrl.Task."""
    if not velocities or dt is None:
        return next_obs
    entries = tf.unstack(next_obs, axis=-1)
    for position, velocity in velocities.items():
        mean_velocity = (obs[..., velocity] + next_obs[..., velocity]) / 2
        entries[position] = obs[..., position] + dt * mean_velocity
    return tf.stack(entries, axis=-1)
