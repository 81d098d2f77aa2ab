"""The log joint: a Keras network, a likelihood and a prior as one log density over a flat vector θ."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, Self, cast

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import _moved, likelihoods, priors
from bnnrl.censoring import CensoredIndependent
from bnnrl.checks import check_count
from bnnrl.compiled import CompiledFunction
from bnnrl.keras_conventions import without_output_activation
from bnnrl.learned_prior import LearnedPrior
from bnnrl.network import Network
from bnnrl.seeds import host_seed
from bnnrl.structure import numbers, structure, with_numbers

# (x, y) or (x, y, weight) with leading axes [B] or [S, B]. For a network of several inputs x is a structure of tensors.
Batch = tuple[Any, ...]


class Problem:
    """The unnormalised log posterior log p(θ | data) of any Keras network, TFP likelihood and TFP prior.

    θ is one flat float32 vector of D entries: the network's trainable weights, the likelihood's own parameters, and the
    log-scales of a learned prior, under which the first entries are not the weights but u, see `bnnrl.priors.Learned`.
    Every method takes θ [D] with inputs [B, ...], or S of them, θ [S, D] with inputs [S, B, ...], and returns values
    with the same leading axis. Log densities are in nats. The prior takes the place of weight decay: the network's
    Keras regularisers are not used. An activation at the end of the network that the likelihood has itself, such as
    the softmax of a Categorical, is left out.

    The log likelihood runs the network in training mode, where batch normalisation uses the statistics of the batch.
    The log likelihood of such a network is not a sum over rows, and its estimate from a minibatch is biased, as it is
    in any training with batch normalisation. Layers that draw noise, such as Dropout, draw it only in a problem made
    by `with_noise`; without a seed, a network with such layers runs in inference mode.

    Args:
        model: a built Keras model.
        likelihood: a name, an object of `bnnrl.likelihoods`, or a callable `outputs -> tfd.Distribution`.
        prior: a TFP distribution for all weights, a mapping from weight-path patterns ("*/kernel") to distributions,
            "learned", or an object `bnnrl.priors.Learned`.
        num_data: N, the number of rows of the whole data set.

    Raises:
        ValueError: if the model is not built or has no trainable weights, or another argument is invalid.
    """

    def __init__(self, model: keras.Model, likelihood, prior: priors.PriorLike, num_data: int):
        self.likelihood = likelihoods.get(likelihood)
        model = without_output_activation(model, self.likelihood)
        self.network = Network(model)
        self.prior = priors.build(prior, self.network)
        self.num_data = num_data if tf.is_tensor(num_data) else check_count("num_data", num_data)
        self.num_outputs = _num_outputs(model)
        self._num_likelihood_params = self.likelihood.num_params(self.num_outputs)
        self._noise_seed: tf.Tensor | None = None
        self._statistics: list[tf.Tensor] | None = None  # of batch normalisation, where they are fixed

    @property
    def num_params(self) -> int:
        """D, the number of trainable weights, of the likelihood's own parameters, and of the prior's log-scales."""
        return self.network.num_params + self._num_likelihood_params + self.prior.num_params

    @cached_property
    def structure(self) -> Hashable:
        """The key of what shapes a compiled function of θ, data and `numbers`.

        Raises:
            NotShareable: if the network, likelihood or prior holds what cannot be compared, such as a user's own layer.
        """
        return self.network.structure, structure(self.likelihood), self.prior.structure, self.num_outputs

    def numbers(self) -> list[tf.Tensor]:
        """Return the numbers of the likelihood and of the prior as tensors, in a fixed order."""
        return [*numbers(self.likelihood), *self.prior.numbers()]

    def with_numbers(self, tensors: Sequence[tf.Tensor]) -> Self:
        """Return a copy with other numbers in the likelihood and in the prior, in the order of `numbers`."""
        other, remaining = copy.copy(self), iter(tensors)
        other.__dict__.pop("normal_prior", None)
        other.likelihood = with_numbers(self.likelihood, remaining)
        other.prior = self.prior.with_numbers(remaining)
        return other

    def with_num_data(self, num_data) -> Self:
        """Return a copy for another number of rows N, an integer or a tensor."""
        other = copy.copy(self)
        other.num_data = num_data if tf.is_tensor(num_data) else check_count("num_data", num_data)
        return other

    def with_noise(self, seed) -> Self:
        """Return a copy whose network draws the noise of layers such as Dropout in training mode.

        Args:
            seed: a stateless seed pair; the same seed repeats the noise.
        """
        other = copy.copy(self)
        other._noise_seed = seed
        return other

    def with_batch_statistics(self, theta: tf.Tensor, x) -> Self:
        """Return a copy in inference mode, with batch normalisation at the statistics of the rows x under θ.

        The copy's log likelihood is a sum over rows, even with batch normalisation. Its methods take one θ, or K S of
        them: K consecutive ones for each of the S given here.

        Args:
            theta: [D] or [S, D].
            x: inputs, [B, ...] or [S, B, ...].
        """
        other, network = copy.copy(self), self.network
        other._statistics = network.statistics(self.split(theta)[0], x) if network.has_statistics else []
        return other

    def with_own_statistics(self) -> Self:
        """Return a copy in inference mode, with batch normalisation at the Keras model's own running statistics."""
        other = copy.copy(self)
        other._statistics = []
        return other

    @property
    def has_fixed_statistics(self) -> bool:
        """Whether the log likelihood runs the network in inference mode, by fixed statistics."""
        return self._statistics is not None

    def frozen(self, theta: tf.Tensor, x) -> Self:
        """Return `with_batch_statistics(theta, x)`; a deprecated name."""
        _moved.warn("Problem.frozen", "Problem.with_batch_statistics")
        return self.with_batch_statistics(theta, x)

    def init(self, seed, n: int) -> tf.Tensor:
        """Return `n` initial values of θ, [n, D], with weights from the network's own Keras initialisers.

        Args:
            seed: an integer or a stateless seed pair.
            n: the number of initial values; the i-th is the same for every `n`.
        """
        weights = self.network.init(host_seed(seed), check_count("n", n))
        return self.join(weights, tf.tile(self.likelihood.init(self.num_outputs)[tf.newaxis], [n, 1]))

    def join(self, weights: tf.Tensor, likelihood_params: tf.Tensor) -> tf.Tensor:
        """Return θ [..., D] of the network's weights and the likelihood's parameters: the inverse of `split`.

        The log-scales of a learned prior have their initial values.
        """
        if not isinstance(self.prior, LearnedPrior):
            return tf.concat([weights, likelihood_params], axis=-1)
        log_scales = tf.broadcast_to(self.prior.init(), [*weights.shape[:-1], self.prior.num_params])
        return tf.concat([self.prior.whiten(weights, log_scales), likelihood_params, log_scales], axis=-1)

    def split(self, theta: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the network's weights and the likelihood's own parameters that θ holds.

        Raises:
            ValueError: if the shape of θ is not [D] or [S, D].
        """
        own, likelihood_params, log_scales = self.parts(theta)
        weights = self.prior.weights(own, log_scales) if isinstance(self.prior, LearnedPrior) else own
        return weights, likelihood_params

    def parts(self, theta: tf.Tensor) -> list[tf.Tensor]:
        """Return the three parts of θ: the weights or their u, the likelihood's parameters, the prior's log-scales.

        Raises:
            ValueError: if the shape of θ is not [D] or [S, D].
        """
        if theta.shape.rank not in (1, 2) or theta.shape[-1] != self.num_params:
            raise ValueError(
                f"Invalid `theta`: expected shape [D] or [S, D] with D = {self.num_params}. Received: {theta.shape}"
            )
        sizes = [self.network.num_params, self._num_likelihood_params, self.prior.num_params]
        return tf.split(theta, sizes, axis=-1)

    def weight_scales(self, theta: tf.Tensor) -> tf.Tensor:
        """Return the derivative of each weight in its entry of θ, [..., W]: 1 unless the prior is learned."""
        own, _, log_scales = self.parts(theta)
        return self.prior.scales(log_scales) if isinstance(self.prior, LearnedPrior) else tf.ones_like(own)

    def prior_scales(self, theta: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the scale s of each group of a learned prior under θ, [] or [S]; nothing for another prior."""
        if not isinstance(self.prior, LearnedPrior):
            return {}
        scales = tf.exp(self.parts(theta)[2])
        return {name: scales[..., i] for i, name in enumerate(self.prior.names)}

    def apply(self, theta: tf.Tensor, x, statistics: Sequence[tf.Tensor] = ()):
        """Return the network's outputs in inference mode, [B, ...] or [S, B, ...].

        Args:
            theta: [D] or [S, D].
            x: inputs, [B, ...] or [S, B, ...].
            statistics: from `Network.statistics`, for batch normalisation; the model's own if empty.
        """
        return self.network(self.split(theta)[0], x, statistics=statistics)

    def distribution(self, theta: tf.Tensor, x, training: bool = False) -> tfd.Distribution:
        """Return the distribution of the targets given θ and x, with batch shape [B, ...] or [S, B, ...].

        Args:
            theta: [D] or [S, D].
            x: inputs, [B, ...] or [S, B, ...].
            training: whether the network runs in training mode, as described in the class.
        """
        weights, likelihood_params = self.split(theta)
        if self._statistics is not None:
            outputs = self.network(weights, x, statistics=self._repeated_statistics(theta))
        else:
            training &= self._noise_seed is not None if self.network.draws_noise else self.network.has_statistics
            outputs = self.network(weights, x, training, self._noise_seed if training else None)
        # A row of several positions, [S, B, T, K], shares its draw's likelihood parameters [S, L]: make them [S, 1, L].
        positions = tf.nest.flatten(outputs)[0].shape.rank - theta.shape.rank - 1
        return self.likelihood(outputs, likelihood_params[(..., *[tf.newaxis] * positions, slice(None))])

    def _repeated_statistics(self, theta: tf.Tensor) -> list[tf.Tensor]:
        """Return the fixed statistics, [C] for θ [D], and [S, C] for θ [S, D]."""
        fixed = self._statistics or []
        if theta.shape.rank == 1:
            return fixed
        rows = [a if a.shape.rank > 1 else a[tf.newaxis] for a in fixed]
        return [tf.repeat(a, theta.shape[0] // a.shape[0], axis=0) for a in rows]

    def log_likelihood(self, theta: tf.Tensor, batch: Batch, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Return the sum over the batch of log p(y | x, θ), [] or [S].

        Time steps that the network masks, such as by `keras.layers.Masking`, do not count.

        Args:
            theta: [D] or [S, D].
            batch: (x, y), or (x, y, weight) with a weight of at least 0 for each row, [B] or [S, B], by which its log
                likelihood is multiplied. A row of weight 0 has no influence whatever it holds: it is padding.
            dtype: the type in which log densities are summed, see `log_joint`.

        Raises:
            ValueError: if the shape of the targets does not fit the distribution.
        """
        x, y = batch[:2]
        rows = theta.shape.rank  # axes of the result before summing: [B] or [S, B]
        if len(batch) == 3:
            x, y = tf.nest.map_structure(lambda a: without_padding(a, batch[2] > 0), (x, y))
        distribution = self.distribution(theta, x, training=True)
        log_prob = distribution.log_prob(align_targets(distribution, y))  # [S, B, ...]
        log_prob = masked(log_prob, self.network.output_mask(x, stacked=rows > 1))
        log_prob = tf.reduce_sum(log_prob, axis=list(range(rows, log_prob.shape.rank)))
        if len(batch) == 3:
            log_prob *= batch[2]
        return tf.reduce_sum(tf.cast(log_prob, dtype), axis=-1)

    def log_prior(self, theta: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Return log p(θ), [] or [S], summed over weights in `dtype`."""
        own, likelihood_params, log_scales = self.parts(theta)
        if isinstance(self.prior, LearnedPrior):
            log_prior = self.prior.log_prob(own, log_scales, dtype)
        else:
            log_prior = self.prior.log_prob(own, self.network.unflatten(own), dtype)
        return log_prior + tf.cast(self.likelihood.log_prior(likelihood_params), dtype)

    @cached_property
    def normal_prior(self) -> priors.NormalPrior | None:
        """The prior's mean and precision if it is a normal distribution with independent entries of θ, else None.

        For a prior of other distributions than Normal, Laplace and StudentT, or a likelihood of the user's own, both
        are computed from the gradient of log p(θ), which covers every form.
        """
        if self.prior.has_simple_form and isinstance(self.likelihood, likelihoods.BUILT_IN):
            return self._normal_prior_of_parts()
        # `init_scope` leaves a graph that is being built, so that the step's graph gets constants. It pauses every
        # tape, so the gradient is computed by a function.
        with tf.init_scope():
            grad = CompiledFunction(lambda theta: _grad(self.log_prior, theta), jit_compile=False)
            return priors.as_normal(grad, self.num_params)

    def _normal_prior_of_parts(self) -> priors.NormalPrior | None:
        """Return the normal prior of θ from those of its parts, or None if one of them is not normal."""
        of_weights = self.prior.as_normal()
        if of_weights is None or self.num_params == self.network.num_params:
            return of_weights
        parts = [(of_weights, self.network.num_params)]
        if self._num_likelihood_params:
            own = cast(likelihoods.Gaussian, self.likelihood).log_scale_prior_std
            parts.append((priors.NormalPrior(tf.zeros([]), 1.0 / tf.square(own)), self._num_likelihood_params))
        if isinstance(self.prior, LearnedPrior):
            parts.append((self.prior.normal_log_scales, self.prior.num_params))
        join = lambda values: tf.concat([tf.broadcast_to(a, [n]) for a, n in values], axis=0)
        return priors.NormalPrior(join([(p.mean, n) for p, n in parts]), join([(p.precision, n) for p, n in parts]))

    def log_joint(self, theta: tf.Tensor, batch: Batch, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Return log p(θ) + (N / B) log p(batch | θ), [] or [S], an unbiased estimate of that of the whole data set.

        Args:
            theta: [D] or [S, D].
            batch: (x, y), or (x, y, weight) as in `log_likelihood`, where B is the number of rows of positive weight.
            dtype: the type in which terms are summed over weights and rows. A sum of 10⁵ has two decimals in float32,
                too few to compare the energies of a trajectory's two ends. In float64 it costs little more, because
                each term is still computed in float32.
        """
        return self.log_prior(theta, dtype) + self.scaled_log_likelihood(theta, batch, dtype)

    def scaled_log_likelihood(self, theta: tf.Tensor, batch: Batch, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Return (N / B) log p(batch | θ), [] or [S], which is `log_joint` without the prior."""
        if len(batch) == 3:
            batch_size = num_rows(batch[2])
        else:
            batch_size = tf.cast(tf.shape(batch[1])[theta.shape.rank - 1], tf.float32)
        scale = tf.cast(tf.cast(self.num_data, tf.float32) / batch_size, dtype)
        return scale * self.log_likelihood(theta, batch, dtype)

    def prior_stddev(self) -> tf.Tensor:
        """Return the prior's standard deviation of each weight, followed by 1 for each other entry of θ, [D].

        A weight whose prior has no finite standard deviation gets 1, and so does u of a learned prior.
        """
        if isinstance(self.prior, LearnedPrior):
            return tf.ones([self.num_params])
        weights = self.prior.stddev(self.network.shapes)
        return tf.concat([self.network.flatten(weights), tf.ones([self._num_likelihood_params])], axis=0)


def _grad(function: Callable[[tf.Tensor], tf.Tensor], at: tf.Tensor) -> tf.Tensor:
    return tf.gradients(function(at), at)[0]


def num_rows(weight: tf.Tensor, keepdims: bool = False) -> tf.Tensor:
    """Return how many rows have a positive weight [..., B], so that they are no padding, [...] float32."""
    return tf.reduce_sum(tf.cast(weight > 0, tf.float32), axis=-1, keepdims=keepdims)


def masked(values: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Return values [..., B, T, ...] with those of masked time steps set to 0.

    Args:
        values: log densities.
        mask: 0 for time steps that are masked and 1 for others, [..., B, T]; None if all count.

    Raises:
        ValueError: if there is a mask, and the values have no axis of time.
    """
    if mask is None:
        return values
    if values.shape.rank < mask.shape.rank:
        raise ValueError(
            f"Invalid `likelihood`: expected a density for each time step of a network that masks time steps, of shape "
            f"{mask.shape}. Received: one of shape {values.shape}. Reduce the time steps in the network, or let the "
            "likelihood keep them in its batch shape."
        )
    return values * tf.reshape(mask, [*mask.shape, *[1] * (values.shape.rank - mask.shape.rank)])


def without_padding(a: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """Return rows `a` [..., B, ...] with padding replaced by the first real row.

    Padding may hold NaN, and 0 · NaN is NaN in values and gradients, so padding must not reach the network.

    Args:
        a: rows.
        real: [..., B] bool, False for padding.
    """
    lead = real.shape.rank - 1
    first = tf.gather(a, tf.argmax(real, axis=-1)[..., tf.newaxis], axis=lead, batch_dims=lead)
    return tf.where(tf.reshape(real, [*real.shape, *[1] * (a.shape.rank - lead - 1)]), a, first)


def align_targets(distribution: tfd.Distribution, y: tf.Tensor) -> tf.Tensor:
    """Return y in the shape and type of one sample of `distribution`, with a last axis of size 1 added or dropped.

    Targets of a CensoredIndependent hold a mark for each entry of a sample too.

    Raises:
        ValueError: if the shapes still differ. Broadcasting would score every row against every other.
    """
    is_censored = isinstance(distribution, CensoredIndependent)
    event_shape = distribution.target_shape if is_censored else distribution.event_shape
    expected = distribution.batch_shape.concatenate(event_shape)
    if expected.rank is None:  # some distributions have no static shape
        shape = tf.concat([distribution.batch_shape_tensor(), distribution.event_shape_tensor()], axis=0)
        known = tf.get_static_value(shape)
        expected = tf.TensorShape([None] * shape.shape[0] if known is None else known)
    aligned = tf.cast(y, distribution.dtype)
    if aligned.shape.rank == expected.rank - 1 and expected[-1] == 1:
        aligned = aligned[..., tf.newaxis]
    elif aligned.shape.rank == expected.rank + 1 and aligned.shape[-1] == 1:
        aligned = aligned[..., 0]
    if aligned.shape.rank != expected.rank or not aligned.shape.is_compatible_with(expected):
        raise ValueError(
            f"Invalid targets: expected shape {expected}, that of the likelihood's {distribution.name}. "
            f"Received: {y.shape}."
        )
    return aligned


def _num_outputs(model: keras.Model) -> int:
    """Return the size of the output's last axis; 0 for several output tensors, or if Keras does not know the size."""
    shape = getattr(model, "output_shape", None)
    if shape is None:  # a subclassed model knows its input shape only
        config = model.get_build_config() or {}
        with suppress(NotImplementedError):
            shape = model.compute_output_shape(config["input_shape"]) if "input_shape" in config else None
    return int(shape[-1]) if isinstance(shape, tuple) and shape and isinstance(shape[-1], int) else 0
