"""Likelihoods: maps from network outputs to a distribution over the targets.

A likelihood is any callable `outputs -> tfd.Distribution`. The classes below can also be saved with a model, and may
have parameters of their own, such as a noise scale, that are inferred together with the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.checks import check_callable, check_fields, check_nonnegative, check_positive, nearest
from bnnrl.storage import config
from bnnrl.structure import HasNumbers


@runtime_checkable
class Likelihood(Protocol):
    """A map from network outputs and the likelihood's own parameters to a distribution over the targets.

    The L parameters, which take any real value, are the last entries of θ and are inferred with the weights. For one θ
    outputs are [B, ..., K] and the parameters [L]; for S of them outputs are [S, B, ..., K] and the parameters [S, L].
    """

    def num_params(self, num_outputs: int) -> int:
        """Return L, the number of the likelihood's own parameters, for a network with `num_outputs` outputs."""
        ...

    def init(self, num_outputs: int) -> tf.Tensor:
        """Return the parameters' initial values, [L]."""
        ...

    def log_prior(self, likelihood_params: tf.Tensor) -> tf.Tensor:
        """Return the log prior density of the parameters [..., L] in nats, [...]."""
        ...

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        """Return the distribution of the targets, whose batch shape begins with [B] or [S, B]."""
        ...


class _NoParams:
    """Base of the likelihoods without parameters of their own."""

    def num_params(self, num_outputs: int) -> int:
        """Return 0, the number of the likelihood's own parameters."""
        return 0

    def init(self, num_outputs: int) -> tf.Tensor:
        """Return the parameters' initial values, [0]."""
        return tf.zeros([0])

    def log_prior(self, likelihood_params: tf.Tensor) -> tf.Tensor:
        """Return the log prior density of no parameters, which is 0, [...]."""
        return tf.zeros(likelihood_params.shape[:-1])


@dataclass(frozen=True)
class Gaussian(HasNumbers):
    """y ~ N(f(x), scale²), independently for each target entry.

    Args:
        scale: the standard deviation of the noise, in units of y. A positive number fixes it. "learned" infers one
            log-scale for each target entry together with the weights. "heteroscedastic" takes it from the network,
            which has 2K outputs for K targets: K means, then K values whose softplus is the scale.
        floor: a lower bound that is added to a learned or heteroscedastic scale, in units of y.
        log_scale_prior_std: the standard deviation s of the prior N(0, s²) on a learned log-scale.

    Raises:
        ValueError: if `scale` is neither a positive number nor one of the two words, `floor` is negative, or
            `log_scale_prior_std` is not positive.
    """

    scale: float | str = "learned"
    floor: float = 1e-3
    log_scale_prior_std: float = 3.0

    tensor_fields: ClassVar = ("scale", "floor", "log_scale_prior_std")

    def __post_init__(self):
        check_fields(self, floor=check_nonnegative, log_scale_prior_std=check_positive)
        if not isinstance(self.scale, str):
            check_fields(self, scale=check_positive)
        elif self.scale not in ("learned", "heteroscedastic"):
            raise ValueError(
                f"Invalid `scale`: expected a positive number, 'learned' or 'heteroscedastic'. "
                f"Received: {self.scale!r}.{nearest(self.scale, ('learned', 'heteroscedastic'))}"
            )

    def _is(self, word: str) -> bool:
        """Return whether the scale is given by this word; a number may be a tensor, which no string can equal."""
        return isinstance(self.scale, str) and self.scale == word

    def num_params(self, num_outputs: int) -> int:
        """Return the number of learned log-scales.

        Raises:
            ValueError: if the scale is learned and the network's number of outputs is not known, which is 0 here.
        """
        if self._is("learned") and not num_outputs:
            raise ValueError(
                "Invalid `likelihood`: a learned scale needs a network with one output tensor of known last axis. "
                "Received a network without. Give a subclassed model `compute_output_shape`, or the scale a number."
            )
        return num_outputs if self._is("learned") else 0

    def init(self, num_outputs: int) -> tf.Tensor:
        """Return initial log-scales of -1."""
        return tf.fill([self.num_params(num_outputs)], -1.0)

    def log_prior(self, likelihood_params: tf.Tensor) -> tf.Tensor:
        """Return the log density of the log-scales [..., L] under their normal prior, [...]."""
        return tf.reduce_sum(tfd.Normal(0.0, self.log_scale_prior_std).log_prob(likelihood_params), axis=-1)

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        """Return the normal distribution of the targets.

        Raises:
            ValueError: if the scale is heteroscedastic and the number of outputs is odd.
        """
        if self._is("heteroscedastic"):
            if outputs.shape[-1] % 2:
                raise ValueError(
                    "Invalid network: a heteroscedastic Gaussian needs an even number of outputs, a mean and a scale "
                    f"for each target. Received: {outputs.shape[-1]} outputs."
                )
            loc, raw = tf.split(outputs, 2, axis=-1)
            scale = self.floor + tf.math.softplus(raw)
        elif self._is("learned"):
            loc, scale = outputs, self.floor + tf.exp(likelihood_params)[..., tf.newaxis, :]
        else:
            loc, scale = outputs, tf.cast(self.scale, outputs.dtype)
        return tfd.Independent(tfd.Normal(loc, scale), reinterpreted_batch_ndims=1)


