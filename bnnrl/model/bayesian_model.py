"""BayesianModel: a Keras network whose weights have a posterior, used like a Keras model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import data, diagnostics, inference, metrics, posterior, priors
from bnnrl.checks import check_choice, check_count, check_flag, check_open_unit, check_path, optional
from bnnrl.html_table import html_of_table
from bnnrl.keras_conventions import already_told, warn_of_ignored, warn_of_spectral_normalization
from bnnrl.linearised import is_linearised
from bnnrl.metrics._checks import check_levels
from bnnrl.metrics.predictive import Counted, block_scores, block_uncertainty
from bnnrl.model import calibration, cross_conformal, export, inputs, keras_data, layer_state, updating
from bnnrl.model.convergence import StopWhenConverged, require_chains, rule_and_limit
from bnnrl.model.cross_conformal import CrossConformal
from bnnrl.model.data_adapter import DataAdapter
from bnnrl.model.device_data import Shards
from bnnrl.model.folds import fitted
from bnnrl.model.keras_optimizer import KerasOptimizerView
from bnnrl.model.linearised_prediction import LinearisedPredictor
from bnnrl.model.prediction import Predictor
from bnnrl.model.serialization import (
    ModelParts,
    network_from_config,
    network_to_config,
    prior_from_config,
    prior_to_config,
)
from bnnrl.model.training import (
    Trainer,
    TrainingLoop,
    check_epochs,
    check_initial_epoch,
    check_reporting,
    check_verbose,
    check_weights,
)
from bnnrl.problem import Problem
from bnnrl.storage import checkpoint, config, exporting
from bnnrl.storage.arrays import Arrays

_DIAGNOSED_ROWS = 64  # of the training data, whose predictions tell whether chains have mixed


class BayesianModel:
    """A Keras network, a likelihood and a prior, with the posterior that an inference method finds.

    The Keras model gives the architecture. The values of its trainable weights are not changed, and only used by
    `fit(initial="keras")` and `bnnrl.laplace`; those of its frozen layers are part of the function.

    Args:
        keras_model: a built Keras model.
        likelihood: a name, an object of `bnnrl.likelihoods`, or a callable `outputs -> tfd.Distribution`.
        prior: a TFP distribution; a mapping from weight-path patterns ("*/kernel") to distributions; "learned" or an
            object `bnnrl.priors.Learned` for scales that are inferred with the weights. None for the
            method's default: N(0, 1), and "learned" for "gauss_newton".
        method: an inference method or its name, see `bnnrl.inference`. The hyper-parameters of a method by name follow
            from the length of each `fit`, its rows and the number of weights; `history.params["method"]` holds them.
        hyper_parameters: those of the method given by name that are not to follow from the run, such as {"rank": 10}.

    Attributes:
        keras_model: the network, without an activation at its end that the likelihood has itself.
        likelihood: the likelihood, an object of `bnnrl.likelihoods`.
        prior: the prior; None in a loaded model whose prior could not be saved.
        method: the inference method; None in a loaded model whose method could not be saved.
        history: the logs of the last `fit`.
        optimizer: the method as Keras callbacks see it.
        stop_training: callbacks set it to end `fit` after the present epoch.
        train_function: always None. Read by keras.callbacks.TensorBoard; there is no per-batch train function to trace.

    Raises:
        ValueError: if the model is not built or has no trainable weights, or another argument is not as above.

    Warns:
        bnnrl.keras_conventions.KerasModelWarning: if the Keras model has regularisers or constraints, which are not
            used, or ends with an activation that the likelihood has itself, which is left out.
    """

    def __init__(
        self,
        keras_model: keras.Model,
        likelihood,
        prior: priors.PriorLike | None = None,
        method: inference.Method | str = "adam",
        hyper_parameters: Mapping[str, Any] | None = None,
    ):
        self._given = dict(hyper_parameters or {})
        self.method: Any = inference.get(method, **self._given)
        self._name = method.lower() if isinstance(method, str) else None  # its hyper-parameters then follow each run
        default = inference.innermost(self.method).default_prior
        self.prior: priors.PriorLike | None = priors.get(default if prior is None else prior)
        self._problem = Problem(keras_model, likelihood, self.prior, num_data=1)
        self.keras_model: keras.Model = self._problem.network.model
        warn_of_ignored(self.keras_model)
        self.likelihood = self._problem.likelihood
        self.optimizer = KerasOptimizerView(self.method)
        self.history: keras.callbacks.History | None = None
        self.stop_training = False
        self.train_function = None
        self._adapter = DataAdapter(self.keras_model, self._problem)
        self._predictor = self._make_predictor(linearised=False)
        self._compiled: tuple[Any, inference.Driver] | None = None  # what it was compiled for, and the driver
        self._trainer: Trainer | None = None  # of the last fit
        self._loaded_posterior: posterior.Posterior | None = None

    def clone(self) -> BayesianModel:
        """Return a model of the same network, likelihood, prior and method that is not fitted.

        Raises:
            ValueError: if this model was loaded without its prior or its method.
        """
        self._check_can_be_fitted()
        given = self._name or self.method, self._given if self._name else None
        with already_told():
            return BayesianModel(self.keras_model, self.likelihood, self.prior, *given)

    def _check_can_be_fitted(self) -> None:
        if self.prior is None or self.method is None:
            raise ValueError(
                "Invalid model: expected one with a prior and a method. Received: one that was loaded without. Build "
                "a new BayesianModel from its `keras_model` and `likelihood` to fit it again."
            )

    def _make_predictor(self, linearised: bool) -> Predictor:
        return (LinearisedPredictor if linearised else Predictor)(self._problem, self._adapter)

    # Fitting

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
        engine: str = "local",
        until: Any = None,
        max_epochs: int | None = None,
        initial: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[Any, float] | None = None,
        validation_split: float = 0.0,
        steps_per_epoch: int | None = None,
        initial_epoch: int = 0,
    ) -> keras.callbacks.History:
        """Infer the posterior, by default starting from fresh draws of the network's initialisers.

        The logs of an epoch hold "loss", −log p(θ, data) / N in nats averaged over its steps. With validation data they
        hold every entry of `evaluate` as "val_*" too, and the nll also as "val_loss", from the first epoch that leaves
        a posterior.

        An epoch of N // batch_size steps is one compiled call, so callbacks see only its last batch. This object is
        their `model`; `get_weights` and `set_weights` give them the whole state of the method. Callbacks that change an
        optimizer raise ValueError.

        After a sampler's last epoch its chains are diagnosed by their predictions for the first training rows, see
        `diagnose`.

        Args:
            x: inputs [N, ...], or a list, tuple or dictionary of arrays for a network of several inputs. Or inputs and
                targets together: a pair (x, y) or a triple (x, y, sample_weight); a keras.utils.PyDataset or a
                generator of batches of either, or a tf.data.Dataset of triples, which are joined in memory; a finite
                tf.data.Dataset of pairs, of rows or of batches, which is streamed if it takes more than 2 GiB; or the
                result of `bnnrl.data.load`. The scalers of the latter become the model's: it then takes and returns
                everything in the data's units.
            y: targets [N, ...]; None if they come with `x`.
            batch_size: rows in a minibatch. None for all rows at every step, which HMC, NUTS and Gauss-Newton learning
                need; given by name, they take all rows whatever `batch_size` is.
            epochs: passes over the data. With `until`, the number by which a method by name plans its stages.
            validation_data: (x, y), (x, y, sample_weight) or a tf.data.Dataset; the validation part of
                `bnnrl.data.load` if None.
            callbacks: Keras callbacks.
            seed: an integer from which all randomness of the fit derives.
            verbose: 0 for silence, 1 or "auto" for a progress bar, 2 for a line after each epoch.
            engine: "local" for this process. "ray" for Ray tasks on the cluster at RAY_ADDRESS, or on this machine, for
                the members of an `Ensemble`; see `bnnrl.inference.RayDriver`.
            until: "converged", or a `bnnrl.Converged` of other bounds, to end the fit of a sampler with parallel chains
                as soon as R-hat is below 1.01 and the effective sample size at least 400 for its predictions of the
                first training rows; after `max_epochs` at most, with a warning that names the worst predictions.
            max_epochs: the epochs at most with `until`; None for ten times `epochs`.
            initial: "keras" to start from the weights of the Keras model, which was trained on the same data in the
                same units; θ [D] or [M, D] to start from, such as samples of an earlier posterior; None for fresh
                draws. With [D], all members or chains start there. To infer the last layers only, set `trainable` of
                the others to False before the BayesianModel is made.
            sample_weight: weights of at least 0, [N], by which the log likelihood of each row is multiplied. N in the
                loss is the number of rows of positive weight. Validation scores are weighted means.
            class_weight: the weight of each class, by its number, by which weights of rows are multiplied.
            validation_split: the share of the rows, the last ones of arrays x and y, that become `validation_data`.
            steps_per_epoch: the steps of an epoch; None for a pass over the rows. Of a generator, also the number of
                batches that are taken.
            initial_epoch: always 0, as every fit begins anew; another number raises ValueError.

        Returns:
            The logs, also kept as `history`. Their `params` hold the method with its hyper-parameters for this run, and
            with `until` whether it "converged".

        Raises:
            ValueError: if the data are not finite or do not fit each other, the network or the likelihood; if the
                method needs more steps, or all rows at every step; if a loaded model lacks its prior or its method; if
                the engine is unknown or cannot run the method; if `initial` has another shape, or is one θ for SVGD.
            bnnrl.inference.Diverged: if a step is not finite. The model then has the last finite state.

        Warns:
            SamplingWarning: if chains have not mixed, or the acceptance probability is too low or too high.
            bnnrl.inference.ShortRunWarning: if the run is too short for a method given by name.
            bnnrl.keras_conventions.KerasModelWarning: if the network has `keras.layers.SpectralNormalization`, which
                has no effect here.
        """
        self._check_can_be_fitted()
        check_reporting(callbacks, verbose)
        check_choice("engine", engine, ("local", "ray"))
        check_initial_epoch(initial_epoch)
        warn_of_spectral_normalization(self.keras_model)
        given = keras_data.gathered(x, y, sample_weight, steps_per_epoch)
        if validation_split:
            if validation_data is not None:
                raise ValueError("Invalid `validation_split`: expected 0 with `validation_data`. Received: both.")
            given, validation_data = keras_data.divided(given, validation_split)
        weight, (x, y, _) = keras_data.row_weights(given, class_weight), given
        rule, limit = rule_and_limit(until, max_epochs, check_count("epochs", epochs))
        before = self.x_scaler, self.y_scaler, self.columns, self.method, self.optimizer
        try:
            if isinstance(x, data.Data):
                self._adapter.set_scalers(x.x_scaler, x.y_scaler)
                self.columns = x.columns
                x, validation_data = x.train, x.validation if validation_data is None else validation_data
            else:
                self._adapter.set_scalers(None, None)
                self.columns = None
            if self._name and inference.get(self._name).full_batch_only:
                batch_size = None
            shards = self._adapter.shards(x, y, batch_size, weight, steps_per_epoch)
            self._choose_method(shards, epochs, None if rule is None else limit)
            if rule is not None:
                require_chains(self.method)
            validation = None if validation_data is None else self._weighted_rows(validation_data)
            check_weights(
                self.method, weight, masks=self._adapter.mask(inputs.take(shards.first, slice(1))) is not None
            )
            limit = check_epochs(limit, self.method, shards)
            driver, problem = self._driver(shards.batch_size, engine), self._problem.with_num_data(shards.num_data)
            self._trainer = Trainer(problem, self.method, driver, seed, self._initial_theta(initial))
        except Exception:
            self.x_scaler, self.y_scaler, self.columns, self.method, self.optimizer = (
                before  # a fit that is refused leaves the model as it was
            )
            raise
        self._predictor = self._make_predictor(inference.innermost(self.method).linearised)
        self._predictor.choose_reference(shards.first, seed)
        validate = None if validation is None else partial(self._scores, *validation)
        first = inputs.take(shards.first, slice(_DIAGNOSED_ROWS))
        stop = None if rule is None else StopWhenConverged(rule, partial(self._chains_of_fit, first))
        callbacks = keras.tree.flatten([callbacks or [], stop or []])
        history = TrainingLoop(self, self._trainer, shards, validate).run(limit, callbacks, verbose)
        found = {"method": config.encode_or_repr(self.method)} | ({} if stop is None else {"converged": stop.converged})
        history.params = {**(history.params or {}), **found}  # a copy: callbacks share the dictionary
        if self._trainer.is_sampler and self._trainer.has_posterior and diagnostics.are_chains(self.posterior):
            self._diagnose(first)
        return history

    def update(
        self,
        x,
        y=None,
        replay=None,
        batch_size: int | None = 32,
        epochs: int = 10,
        callbacks=None,
        seed: int = 0,
        verbose: int | str = "auto",
    ) -> keras.callbacks.History | None:
        """Take new rows into the posterior, without a fit from the start.

        Laplace's approximation, Gauss-Newton learning and VBLL, also those of `bnnrl.laplace` and of a loaded model,
        need the new rows alone: the posterior of the earlier rows is the prior of the new ones, in the linearised
        network. For a linear model with noise of a known scale, as for the last layer, the result is the posterior of
        all rows. Beyond that, the point of expansion and the prior's scales stay those of the first fit. Such an update
        takes no epochs, is independent of the order of the rows, and can be repeated. See `bnnrl.inference.new_rows`.

        Optimisers such as `Ensemble` would forget the earlier rows. They are trained further, from the present members,
        on the rows of `replay` and the new ones together. This is `fit` with `initial`: step sizes and schedules begin
        anew, and so do the variances of methods that have them, such as BBB.

        The scalers stay those of the first fit, and calibrations are dropped, as the predictive distribution changes.

        Args:
            x: the new rows, as in `fit`.
            y: targets [N, ...]; None if they come with `x`.
            replay: the earlier rows, as `x`, of an optimiser; None for Laplace's approximation.
            batch_size: as in `fit`; of an optimiser, as are the following.
            epochs: passes over the earlier and the new rows.
            callbacks: Keras callbacks.
            seed: an integer from which all randomness derives.
            verbose: as in `fit`.

        Returns:
            The logs of the run of an optimiser, also kept as `history`; None for Laplace's approximation.

        Raises:
            ValueError: if the method is a sampler, if `replay` is missing or not needed, or as in `fit`.
            bnnrl.inference.Diverged: if the log likelihood of the new rows or a step is not finite.
        """
        if not updating.takes_new_rows_alone(self.posterior, self.method, replay):
            rows, theta = updating.with_replay(self._adapter, x, y, replay), updating.members(self.posterior)
            return self.fit(
                rows, None, batch_size, epochs, callbacks=callbacks, seed=seed, verbose=verbose, initial=theta
            )
        reference = self._predictor.reference
        self.become(updating.with_new_rows(self._problem, self._adapter, self.posterior, reference, x, y))
        self._predictor.reference = reference
        return None

    @property
    def posterior(self) -> posterior.Posterior:
        """The posterior over θ. Raises ValueError before `fit`."""
        if self._trainer is None and self._loaded_posterior is not None:
            return self._loaded_posterior
        return self._fitted().posterior

    @property
    def prior_loss(self) -> float:
        """The prior's share of the loss of the last `fit`, −log p(θ) / N in nats at the present θ.

        The mean over members or chains. Callbacks can subtract it from the loss, which leaves the share of the data.
        """
        return self._fitted().prior_loss

    @property
    def x_scaler(self) -> data.Scaler | None:
        """The standardisation of the inputs, from the data of the last `fit`; None if they are used as given."""
        return self._adapter.x_scaler

    @x_scaler.setter
    def x_scaler(self, scaler: data.Scaler | None) -> None:
        self._adapter.x_scaler = scaler

    @property
    def y_scaler(self) -> data.Scaler | None:
        """The standardisation of the targets, from the data of the last `fit`; None if they are used as given."""
        return self._adapter.y_scaler

    @y_scaler.setter
    def y_scaler(self, scaler: data.Scaler | None) -> None:
        self._adapter.y_scaler = scaler

    @property
    def columns(self) -> data.Columns | None:
        """What the columns of the table were taken for that the last `fit` had; methods then take tables for x too."""
        return self._adapter.columns

    @columns.setter
    def columns(self, columns: data.Columns | None) -> None:
        self._adapter.columns = columns

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """The network's layers, for Keras callbacks."""
        return self.keras_model.layers

    def get_weights(self) -> list[np.ndarray]:
        """Return the inference method's state as arrays, for Keras callbacks such as EarlyStopping."""
        return [tensor.numpy() for tensor in tf.nest.flatten(self._fitted().state)]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Set the inference method's state to what `get_weights` returned."""
        trainer = self._fitted()
        trainer.state = tf.nest.pack_sequence_as(trainer.state, [tf.constant(array) for array in weights])

    def summary(self, **kwargs: Any) -> None:
        """Print Keras's summary of the network, with the likelihood, the prior, the method and the posterior.

        Args:
            **kwargs: the arguments of `keras.Model.summary`, such as `print_fn`.
        """
        self.keras_model.summary(**kwargs)
        lines = [f"{name}: {value}" for name, value in self._parts().items()]
        (kwargs.get("print_fn") or print)("\n".join(lines))

    def _parts(self) -> dict[str, Any]:
        """Return what the model consists of besides the network, in words."""
        found = "none, before `fit`" if self._is_unfitted else type(self.posterior).__name__
        named = {"Likelihood": self.likelihood, "Prior": self.prior, "Method": self._name or self.method}
        return {**named, "Posterior": found}

    def _repr_html_(self) -> str:
        network = f"{self.keras_model.name}, {self.keras_model.count_params()} parameters"
        calibrated = {f"Calibration ({kind})": found.method for kind, found in self.calibrations.items()}
        return html_of_table({"Network": network, **self._parts(), **calibrated})

    # Predicting

    def predict(
        self,
        x,
        num_samples: int = 100,
        seed=0,
        probit: bool = False,
        *,
        batch_size: int | None = None,
        verbose: int | str = 0,
    ) -> np.ndarray:
        """Return the predictive mean [B, ...]; for classes, their probabilities [B, C].

        Args:
            x: inputs [B, ...], as in `fit`. A model that was fitted to a table, see `columns`, takes a pandas DataFrame
                with its columns too.
            num_samples: posterior samples to average over, at most; a posterior of fewer distinct values gives those.
                At most 512 MiB of them are in memory at a time; all methods that predict keep to this.
            seed: an integer or a stateless seed pair.
            probit: for classes and Laplace's approximation, whether to compute the probabilities by the probit
                approximation in the place of draws: without random numbers, at the cost of as many draws as the
                posterior has dimensions.
            batch_size: taken as Keras takes it, without influence: rows are always predicted in blocks that fit memory.
            verbose: taken as Keras takes it, without influence: there is no progress bar.

        Raises:
            ValueError: for `probit`, if the posterior is not linearised or the targets are no classes.
        """
        check_verbose(verbose)
        optional(check_count)("batch_size", batch_size)
        x = self._adapter.inputs(x)
        if check_flag("probit", probit):
            if not isinstance(self._predictor, LinearisedPredictor):
                raise ValueError(
                    "Invalid `probit`: expected False for a posterior that is not linearised. Received: True. Use "
                    "`bnnrl.laplace` or method='laplace'."
                )
            return self._predictor.probit(self.posterior, x)
        return self._predictor.mean(self._samples(num_samples, seed), x)

    def predict_distribution(self, x, num_samples: int = 100, seed=0) -> tfd.Distribution:
        """Return the predictive distribution of y, batch shape [B]: an equal mixture of the likelihood over samples.

        The distribution holds the network's outputs for all rows and samples, S B K float32 numbers for K outputs of a
        row, and twice as much is in memory while it is made. `predict`, `uncertainty` and `evaluate` hold a block of
        rows only.

        Args:
            x: as in `predict`.
            num_samples: as in `predict`.
            seed: as in `predict`.

        Raises:
            ValueError: if twice the outputs exceed 1 GiB and the memory that Linux has available.
        """
        x = self._adapter.inputs(x)
        self._predictor.check_memory(x, self._count(num_samples))
        return self._predictor.mixture(self._samples(num_samples, seed), x)

    def predict_samples(self, x, num_samples: int = 100, seed=0):
        """Return the network's outputs for posterior samples, [S, B, ...]; a structure of arrays for several outputs.

        Outputs are the likelihood's parameters, logits for classes, and in standard units if targets are standardised.

        Args:
            x: as in `predict`.
            num_samples: S. A posterior of fewer distinct values repeats them.
            seed: as in `predict`.

        Raises:
            ValueError: if twice the outputs, which is what this takes, exceed 1 GiB and the memory that Linux has
                available.
        """
        pieces = self._predictor.draw(self.posterior, check_count("num_samples", num_samples), seed)
        x = self._adapter.inputs(x)
        self._predictor.check_memory(x, num_samples)
        outputs, _ = self._predictor.all_outputs(pieces, x)
        return tf.nest.map_structure(lambda a: a.numpy(), outputs)

    def uncertainty(self, x, num_samples: int = 100, seed=0) -> metrics.Uncertainty:
        """Return the total, aleatoric and epistemic uncertainty of the targets.

        For a Categorical likelihood (a number for each row, [B]) and a Bernoulli (one for each target entry, [B, K]):
        entropies in nats. Total is the entropy of the predictive distribution, aleatoric the mean entropy under each
        posterior sample, epistemic their difference, which is the mutual information of y and θ.

        For any other likelihood (a number for each target entry, [B, K]): variances in squared units of y. Aleatoric
        is the mean of the samples' variances, epistemic the variance of their means, total the sum.

        Args:
            x: as in `predict`.
            num_samples: as in `predict`.
            seed: as in `predict`.
        """
        x = self._adapter.inputs(x)
        blocks = self._predictor.blocks(x, self._count(num_samples))
        return block_uncertainty(self._distribution(inputs.take(x, r), num_samples, seed) for r in blocks)

    def evaluate(self, x, y=None, num_samples: int = 100, seed=0, sample_weight: Any = None) -> dict[str, float]:
        """Return scores of the predictive distribution, see `bnnrl.metrics.scores`.

        For every likelihood "nll", the mean of −log p(y | x) over rows in nats.

        For real targets and counts "rmse" and "mae" of the predictive mean and "crps", in units of y; "r2"; and the
        coverage and mean width of the central 95 % interval, "picp_95" and "width_95".

        For classes "accuracy"; the calibration errors "ece" with bins of equal width and "ace" with bins of equally
        many rows; and the Brier score "brier": for a Categorical likelihood the squared distance between the
        probabilities and the one-hot target, in [0, 2], for a Bernoulli (p − y)², in [0, 1].

        Args:
            x: inputs [N, ...], a pair (x, y) or a finite tf.data.Dataset of pairs, as in `fit`.
            y: targets [N, ...]; None if they come with `x`.
            num_samples: as in `predict`.
            seed: as in `predict`.
            sample_weight: weights of at least 0, [N]; all scores are then weighted means over rows. Time steps that the
                network masks count in none.
        """
        return self._scores(*self._weighted_rows(x, y, sample_weight), num_samples, seed)

    def _weighted_rows(self, x, y=None, sample_weight=None) -> tuple[inputs.Arrays, np.ndarray, np.ndarray | None]:
        """Return inputs in standard units, targets in their own, and the weights of the rows, None for 1."""
        given = keras_data.gathered(x, y, sample_weight)
        return *self._adapter.rows(given.x, given.y), keras_data.row_weights(given, None)

    def prior_scales(self, num_samples: int = 100, seed=0) -> dict[str, float]:
        """Return the posterior mean of each scale of a learned prior, by the path of its weight and its input column.

        It is empty for another prior. See `bnnrl.priors.Learned`.

        Args:
            num_samples: posterior samples to average over.
            seed: an integer or a stateless seed pair.
        """
        scales = self._problem.prior_scales(self.posterior.sample(check_count("num_samples", num_samples), seed))
        return {name: float(tf.reduce_mean(values)) for name, values in scales.items()}

    # Calibrating

    def calibrate(
        self, x, y=None, method: str = "auto", level: float = 0.95, num_samples: int = 100, seed=0
    ) -> calibration.Calibration:
        """Calibrate predictions on rows that the model was not trained on, such as the validation part of the data.

        Conformal methods give `interval` and `predict_set` a coverage of at least `level` on average over rows that
        are exchangeable with the calibration rows, whatever the model. Methods for real targets and counts, whose
        target entries have intervals of their own:

        - "normalized": |y − mean| / std. Intervals are as wide as the model is uncertain. The choice of "auto".
        - "absolute": |y − mean|. All intervals have the same width.
        - "cqr": how far y is outside the central interval, for skewed likelihoods; `interval` then serves this level.

        For classes, "aps", the choice of "auto", and "lac"; see `bnnrl.metrics.conformal.class_scores`.

        Recalibration changes the predictive distribution itself:

        - "temperature", for classes: logits are divided by the temperature of the largest likelihood of the rows.
        - "spread", for real targets: deviations from the predictive mean are multiplied by the factor of the largest
          likelihood of the rows. Both are honoured by everything but `predict_samples`.
        - "isotonic", for real targets: `quantiles` and `interval` follow the isotonic regression of the rows'
          predictive distribution function.

        A conformal calibration after a recalibration, on other rows, calibrates its intervals or sets. A recalibration
        drops every earlier calibration, and `fit` drops all. They are saved with the model.

        Source: Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 2018; Romano, Patterson and
        Candès, "Conformalized Quantile Regression", NeurIPS 2019; Guo et al., "On Calibration of Modern Neural
        Networks", ICML 2017; Kuleshov, Fenner and Ermon, "Accurate Uncertainties for Deep Learning Using Calibrated
        Regression", ICML 2018.

        Args:
            x: inputs [N, ...], a pair (x, y), a finite tf.data.Dataset of pairs, or the result of `bnnrl.data.load`,
                whose validation part is taken.
            y: targets [N, ...]; None if they come with `x`.
            method: one of the above.
            level: the coverage that the rows have to suffice for.
            num_samples: as in `predict`.
            seed: as in `predict`.

        Returns:
            What was found: the factor, or the scores of the rows.

        Raises:
            ValueError: if the method is not one for the likelihood, or there are too few rows; the error says how many
                are needed.
        """
        if isinstance(x, data.Data):
            x = calibration.validation_part(x)
        level, (x, y) = check_open_unit("level", level), self._adapter.rows(x, y)
        by_rows = partial(self._by_rows, x, num_samples, seed)
        before = self._predictor.calibrations
        method = calibration.choose_method(method, self._distribution(inputs.take(x, slice(1)), num_samples, seed))
        calibration.check_rows(method, len(y), level)
        try:
            if method in calibration.RECALIBRATION:
                self._predictor.calibrations = {}
            isotonic = calibration.isotonic_of(self._predictor.calibrations)
            found = calibration.calibrate(method, level, y, by_rows, isotonic, seed)
        except Exception:
            self._predictor.calibrations = before
            raise
        kind = "recalibration" if found.recalibrates else "conformal"
        self._predictor.calibrations = {**self._predictor.calibrations, kind: found}
        self._predictor.cross_conformal = None
        return found

    def cross_calibrate(
        self,
        x,
        y=None,
        folds: int = 5,
        method: str = "auto",
        level: float = 0.95,
        batch_size: int | None = 32,
        epochs: int = 10,
        num_samples: int = 100,
        seed: int = 0,
    ) -> CrossConformal:
        """Calibrate intervals or sets by CV+ on the training rows themselves, so that no rows are set aside.

        A copy of the model is fitted to all rows but those of a fold, for each of the folds. `interval` and
        `predict_set` then use the copies and their scores of the rows that they have not seen, at the cost of `folds`
        fits, and of predictions by all copies. For rows that are exchangeable with the given ones, the coverage is at
        least about 2 level − 1, and that of `level` in practice. See `bnnrl.model.cross_conformal.CrossConformal`.

        The copies are saved with the model. Every earlier calibration is dropped, and `fit` drops this one.

        Args:
            x: the training rows, as in `fit`; the training part of what `bnnrl.data.load` returns.
            y: targets [N, ...]; None if they come with `x`.
            folds: K, the number of folds.
            method: "normalized" or "absolute" for real targets and counts, "aps" or "lac" for classes, as in
                `calibrate`. "auto" is the first of each.
            level: the coverage that the rows have to suffice for.
            batch_size: of the fits, as in `fit`.
            epochs: of the fits, as in `fit`.
            num_samples: as in `predict`.
            seed: of the division into folds, of the fits and of the predictions.

        Returns:
            The folds' models and scores.

        Raises:
            ValueError: if the model is not fitted, if the method is not one for the likelihood, if there are too few
                rows for the level or the folds, or as in `fit`.
        """
        level = check_open_unit("level", level)
        x, y = self._adapter.own_rows(*((x.train, None) if isinstance(x, data.Data) else (x, y)))
        first = self._distribution(self._adapter.inputs(inputs.take(x, slice(1))), num_samples, seed)
        method = cross_conformal.check_method(calibration.choose_method(method, first))
        divisions, found = cross_conformal.divided(folds, len(y), level, seed), []
        how = {"batch_size": batch_size, "epochs": epochs, "seed": seed, "verbose": 0}
        for model, fold in fitted(self.clone, x, y, divisions, self._adapter, **how):
            of_fold = partial(model._by_rows, model._adapter.inputs(inputs.take(x, fold)), num_samples, seed)
            scores = calibration.calibrate(method, level, y[fold], of_fold, None, seed).values
            found.append(cross_conformal.Fold(model, scores))
        self._predictor.calibrations, conformal = {}, CrossConformal(method, level, tuple(found))
        self._predictor.cross_conformal = conformal
        return conformal

    @property
    def calibrations(self) -> dict[str, calibration.Calibration | CrossConformal]:
        """The "recalibration" and the "conformal" calibration of the model, so far as there are such."""
        cross = self._predictor.cross_conformal
        return {**self._predictor.calibrations, **({} if cross is None else {"conformal": cross})}

    def interval(self, x, level: float = 0.95, num_samples: int = 100, seed=0) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower and upper ends of the prediction interval of each target entry, each [B, ...].

        After a conformal calibration, see `calibrate` and `cross_calibrate`, it is the conformal interval. Otherwise it
        is the central interval of the predictive distribution.

        Args:
            x: as in `predict`.
            level: the probability with which the interval is to hold the target.
            num_samples: as in `predict`.
            seed: as in `predict`.

        Raises:
            ValueError: if the likelihood has no quantiles, or the calibration rows do not suffice for the level.
        """
        level, cross = check_open_unit("level", level), self._predictor.cross_conformal
        if cross is not None:
            of = lambda model: model._by_rows(model._adapter.inputs(x), num_samples, seed, calibration.moments)
            return cross.interval(level, of)
        ends = lambda distribution, _: np.stack(
            calibration.interval(distribution, level, self._predictor.calibrations), axis=1
        )
        low, high = self._by_rows(self._adapter.inputs(x), num_samples, seed, ends).swapaxes(0, 1)
        return low, high

    def quantiles(self, x, levels, num_samples: int = 100, seed=0) -> np.ndarray:
        """Return quantiles of the predictive distribution, recalibrated if the model is, [L, B, ...].

        Args:
            x: as in `predict`.
            levels: L levels between 0 and 1.
            num_samples: as in `predict`.
            seed: as in `predict`.

        Raises:
            ValueError: if the likelihood has no quantiles, or an isotonic recalibration has too few rows for a level.
        """
        levels = check_levels("levels", levels)
        isotonic = calibration.isotonic_of(self._predictor.calibrations)
        of_block = lambda distribution, _: np.stack(
            [calibration.quantile_at(distribution, p, isotonic) for p in levels], axis=1
        )
        return self._by_rows(self._adapter.inputs(x), num_samples, seed, of_block).swapaxes(0, 1)

    def predict_set(self, x, level: float = 0.95, num_samples: int = 100, seed=0) -> np.ndarray:
        """Return which classes are in the prediction set of each row, bool [B, C]; for a Bernoulli [B, K, 2].

        After a conformal calibration, see `calibrate` and `cross_calibrate`, it is the conformal set, which "aps" may
        leave empty in rare cases and "lac" where no class is probable. Otherwise the set holds the most probable
        classes, as few as have the probability `level` together.

        Args:
            x: as in `predict`.
            level: the probability with which the set is to hold the class.
            num_samples: as in `predict`.
            seed: as in `predict`; also of the random numbers of "aps".

        Raises:
            ValueError: if the targets are not classes, or the calibration rows do not suffice for the level.
        """
        level, conformal = check_open_unit("level", level), self._predictor.calibrations.get("conformal")
        cross = self._predictor.cross_conformal
        if cross is not None:
            probs_of = lambda model: model._by_rows(
                model._adapter.inputs(x), num_samples, seed, calibration.class_probabilities
            )
            scores_of = lambda model: calibration.scores_of_classes(probs_of(model), cross.method, seed)
            return cross.prediction_set(level, scores_of)
        x = self._adapter.inputs(x)
        probs = self._by_rows(x, num_samples, seed, calibration.class_probabilities)
        return calibration.prediction_set(probs, level, conformal, seed)

    # Diagnosing chains

    def diagnose(self, x) -> diagnostics.Diagnostics:
        """Return diagnostics of a sampler's chains by their predictions for x, and warn of what they find.

        R-hat and effective sample size are [B, ...], one for each network output. The acceptance probability is that
        of the epochs after the burn-in.

        Raises:
            ValueError: if the posterior is not made of Markov chains.

        Warns:
            SamplingWarning: if chains have not mixed, or the acceptance probability is too low or too high.
        """
        return self._diagnose(self._adapter.inputs(x))

    def chains(self, x) -> np.ndarray:
        """Return the network's outputs along each chain, [C, T, B, ...], for C chains of T draws in their order.

        Of a network with several outputs it is the first. `bnnrl.plots.trace` draws them.

        Raises:
            ValueError: if the posterior is not made of Markov chains.
        """
        return diagnostics.chains(self.posterior, self._predictor.first_outputs(self._adapter.inputs(x)))

    # Saving

    def save(self, folder: checkpoint.Folder, overwrite: bool = True) -> None:
        """Save the model for `bnnrl.load`: architecture, likelihood, prior, method, posterior and scalers.

        The folder holds JSON and arrays, and no code: the likelihood must be a built-in one, and the network free of
        Lambda layers and of classes that are not registered with Keras. Left out are a prior other than Normal, Laplace
        or StudentT with scalar parameters or a mapping to such, and a method of your own; a model loaded without them
        predicts, but cannot be fitted again. Of a network with batch normalisation, up to 1024 rows of the training
        inputs are saved, from which its statistics are computed for each posterior sample.

        Args:
            folder: a new folder, or one that holds a checkpoint to be replaced.
            overwrite: whether a checkpoint may be replaced.

        Raises:
            ValueError: if something cannot be saved, or the folder holds something else.
        """
        folder = check_path("folder", folder)
        if not check_flag("overwrite", overwrite) and checkpoint.exists(folder):
            raise ValueError(f"Invalid `folder`: expected a new one, as `overwrite` is False. Received: {folder}")
        checkpoint.write(folder, *self.to_saved())

    def export(self, path: checkpoint.Folder, level: float = 0.95, num_samples: int = 100, seed=0) -> Path:
        """Write the predictive mean and prediction intervals as a file that needs no bnnrl, and return the path.

        The numbers are those of `predict` and `interval` with the same samples, up to rounding. The suffix says what is
        written: ".py", a Python file that needs NumPy only, with the functions `predict(x)` and `interval(x, level)`;
        ".keras", a Keras model from inputs [B, F] to the mean and the ends of the interval, [B, K, 3], or to the
        probabilities of classes, [B, C]; ".tflite", the same for TensorFlow Lite.

        Args:
            path: the file, which is replaced if it exists.
            level: the probability with which the interval is to hold the target.
            num_samples: posterior samples that the file holds, as in `predict`.
            seed: as in `predict`.

        Raises:
            ValueError: for another suffix, a network that is no chain of Dense layers, a likelihood that is neither
                Gaussian nor categorical, or a model that is calibrated, linearised or has `columns`.
        """
        path = exporting.check_suffix(path)
        obstacles = {
            "calibrated": self.calibrations,
            "linearised": isinstance(self._predictor, LinearisedPredictor),
            "fitted to a table with columns": self.columns is not None,
        }
        if found := [name for name, is_so in obstacles.items() if is_so]:
            raise ValueError(
                f"Invalid model: expected none that is {', '.join(obstacles)} to export. Received: one that is "
                f"{', '.join(found)}. Save the model by `save`."
            )
        theta = tf.concat([*self._samples(num_samples, seed)], axis=0)
        level = check_open_unit("level", level)
        export.write(path, export.exported(self._problem, theta, self.x_scaler, self.y_scaler, level))
        return path

    def save_weights(self, folder: checkpoint.Folder, overwrite: bool = True) -> None:
        """Save the model as `save` does, for `load_weights`; for Keras callbacks such as ModelCheckpoint.

        Args:
            folder: a new folder, or one that holds a checkpoint to be replaced.
            overwrite: whether a checkpoint may be replaced.

        Raises:
            ValueError: as `save`.
        """
        self.save(folder, overwrite)

    def load_weights(self, folder: checkpoint.Folder) -> None:
        """Take the posterior, the scalers and the calibrations of a saved model of the same network.

        Args:
            folder: where `save` or `save_weights` wrote the model.

        Raises:
            ValueError: if the folder holds no model, or one of another number of parameters.
        """
        config, arrays = checkpoint.read(check_path("folder", folder))
        if config.get("kind") != "bayesian_model":
            raise ValueError(
                f"Invalid `folder`: expected a saved model. Received: {folder}, of {config.get('kind')!r}."
            )
        self._take(ModelParts.decode(config, arrays, type(self).from_saved))

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make the model again, for pickle and copy; `history` is left out."""
        if self._is_unfitted:
            network = network_to_config(self.keras_model), layer_state.to_arrays(self.keras_model)
            prior = prior_to_config(self.prior)
            given = self.likelihood, prior or self.prior, bool(prior), self._name or self.method, self._given
            return _unfitted, (*network, self.keras_model.get_weights(), *given)
        return _fitted, (*self.to_saved(), self.keras_model.get_weights())

    def to_saved(self) -> tuple[dict[str, Any], Arrays]:
        """Return what `save` writes: a JSON-able description and named arrays.

        Raises:
            ValueError: if the model is not fitted, or its network or likelihood cannot be saved.
        """
        return ModelParts(
            self.keras_model,
            self.likelihood,
            self.prior,
            self.method,
            self.posterior,
            self._predictor.reference,
            self.x_scaler,
            self.y_scaler,
            self._name,
            self._given,
            self._predictor.calibrations,
            self.columns,
            self._predictor.cross_conformal,
        ).encode()

    @classmethod
    def from_saved(cls, config: dict[str, Any], arrays: Arrays) -> BayesianModel:
        """Return the model that `to_saved` described, from its JSON-able description and its named arrays.

        Raises:
            ValueError: if a part is of a class that this version does not know, holds code, or does not fit the others.
        """
        parts = ModelParts.decode(config, arrays, cls.from_saved)
        method = parts.method_name or parts.method or "adam"
        with already_told():
            model = cls(parts.network, parts.likelihood, parts.prior, method, parts.hyper_parameters)
        model.prior, model.method, model.optimizer = parts.prior, parts.method, KerasOptimizerView(parts.method)
        if parts.method_name is None:
            model._name = None
        model._take(parts)
        return model

    def _take(self, parts: ModelParts) -> None:
        """Take what was learned by a saved model: posterior, scalers and calibrations."""
        size, found = self._problem.num_params, parts.posterior.sample(1, 0).shape
        if found != (1, size):
            raise ValueError(
                f"Invalid posterior: expected {size} parameters, as the network has. Received: {found[1:]}."
            )
        self.become(parts.posterior)
        self._predictor.reference, self._predictor.calibrations = parts.reference, parts.calibrations
        self._predictor.cross_conformal = parts.cross_conformal
        self.x_scaler, self.y_scaler, self.columns = parts.x_scaler, parts.y_scaler, parts.columns

    @property
    def _is_unfitted(self) -> bool:
        return self._trainer is None and self._loaded_posterior is None

    def become(self, found: posterior.Posterior) -> None:
        """Take a posterior over θ that was found elsewhere, such as a loaded one, as that of this model."""
        self._predictor = self._make_predictor(is_linearised(found))
        self._trainer, self._loaded_posterior = None, found

    def _choose_method(self, shards: Shards, epochs: int, limit: int | None) -> None:
        """Give a method by name the hyper-parameters for this run, of `limit` epochs at most if it is not None."""
        if self._name is None:
            return
        steps, rows = epochs * shards.steps, shards.num_data
        most = None if limit is None else limit * shards.steps
        prior = self._problem.normal_prior
        precision = 1.0 if prior is None else float(tf.reduce_max(prior.precision))
        run = inference.Run(steps, rows, shards.batch_size or rows, self._problem.num_params, precision, most)
        self.method = inference.for_run(self._name, run, **self._given)
        self.optimizer = KerasOptimizerView(self.method)

    def _initial_theta(self, initial: Any) -> tf.Tensor | None:
        """Return θ, [D] or [M, D], that the argument `initial` of `fit` stands for; None for fresh draws."""
        if initial is None:
            return None
        if not isinstance(initial, str):
            return tf.constant(inputs.finite("initial", initial))
        check_choice("initial", initial, ("keras",))
        weights = self._problem.network.flatten([tf.convert_to_tensor(v) for v in self.keras_model.trainable_variables])
        return self._problem.join(weights, self.likelihood.init(self._problem.num_outputs))

    def _driver(self, batch_size: int | None, engine: str) -> inference.Driver:
        """Return the driver; in this process the last fit's, if that had the same method and batch size."""
        if engine == "ray":
            return inference.RayDriver(self._problem, self.method, batch_size)
        key = self.method, batch_size
        if self._compiled is None or self._compiled[0] != key:
            self._compiled = key, inference.Driver(self._problem, self.method, batch_size)
        return self._compiled[1]

    def _fitted(self) -> Trainer:
        if self._trainer is None:
            raise ValueError("Invalid model: expected a fitted one. Received: one without a posterior. Call `fit`.")
        return self._trainer

    def _samples(self, num_samples: int, seed) -> Iterator[tf.Tensor]:
        """Return pieces of posterior samples for an average: not more than the posterior has distinct values."""
        return self._predictor.draw(self.posterior, self._count(num_samples), seed)

    def _count(self, num_samples: int) -> int:
        check_count("num_samples", num_samples)
        return min(num_samples, self.posterior.num_distinct or num_samples)

    def _distribution(self, x: inputs.Arrays, num_samples: int, seed) -> tfd.Distribution:
        """Return the distribution of y under each posterior sample, [S, B, ...], for inputs in standard units."""
        return self._predictor.distribution(self._samples(num_samples, seed), x)

    def _by_rows(self, x: inputs.Arrays, num_samples: int, seed, function) -> np.ndarray:
        """Return function(distribution, rows) of blocks of rows, for x in standard units, joined along the rows."""
        blocks = self._predictor.blocks(x, self._count(num_samples))
        of_block = lambda rows: function(self._distribution(inputs.take(x, rows), num_samples, seed), rows)
        return np.concatenate([of_block(rows) for rows in blocks])

    def _scores(
        self, x: inputs.Arrays, y: np.ndarray, weight: np.ndarray | None, num_samples: int = 100, seed=0
    ) -> dict[str, float]:
        """Return the scores on inputs in standard units and targets in their own, rows weighted unless None."""
        # Samples are drawn anew for each block, which costs little beside their outputs for as many rows.
        of_rows = lambda rows: self._distribution(inputs.take(x, rows), num_samples, seed)
        blocks = self._predictor.blocks(x, self._count(num_samples))
        return block_scores(
            ((of_rows(rows), y[rows]) for rows in blocks),
            lambda stride: of_rows(slice(None, None, stride)),
            Counted(weight, self._adapter.mask(x)),
        )

    def _chains_of_fit(self, x: inputs.Arrays) -> np.ndarray | None:
        """Return the outputs for inputs in standard units along the chains so far; None before the first draw."""
        if not self._fitted().has_posterior:
            return None
        return diagnostics.chains(self.posterior, self._predictor.first_outputs(x))

    def _diagnose(self, x: inputs.Arrays) -> diagnostics.Diagnostics:
        info, state = (None, None) if self._trainer is None else (self._trainer.info, self._trainer.state)
        return diagnostics.diagnose(self.posterior, self._predictor.first_outputs(x), info, state)


def _unfitted(
    network: dict[str, Any],
    layers: Arrays,
    weights: list[np.ndarray],
    likelihood: Any,
    prior: Any,
    is_config: bool,
    method: Any,
    given: dict[str, Any],
) -> BayesianModel:
    """Return a model that is not fitted, of a network's configuration and state, and a prior or its configuration."""
    keras_model = network_from_config(network)
    keras_model.set_weights(weights)
    layer_state.restore(keras_model, layers)
    with already_told():
        return BayesianModel(keras_model, likelihood, prior_from_config(prior) if is_config else prior, method, given)


def _fitted(config: dict[str, Any], arrays: Arrays, weights: list[np.ndarray]) -> BayesianModel:
    """Return a saved model whose Keras model has these weights."""
    model = BayesianModel.from_saved(config, arrays)
    model.keras_model.set_weights(weights)
    return model
