"""Settings of the Bayesian networks in the learned simulator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from bnnrl.checks import (
    changed,
    check_choice,
    check_count,
    check_counts,
    check_fields,
    check_flag,
    check_instance,
    check_positive,
    nearest,
    optional,
)
from bnnrl.inference import REGISTRY, GaussNewton, Method, innermost
from bnnrl.inference import get as get_method
from bnnrl.likelihoods import Gaussian
from bnnrl.network import check_activation
from bnnrl.rl.simulator.presets import PRESETS, NetworkPreset, Preset
from bnnrl.storage import config

_OF_PRESET: Any = None  # the value of a field that the preset of the method fills
_DEFAULT_STEPS = 2000  # training steps of a method that has no preset
_GAUSSIAN_PROCESS = "gp"  # the method that is no network
_MAX_ROWS = 1000  # of a Gaussian process; a fit of as many to four outputs takes about a minute
_OF_PROCESS = ("method", "midpoint", "max_rows", "linkage")  # the settings of a Gaussian process


@dataclass(frozen=True)
class Dynamics:
    """Settings of a dynamics model: next_obs = obs + f_θ(features(obs), action) + noise.

    The network f_θ sees standardised inputs and predicts standardised differences. The same settings describe the
    models of reward and termination, which are regression networks, too.

    With method "gp", an exact Gaussian process for each entry of the difference takes the place of the network, see
    `bnnrl.rl.simulator.gaussian_process`. Of the settings below, `midpoint`, `max_rows` and `linkage` then apply, and
    the others are refused.

    Args:
        hidden: widths of the hidden layers. None takes the preset of the method, as for the next five: see
            `bnnrl.rl.simulator.presets`.
        activation: a Keras activation.
        method: an inference method or its name; "gp" for Gaussian processes, which have no network.
        size: number of members or chains, for the methods "ensemble", "gauss_newton" and "svgd", and for samplers given
            by name.
        likelihood: distribution of the standardised differences given the network's output.
        prior_std: standard deviation σ of the prior N(0, σ²) over each weight.
        prior: "normal" for the prior of `prior_std`; "learned" for scales that are inferred with the weights, see
            `bnnrl.priors.Learned`.
        separate_outputs: whether each entry of the difference has a network of its own, of which it is the only output.
        midpoint: whether the network sees the middle of a step, which fixed-point iterations find: a smoother function
            to learn, for four evaluations of the network a step, see `bnnrl.rl.simulator.integration.Midpoint`. None,
            the default, takes it where `Task.velocities` are known, for Gauss-Newton learning, for Gaussian processes,
            and for linked rods.
        steps: training steps of each fit. None takes the preset of a method given by name, see
            `bnnrl.rl.simulator.presets`, and 2000 for a method instance.
        batch_size: rows in a minibatch. None takes the preset of a method given by name. A method instance, like a
            preset without a batch size, then trains on all rows, or on 256 where the data buffer holds more than 512.
        learning_rate: learning rate of the first step, for a method given by name; None takes its preset. The rate
            falls to a hundredth by a cosine, except that SWAG keeps the rate of its collection phase constant, and
            that samplers use the rate for their warm-up only.
        max_rows: the largest number of transitions that a Gaussian process is fitted to, with a time of its cube; of
            more, a random subset is taken. None takes 1000. For other methods it is None.

        linkage: whether the network also sees what the mechanics of linked rods depend on, see
            `bnnrl.rl.simulator.features`, where a task has several angles and `Task.velocities` has their rates.

    Raises:
        ValueError: for a number out of its range, an unknown method, fewer steps than the method needs, or a setting
            that the method does not have.
    """

    hidden: tuple[int, ...] = _OF_PRESET
    activation: str | Callable = _OF_PRESET
    method: str | Method = "ensemble"
    size: int = _OF_PRESET
    likelihood: Gaussian = _OF_PRESET
    prior_std: float = 1.0
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    prior: str = _OF_PRESET
    separate_outputs: bool = _OF_PRESET
    midpoint: bool | None = None
    max_rows: int | None = None
    linkage: bool = True

    def __post_init__(self):
        check_fields(self, method=_check_method, midpoint=optional(check_flag), max_rows=optional(check_count))
        check_fields(self, linkage=check_flag)
        if self.is_gaussian_process:
            self._check_process()
        else:
            self._check_network()

    def _check_process(self) -> None:
        """Fill in the settings of a Gaussian process, or raise ValueError for one that only networks have."""
        for name in changed(self, besides=_OF_PROCESS):
            raise ValueError(
                f"Invalid `{name}`: expected none with method='gp', a Gaussian process, which has no network. "
                f"Received: {name}={getattr(self, name)!r}. Its settings are {', '.join(_OF_PROCESS[1:])}."
            )
        object.__setattr__(self, "max_rows", self.max_rows or _MAX_ROWS)

    def _check_network(self) -> None:
        """Fill in the settings of the network from the preset, or raise ValueError for one out of its range."""
        if self.max_rows is not None:
            raise ValueError(
                f"Invalid `max_rows`: expected None with method={self.method_name!r}, as only Gaussian processes, "
                f"method='gp', have it. Received: max_rows={self.max_rows}."
            )
        preset = self._preset or Preset(cast(Any, None), 0.0, network=_network_for(self.method))
        for name, value in {**preset.network._asdict(), "size": preset.size}.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        check_choice("prior", self.prior, ("normal", "learned"))
        check_fields(self, separate_outputs=check_flag)
        check_fields(self, hidden=check_counts, size=check_count, prior_std=check_positive)
        check_fields(self, **dict.fromkeys(("steps", "batch_size"), optional(check_count)))
        check_fields(self, activation=check_activation, learning_rate=optional(check_positive))
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

    def sees_midpoint(self, velocities: Mapping[int, int], rates: Sequence[int] = ()) -> bool:
        """Return whether the network sees the middle of a step, given `Task.velocities` and `Features.rates`."""
        if self.midpoint is None:
            by_method = self.is_gaussian_process or isinstance(innermost(self.resolve_method()), GaussNewton)
            return bool(velocities) and (by_method or bool(rates))
        return self.midpoint

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
    def is_gaussian_process(self) -> bool:
        """Whether the model is a Gaussian process instead of a network."""
        return isinstance(self.method, str) and self.method_name == _GAUSSIAN_PROCESS

    @property
    def _preset(self) -> Preset | None:
        return PRESETS.get(self.method_name) if isinstance(self.method, str) else None

    @property
    def method_name(self) -> str:
        """The method's name in the registry of inference methods, or the lower-case class name of an instance."""
        return self.method.lower() if isinstance(self.method, str) else type(self.method).__name__.lower()


def _check_method(name: str, value: Any) -> Any:
    """Return `value`, or raise ValueError if it is a name of no method. `get` checks instances."""
    known = (*REGISTRY, _GAUSSIAN_PROCESS)
    if isinstance(value, str) and value.lower() not in known:
        near = nearest(value, known)
        raise ValueError(f"Invalid `{name}`: expected one of {sorted(known)}. Received: {value!r}.{near}")
    return value


def _network_for(method: Any) -> NetworkPreset:
    """Return the network for an instance of a method."""
    is_gauss_newton = isinstance(method, Method) and isinstance(innermost(method), GaussNewton)
    return PRESETS["gauss_newton"].network if is_gauss_newton else NetworkPreset()


config.register(Dynamics)
