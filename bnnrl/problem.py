"""The heart: a Keras network, a likelihood and a prior as one log joint over a flat vector θ."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import likelihoods, priors
from bnnrl.checks import check_count
from bnnrl.network import Network
from bnnrl.seeds import host_seed, normal

# (x, y) or (x, y, weight), leading axes [B] or [S, B]. A network of several inputs has a structure of tensors as x.
Batch = tuple[Any, ...]


class Problem:
    """log p(θ | data) up to a constant, for any Keras network, TFP likelihood and TFP prior.

    θ is one flat float32 vector: the network's trainable weights, then the likelihood's own parameters. Every
    function takes θ [D], or θ [S, D] with inputs [S, B, ...], and returns values with the same leading axis.
    Log densities are in nats and unnormalised. The prior stands for weight decay: Keras's regularisers are not used.

    The log likelihood runs the network in training mode: batch normalisation uses the batch's own statistics, so that
    it is no sum over rows and minibatches estimate it with a bias, as everywhere. Layers that draw noise do so only
    under `with_noise`; without, a network that has them runs in inference mode.

    Args:
        model: a built Keras model.
        likelihood: a name, an object of `bnnrl.likelihoods`, or a callable `outputs -> tfd.Distribution`.
        prior: a TFP distribution, or a mapping from weight-path patterns ("*/kernel") to distributions.
        num_data: N, the number of rows of the whole data set.

    Raises:
        ValueError: if the model is not built or has no trainable weights, or another argument is not as above.
    """

    def __init__(self, model: keras.Model, likelihood, prior: priors.PriorLike, num_data: int):
        self.network = Network(model)
        self.likelihood = likelihoods.get(likelihood)
        self.prior = priors.Prior(prior, self.network.paths, self.network.shapes)
        self.num_data = num_data if tf.is_tensor(num_data) else check_count("num_data", num_data)
        self._num_outputs = _num_outputs(model)
        self._num_likelihood_params = self.likelihood.num_params(self._num_outputs)
        self._noise: tf.Tensor | None = None
        self._frozen: list[tf.Tensor] | None = None  # statistics of batch normalisation, if they are held

    @property
    def num_params(self) -> int:
        """D: trainable weights plus the likelihood's own parameters."""
        return self.network.num_params + self._num_likelihood_params

    def with_num_data(self, num_data) -> Self:
        """Return the same problem for another N, which may be a tensor."""
        other = copy.copy(self)
        other.num_data = num_data if tf.is_tensor(num_data) else check_count("num_data", num_data)
        return other

    def with_noise(self, seed) -> Self:
        """Return the same problem whose network draws its layers' noise from a seed pair: one step's masks."""
        other = copy.copy(self)
        other._noise = seed
        return other

    def frozen(self, theta: tf.Tensor, x) -> Self:
        """Return the same problem in inference mode, batch normalisation held at the statistics of x under θ.

        Its rows are independent given θ. It takes θ, or stacked copies of each.
        """
        other, network = copy.copy(self), self.network
        other._frozen = network.statistics(self.split(theta)[0], x) if network.has_statistics else []
        return other

    def init(self, seed, n: int) -> tf.Tensor:
        """Return `n` fresh draws of the network's own Keras initialisers, [n, D].

        Args:
            seed: an integer, or a stateless pair.
            n: how many; the i-th draw is the same for every n.
        """
        weights = self.network.init(host_seed(seed), check_count("n", n))
        likelihood_params = tf.tile(self.likelihood.init(self._num_outputs)[tf.newaxis], [n, 1])
        return tf.concat([weights, likelihood_params], axis=-1)

    def split(self, theta: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the network's part of θ and the likelihood's.

        Raises:
            ValueError: if θ is not of shape [D] or [S, D].
        """
        if theta.shape.rank not in (1, 2) or theta.shape[-1] != self.num_params:
            raise ValueError(
                f"Invalid `theta`: expected shape [D] or [S, D] with D = {self.num_params}. Received: {theta.shape}"
            )
        return theta[..., : self.network.num_params], theta[..., self.network.num_params :]

    def apply(self, theta: tf.Tensor, x, statistics: Sequence[tf.Tensor] = ()):
        """Return network outputs in inference mode, [B, ...] or [S, B, ...]; see `Network.statistics`."""
        return self.network(self.split(theta)[0], x, statistics=statistics)

    def distribution(self, theta: tf.Tensor, x, training: bool = False) -> tfd.Distribution:
        """Return the distribution of the targets given θ and x, its batch shape led by [B] or [S, B]."""
        weights, likelihood_params = self.split(theta)
        if self._frozen is not None:
            held = self._frozen
            if theta.shape.rank > 1:
                rows = [a if a.shape.rank > 1 else a[tf.newaxis] for a in held]
                held = [tf.repeat(a, theta.shape[0] // a.shape[0], axis=0) for a in rows]
            outputs = self.network(weights, x, statistics=held)
        else:
            training &= self._noise is not None if self.network.draws_noise else self.network.has_statistics
            outputs = self.network(weights, x, training, self._noise if training else None)
        # A row of several positions, [S, B, T, K], shares its draw's likelihood parameters [S, L]: make them [S, 1, L].
        positions = tf.nest.flatten(outputs)[0].shape.rank - theta.shape.rank - 1
        return self.likelihood(outputs, likelihood_params[(..., *[tf.newaxis] * positions, slice(None))])

    def log_likelihood(self, theta: tf.Tensor, batch: Batch, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Return the sum over the batch of log p(y | x, θ), [] or [S].

        Args:
            theta: [D] or [S, D].
            batch: (x, y), or (x, y, weight) with one weight >= 0 for each row, [B] or [S, B]. A row of weight 0
                counts for nothing whatever it holds, so that it can be padding.
            dtype: of the sum, see `log_joint`.

        Raises:
            ValueError: if the targets' shape does not fit the distribution's.
        """
        x, y = batch[:2]
        rows = theta.shape.rank  # axes of the result before summing: [B] or [S, B]
        if len(batch) == 3:
            x, y = tf.nest.map_structure(lambda a: without_padding(a, batch[2] > 0), (x, y))
        distribution = self.distribution(theta, x, training=True)
        log_prob = distribution.log_prob(align_targets(distribution, y))  # [S, B, ...]
        log_prob = tf.reduce_sum(log_prob, axis=list(range(rows, log_prob.shape.rank)))
        if len(batch) == 3:
            log_prob *= batch[2]
        return tf.reduce_sum(tf.cast(log_prob, dtype), axis=-1)

    def log_prior(self, theta: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Return log p(θ), [] or [S], summed in `dtype`."""
        weights, likelihood_params = self.split(theta)
        log_prior = self.prior.log_prob(weights, self.network.unflatten(weights), dtype)
        return log_prior + tf.cast(self.likelihood.log_prior(likelihood_params), dtype)

    @cached_property
    def normal_prior(self) -> priors.NormalPrior | None:
        """The prior's mean and precision if it is normal and independent for each entry of θ, else None.

        Read off the gradient of log p(θ), because −∇ log p(θ) = λ (θ − mean) is linear for normal distributions alone.
        This covers every form of the prior: one distribution, a mapping from weight paths to distributions, and the
        likelihood's prior on its own parameters.
        """
        # A step that is being compiled gets constants. The scope that steps out of it pauses every tape, so that the
        # gradient is a function's; a partial of it, because TensorFlow would warn of retracing at the fifth lambda.
        with tf.init_scope():
            grad = tf.function(partial(_grad, self.log_prior), autograph=False)
            zeros = tf.zeros([self.num_params])
            at_zero, at_one = grad(zeros).numpy(), grad(zeros + 1.0).numpy()
            precision = at_zero - at_one
            if not np.all(precision > 0):
                return None
            mean = at_zero / precision
            probe = 3.0 * normal([self.num_params], 0).numpy()
            error = np.abs(grad(tf.constant(probe)).numpy() - precision * (mean - probe))
            if np.any(error > 1e-4 * precision * (1 + np.abs(mean) + np.abs(probe))):
                return None
            shared = lambda a: a[0] if np.all(a == a[0]) else a
            return priors.NormalPrior(tf.constant(shared(mean)), tf.constant(shared(precision)))

    def log_joint(self, theta: tf.Tensor, batch: Batch, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Return log p(θ) + (N / B) log p(batch | θ), [] or [S]: unbiased for the whole data set's.

        With weights, B is their sum. `dtype` is that of the sums over weights and rows: in float32 a sum of 10⁵ has two
        digits behind the point, too few to tell the energies of two ends of a trajectory apart; in float64 it costs
        little more, as each term is still computed in float32.
        """
        return self.log_prior(theta, dtype) + self.scaled_log_likelihood(theta, batch, dtype)

    def scaled_log_likelihood(self, theta: tf.Tensor, batch: Batch, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Return (N / B) log p(batch | θ), [] or [S], the part of `log_joint` without the prior."""
        if len(batch) == 3:
            batch_size = tf.reduce_sum(batch[2], axis=-1)
        else:
            batch_size = tf.cast(tf.shape(batch[1])[theta.shape.rank - 1], tf.float32)
        scale = tf.cast(tf.cast(self.num_data, tf.float32) / batch_size, dtype)
        return scale * self.log_likelihood(theta, batch, dtype)

    def prior_stddev(self) -> tf.Tensor:
        """Return the prior's standard deviation of each entry of θ, [D]; 1 where the prior has none.

        Likelihood parameters count as 1, too.
        """
        weights = self.prior.stddev(self.network.shapes)
        return tf.concat([self.network.flatten(weights), tf.ones([self._num_likelihood_params])], axis=0)


def _grad(function: Callable[[tf.Tensor], tf.Tensor], at: tf.Tensor) -> tf.Tensor:
    return tf.gradients(function(at), at)[0]


def without_padding(a: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """Return rows `a` [..., B, ...] with the first real row in the place of those that are not `real` [..., B].

    Padding may hold anything. Zero times NaN is NaN, in gradients too, so it must not get as far as the network.
    """
    lead = real.shape.rank - 1
    first = tf.gather(a, tf.argmax(real, axis=-1)[..., tf.newaxis], axis=lead, batch_dims=lead)
    return tf.where(tf.reshape(real, [*real.shape, *[1] * (a.shape.rank - lead - 1)]), a, first)


def align_targets(distribution: tfd.Distribution, y: tf.Tensor) -> tf.Tensor:
    """Return y in the shape and type of one sample of `distribution`, adding or dropping a last axis of size 1.

    Raises:
        ValueError: if no such change makes them equal. Silent broadcasting would score every row against every other.
    """
    expected = distribution.batch_shape.concatenate(distribution.event_shape)
    if expected.rank is None:  # some know their shape only when asked
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
    """Return the last axis of the network's outputs; 0 if it has several tensors of them, or Keras cannot tell."""
    shape = getattr(model, "output_shape", None)
    if shape is None:  # a subclassed model knows what it was called on
        config = model.get_build_config() or {}
        with suppress(NotImplementedError):
            shape = model.compute_output_shape(config["input_shape"]) if "input_shape" in config else None
    return int(shape[-1]) if isinstance(shape, tuple) and shape and isinstance(shape[-1], int) else 0