config.register(Gaussian)


@dataclass(frozen=True)
class Categorical(_NoParams):
    """y in {0, …, K−1}, with the K outputs as class logits."""

    inverse_links: ClassVar = ("softmax", "sigmoid")  # activations whose results are no logits

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        """Return the categorical distribution of the targets.

        Raises:
            ValueError: if the network has only one output.
        """
        if outputs.shape[-1] == 1:
            raise ValueError(
                "Invalid network: a categorical likelihood needs one output for each class, 2 at least. "
                "Received: 1 output. For two classes with one logit use 'bernoulli'."
            )
        return tfd.Categorical(logits=outputs)


@dataclass(frozen=True)
class Bernoulli(_NoParams):
    """y in {0, 1}, independently for each output, which is a logit."""

    inverse_links: ClassVar = ("sigmoid", "softmax")

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        """Return the independent Bernoulli distributions of the targets."""
        return tfd.Independent(tfd.Bernoulli(logits=outputs), reinterpreted_batch_ndims=1)


@dataclass(frozen=True)
class Poisson(_NoParams):
    """Counts y, independently for each output, which is a log rate."""

    inverse_links: ClassVar = ("exponential",)

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        """Return the independent Poisson distributions of the targets."""
        return tfd.Independent(tfd.Poisson(log_rate=outputs), reinterpreted_batch_ndims=1)


@dataclass(frozen=True)
class Custom(_NoParams):
    """A likelihood of the user's own: any callable `outputs -> tfd.Distribution`.

    Args:
        function: the callable. Outputs are [B, ...] for one θ and [S, B, ...] for S of them, and the shape of the
            returned distribution must begin in the same way. Index outputs from the end: the output k is
            `outputs[..., k]`, not `outputs[:, k]`.
    """

    function: Callable[[tf.Tensor], tfd.Distribution]

    def __post_init__(self):
        check_fields(self, function=check_callable)

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        """Return the distribution that the function returns.

        Raises:
            ValueError: if the function returns anything but a distribution over one tensor, or one whose shape does
                not begin with [B] or [S, B].
        """
        distribution = self.function(outputs)
        if not isinstance(distribution, tfd.Distribution):
            raise ValueError(
                "Invalid `likelihood`: expected a callable that returns a TFP distribution. "
                f"Received one that returned {type(distribution).__name__}."
            )
        if tf.nest.is_nested(distribution.dtype):
            raise ValueError(
                "Invalid `likelihood`: expected a distribution of one tensor. "
                f"Received: {distribution.name}, of several tensors. Join them with tfd.Blockwise."
            )
        lead = tf.nest.flatten(outputs)[0].shape[: likelihood_params.shape.rank]  # [B] or [S, B]
        shape = distribution.batch_shape.concatenate(distribution.event_shape)
        if not shape[: lead.rank].is_compatible_with(lead):
            raise ValueError(
                f"Invalid `likelihood`: expected a distribution over targets [B, ...], or [S, B, ...] for S draws of "
                f"theta, whose shape begins with {lead}. Received: {distribution.name} of shape {shape}. Index outputs "
                "from the end: `outputs[..., 0]`."
            )
        return distribution


