"""Likelihoods: maps from network outputs to a distribution over the targets.

A likelihood is any callable `outputs -> tfd.Distribution`. The classes below may
have parameters of their own, such as a noise scale, that are inferred together with the weights.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.censoring import CensoredIndependent
from bnnrl.checks import (
    check_callable,
    check_count,
    check_fields,
    check_nonnegative,
    check_positive,
    check_within,
    nearest,
)
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


class _LogParam(HasNumbers):
    """Base of the likelihoods with one learned log-parameter for each target entry."""

    log_scale_prior_std: float = 3.0

    def num_params(self, num_outputs: int) -> int:
        """Return the number of learned log-parameters, that of the network's outputs.

        Raises:
            ValueError: if the network's number of outputs is not known, which is 0 here.
        """
        if not num_outputs:
            raise ValueError(
                f"Invalid `likelihood`: {type(self).__name__} needs a network with one output tensor of known last "
                "axis. Received a network without. Give a subclassed model `compute_output_shape`."
            )
        return num_outputs

    def init(self, num_outputs: int) -> tf.Tensor:
        """Return initial log-parameters of -1."""
        return tf.fill([self.num_params(num_outputs)], -1.0)

    def log_prior(self, likelihood_params: tf.Tensor) -> tf.Tensor:
        """Return the log density of the log-parameters [..., L] under their normal prior, [...]."""
        return tf.reduce_sum(tfd.Normal(0.0, self.log_scale_prior_std).log_prob(likelihood_params), axis=-1)


@dataclass(frozen=True)
class StudentT(_LogParam):
    """y ~ StudentT(df, f(x), scale), independently for each target entry: real targets with outliers.

    Args:
        df: the degrees of freedom, above 2 so that the targets have a variance; smaller ones have heavier tails.
        floor: a lower bound that is added to the scale, in units of y, whose log is inferred for each target entry.
        log_scale_prior_std: the standard deviation s of the prior N(0, s²) on a log-scale.

    Raises:
        ValueError: if `df` is not above 2, `floor` is negative, or `log_scale_prior_std` is not positive.
    """

    df: float = 4.0
    floor: float = 1e-3
    log_scale_prior_std: float = 3.0

    tensor_fields: ClassVar = ("df", "floor", "log_scale_prior_std")

    def __post_init__(self):
        above_2 = partial(check_within, interval="(2, inf)", expected="a finite number above 2")
        check_fields(self, df=above_2, floor=check_nonnegative, log_scale_prior_std=check_positive)

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        """Return the distribution of the targets."""
        scale = self.floor + tf.exp(likelihood_params)[..., tf.newaxis, :]
        return tfd.Independent(tfd.StudentT(self.df, outputs, scale), reinterpreted_batch_ndims=1)


@dataclass(frozen=True)
class NegativeBinomial(_LogParam):
    """Counts y of mean μ and variance μ + α μ², independently for each output, which is log μ.

    α, the overdispersion, is inferred for each target entry; for α = 0 the distribution is Poisson's.

    Args:
        log_scale_prior_std: the standard deviation s of the prior N(0, s²) on log α.

    Raises:
        ValueError: if `log_scale_prior_std` is not positive.
    """

    log_scale_prior_std: float = 3.0

    tensor_fields: ClassVar = ("log_scale_prior_std",)
    inverse_links: ClassVar = ("exponential",)  # activations whose results are no log rates

    def __post_init__(self):
        check_fields(self, log_scale_prior_std=check_positive)

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        """Return the distribution of the targets."""
        log_alpha = likelihood_params[..., tf.newaxis, :]
        count = tf.broadcast_to(tf.exp(-log_alpha), outputs.shape)
        return tfd.Independent(tfd.NegativeBinomial(count, logits=outputs + log_alpha), reinterpreted_batch_ndims=1)


config.register(StudentT)
config.register(NegativeBinomial)


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
class Ordinal(HasNumbers):
    """Classes y in {0, …, C−1} that have an order, such as ratings: the proportional odds model of one output f(x).

    P(y ≤ c) = sigmoid(κ_c − f(x)) with C − 1 increasing cutpoints κ, which are inferred with the weights: κ_0, and the
    logarithms of the differences of neighbours. The distribution is a Categorical, with all that classes have.

    Source: McCullagh, "Regression Models for Ordinal Data", JRSS B 1980.

    Args:
        num_classes: C, at least 2.
        prior_std: the standard deviation s of the prior N(0, s²) on κ_0 and on each logarithm of a difference.

    Raises:
        ValueError: if `num_classes` is below 2, or `prior_std` is not positive.
    """

    num_classes: int
    prior_std: float = 3.0

    tensor_fields: ClassVar = ("prior_std",)
    inverse_links: ClassVar = ("sigmoid",)  # activations whose results are no logits

    def __post_init__(self):
        check_fields(self, num_classes=partial(check_count, least=2), prior_std=check_positive)

    def num_params(self, num_outputs: int) -> int:
        """Return C − 1, the number of cutpoints.

        Raises:
            ValueError: if the network has several outputs.
        """
        if num_outputs > 1:
            raise ValueError(
                "Invalid network: expected one output for an ordinal likelihood, whose classes share it. Received: "
                f"{num_outputs} outputs."
            )
        return self.num_classes - 1

    def init(self, num_outputs: int) -> tf.Tensor:
        """Return the parameters of the cutpoints that make all classes equally probable at f(x) = 0."""
        below = tf.range(1, self.num_classes, dtype=tf.float32) / self.num_classes
        cutpoints = tf.math.log(below / (1.0 - below))
        return tf.concat([cutpoints[:1], tf.math.log(cutpoints[1:] - cutpoints[:-1])], axis=0)

    def log_prior(self, likelihood_params: tf.Tensor) -> tf.Tensor:
        """Return the log density of the parameters [..., C − 1] under their normal prior, [...]."""
        return tf.reduce_sum(tfd.Normal(0.0, self.prior_std).log_prob(likelihood_params), axis=-1)

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        """Return the categorical distribution of the targets."""
        location = outputs[..., 0]
        first, gaps = likelihood_params[..., :1], tf.exp(likelihood_params[..., 1:])
        cutpoints = tf.cumsum(tf.concat([first, gaps], axis=-1), axis=-1)  # [..., C − 1]
        of_rows = location.shape.rank - cutpoints.shape.rank + 1
        cutpoints = cutpoints[(..., *[tf.newaxis] * of_rows, slice(None))]
        return tfd.Categorical(logits=tfd.OrderedLogistic(cutpoints, location).categorical_log_probs())


@dataclass(frozen=True)
class Censored:
    """Real targets y of which some are known to lie above or below a value, such as times of patients still alive.

    A target has 2K entries: K values v, then K marks. A mark of 0 says y = v, a mark of 1 says y > v (right-censored),
    and a mark of −1 says y < v (left-censored, as below a detection limit). Rows add the log of the density, of the
    survival function or of the distribution function to the log likelihood. Predictions are those of y itself. The only
    score is the NLL.

    The marks must not be standardised: load the data with `standardize="inputs"`, and give values in a unit in which
    they are of the order of 1, such as the logarithm of the time.

    Source: Tobin, "Estimation of Relationships for Limited Dependent Variables", Econometrica 1958; for times Wei, "The
    Accelerated Failure Time Model", Statistics in Medicine 1992.

    Args:
        base: the likelihood of y, "gaussian", "heteroscedastic", "studentt" or an object of Gaussian or StudentT.

    Raises:
        ValueError: if `base` is another one.
    """

    base: str | Gaussian | StudentT = "gaussian"

    def __post_init__(self):
        base = get(self.base)
        if not isinstance(base, Gaussian | StudentT):
            raise ValueError(
                f"Invalid `base`: expected a Gaussian or StudentT likelihood. Received: {type(base).__name__}."
            )
        object.__setattr__(self, "base", base)

    @property
    def _of_values(self) -> Gaussian | StudentT:
        return cast(Any, self.base)

    def num_params(self, num_outputs: int) -> int:
        """Return the number of parameters of the base."""
        return self._of_values.num_params(num_outputs)

    def init(self, num_outputs: int) -> tf.Tensor:
        """Return the initial parameters of the base."""
        return self._of_values.init(num_outputs)

    def log_prior(self, likelihood_params: tf.Tensor) -> tf.Tensor:
        """Return the log prior density of the parameters of the base [..., L], [...]."""
        return self._of_values.log_prior(likelihood_params)

    def __call__(self, outputs: tf.Tensor, likelihood_params: tf.Tensor) -> tfd.Distribution:
        """Return the distribution of y, whose `log_prob` takes values with their marks, [..., 2K]."""
        entries = self._of_values(outputs, likelihood_params).distribution
        return CensoredIndependent(entries, reinterpreted_batch_ndims=1, name="Censored")


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


BUILT_IN = Gaussian, _LogParam, _NoParams  # whose own parameters, if any, have a normal prior
_TYPES = {
    "gaussian": Gaussian,
    "studentt": StudentT,
    "categorical": Categorical,
    "bernoulli": Bernoulli,
    "poisson": Poisson,
    "negativebinomial": NegativeBinomial,
    "ordinal": Ordinal,
    "censored": Censored,
}

_SYNONYMS = {"normal": "gaussian", "student": "studentt", "softmax": "categorical", "binomial": "bernoulli"}

# What takes the place of a loss of Keras, by the loss's name in lower case without underscores.
_OF_LOSSES = {
    "meansquarederror": "'gaussian'",
    "meansquaredlogarithmicerror": "'gaussian', with the logarithm of the targets",
    "meanabsoluteerror": "'studentt', which outliers hardly move either",
    "huber": "'studentt', which outliers hardly move either",
    "logcosh": "'studentt', which outliers hardly move either",
    "categoricalcrossentropy": "'categorical', with class numbers in place of one-hot targets, and logits as outputs",
    "sparsecategoricalcrossentropy": "'categorical', with logits as outputs",
    "categoricalfocalcrossentropy": "'categorical', with logits as outputs",
    "binarycrossentropy": "'bernoulli', with logits as outputs",
    "binaryfocalcrossentropy": "'bernoulli', with logits as outputs",
    "poisson": "'poisson', with the logarithm of the rate as output",
}
_ANY_LOSS = (
    "'gaussian' in place of a squared error, 'categorical' or 'bernoulli' in place of a cross-entropy, and 'poisson' "
    "or 'negativebinomial' for counts"
)


def get(likelihood: str | Likelihood | Callable[[tf.Tensor], tfd.Distribution]) -> Likelihood:
    """Return the likelihood of a name, or of a callable `outputs -> tfd.Distribution`; a likelihood itself is returned.

    The name "heteroscedastic" stands for Gaussian("heteroscedastic").

    Raises:
        ValueError: for any other argument, such as a loss of Keras, in whose place the message names a likelihood. The
            message for an unknown name lists the nearest names.
    """
    if isinstance(likelihood, str) and likelihood.lower() == "heteroscedastic":
        return Gaussian("heteroscedastic")
    if isinstance(likelihood, str):
        named = _class_named(likelihood)
        if named is Ordinal:
            raise ValueError(
                "Invalid `likelihood`: expected the number of classes of an ordinal likelihood. Received: its name "
                "alone. Pass bnnrl.likelihoods.Ordinal(num_classes=5)."
            )
        return named()
    if isinstance(likelihood, Likelihood):
        if not isinstance(likelihood, type):
            return likelihood
    elif _is_keras_loss(likelihood):
        raise _keras_loss_error(likelihood, repr(likelihood))
    elif callable(likelihood):
        _check_takes_outputs(likelihood)
        return Custom(likelihood)
    raise ValueError(
        f"Invalid `likelihood`: expected a name, a likelihood object such as Gaussian(), or a callable from outputs to "
        f"a TFP distribution. Received: {likelihood!r}"
    )


def _is_keras_loss(likelihood: Any) -> bool:
    """Return whether `likelihood` is a loss of Keras: an object, a class or a function."""
    named = likelihood if hasattr(likelihood, "__name__") else type(likelihood)
    is_loss = isinstance(named, type) and issubclass(named, keras.losses.Loss)
    return is_loss or str(getattr(named, "__module__", "")).startswith("keras.src.losses")


def _keras_loss_error(loss: Any, received: str) -> ValueError:
    """Return the error that names the likelihood to use in place of a loss of Keras."""
    name = getattr(loss, "__name__", type(loss).__name__).lower().replace("_", "")
    return ValueError(
        f"Invalid `likelihood`: expected a distribution of the targets. Received: a loss of Keras, {received}. Use "
        f"{_OF_LOSSES.get(name, _ANY_LOSS)}."
    )


def _check_takes_outputs(function: Callable) -> None:
    """Raise ValueError for a callable that cannot be called with the outputs alone, such as a loss of two arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables that are written in C tell no signature
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise ValueError(
            f"Invalid `likelihood`: expected a callable of one argument, the network's outputs, that returns a TFP "
            f"distribution of the targets. Received: {getattr(function, '__name__', function)!s}{signature}, which "
            f"cannot be called with one ({error}). A likelihood is no loss: the targets are not passed to it."
        ) from error


