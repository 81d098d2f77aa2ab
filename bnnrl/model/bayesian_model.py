"""BayesianModel: a Keras network whose weights have a posterior, with Keras's own habits."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from bnnrl import data, diagnostics, inference, likelihoods, metrics, posterior, priors
from bnnrl.checks import check_count
from bnnrl.model import inputs, serialization
from bnnrl.model.device_data import Shards, Stream
from bnnrl.model.keras_optimizer import Optimizer
from bnnrl.problem import Problem
from bnnrl.seeds import host_seed
from bnnrl.storage import checkpoint
from bnnrl.storage.arrays import flatten, select
from bnnrl.storage.config import decode, encode

_DIAGNOSED_ROWS = 64
_REFERENCE_ROWS = 1024  # of the training data, from which batch normalisation's statistics are taken for each draw
_DISCRETE = (likelihoods.Categorical, likelihoods.Bernoulli, likelihoods.Poisson)
# Rows evaluated at a time: hidden layers of some hundred units stay in the processor's cache, and memory is bounded. Up
# to so many rows times draws are one batch; of more, some draws at a time, each a plain call of the network, take half
# the time.
_ROWS, _BATCHED = 2**11, 2**13


class BayesianModel:
    """A Keras network, a likelihood and a prior, with the posterior that an inference method finds.

    The Keras model gives the architecture; its own weight values are neither used nor changed, except those that
    are not trainable (frozen layers), which are part of the function.

    Args:
        keras_model: a built Keras model.
        likelihood: a name, an object of `bnnrl.likelihoods`, or a callable `outputs -> tfd.Distribution`.
        prior: a TFP distribution, or a mapping from weight-path patterns ("*/kernel") to them; N(0, 1) if None.
        method: an inference method or its name, see `bnnrl.inference`.

    Raises:
        ValueError: if the model is not built or has no trainable weights, or another argument is not as above.
    """

    def __init__(
        self,
        keras_model: keras.Model,
        likelihood,
        prior: priors.PriorLike | None = None,
        method: inference.Method | str = "adam",
    ):
        self.keras_model = keras_model
        self.prior: priors.PriorLike | None = tfd.Normal(0.0, 1.0) if prior is None else prior
        self.method: Any = inference.get(method)  # None in a loaded model
        self._problem = Problem(keras_model, likelihood, self.prior, num_data=1)
        self.likelihood = self._problem.likelihood
        self.stop_training = False  # set by callbacks
        self.train_function = None  # no graph for TensorBoard: an epoch is one call of the driver's
        self.optimizer = Optimizer(self.method)
        self.history: keras.callbacks.History | None = None
        self.x_scaler: data.Scaler | None = None
        self.y_scaler: data.Scaler | None = None
        self._driver: tuple[Any, int | None, inference.Driver] | None = None
        self._state: Any = None
        self._info: inference.Info | None = None  # of the steps after the burn-in
        self._num_data = 0
        self._posterior: posterior.Posterior | None = None
        self._reference: Any = None  # rows of the training data, standardised, for a network with batch statistics
        self._outputs_of = tf.function(self._many_outputs, autograph=False)
        self._statistics_of = tf.function(self._many_statistics, autograph=False)

    def fit(
        self,
        x,
        y=None,
        batch_size: int | None = 32,
        epochs: int = 10,
        validation_data=None,
        callbacks=None,
        seed: int = 0,
        verbose: int | str = "auto",
    ) -> keras.callbacks.History:
        """Infer the posterior, from fresh draws of the network's initialisers at each call.

        An epoch is one compiled call of N // batch_size steps, so that callbacks see one batch, the last, of each.
        They find this object as their `model`; its `get_weights` and `set_weights` are the method's whole state.
        Callbacks that change an optimizer do not apply. Logs: "loss", −log p(θ, data) / N in nats averaged over the
        epoch, and with validation data every entry of `evaluate` as "val_*", the nll also as "val_loss", from the first
        epoch on that leaves a posterior.

        A sampler's chains are diagnosed at the end by what they predict for the first rows, see `diagnose`.

        Args:
            x: rows [N, ...], for a network of several inputs a list, tuple or dictionary of them; or a pair (x, y), a
                finite tf.data.Dataset of such pairs, rows or batches, which is streamed where it takes more than 2 GiB;
                or what `bnnrl.data.load` returned, whose scalers the model then takes over: it works in standard units
                inside, and everything it is given and returns is in the data's own.
            y: targets [N, ...]; None if they come with `x`.
            batch_size: rows in a minibatch, or None for all of them at every step, as HMC and NUTS need it.
            epochs: passes over the data.
            validation_data: (x, y) or a dataset; that of what `bnnrl.data.load` returned, if None.
            callbacks: Keras callbacks.
            seed: the run's seed; the same one gives the same posterior.
            verbose: 0 silent, 1 or "auto" a progress bar, 2 a line for each epoch.

        Raises:
            ValueError: for data that are not finite or do not fit each other, the network or the likelihood; for a
                method that needs more steps, or all rows.
            Diverged: if a step is not finite. The model then has the last finite state.

        Warns:
            SamplingWarning: if chains have not mixed, or their steps are of a wrong length.
        """
        if self.prior is None or self.method is None:
            raise ValueError(
                "Invalid model: expected one with a prior and a method. Received: one that was loaded without. Build "
                "a new BayesianModel from its `keras_model` and `likelihood` to fit it again."
            )
        self.x_scaler = self.y_scaler = None
        if isinstance(x, data.Data):
            self._take_scalers(x)
            validation_data = x.validation if validation_data is None else validation_data
            x = x.train
        shards = self._shards(x, y, batch_size)
        validation = None if validation_data is None else self._data(validation_data, None)
        epochs = check_count("epochs", epochs)
        batch_size, steps = shards.batch_size, shards.steps
        least, corrected = getattr(self.method, "min_steps", 0), getattr(self.method, "full_batch_only", False)
        if epochs * steps < least:
            raise ValueError(
                f"Invalid `epochs`: expected at least {-(-least // steps)}, as the method's burn-in and first draw "
                f"take {least} steps, {steps} an epoch. Received: epochs={epochs}."
            )
        if self._driver is None or self._driver[:2] != (self.method, batch_size):  # compiled once for many fits
            self._driver = (self.method, batch_size, inference.Driver(self._problem, self.method, batch_size))
        driver = self._driver[2]
        self._num_data, self._posterior, self._info, sampling = shards.num_data, None, None, []
        self._state = self.method.init(self._problem.with_num_data(shards.num_data), seed)
        self._reference = None
        if self._problem.network.has_statistics:
            order = np.random.default_rng(host_seed(seed, 0)).permutation(inputs.num_rows(shards.first))
            self._reference = inputs.take(shards.first, np.sort(order[:_REFERENCE_ROWS]))

        history, logs = keras.callbacks.History(), {}
        listed = keras.callbacks.CallbackList(
            [*keras.tree.flatten(callbacks or []), history],
            add_progbar=verbose != 0,
            model=self,
            verbose=1 if verbose == "auto" else verbose,
            epochs=epochs,
            steps=steps,
        )
        self.stop_training, self.optimizer.iterations = False, 0
        listed.on_train_begin()
        for epoch in range(epochs):
            listed.on_epoch_begin(epoch)
            listed.on_train_batch_begin(steps - 1)
            self._posterior = None
            try:
                info = self._epoch(driver, shards, epoch, seed)
            except inference.Diverged as error:
                self._state = error.state
                raise
            logs = {"loss": float(-tf.reduce_mean(info.log_joint)) / shards.num_data}
            self.optimizer.iterations = (epoch + 1) * steps
            listed.on_train_batch_end(steps - 1, logs)
            if corrected and epoch * steps >= least - 1:
                sampling.append(info)
            if validation and (epoch + 1) * steps >= least:
                scores = self._scores(*validation)
                logs = {**logs, "val_loss": scores["nll"], **{f"val_{name}": v for name, v in scores.items()}}
            with _score_to_come() if validation and "val_loss" not in logs else nullcontext():
                listed.on_epoch_end(epoch, logs)
            if self.stop_training:
                break
        listed.on_train_end(logs)
        if sampling:
            self._info = inference.Info(
                *(np.mean([np.mean(part) for part in parts]) for parts in zip(*sampling, strict=True))
            )
        if least and len(history.epoch) * steps >= least and diagnostics.are_chains(self.posterior):
            self._diagnose(inputs.take(shards.first, slice(_DIAGNOSED_ROWS)))
        return history

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """The network's layers, for Keras callbacks."""
        return self.keras_model.layers

    @property
    def posterior(self) -> posterior.Posterior:
        """The posterior over θ. Raises ValueError before `fit`."""
        if self._posterior is not None:
            return self._posterior
        if self._state is None:
            raise ValueError("Invalid model: expected a fitted one. Received: one without a posterior. Call `fit`.")
        found = self.method.posterior(self._problem.with_num_data(self._num_data), self._state)
        self._posterior = found
        return found

    def predict(self, x, num_samples: int = 100, seed=0) -> np.ndarray:
        """Return the predictive mean, [B, ...]: for classes their probabilities [B, C]."""
        distribution = self._distribution(self._inputs(x), num_samples, seed)
        return tf.reduce_mean(metrics.mean(distribution), axis=0).numpy()

    def predict_distribution(self, x, num_samples: int = 100, seed=0) -> tfd.Distribution:
        """Return the predictive distribution of y, batch [B]: an equal mixture of the likelihood over the draws."""
        outputs, unknowns = self._outputs(self._inputs(x), self._draws(num_samples, seed))
        # [B, S, 1, ...]: the axis of size 1 stands where the likelihood expects the rows that share its unknowns.
        swap = lambda a: tf.experimental.numpy.swapaxes(a, 0, 1)[:, :, tf.newaxis]
        components = self._in_units(self.likelihood(tf.nest.map_structure(swap, outputs), unknowns)[:, :, 0])
        more = components.batch_shape.rank - 2  # axes beyond [B, S] belong to one target
        components = tfd.Independent(components, more) if more else components
        return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(components.batch_shape[:2])), components)

    def predict_samples(self, x, num_samples: int = 100, seed=0):
        """Return the network's outputs for draws of the weights, [S, B, ...], a structure of them for several outputs.

        They are what the likelihood takes: logits for classes, and in standard units where targets are standardised.
        """
        draws = self.posterior.sample(check_count("num_samples", num_samples), seed)
        return tf.nest.map_structure(lambda a: a.numpy(), self._outputs(self._inputs(x), draws)[0])

    def uncertainty(self, x, num_samples: int = 100, seed=0) -> metrics.Uncertainty:
        """Return total, aleatoric and epistemic uncertainty.

        Categorical (for each row, [B]) and Bernoulli (for each entry, [B, K]): entropies in nats. Total is the
        predictive's, aleatoric the mean of the draws', epistemic their difference: the mutual information of y and θ.

        Gaussian, Poisson and any other likelihood (for each target entry, [B, K]): variances in squared units of y.
        Aleatoric is the mean of the draws' variances, epistemic the variance of their means, total the sum.
        """
        return metrics.uncertainty(self._distribution(self._inputs(x), num_samples, seed))

    def evaluate(self, x, y=None, num_samples: int = 100, seed=0) -> dict[str, float]:
        """Return scores of the predictive mixture on (x, y), a pair or a dataset, as in `fit`.

        "nll": −mean log p(y | x), nats for each row. Real or count targets: "rmse" and "mae" of the predictive mean
        and "crps", in units of y, "r2", and the share of targets in the central 95 % interval with its mean width,
        "picp_95" and "width_95". Classes: "accuracy", the calibration errors "ece" and "ace" (bins of equal width, of
        equally many rows), and the Brier score "brier": for categorical the squared distance between the probabilities
        and the one-hot target, in [0, 2]; for Bernoulli (p − y)², in [0, 1]. See `bnnrl.metrics.scores`.
        """
        return self._scores(*self._data(x, y), num_samples, seed)

    def diagnose(self, x) -> diagnostics.Diagnostics:
        """Return diagnostics of the chains by what they predict for x, and warn of what is wrong with them.

        R-hat and effective sample size are [B, ...], of the network's outputs; acceptance is that after the burn-in.

        Raises:
            ValueError: if the posterior is no Markov chains.
        """
        return self._diagnose(self._inputs(x))

    def chains(self, x) -> np.ndarray:
        """Return the network's outputs, its first where there are several, along each chain, [C, T, B, ...].

        Of C chains with T draws, in their order, as `bnnrl.plots.trace` draws them.

        Raises:
            ValueError: if the posterior is no Markov chains.
        """
        return diagnostics.chains(self.posterior, self._first_outputs(self._inputs(x)))

    def get_weights(self) -> list[np.ndarray]:
        """Return the inference method's state as arrays, for Keras callbacks such as EarlyStopping."""
        return [tensor.numpy() for tensor in tf.nest.flatten(self._state)]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Put back what `get_weights` returned."""
        self._state = tf.nest.pack_sequence_as(self._state, [tf.constant(array) for array in weights])
        self._posterior = None

    def save(self, folder: checkpoint.Folder, overwrite: bool = True) -> None:
        """Save for prediction with `bnnrl.load`: architecture, likelihood, prior and posterior, as JSON and arrays.

        No code is saved: a likelihood must be a built-in one, and the network free of Lambda layers and of classes
        that are not registered with Keras. A prior other than Normal, Laplace or StudentT with scalar parameters, or
        a mapping to such, is left out, and so is a method of your own: without, the loaded model predicts, and is not
        fitted again. Of a network with batch normalisation, up to 1024 rows of the training inputs are saved, from
        which its statistics are taken for each draw.

        Args:
            folder: a new folder, or one that holds a checkpoint to be replaced.
            overwrite: whether it may be replaced.

        Raises:
            ValueError: if something cannot be saved, or the folder holds something else.
        """
        path = checkpoint._resolve(folder)
        if path.exists() and not overwrite:
            raise ValueError(f"Invalid `folder`: expected a new one, as `overwrite` is False. Received: {path}")
        checkpoint.write(path, *self.to_saved())

    def _data(self, x, y) -> tuple[inputs.Arrays, np.ndarray]:
        """Return x and y as float32 rows that fit each other, the network and the likelihood; x standardised."""
        if isinstance(x, tf.data.Dataset) and y is None:
            x, y = cast(Any, Stream(x, self.keras_model).read(whatever_size=True))
        elif y is None and isinstance(x, tuple | list) and len(x) == 2:
            x, y = x
        if y is None:
            raise ValueError(
                "Invalid data: expected x and y, a pair (x, y), or a tf.data.Dataset of pairs. "
                f"Received: {type(x).__name__} and no targets."
            )
        x, y = self._inputs(x), inputs.finite("y", y)
        if y.ndim == 0 or inputs.num_rows(x) != len(y):
            raise ValueError(
                f"Invalid data: expected as many targets as rows. Received: {inputs.num_rows(x)} rows of x, y of shape "
                f"{y.shape}."
            )
        theta, first = tf.zeros([self._problem.num_params]), inputs.take(x, slice(1))
        inputs.check_support(self._problem.distribution(theta, tf.nest.map_structure(tf.constant, first)), y)
        return x, y

    def _take_scalers(self, given: data.Data) -> None:
        if given.y_scaler is not None and isinstance(self.likelihood, _DISCRETE):
            raise ValueError(
                f"Invalid `y_scaler`: expected none for a {type(self.likelihood).__name__} likelihood, whose targets "
                "are counts or classes. Received: one. Load the data with task='classification' or "
                "standardize='inputs'."
            )
        self.x_scaler, self.y_scaler = given.x_scaler, given.y_scaler

    def _shards(self, x, y, batch_size: int | None) -> Shards:
        """Return the training data in standard units: all of it, or, where it is a large dataset, piece by piece."""
        scaled = lambda x, y: (x, y if self.y_scaler is None else self.y_scaler.transform(y))
        if y is None and isinstance(x, tf.data.Dataset):
            stream = Stream(x, self.keras_model)
            x = stream.read()
            if x is None:
                return Shards(lambda part: scaled(*self._data(part, None)), batch_size, stream)
        part = scaled(*self._data(x, y))
        return Shards(lambda _: part, batch_size)

    def _epoch(self, driver: inference.Driver, shards: Shards, epoch: int, seed) -> inference.Info:
        """Take an epoch's steps and return the Info averaged over them."""
        infos, weights, start = [], [], epoch * shards.steps
        for arrays, count, steps in shards:
            at = {"origin": start, "total": shards.num_data} if shards.streams else {}
            self._state, info = driver.run(self._state, arrays, steps, seed, start=start, num_data=count, **at)
            infos.append(info)
            weights.append(steps / shards.steps)
            start += steps
        return infos[0] if len(infos) == 1 else inference.Info(
            *(sum(w * part for w, part in zip(weights, parts, strict=True)) for parts in zip(*infos, strict=True))
        )  # fmt: skip

    def _inputs(self, x) -> inputs.Arrays:
        """Return x as float32 rows that fit the network, in standard units."""
        x = inputs.inputs_of(self.keras_model, x)
        return x if self.x_scaler is None else self.x_scaler.transform(x)

    def _draws(self, num_samples: int, seed) -> tf.Tensor:
        """Return draws for an average over the posterior, [S, D]: no more than there are different ones."""
        check_count("num_samples", num_samples)
        return self.posterior.sample(min(num_samples, self.posterior.num_distinct or num_samples), seed)

    def _distribution(self, x: inputs.Arrays, num_samples: int, seed) -> tfd.Distribution:
        """Return the likelihood for each draw, batch [S, B, ...], in the targets' own units."""
        return self._in_units(self.likelihood(*self._outputs(x, self._draws(num_samples, seed))))

    def _in_units(self, distribution: tfd.Distribution) -> tfd.Distribution:
        """Return the distribution of y from that of y in standard units."""
        if self.y_scaler is None:
            return distribution
        mean, std = self.y_scaler.mean, self.y_scaler.std
        if isinstance(distribution, tfd.Independent):
            return tfd.Independent(self._in_units(distribution.distribution), distribution.reinterpreted_batch_ndims)
        loc, scale = (distribution.parameters.get(name) for name in ("loc", "scale"))
        if tf.is_tensor(loc) and tf.is_tensor(scale):  # its variance, too, is then known
            return distribution.copy(loc=mean + std * loc, scale=std * scale)
        return tfd.TransformedDistribution(distribution, tfb.Chain([tfb.Shift(mean), tfb.Scale(std)]))

    def _scores(self, x: inputs.Arrays, y: np.ndarray, num_samples: int = 100, seed=0) -> dict[str, float]:
        return metrics.scores(self._distribution(x, num_samples, seed), y)

    def _first_outputs(self, x: inputs.Arrays) -> diagnostics.Function:
        return lambda draws: tf.nest.flatten(self._outputs(x, draws)[0])[0]

    def _diagnose(self, x: inputs.Arrays) -> diagnostics.Diagnostics:
        return diagnostics.diagnose(self.posterior, self._first_outputs(x), self._info, self._state)

    def _outputs(self, x: inputs.Arrays, theta: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """Return the network's outputs [S, B, ...] and the likelihood's unknowns [S, U]."""
        statistics = [] if self._reference is None else self._statistics_of(theta, self._reference)
        total = inputs.num_rows(x)
        size = min(total, _ROWS)
        parts = -(-total // size)
        split = lambda a: tf.split(data.pad_rows(a, parts * size), parts)
        flat = zip(*(split(a) for a in tf.nest.flatten(x)), strict=True)
        chunks = [tf.nest.pack_sequence_as(x, list(arrays)) for arrays in flat]
        outputs = [self._outputs_of(theta, chunk, statistics) for chunk in chunks]
        joined = tf.nest.map_structure(lambda *arrays: tf.concat(arrays, axis=1)[:, :total], *outputs)
        return joined, self._problem.split(theta)[1]

    def _many_outputs(self, theta: tf.Tensor, x, statistics: list[tf.Tensor]):
        return _for_each(self._problem.apply, theta, x, statistics)

    def _many_statistics(self, theta: tf.Tensor, x) -> list[tf.Tensor]:
        of_weights = lambda weights, x, _: self._problem.network.statistics(weights, x)
        return _for_each(of_weights, self._problem.split(theta)[0], x, [])

    def to_saved(self) -> tuple[dict[str, Any], checkpoint.Arrays]:
        spec, arrays = self.posterior.to_arrays()
        try:
            method = encode(self.method)
        except ValueError:
            method = None  # of the user's own: code is never saved
        config = {
            "kind": "bayesian_model",
            "network": serialization.network_to_config(self.keras_model),
            "likelihood": likelihoods.to_config(self.likelihood),
            "prior": serialization.prior_to_config(self.prior),
            "method": method,
            "posterior": spec,
        }
        reference = () if self._reference is None else self._reference
        groups = {
            "network": {str(i): np.asarray(v) for i, v in enumerate(self.keras_model.non_trainable_variables)},
            "posterior": arrays,
            "reference": {str(i): np.asarray(a) for i, a in enumerate(tf.nest.flatten(reference))},
            "x_scaler": vars(self.x_scaler) if self.x_scaler else {},
            "y_scaler": vars(self.y_scaler) if self.y_scaler else {},
        }
        return config, flatten(groups)

    @classmethod
    def _from_saved(cls, config: dict[str, Any], arrays: checkpoint.Arrays) -> BayesianModel:
        group = partial(select, arrays)
        network = serialization.network_from_config(config["network"])
        for name, value in group("network").items():
            network.non_trainable_variables[int(name)].assign(value)
        prior = serialization.prior_from_config(config["prior"])
        method = decode(config["method"]) if config.get("method") else None
        model = cls(network, likelihoods.from_config(config["likelihood"]), prior, method or "adam")
        model.prior, model.method, model.optimizer = prior, method, Optimizer(method)
        model._posterior = posterior.from_arrays(config["posterior"], group("posterior"))
        if reference := group("reference"):
            flat = [reference[str(i)] for i in range(len(reference))]
            model._reference = tf.nest.pack_sequence_as(network.input, flat) if len(flat) > 1 else flat[0]
        for name in ("x_scaler", "y_scaler"):
            if own := group(name):
                setattr(model, name, data.Scaler(**own))
        return model


@contextmanager
def _score_to_come():
    """Keep early stopping from a warning before a sampler's first draw, when there is no score yet."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Early stopping conditioned on metric")
        yield


def _for_each(function: Callable[..., Any], theta: tf.Tensor, x, statistics: list[tf.Tensor]):
    """Return function(θ, x, statistics), [S, ...], for draws θ [S, D] and their statistics [S, ...]."""
    draws = theta.shape[0]
    if draws * inputs.num_rows(x) <= _BATCHED:
        same = tf.nest.map_structure(lambda a: tf.broadcast_to(a, [draws, *a.shape]), x)
        return function(theta, same, statistics)
    one = lambda own: function(own[0], x, own[1])
    first = one(tf.nest.map_structure(lambda a: a[0], (theta, statistics)))  # for its shapes: the graph drops it
    like = tf.nest.map_structure(lambda a: tf.TensorSpec(a.shape, a.dtype), first)
    return tf.map_fn(one, (theta, statistics), fn_output_signature=like)
