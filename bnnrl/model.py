"""BayesianModel: a Keras network whose weights have a posterior, with Keras's own habits."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import checkpoint, data, diagnostics, inference, likelihoods, metrics, posterior, priors, saving
from bnnrl.checks import check_count
from bnnrl.problem import Problem, align_targets

_DIAGNOSED_ROWS = 64
_ROWS_TIMES_DRAWS = 2**17  # evaluated at once; bounds the memory of hidden layers whatever the data's size


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
        self.history: keras.callbacks.History | None = None
        self._driver: tuple[Any, int | None, inference.Driver] | None = None
        self._state: Any = None
        self._info: inference.Info | None = None  # of the steps after the burn-in
        self._num_data = 0
        self._posterior: posterior.Posterior | None = None
        self._outputs_of = tf.function(self._many_outputs)

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
            x: rows [N, ...], or (x, y), or a finite tf.data.Dataset of such pairs, which is read into memory.
            y: targets [N, ...]; None if they come with `x`.
            batch_size: rows in a minibatch, or None for all of them at every step, as HMC and NUTS need it.
            epochs: passes over the data.
            validation_data: (x, y) or a dataset.
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
        x, y = self._data(x, y)
        validation = None if validation_data is None else self._data(validation_data, None)
        epochs = check_count("epochs", epochs)
        batch_size = None if batch_size is None else min(check_count("batch_size", batch_size), len(x))
        steps = len(x) // batch_size if batch_size else 1
        least, corrected = getattr(self.method, "min_steps", 0), getattr(self.method, "full_batch_only", False)
        if epochs * steps < least:
            raise ValueError(
                f"Invalid `epochs`: expected at least {-(-least // steps)}, as the method's burn-in and first draw "
                f"take {least} steps, {steps} an epoch. Received: epochs={epochs}."
            )
        if self._driver is None or self._driver[:2] != (self.method, batch_size):  # compiled once for many fits
            self._driver = (self.method, batch_size, inference.Driver(self._problem, self.method, batch_size))
        driver = self._driver[2]
        self._num_data, self._posterior, self._info, sampling = len(x), None, None, []
        self._state = self.method.init(self._problem.with_num_data(len(x)), seed)

        history, logs, arrays = keras.callbacks.History(), {}, (tf.constant(x), tf.constant(y))
        listed = keras.callbacks.CallbackList(
            [*keras.tree.flatten(callbacks or []), history],
            add_progbar=verbose != 0,
            model=self,
            verbose=1 if verbose == "auto" else verbose,
            epochs=epochs,
            steps=steps,
        )
        self.stop_training = False
        listed.on_train_begin()
        for epoch in range(epochs):
            listed.on_epoch_begin(epoch)
            listed.on_train_batch_begin(steps - 1)
            self._posterior = None
            try:
                self._state, info = driver.run(self._state, arrays, steps, seed, start=epoch * steps)
            except inference.Diverged as error:
                self._state = error.state
                raise
            logs = {"loss": float(-tf.reduce_mean(info.log_joint)) / len(x)}
            listed.on_train_batch_end(steps - 1, logs)
            if corrected and epoch * steps >= least - 1:
                sampling.append(info)
            if validation and (epoch + 1) * steps >= least:
                scores = self.evaluate(*validation)
                logs = {**logs, "val_loss": scores["nll"], **{f"val_{name}": v for name, v in scores.items()}}
            listed.on_epoch_end(epoch, logs)
            if self.stop_training:
                break
        listed.on_train_end(logs)
        if sampling:
            self._info = inference.Info(
                *(np.mean([np.mean(part) for part in parts]) for parts in zip(*sampling, strict=True))
            )
        if least and len(history.epoch) * steps >= least and diagnostics.are_chains(self.posterior):
            self.diagnose(x[:_DIAGNOSED_ROWS])
        return history

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
        return tf.reduce_mean(metrics.mean(self._distribution(x, num_samples, seed)), axis=0).numpy()

    def predict_distribution(self, x, num_samples: int = 100, seed=0) -> tfd.Distribution:
        """Return the predictive distribution of y, batch [B]: an equal mixture of the likelihood over the draws."""
        outputs, unknowns = self._outputs(x, self._draws(num_samples, seed))
        # [B, S, 1, ...]: the axis of size 1 stands where the likelihood expects the rows that share its unknowns.
        rows_first = tf.experimental.numpy.swapaxes(outputs, 0, 1)[:, :, tf.newaxis]
        components = self.likelihood(rows_first, unknowns)[:, :, 0]
        more = components.batch_shape.rank - 2  # axes beyond [B, S] belong to one target
        components = tfd.Independent(components, more) if more else components
        return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(components.batch_shape[:2])), components)

    def predict_samples(self, x, num_samples: int = 100, seed=0) -> np.ndarray:
        """Return the network's outputs for draws of the weights, [S, B, ...]."""
        draws = self.posterior.sample(check_count("num_samples", num_samples), seed)
        return self._outputs(x, draws)[0].numpy()

    def uncertainty(self, x, num_samples: int = 100, seed=0) -> metrics.Uncertainty:
        """Return total, aleatoric and epistemic uncertainty.

        Categorical (for each row, [B]) and Bernoulli (for each entry, [B, K]): entropies in nats. Total is the
        predictive's, aleatoric the mean of the draws', epistemic their difference: the mutual information of y and θ.

        Gaussian, Poisson and any other likelihood (for each target entry, [B, K]): variances in squared units of y.
        Aleatoric is the mean of the draws' variances, epistemic the variance of their means, total the sum.
        """
        return metrics.uncertainty(self._distribution(x, num_samples, seed))

    def evaluate(self, x, y=None, num_samples: int = 100, seed=0) -> dict[str, float]:
        """Return scores of the predictive mixture on (x, y), a pair or a dataset, as in `fit`.

        "nll": −mean log p(y | x), nats for each row. Real or count targets: "rmse" of the predictive mean, in units
        of y. Classes: "accuracy", and the Brier score "brier": for categorical the squared distance between the
        probabilities and the one-hot target, in [0, 2]; for Bernoulli (p − y)², in [0, 1].
        """
        x, y = self._data(x, y)
        return metrics.scores(self._distribution(x, num_samples, seed), y)

    def diagnose(self, x) -> diagnostics.Diagnostics:
        """Return diagnostics of the chains by what they predict for x, and warn of what is wrong with them.

        R-hat and effective sample size are [B, ...], of the network's outputs; acceptance is that after the burn-in.

        Raises:
            ValueError: if the posterior is no Markov chains.
        """
        outputs = lambda draws: self._outputs(x, draws)[0]
        return diagnostics.diagnose(self.posterior, outputs, self._info, self._state)

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
        a mapping to such, is left out, and so is the method: the loaded model predicts, and is not fitted again.

        Args:
            folder: a new folder, or one that holds a checkpoint to be replaced.
            overwrite: whether it may be replaced.

        Raises:
            ValueError: if something cannot be saved, or the folder holds something else.
        """
        path = checkpoint._resolve(folder)
        if path.exists() and not overwrite:
            raise ValueError(f"Invalid `folder`: expected a new one, as `overwrite` is False. Received: {path}")
        checkpoint.write(path, *self._to_saved())

    def _data(self, x, y) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y as float32 rows that fit each other, the network and the likelihood."""
        if isinstance(x, tf.data.Dataset) and y is None:
            x, y = _read(x, self.keras_model)
        elif y is None and isinstance(x, tuple | list) and len(x) == 2:
            x, y = x
        if y is None:
            raise ValueError(
                "Invalid data: expected x and y, a pair (x, y), or a tf.data.Dataset of pairs. "
                f"Received: {type(x).__name__} and no targets."
            )
        x, y = self._inputs(x), _finite("y", y)
        if y.ndim == 0 or len(x) != len(y):
            raise ValueError(
                f"Invalid data: expected as many targets as rows. Received: {len(x)} rows of x, y of shape {y.shape}."
            )
        theta = tf.zeros([self._problem.num_params])
        _check_support(self._problem.distribution(theta, tf.constant(x[:1])), y)
        return x, y

    def _inputs(self, x) -> np.ndarray:
        """Return x as float32 rows that fit the network."""
        x, expected = _finite("x", x), tf.TensorShape(getattr(self.keras_model, "input_shape", None))
        if x.ndim == 1 and expected.rank == 2:
            x = x[:, np.newaxis]  # as Keras does
        if x.ndim == 0 or len(x) == 0 or not expected.is_compatible_with(x.shape):
            raise ValueError(
                f"Invalid `x`: expected at least one row, of the network's input shape {expected}. "
                f"Received: shape {x.shape}."
            )
        return x

    def _draws(self, num_samples: int, seed) -> tf.Tensor:
        """Return draws for an average over the posterior, [S, D]: no more than there are different ones."""
        check_count("num_samples", num_samples)
        return self.posterior.sample(min(num_samples, self.posterior.num_distinct or num_samples), seed)

    def _distribution(self, x, num_samples: int, seed) -> tfd.Distribution:
        """Return the likelihood for each draw, batch [S, B, ...]."""
        return self.likelihood(*self._outputs(x, self._draws(num_samples, seed)))

    def _outputs(self, x, theta: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the network's outputs [S, B, ...] and the likelihood's unknowns [S, U]."""
        x = self._inputs(x)
        rows = min(len(x), max(1, _ROWS_TIMES_DRAWS // len(theta)))
        chunks = tf.split(data.pad_rows(x, -(-len(x) // rows) * rows), -(-len(x) // rows))
        outputs = tf.concat([self._outputs_of(theta, chunk) for chunk in chunks], axis=1)[:, : len(x)]
        return outputs, self._problem.split(theta)[1]

    def _many_outputs(self, theta: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        return self._problem.apply(theta, tf.broadcast_to(x, [theta.shape[0], *x.shape]))

    def _to_saved(self) -> tuple[dict[str, Any], checkpoint.Arrays]:
        spec, arrays = self.posterior.to_arrays()
        config = {
            "kind": "bayesian_model",
            "network": saving.network_to_config(self.keras_model),
            "likelihood": likelihoods.to_config(self.likelihood),
            "prior": saving.prior_to_config(self.prior),
            "posterior": spec,
        }
        fixed = {f"network/{i}": np.asarray(v) for i, v in enumerate(self.keras_model.non_trainable_variables)}
        return config, fixed | {f"posterior/{name}": array for name, array in arrays.items()}

    @classmethod
    def _from_saved(cls, config: dict[str, Any], arrays: checkpoint.Arrays) -> BayesianModel:
        network = saving.network_from_config(config["network"])
        for i, variable in enumerate(network.non_trainable_variables):
            variable.assign(arrays[f"network/{i}"])
        prior = saving.prior_from_config(config["prior"])
        model = cls(network, likelihoods.from_config(config["likelihood"]), prior)
        model.prior, model.method = prior, None
        own = {k.removeprefix("posterior/"): v for k, v in arrays.items() if k.startswith("posterior/")}
        model._posterior = posterior.from_arrays(config["posterior"], own)
        return model


def _read(dataset: tf.data.Dataset, model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Return all rows of a dataset of (x, y), in batches or not."""
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2 or dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"Invalid dataset: expected finitely many pairs (x, y). Received: {dataset}")
    rank = tf.TensorShape(getattr(model, "input_shape", None)).rank
    if rank is not None and spec[0].shape.rank == rank - 1:
        dataset = dataset.batch(1024)
    parts = list(dataset.as_numpy_iterator())
    if not parts:
        raise ValueError("Invalid dataset: expected at least one row. Received: an empty one.")
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def _finite(name: str, values) -> np.ndarray:
    """Return `values` as float32, or say where they are no finite numbers."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"Invalid `{name}`: expected an array of numbers. Received: type {array.dtype}.")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        row, *column = bad[0].tolist()
        where = f"row {row}" + (f", column {', '.join(map(str, column))}" if column else "")
        raise ValueError(
            f"Invalid `{name}`: expected finite float32 numbers. Received: {array[tuple(bad[0])]} in {where}, the "
            f"first of {len(bad)}. Drop or fill in such rows."
        )
    return array


def _check_support(distribution: tfd.Distribution, y: np.ndarray) -> None:
    """Raise unless y has the shape of the likelihood's targets, and values it gives a density to."""
    align_targets(distribution, tf.constant(y[:1]))
    base = distribution.distribution if isinstance(distribution, tfd.Independent) else distribution
    if isinstance(base, tfd.Categorical):
        highest = int(base.logits_parameter().shape[-1]) - 1
    elif isinstance(base, tfd.Bernoulli | tfd.Poisson):
        highest = 1 if isinstance(base, tfd.Bernoulli) else np.inf
    else:
        return
    bad = np.argwhere((y < 0) | (y > highest) | (y != np.round(y)))
    if len(bad):
        raise ValueError(
            f"Invalid `y`: expected integers from 0 to {highest} for a {base.name} likelihood. "
            f"Received: {y[tuple(bad[0])]} in row {bad[0][0]}. Number the classes from 0, one network output each."
        )
