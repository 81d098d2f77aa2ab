"""Likelihoods: from network outputs to a distribution over the targets.

A likelihood is any callable `outputs -> tfd.Distribution`. Those below also carry a configuration, so that a model
saved with one can be loaded again, and may have parameters of their own that are inferred together with the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol, cast, runtime_checkable

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.checks import check_positive, nearest
from bnnrl.storage import config


@runtime_checkable
class Likelihood(Protocol):
    """Maps network outputs [B, ..., K] and the likelihood's own parameters [L] to a distribution over the targets.

    With S draws at once, outputs are [S, B, ..., K] and the parameters [S, L].
    """

    def num_params(self, num_outputs: int) -> int:
        """Return L, the number of the likelihood's own parameters, for a network with `num_outputs` outputs."""
        ...

    def init(self, num_outputs: int) -> tf.Tensor:
        """Return the parameters' initial values, [L]."""
        ...

    def log_prior(self, likelihood_params: tf.Tensor) -> tf.Tensor:
        """Return the log prior density of the parameters [..., L], in nats, [...]."""
        ...

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution: ...


class _NoParams:
    """A likelihood without parameters of its own."""

    def num_params(self, num_outputs: int) -> int:
        return 0

    def init(self, num_outputs: int) -> tf.Tensor:
        return tf.zeros([0])

    def log_prior(self, likelihood_params: tf.Tensor) -> tf.Tensor:
        return tf.zeros(likelihood_params.shape[:-1])


@dataclass(frozen=True)
class Gaussian:
    """y ~ N(f(x), scale²), independently for each target entry.

    Args:
        scale: the noise standard deviation (not the variance). A positive number fixes it. "learned": one
            log-scale for each target entry, inferred with the weights. "heteroscedastic": the network has 2K outputs
            for K targets; the second half gives the scale of each row through a softplus.
        floor: a lower bound added to a learned or heteroscedastic scale, in units of y.
        log_scale_prior_std: standard deviation of the N(0, ·²) prior on a learned log-scale.

    Raises:
        ValueError: if `scale` is neither positive nor one of the two words, `floor` is negative, or
            `log_scale_prior_std` is not positive.
    """

    scale: float | str = "learned"
    floor: float = 1e-3
    log_scale_prior_std: float = 3.0

    def __post_init__(self):
        if not isinstance(self.scale, str):
            object.__setattr__(self, "scale", check_positive("scale", self.scale))
        elif self.scale not in ("learned", "heteroscedastic"):
            raise ValueError(
                f"Invalid `scale`: expected a positive number, 'learned' or 'heteroscedastic'. "
                f"Received: {self.scale!r}.{nearest(self.scale, ('learned', 'heteroscedastic'))}"
            )
        if not self.floor >= 0:
            raise ValueError(f"Invalid `floor`: expected a number >= 0. Received: {self.floor!r}")
        check_positive("log_scale_prior_std", self.log_scale_prior_std)

    def num_params(self, num_outputs: int) -> int:
        if self.scale == "learned" and not num_outputs:
            raise ValueError(
                "Invalid `likelihood`: a learned scale needs a network with one output tensor of known last axis. "
                "Received a network without. Give a subclassed model `compute_output_shape`, or the scale a number."
            )
        return num_outputs if self.scale == "learned" else 0

    def init(self, num_outputs: int) -> tf.Tensor:
        return tf.fill([self.num_params(num_outputs)], -1.0)

    def log_prior(self, likelihood_params: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tfd.Normal(0.0, self.log_scale_prior_std).log_prob(likelihood_params), axis=-1)

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        if self.scale == "heteroscedastic":
            if outputs.shape[-1] % 2:
                raise ValueError(
                    "Invalid network: a heteroscedastic Gaussian needs an even number of outputs, mean and scale of "
                    f"each target. Received: {outputs.shape[-1]} outputs."
                )
            loc, raw = tf.split(outputs, 2, axis=-1)
            scale = self.floor + tf.math.softplus(raw)
        elif self.scale == "learned":
            loc, scale = outputs, self.floor + tf.exp(likelihood_params)[..., tf.newaxis, :]
        else:
            loc, scale = outputs, tf.constant(self.scale, outputs.dtype)
        return tfd.Independent(tfd.Normal(loc, scale), reinterpreted_batch_ndims=1)


config.register(Gaussian)