BUILT_IN = Gaussian, _NoParams  # whose own parameters, if any, have a normal prior
_TYPES = {"gaussian": Gaussian, "categorical": Categorical, "bernoulli": Bernoulli, "poisson": Poisson}


def get(likelihood: str | Likelihood | Callable[[tf.Tensor], tfd.Distribution]) -> Likelihood:
    """Return the likelihood of a name, or of a callable `outputs -> tfd.Distribution`; a likelihood itself is returned.

    The name "heteroscedastic" stands for Gaussian("heteroscedastic").

    Raises:
        ValueError: for any other argument, such as a loss of Keras; the message for an unknown name lists the nearest
            names.
    """
    if isinstance(likelihood, str) and likelihood.lower() == "heteroscedastic":
        return Gaussian("heteroscedastic")
    if isinstance(likelihood, str):
        return _class_named(likelihood)()
    if isinstance(likelihood, Likelihood):
        if not isinstance(likelihood, type):
            return likelihood
    elif _is_keras_loss(likelihood):
        raise ValueError(
            "Invalid `likelihood`: expected a distribution of the targets. Received: a loss of Keras, "
            f"{likelihood!r}. Use 'gaussian' in place of a squared error, 'categorical' or 'bernoulli', whose outputs "
            "are logits, in place of a cross-entropy, and 'poisson' in place of Poisson's loss."
        )
    elif callable(likelihood):
        return Custom(likelihood)
    raise ValueError(
        f"Invalid `likelihood`: expected a name, a likelihood object such as Gaussian(), or a callable from outputs to "
        f"a TFP distribution. Received: {likelihood!r}"
    )


def _is_keras_loss(likelihood: Any) -> bool:
    """Return whether `likelihood` is a loss of Keras, an object or a function."""
    named = likelihood if hasattr(likelihood, "__name__") else type(likelihood)
    return str(getattr(named, "__module__", "")).startswith("keras.src.losses")


def to_config(likelihood: Likelihood) -> dict[str, Any]:
    """Return the configuration of a built-in likelihood as a JSON-able dictionary.

    Raises:
        ValueError: for a likelihood of the user's own, which is code.
    """
    name = type(likelihood).__name__.lower()
    if _TYPES.get(name) is not type(likelihood):
        raise ValueError(
            f"Invalid `likelihood`: expected a built-in one, {sorted(_TYPES)}, to be saved. Received: {likelihood!r}. "
            "Code is never saved: pass it again when loading."
        )
    return {"name": name, **asdict(cast(Any, likelihood))}


def from_config(config: dict[str, Any]) -> Likelihood:
    """Return the likelihood of a configuration from `to_config`.

    Raises:
        ValueError: if this version has no likelihood of that name.
    """
    arguments = dict(config)
    return _class_named(arguments.pop("name"))(**arguments)


def _class_named(name: str) -> Callable[..., Likelihood]:
    if name.lower() not in _TYPES:
        raise ValueError(
            f"Invalid `likelihood`: expected one of {sorted(_TYPES)}, a likelihood object, or a callable from outputs "
            f"to a TFP distribution. Received: {name!r}.{nearest(name, _TYPES)}"
        )
    return _TYPES[name.lower()]