def to_config(likelihood: Likelihood) -> dict[str, Any]:
    """Return the configuration of a likelihood as a JSON-able dictionary.

    Of the user's own function or class, which is code, it holds the name alone, and the result of `get_config` or the
    fields of a dataclass.

    Raises:
        ValueError: for a function or a class without a name of its own, or an object that does not describe itself.
    """
    name = type(likelihood).__name__.lower()
    if isinstance(likelihood, Censored):
        return {"name": name, "base": to_config(likelihood._of_values)}
    if _TYPES.get(name) is type(likelihood):
        return {"name": name, **asdict(cast(Any, likelihood))}
    own: Any = likelihood.function if isinstance(likelihood, Custom) else type(likelihood)
    known = keras.saving.get_registered_name(own) if hasattr(own, "__name__") else ""
    described = own if own is getattr(likelihood, "function", None) else likelihood
    arguments = _arguments(described)
    if not known or "<" in getattr(own, "__qualname__", "<") or arguments is None:
        raise ValueError(
            f"Invalid `likelihood`: expected a built-in one, {sorted(_TYPES)}, or a function or class with a name at "
            f"the top of a module, to be saved. Received: {likelihood!r}. Code is never saved, only its name: define "
            "it by `def` or `class`, the latter as a dataclass or with `get_config`, and decorate it with "
            "`keras.saving.register_keras_serializable()`, or pass it to `bnnrl.load(..., custom_objects=...)`."
        )
    return {"name": "custom", "registered": known, "arguments": arguments}


