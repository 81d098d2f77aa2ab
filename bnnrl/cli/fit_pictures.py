"""The pictures of a run of `bnnrl fit`, chosen by the likelihood and the posterior."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bnnrl import data, diagnostics, likelihoods, metrics, plots
from bnnrl.cli import fit_data
from bnnrl.model.bayesian_model import BayesianModel

SHOWN_ROWS = 5000  # rows of a scatter plot or a curve at most; more would not be seen
_COUNTED_ROWS = 1000  # rows of the picture of counts, whose draws take the memory of all posterior samples
_COUNT_DRAWS = 8, 8  # calls that draw counts of all rows, and the draws of each
_CHAIN_ROWS = 4  # rows whose predictions are followed along chains
_COUNTS = likelihoods.Poisson | likelihoods.NegativeBinomial

Pictures = dict[str, str]  # the caption of each file


@dataclass(frozen=True)
class FittedRun:
    """A run of `bnnrl fit` with its fitted model.

    Attributes:
        folder: the run folder.
        settings: the options of `bnnrl fit`.
        rows: the run's data.
        model: the fitted model.
        history: the logs of each epoch.
    """

    folder: Path
    settings: dict[str, Any]
    rows: data.Data
    model: BayesianModel
    history: list[dict[str, Any]]

    @property
    def num_samples(self) -> int:
        """Posterior samples of predictions."""
        return self.settings["samples"]

    @property
    def scored_part(self) -> tuple[str, Any]:
        """The part of the data that is scored and shown, after its name: the test part, or else the training part."""
        return ("training", self.rows.train) if self.rows.test is None else ("test", self.rows.test)


class FitPictures(FittedRun):
    """Draws the pictures of a fit to its run folder."""

    def draw(self, levels: dict[str, float]) -> Pictures:
        """Draw the pictures that suit the likelihood and the posterior, and return their captions.

        Args:
            levels: NLL after the fit by its name, which the picture of the loss shows beside the loss.
        """
        pictures, likelihood = draw_losses(self.folder, self.history, self.title, self._offset, levels), self.likelihood
        if self.has_finite_predictions:
            if self.rows.class_names:
                pictures |= self._draw_classes(self.predicted, self.y.astype(int), list(self.rows.class_names))
            elif isinstance(likelihood, likelihoods.Bernoulli):
                one = self.predicted.reshape(-1)
                pictures |= self._draw_classes(
                    np.stack([1 - one, one], axis=-1), self.y.ravel().astype(int), ["0", "1"]
                )
            elif isinstance(likelihood, _COUNTS):
                pictures |= self._draw_counts()
            elif isinstance(likelihood, likelihoods.Gaussian | likelihoods.StudentT):
                pictures |= self._draw_regression()
        if diagnostics.are_chains(self.model.posterior):
            pictures |= self._draw_chains()
        return pictures

    @property
    def title(self) -> str:
        """The title of every picture."""
        return f"{self.rows.name}, {self.settings['method']}, seed {self.settings['seed']}"

    @property
    def likelihood(self) -> likelihoods.Likelihood:
        """The model's likelihood."""
        return self.model.likelihood

    @cached_property
    def shown(self) -> tuple[Any, np.ndarray]:
        """The first rows of the part, (x, y)."""
        part = self.scored_part[1]
        x, y = part if isinstance(part, tuple) else next(part.batch(SHOWN_ROWS).as_numpy_iterator())
        return x[:SHOWN_ROWS], np.asarray(y[:SHOWN_ROWS])

    @property
    def y(self) -> np.ndarray:
        """The targets of the shown rows."""
        return self.shown[1]

    @cached_property
    def predicted(self) -> np.ndarray:
        """The predictive means of the shown rows, or their class probabilities."""
        return self.model.predict(self.shown[0], self.num_samples)

    @property
    def has_finite_predictions(self) -> bool:
        """Whether every predictive mean is a number."""
        return bool(np.isfinite(self.predicted).all())

    @property
    def _offset(self) -> float:
        """The NLL of a row in the targets' units, minus that in standard units, in nats."""
        return 0.0 if self.model.y_scaler is None else _log_scales(self.model.y_scaler, self.y.shape[1:])

    def _draw_classes(self, probabilities: np.ndarray, labels: np.ndarray, names: list[str]) -> Pictures:
        curve = metrics.reliability_curve(labels, probabilities)
        plots.reliability(self.folder / "reliability.png", *curve, curve.error, self.title)
        confusion = metrics.confusion_matrix(labels, probabilities)
        plots.confusion(self.folder / "confusion.png", confusion, self.title, names)
        plots.roc(self.folder / "roc.png", labels, probabilities, self.title, names)
        return {
            "reliability.png": "How often the predicted class is right, by the probability given to it.",
            "confusion.png": "Rows of each class by the class predicted.",
            "roc.png": "Each class against the rest.",
        }

    def _draw_regression(self) -> Pictures:
        (x, y), name = self.shown, fit_data.target_name(self.rows, self.settings)
        std = np.sqrt(self.model.uncertainty(x, self.num_samples).total)
        first = lambda values: values.reshape(len(y), -1)[:, 0]
        plots.predicted_vs_true(
            self.folder / "predicted.png", first(y), first(self.predicted), first(std), self.title, name
        )
        captions = {"predicted.png": f"Predicted against true {name}, with two standard deviations."}
        if isinstance(self.likelihood, likelihoods.Gaussian):  # whose mixture over draws is nearly Gaussian
            curve = metrics.quantile_calibration_gaussian(y, self.predicted, std)
            plots.calibration_curve(self.folder / "calibration.png", *curve, self.title)
            captions["calibration.png"] = "Share of targets below each predictive quantile."
        return captions

    def _draw_counts(self) -> Pictures:
        x, y, name = (
            self.shown[0][:_COUNTED_ROWS],
            self.y[:_COUNTED_ROWS],
            fit_data.target_name(self.rows, self.settings),
        )
        low, high = self.model.interval(x, 0.95, self.num_samples)
        distribution, (calls, draws) = self.model.predict_distribution(x, self.num_samples), _COUNT_DRAWS
        drawn = np.concatenate([distribution.sample(draws, [0, call]).numpy() for call in range(calls)])
        first = lambda values: values.reshape(len(y), -1)[:, 0]
        of_rows = first(y), first(self.predicted[: len(y)]), first(low), first(high)
        plots.counts(
            self.folder / "counts.png", *of_rows, drawn.reshape(*drawn.shape[:2], -1)[..., 0], self.title, name
        )
        text = (
            f"Left: the predictive mean and 95 % interval of each row by its observed {name}. Right: rows of each "
            "count, observed, and in draws from the predictive distribution."
        )
        return {"counts.png": text}

    def _draw_chains(self) -> Pictures:
        chains = self.model.chains(self.shown[0][:_CHAIN_ROWS])  # [C, T, B, ...]
        chains = chains.reshape(*chains.shape[:3], -1)[..., 0]
        names = [f"row {row}" for row in range(chains.shape[2])]
        plots.trace(self.folder / "trace.png", chains, self.title, names)
        plots.autocorrelation(self.folder / "autocorrelation.png", chains, self.title, names)
        return {
            "trace.png": "The network's first output at the first rows along the chains; chains that mix look alike.",
            "autocorrelation.png": "Autocorrelation of the network's first output along the chains, by lag.",
        }