@dataclass(frozen=True)
class Categorical(_NoParams):
    """y in {0, …, K−1} with class logits as the K outputs."""

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        if outputs.shape[-1] == 1:
            raise ValueError(
                "Invalid network: a categorical likelihood needs one output for each class, 2 at least. "
                "Received: 1 output. For two classes with one logit use 'bernoulli'."
            )
        return tfd.Categorical(logits=outputs)


@dataclass(frozen=True)
class Bernoulli(_NoParams):
    """y in {0, 1}, independently for each output, which is a logit."""

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Bernoulli(logits=outputs), reinterpreted_batch_ndims=1)


@dataclass(frozen=True)
class Poisson(_NoParams):
    """Counts y, independently for each output, which is a log rate."""

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Poisson(log_rate=outputs), reinterpreted_batch_ndims=1)


@dataclass(frozen=True)
class Custom(_NoParams):
    """Any callable `outputs -> tfd.Distribution`.

    Outputs are [B, ...], or [S, B, ...] for S draws at once, and so must be what it returns: take the K-th output as
    `outputs[..., K]`, not `outputs[:, K]`.
    """

    function: Callable[[tf.Tensor], tfd.Distribution]

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        distribution = self.function(outputs)
        if not isinstance(distribution, tfd.Distribution):
            raise ValueError(
                "Invalid `likelihood`: expected a callable that returns a TFP distribution. "
                f"Received one that returned {type(distribution).__name__}."
            )
        if tf.nest.is_nested(distribution.dtype):
            raise ValueError(
                "Invalid `likelihood`: expected a distribution of one tensor. "
                f"Received: {distribution.name}, of several. Join them with tfd.Blockwise."
            )
        lead = tf.nest.flatten(outputs)[0].shape[: likelihood_params.shape.rank]  # [B] or [S, B]
        shape = distribution.batch_shape.concatenate(distribution.event_shape)
        if not shape[: lead.rank].is_compatible_with(lead):
            raise ValueError(
                f"Invalid `likelihood`: expected a distribution over targets [B, ...], or [S, B, ...] for S draws, "
                f"here led by {lead}. Received: {distribution.name} of shape {shape}. Index outputs from the end: "
                "`outputs[..., 0]`."
            )
        return distribution


_NAMED = {"gaussian": Gaussian, "categorical": Categorical, "bernoulli": Bernoulli, "poisson": Poisson}


def get(likelihood: str | Likelihood | Callable[[tf.Tensor], tfd.Distribution]) -> Likelihood:
    """Return a Likelihood from its name, itself, or a callable `outputs -> tfd.Distribution`.

    Raises:
        ValueError: if it is none of these; for an unknown name the nearest ones are listed.
    """
    if isinstance(likelihood, str):
        return _named(likelihood)()
    if isinstance(likelihood, Likelihood):
        if not isinstance(likelihood, type):
            return likelihood
    elif callable(likelihood):
        return Custom(likelihood)
    raise ValueError(
        f"Invalid `likelihood`: expected a name, a likelihood object such as Gaussian(), or a callable from outputs to "
        f"a TFP distribution. Received: {likelihood!r}"
    )


def to_config(likelihood: Likelihood) -> dict[str, Any]:
    """Return a JSON-able description of a built-in likelihood.

    Raises:
        ValueError: for a likelihood that is code of the user's own.
    """
    name = type(likelihood).__name__.lower()
    if _NAMED.get(name) is not type(likelihood):
        raise ValueError(
            f"Invalid `likelihood`: expected a built-in one, {sorted(_NAMED)}, to be saved. Received: {likelihood!r}. "
            "Code is never saved: pass it again when loading."
        )
    return {"name": name, **asdict(cast(Any, likelihood))}


def from_config(config: dict[str, Any]) -> Likelihood:
    """Return the likelihood that `to_config` described.

    Raises:
        ValueError: if the description names a likelihood this version does not know.
    """
    arguments = dict(config)
    return _named(arguments.pop("name"))(**arguments)


def _named(name: str) -> Callable[..., Likelihood]:
    if name.lower() not in _NAMED:
        raise ValueError(
            f"Invalid `likelihood`: expected one of {sorted(_NAMED)}, a likelihood object, or a callable from outputs "
            f"to a TFP distribution. Received: {name!r}.{nearest(name, _NAMED)}"
        )
    return _NAMED[name.lower()]
