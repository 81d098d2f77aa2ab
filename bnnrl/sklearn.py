"""Estimators with the interface of scikit-learn, for its pipelines, searches and cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, cast

import keras
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from bnnrl import data, likelihoods
from bnnrl.model.bayesian_model import BayesianModel

_BLOCK = 16  # rows; the most float32 numbers that one instruction computes


class _Estimator(BaseEstimator):
    """The hyper-parameters, the fit and the pickling of both estimators.

    Like all estimators of scikit-learn, they check hyper-parameters in `fit` and not before.
    """

    model_: BayesianModel
    n_features_in_: int

    def __init__(
        self,
        hidden: tuple[int, ...] = (50, 50),
        activation: str = "relu",
        network=None,
        likelihood=None,
        prior=None,
        method="ensemble",
        hyper_parameters=None,
        epochs: int = 100,
        batch_size: int = 32,
        num_samples: int = 100,
        random_state=None,
        verbose: int = 0,
    ):
        self.hidden = hidden
        self.activation = activation
        self.network = network
        self.likelihood = likelihood
        self.prior = prior
        self.method = method
        self.hyper_parameters = hyper_parameters
        self.epochs = epochs
        self.batch_size = batch_size
        self.num_samples = num_samples
        self.random_state = random_state
        self.verbose = verbose

    def _fit(self, X: np.ndarray, y: np.ndarray, task: str, num_outputs: int, likelihood: Any) -> None:
        """Fit a new model to validated rows.

        Args:
            X: inputs, [N, F].
            y: targets, [N] classes or [N, K] real numbers.
            task: "classification" or "regression".
            num_outputs: width of the network's last layer.
            likelihood: that of the model.
        """
        network = self._default_network(num_outputs) if self.network is None else self.network(X.shape[1], num_outputs)
        model = BayesianModel(network, likelihood, self.prior, self.method, self.hyper_parameters)
        rows = data.load((X, y), test=0.0, task=task)
        batch_size = None if model.method.full_batch_only else min(self.batch_size, len(X))
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        model.fit(rows, batch_size=batch_size, epochs=self.epochs, seed=seed, verbose=self.verbose)
        self.model_ = model

    def _default_network(self, num_outputs: int) -> keras.Model:
        layers = [keras.layers.Dense(width, self.activation) for width in self.hidden]
        return keras.Sequential([keras.Input((self.n_features_in_,)), *layers, keras.layers.Dense(num_outputs)])

    def _predicted(self, X, predict: Callable[..., np.ndarray]) -> np.ndarray:
        """Return predict(X, num_samples) of the model for validated rows.

        The rows are padded to whole blocks. The last bits of a row's prediction then do not depend on its place, since
        processors compute the entries left over at the end of an array by other instructions.
        """
        X = np.asarray(validate_data(self, X, reset=False))
        return predict(np.pad(X, [(0, -len(X) % _BLOCK), (0, 0)], "edge"), self.num_samples)[: len(X)]

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {**cast(Any, super().__getstate__())}
        if "model_" in state:
            state["model_"] = state["model_"].to_saved()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "model_" in state:
            state = {**state, "model_": BayesianModel.from_saved(*state["model_"])}
        super().__setstate__(state)


class BayesianRegressor(MultiOutputMixin, RegressorMixin, _Estimator):
    """Regression by a Bayesian neural network, as an estimator of scikit-learn.

    Inputs and targets are standardised within. After `fit`, `model_` is the `bnnrl.BayesianModel`, which predicts,
    evaluates, calibrates and is saved in the units of the data. A fitted estimator can be pickled if its model can be
    saved.

    Args:
        hidden: widths of the network's hidden layers.
        activation: Keras activation of the hidden layers.
        network: a function (num_features, num_outputs) -> keras.Model, which replaces `hidden` and `activation`; None
            for dense layers.
        likelihood: "gaussian", "heteroscedastic" or an object of `bnnrl.likelihoods`; None for "gaussian".
        prior: as in `bnnrl.BayesianModel`.
        method: an inference method or its name, as in `bnnrl.BayesianModel`.
        hyper_parameters: those of a method given by name that are not to follow from the run.
        epochs: passes over the data.
        batch_size: rows in a minibatch, at most; methods that need all rows take all.
        num_samples: posterior samples to average over in predictions.
        random_state: seed of the fit: an integer, a RandomState, or None for another one at each fit.
        verbose: 0 for silence, 1 for a progress bar.

    Attributes:
        model_: the fitted `bnnrl.BayesianModel`.
        n_features_in_: number of columns of X.
        feature_names_in_: names of the columns of X, if they are strings.
    """

    def fit(self, X, y) -> Self:
        """Fit the network to inputs X [N, F] and real targets y, [N] or [N, K].

        Raises:
            ValueError: if the data or a hyper-parameter is invalid.
        """
        X, y = map(np.asarray, validate_data(self, X, y, multi_output=True, y_numeric=True, ensure_min_samples=2))
        self._is_flat = y.ndim == 1
        targets = y.reshape(len(y), -1).astype(np.float64)
        heteroscedastic = isinstance(self.likelihood, str) and self.likelihood == "heteroscedastic"
        likelihood = likelihoods.Gaussian("heteroscedastic") if heteroscedastic else self.likelihood or "gaussian"
        is_double = isinstance(likelihood, likelihoods.Gaussian) and likelihood.scale == "heteroscedastic"
        self._fit(X, targets, "regression", targets.shape[1] * (2 if is_double else 1), likelihood)
        return self

    def predict(self, X, return_std: bool = False):
        """Return the predictive mean, [N] or [N, K] as y was; with `return_std`, also the standard deviation.

        Args:
            X: inputs, [N, F].
            return_std: whether to return the pair of the mean and the standard deviation of a new target, noise
                included, in units of y.
        """
        check_is_fitted(self)
        # scikit-learn expects float64 of several targets, and takes the precision of one target from its type.
        flat = lambda a: a[:, 0] if self._is_flat else a.astype(np.float64)
        mean = flat(self._predicted(X, self.model_.predict))
        if not return_std:
            return mean
        variance = self._predicted(X, lambda *given: self.model_.uncertainty(*given).total)
        return mean, flat(np.sqrt(variance))


class BayesianClassifier(ClassifierMixin, _Estimator):
    """Classification by a Bayesian neural network, as an estimator of scikit-learn.

    Inputs are standardised within. After `fit`, `model_` is the `bnnrl.BayesianModel`, whose classes are numbered in
    the order of `classes_`. A fitted estimator can be pickled if its model can be saved.

    Args:
        hidden: widths of the network's hidden layers.
        activation: Keras activation of the hidden layers.
        network: a function (num_features, num_outputs) -> keras.Model, which replaces `hidden` and `activation`; None
            for dense layers.
        likelihood: an object of `bnnrl.likelihoods` for classes; None for "categorical".
        prior: as in `bnnrl.BayesianModel`.
        method: an inference method or its name, as in `bnnrl.BayesianModel`.
        hyper_parameters: those of a method given by name that are not to follow from the run.
        epochs: passes over the data.
        batch_size: rows in a minibatch, at most; methods that need all rows take all.
        num_samples: posterior samples to average over in predictions.
        random_state: seed of the fit: an integer, a RandomState, or None for another one at each fit.
        verbose: 0 for silence, 1 for a progress bar.

    Attributes:
        model_: the fitted `bnnrl.BayesianModel`.
        classes_: the classes, sorted.
        n_features_in_: number of columns of X.
        feature_names_in_: names of the columns of X, if they are strings.
    """

    classes_: np.ndarray

    def fit(self, X, y) -> Self:
        """Fit the network to inputs X [N, F] and classes y [N], which are numbers or strings.

        Raises:
            ValueError: if there is only one class, or the data or a hyper-parameter is invalid.
        """
        X, y = map(np.asarray, validate_data(self, X, y))
        check_classification_targets(y)
        classes, labels = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"Invalid `y`: expected at least two classes. Received: one class, {classes.tolist()}.")
        self.classes_ = classes
        self._fit(X, labels, "classification", len(classes), self.likelihood or "categorical")
        return self

    def predict_proba(self, X) -> np.ndarray:
        """Return the probabilities of the classes, [N, C] in the order of `classes_`, for inputs X [N, F]."""
        check_is_fitted(self)
        return self._predicted(X, self.model_.predict)

    def predict(self, X) -> np.ndarray:
        """Return the most probable class of each row, [N], for inputs X [N, F]."""
        most_probable = np.argmax(self.predict_proba(X), axis=1)
        return self.classes_[most_probable]
