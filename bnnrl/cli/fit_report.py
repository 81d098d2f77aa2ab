"""What a run of `bnnrl fit` leaves beside its model: scores.csv, pictures and report.html."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnnrl import data, diagnostics, likelihoods, metrics, plots, report
from bnnrl.model.bayesian_model import BayesianModel
from bnnrl.model.cross_conformal import CrossConformal
from bnnrl.storage import config, run_folder

_SHOWN_ROWS = 5000  # rows of a scatter plot or a curve at most; more would not be seen
_LEVELS = (0.5, 0.9, 0.95)  # of the intervals or sets whose coverage is shown
_SHOWN_SCALES = 20  # of a learned prior
_CHAIN_ROWS = 4  # rows whose predictions are followed along chains

Pictures = dict[str, str]  # the caption of each file


@dataclass(frozen=True)
class FitReport:
    """The scores, pictures and report of a fitted model.

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

    def scores(self, seed: int = 0) -> dict[str, float]:
        """Return the scores on the test part of the data, or on the training part if there is no test part."""
        return self.model.evaluate(self._scored_part, num_samples=self.settings["samples"], seed=seed)

    def write(self) -> tuple[dict[str, float], Pictures]:
        """Write scores.csv, the pictures and report.html; return the scores, and the pictures' captions by file."""
        scores = self.scores()
        run_folder.write_table(self.folder / "scores.csv", list(scores), [scores])
        pictures = self._draw()
        self._write_html(scores, pictures)
        return scores, pictures

    @property
    def _scored_part(self) -> Any:
        return self.rows.train if self.rows.test is None else self.rows.test

    @property
    def _shown_rows(self) -> tuple[Any, np.ndarray]:
        """The first rows of the scored part."""
        part = self._scored_part
        x, y = part if isinstance(part, tuple) else next(part.batch(_SHOWN_ROWS).as_numpy_iterator())
        return x[:_SHOWN_ROWS], np.asarray(y[:_SHOWN_ROWS])

    @property
    def _title(self) -> str:
        return f"{self.rows.name}, {self.settings['method']}, seed {self.settings['seed']}"

    def _draw(self) -> Pictures:
        """Draw the pictures that suit the likelihood and the posterior, and return their captions."""
        x, y = self._shown_rows
        pictures = self._draw_losses()
        if self.rows.class_names:
            pictures |= self._draw_classes(x, y.astype(int), list(self.rows.class_names))
        elif isinstance(self.model.likelihood, likelihoods.Gaussian):
            pictures |= self._draw_regression(x, y)
        if diagnostics.are_chains(self.model.posterior):
            pictures |= self._draw_chains(x[:_CHAIN_ROWS])
        return pictures

    def _draw_losses(self) -> Pictures:
        series = lambda key: [row.get(key, np.nan) for row in self.history]
        validated = any("val_loss" in row for row in self.history)
        plots.loss_curve(
            self.folder / "loss.png", series("loss"), series("val_loss") if validated else None, self._title
        )
        return {"loss.png": "Loss by epoch."}

    def _draw_classes(self, x, labels: np.ndarray, names: list[str]) -> Pictures:
        probabilities = self.model.predict(x, self.settings["samples"])
        curve = metrics.reliability_curve(labels, probabilities)
        plots.reliability(self.folder / "reliability.png", *curve, curve.error, self._title)
        confusion = metrics.confusion_matrix(labels, probabilities)
        plots.confusion(self.folder / "confusion.png", confusion, self._title, names)
        plots.roc(self.folder / "roc.png", labels, probabilities, self._title, names)
        return {
            "reliability.png": "How often the predicted class is right, by the probability given to it.",
            "confusion.png": "Rows of each class by the class predicted.",
            "roc.png": "Each class against the rest.",
        }

    def _draw_regression(self, x, y: np.ndarray) -> Pictures:
        mean = self.model.predict(x, self.settings["samples"])
        std = np.sqrt(self.model.uncertainty(x, self.settings["samples"]).total)
        plots.predicted_vs_true(self.folder / "predicted.png", y[:, 0], mean[:, 0], std[:, 0], self._title)
        curve = metrics.quantile_calibration_gaussian(y, mean, std)
        plots.calibration_curve(self.folder / "calibration.png", *curve, self._title)
        return {
            "predicted.png": "Predicted against true targets, with two standard deviations.",
            "calibration.png": "Share of targets below each predictive quantile.",
        }

    def _draw_chains(self, x) -> Pictures:
        chains = self.model.chains(x)  # [C, T, B, ...]
        chains = chains.reshape(*chains.shape[:3], -1)[..., 0]
        names = [f"row {row}" for row in range(chains.shape[2])]
        plots.trace(self.folder / "trace.png", chains, self._title, names)
        plots.autocorrelation(self.folder / "autocorrelation.png", chains, self._title, names)
        return {
            "trace.png": "The network's first output at the first rows along the chains; chains that mix look alike.",
            "autocorrelation.png": "Autocorrelation of the network's first output along the chains, by lag.",
        }

    def _coverage(self) -> list[Any]:
        """Return the section on the coverage of intervals or sets; nothing for a likelihood without either."""
        x, y = self._shown_rows
        samples, classes = self.settings["samples"], isinstance(self.model.likelihood, likelihoods.Categorical)
        lines = {}
        for level in _LEVELS:
            try:
                if classes:
                    sets = self.model.predict_set(x, level, samples)
                    hits = np.take_along_axis(sets, y.astype(int)[:, np.newaxis], axis=1)
                    size = f"mean size {sets.sum(axis=1).mean():.3g} of {sets.shape[1]} classes"
                else:
                    low, high = self.model.interval(x, level, samples)
                    hits = (low <= y.reshape(low.shape)) & (y.reshape(low.shape) <= high)
                    size = f"mean width {np.mean(high - low):.4g}"
            except ValueError:  # no quantiles, or a calibration that does not serve this level
                continue
            lines[f"{level:.0%} {'sets' if classes else 'intervals'}"] = f"{metrics.coverage(hits)}; {size}"
        if not lines:
            return []
        return [report.Heading("Coverage"), report.Text(self._calibration_text()), report.Table(lines)]

    def _calibration_text(self) -> str:
        """Return a sentence that says how the model was calibrated."""
        cross = self.model.calibrations.get("conformal")
        if isinstance(cross, CrossConformal):
            return (
                f"Calibrated by CV+ with {len(cross.folds)} folds of the {cross.num_rows} training rows: conformal by "
                f"{cross.method!r}."
            )
        found = [f"{kind} by {c.method!r}" for kind, c in self.model.calibrations.items()]
        return f"Calibrated on the validation data: {', '.join(found)}." if found else "Not calibrated after the fit."

    def _learned_scales(self) -> list[Any]:
        """Return the section of what a learned prior found, the largest scales first; nothing for another prior."""
        scales = self.model.prior_scales(self.settings["samples"])
        largest = sorted(scales.items(), key=lambda item: -item[1])[:_SHOWN_SCALES]
        if not scales:
            return []
        text = (
            "The scale of an input column tells how relevant the column is. "
            f"Shown are the {len(largest)} largest of {len(scales)} scales."
        )
        return [report.Heading("Scales of the learned prior"), report.Text(text), report.Table(dict(largest))]

    def _write_html(self, scores: dict[str, float], pictures: Pictures) -> None:
        num_params, written = self.model.keras_model.count_params(), run_folder.FIT.read_config(self.folder)
        sections: list[Any] = [
            report.Heading("Scores"),
            report.Table(scores),
            report.Text(f"{num_params} parameters, {self.settings['samples']} posterior samples."),
            *self._coverage(),
            report.Heading("Pictures"),
            *(report.Picture(self.folder / name, caption, caption) for name, caption in pictures.items()),
            *self._learned_scales(),
            report.Heading("Method of this run"),
            report.Json(config.encode_or_repr(self.model.method)),
            report.Heading("Settings and versions"),
            report.Json({name: written[name] for name in ("settings", "versions")}),
        ]
        title = f"{self.settings['dataset']}: {self.settings['method']}"
        report.write(self.folder / "report.html", title, sections)