def draw_losses(
    folder: Path, history: list[dict[str, Any]], title: str, offset: float, levels: dict[str, float]
) -> Pictures:
    """Draw the loss by epoch in the unit of the NLL, and return the picture's caption.

    Args:
        folder: the run folder.
        history: the logs of each epoch.
        title: the title.
        offset: what turns the loss of standardised targets into that of targets in their own units, in nats.
        levels: NLL after the fit by its name.
    """
    series = lambda key: np.array([row.get(key, np.nan) for row in history])
    prior, validated = series("prior_loss"), any("val_loss" in row for row in history)
    without_prior = bool(np.isfinite(prior).all())  # runs of bnnrl 0.2 did not note it
    training = series("loss") - (prior if without_prior else 0.0) + offset
    validation = series("val_loss") if validated else None
    plots.loss_curve(folder / "loss.png", training, validation, title, "NLL, nats per row", levels)
    share = "without the prior's share, which metrics.csv has" if without_prior else "with the prior's share"
    text = (
        f"Training loss by epoch in nats per row: the NLL of the training rows at the weights of the moment, {share}."
    )
    if offset:
        text += f" It is drawn in the targets' units, as the NLL is: {offset:+.4g} on the loss of standardised targets."
    if validated:
        text += " The validation loss is the NLL of the validation rows, averaged over the posterior."
    return {"loss.png": text}


def _log_scales(scaler: data.Scaler, shape: tuple[int, ...]) -> float:
    """Return Σ log std over the target entries of a row."""
    return float(np.sum(np.broadcast_to(np.log(scaler.std.astype(np.float64)), shape)))
