"""Settings of the Bayesian networks in the learned simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras

from bnnrl.checks import check_count, check_counts, check_fields, check_instance, check_positive, optional
from bnnrl.inference import Method
from bnnrl.inference import get as get_method
from bnnrl.likelihoods import Gaussian
from bnnrl.rl.simulator.presets import PRESETS, Preset
from bnnrl.storage import config

_DEFAULT_STEPS = 2000  # training steps of a method that has no preset


@dataclass(frozen=True)
class Dynamics:
    """Settings of a dynamics model: next_obs = obs + f_θ(features(obs), action) + noise.

    The network f_θ sees standardised inputs and predicts standardised differences. The same settings describe the
    models of reward and termination, which are regression networks, too.

    Args:
        hidden: widths of the hidden layers.
        activation: a Keras activation.
        method: an inference method or its name.
        size: number of members or chains, for the methods "ensemble" and "svgd" and for samplers given by name.
        likelihood: distribution of the standardised differences given the network's output.
        prior_std: standard deviation σ of the prior N(0, σ²) over each weight.
        steps: training steps of each fit. None takes the preset of a method given by name, see
            `bnnrl.rl.simulator.presets`, and 2000 for a method instance.
        batch_size: rows in a minibatch. None takes the preset of a method given by name. A method instance, like a
            preset without a batch size, then trains on all rows, or on 256 where the data buffer holds more than 512.
        learning_rate: learning rate of the first step, for a method given by name; None takes its preset. The rate
            falls to a hundredth by a cosine, except that SWAG keeps the rate of its collection phase constant, and
            that samplers use the rate for their warm-up only.

    Raises:
        ValueError: for a number out of its range, an unknown method, or fewer steps than the method needs.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: str | Callable = "swish"
    method: str | Method = "ensemble"
    size: int = 10
    likelihood: Gaussian = field(default_factory=lambda: Gaussian("heteroscedastic", floor=3e-2))
    prior_std: float = 1.0
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None

    def __post_init__(self):
        check_fields(self, hidden=check_counts, size=check_count, prior_std=check_positive)
        check_fields(self, **dict.fromkeys(("steps", "batch_size"), optional(check_count)))
        check_fields(self, activation=_check_activation, learning_rate=optional(check_positive))
        check_instance("likelihood", self.likelihood, Gaussian, "a likelihoods.Gaussian")
        least = self.resolve_method().min_steps
        if self.num_steps < least:
            raise ValueError(
                f"Invalid `steps`: expected at least {least} for {self.method_name}, its burn-in and first draw. "
                f"Received: {self.num_steps}."
            )

    @property
    def num_steps(self) -> int:
        """Training steps of each fit."""
        return self.steps or (self._preset.steps if self._preset else _DEFAULT_STEPS)

    @property
    def rows(self) -> int | None:
        """Rows in a minibatch, or None for all rows."""
        if self.resolve_method().full_batch_only:
            return None
        return self.batch_size or (self._preset.batch_size if self._preset else None)

    def resolve_method(self) -> Method:
        """Return the inference method, including the schedule of its learning rate."""
        if self._preset is None:
            return get_method(self.method)
        return self._preset.build(self.learning_rate or self._preset.learning_rate, self.num_steps, self.size)

    @property
    def _preset(self) -> Preset | None:
        return PRESETS.get(self.method_name) if isinstance(self.method, str) else None

    @property
    def method_name(self) -> str:
        """The method's name in the registry of inference methods, or the lower-case class name of an instance."""
        return self.method.lower() if isinstance(self.method, str) else type(self.method).__name__.lower()


def _check_activation(name: str, value: Any) -> str | Callable:
    """Return `value`, or raise ValueError unless it is a function or the name of a Keras activation."""
    try:
        known = callable(value) or (isinstance(value, str) and callable(keras.activations.get(value)))
    except ValueError:
        known = False
    if not known:
        raise ValueError(
            f"Invalid `{name}`: expected a Keras activation, such as 'swish' or 'tanh'. Received: {name}={value!r}."
        )
    return value


config.register(Dynamics)