def _arguments(described: Any) -> dict[str, Any] | None:
    """Return the arguments that make an object of the user's own again; nothing for a function; None if not known."""
    if isinstance(described, types.FunctionType):
        return {}
    if hasattr(described, "get_config"):
        return described.get_config()
    if is_dataclass(described) and not isinstance(described, type):
        return asdict(described)
    return None if vars(described) else {}


def from_config(config: dict[str, Any]) -> Likelihood:
    """Return the likelihood of a configuration from `to_config`.

    A function or class of the user's own is found by its name in the scope of `keras.saving.custom_object_scope` or
    among those registered with Keras.

    Raises:
        ValueError: if this version has no likelihood of that name, or the user's own is not there.
    """
    arguments = dict(config)
    if arguments["name"] == "custom":
        name = arguments["registered"]
        find = keras.saving.get_registered_object
        own: Any = find(name) or find(name.rpartition(">")[-1])
        if own is None:
            raise ValueError(
                f"Invalid `custom_objects`: expected the likelihood {name!r}, of which a saved model holds the name "
                "alone. Received: none. Import the module that registers it by "
                f"`keras.saving.register_keras_serializable()`, or pass custom_objects={{{name!r}: ...}}."
            )
        return get(own(**arguments["arguments"]) if isinstance(own, type) else own)
    if arguments["name"] == "censored":
        return Censored(cast(Any, from_config(arguments["base"])))
    return _class_named(arguments.pop("name"))(**arguments)


def _class_named(name: str) -> Callable[..., Likelihood]:
    short = name.lower().replace("_", "")
    if short in _TYPES:
        return _TYPES[short]
    loss = None
    with suppress(ValueError):  # of a name that is not one of Keras's losses either
        loss = keras.losses.get(name)
    if loss is not None:
        raise _keras_loss_error(loss, repr(name))
    words = sorted([*_TYPES, "heteroscedastic"])
    raise ValueError(
        f"Invalid `likelihood`: expected one of {words}, a likelihood object, or a callable from outputs to a TFP "
        f"distribution. Received: {name!r}.{nearest(_SYNONYMS.get(short, short), words)}"
    )
