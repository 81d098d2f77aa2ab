"""What a run of `bnnrl fit` leaves beside its model: scores.csv, pictures and report.html."""

from __future__ import annotations

import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bnnrl import data, diagnostics, likelihoods, metrics, report
from bnnrl.cli import fit_data
from bnnrl.cli.fit_pictures import FitPictures, FittedRun, Pictures, draw_losses
from bnnrl.model.bayesian_model import BayesianModel
from bnnrl.model.cross_conformal import CrossConformal
from bnnrl.storage import config, run_folder

_ROWS = 64  # of the training data, by whose predictions chains are diagnosed, as `BayesianModel.fit` does
_LEVELS = (0.5, 0.9, 0.95)  # of the intervals or sets whose coverage is shown
_SHOWN_SCALES = 20  # of a learned prior
_SHOWN_COLUMNS = 100  # of a table


class FitReport(FittedRun):
    """The scores, pictures and report of a fitted model."""

    def scores(self, seed: int = 0) -> dict[str, float]:
        """Return the scores on the test part of the data, or on the training part if there is no test part."""
        return self.model.evaluate(self.scored_part[1], num_samples=self.num_samples, seed=seed)

    def write(self) -> tuple[dict[str, float], Pictures]:
        """Write scores.csv, the pictures and report.html; return the scores, and the pictures' captions by file."""
        scores = self.scores()
        run_folder.write_table(self.folder / "scores.csv", list(scores), [scores])
        pictures = self._pictures.draw({f"{self.scored_part[0]} NLL after the fit": scores["nll"]})
        self._write_html(scores, pictures)
        return scores, pictures

    def problems(self, scores: dict[str, float]) -> list[str]:
        """Return what is absurd about the predictions, such as values far beyond all observed targets."""
        broken = [name for name, value in scores.items() if not np.isfinite(value)]
        if broken:
            return [
                f"The fit failed: {', '.join(broken)} of the {self.scored_part[0]} rows not finite. Lower the "
                "learning rate or step size, or take another method."
            ]
        return _far_predictions(self._pictures, self.rows) if self.rows.class_names is None else []

    @cached_property
    def _pictures(self) -> FitPictures:
        return FitPictures(self.folder, self.settings, self.rows, self.model, self.history)

    @property
    def _shown_rows(self) -> tuple[Any, np.ndarray]:
        """The first rows of the scored part."""
        return self._pictures.shown

    @cached_property
    def coverage(self) -> dict[str, str]:
        """The coverage of the intervals or sets of each level, in words; none for a likelihood without either."""
        x, y = self._shown_rows
        samples, of_classes = self.num_samples, likelihoods.Categorical | likelihoods.Ordinal
        classes = isinstance(self.model.likelihood, of_classes)
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
        return lines

    def _coverage(self) -> list[Any]:
        """Return the section on the coverage of intervals or sets."""
        if not self.coverage:
            return []
        return [report.Heading("Coverage"), report.Text(self._calibration_text()), report.Table(self.coverage)]

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

    def _folds(self) -> list[Any]:
        """Return the section of the cross-validation that folds.csv holds; nothing without the file."""
        path = self.folder / "folds.csv"
        if not path.exists():
            return []
        text = (
            "Each row of the table is a model that was fitted to the training rows outside of a fold, and scored on "
            "the rows of the fold. The last row holds the scores of the rows of all folds together. Coverage is that "
            "of the 95 % intervals or sets, with the ends of its 95 % confidence interval."
        )
        table = report.Table(run_folder.read_table(path))
        return [report.Heading("Cross-validation"), report.Text(text), table]

    def _learned_scales(self) -> list[Any]:
        """Return the section of what a learned prior found, the largest scales first; nothing for another prior."""
        scales = self.model.prior_scales(self.num_samples)
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
        part, rows = self.scored_part
        sections: list[Any] = [
            *_warning_section(written.get("warnings", []) + self.problems(scores)),
            *data_sections(self.rows, self.model.likelihood),
            report.Heading("Scores"),
            report.Text(f"Of the {fit_data.count_rows(rows)} {part} rows. NLL is in nats per row."),
            report.Table(scores),
            report.Text(f"{num_params} parameters, {self.num_samples} posterior samples."),
            *self._coverage(),
            *self._folds(),
            *_chain_section(written.get("chains")),
            report.Heading("Pictures"),
            *picture_sections(self.folder, pictures),
            *self._learned_scales(),
            report.Heading("Method of this run"),
            report.Json(config.encode_or_repr(self.model.method)),
            *settings_sections(written),
        ]
        report.write(self.folder / "report.html", title_of(self.settings), sections)


def write_diverged(
    folder: Path,
    settings: dict[str, Any],
    rows: data.Data,
    likelihood: likelihoods.Likelihood,
    history: list[dict[str, Any]],
) -> None:
    """Write the report of a fit that diverged, from what `bnnrl fit` noted in config.json."""
    written = run_folder.FIT.read_config(folder)
    found, pictures = written["diverged"], {}
    if history:
        pictures = draw_losses(folder, history, title_of(settings), 0.0, {})
    text = f"The fit diverged at step {found['step']}, in epoch {found['epoch']}. There is no model."
    sections = [
        report.Heading("Diverged"),
        report.Text(f"{text}\n\n{found['message']}"),
        *_warning_section(written.get("warnings", [])),
        *data_sections(rows, likelihood),
        *picture_sections(folder, pictures),
        *settings_sections(written),
    ]
    report.write(folder / "report.html", f"{title_of(settings)}, diverged", sections)


def title_of(settings: dict[str, Any]) -> str:
    """Return the title of a fit's report."""
    return f"{settings['dataset']}: {settings['method']}"


def data_sections(rows: data.Data, likelihood: likelihoods.Likelihood) -> list[Any]:
    """Return the section on rows, features, task, likelihood and columns."""
    lines = fit_data.described(rows, likelihood)
    hidden = len(lines) - _SHOWN_COLUMNS
    shown = dict(list(lines.items())[:_SHOWN_COLUMNS])
    more = [report.Text(f"Not shown: {hidden} more columns.")] if hidden > 0 else []
    return [report.Heading("Data"), report.Table(shown), *more]


def picture_sections(folder: Path, pictures: Pictures) -> list[Any]:
    """Return the pictures with their captions."""
    return [report.Picture(folder / name, caption, caption) for name, caption in pictures.items()]


def settings_sections(written: dict[str, Any]) -> list[Any]:
    """Return the section of a run's settings and versions, from its config.json."""
    found = {name: written[name] for name in ("settings", "versions")}
    return [report.Heading("Settings and versions"), report.Json(found)]


def chain_figures(model: BayesianModel, rows: data.Data) -> dict[str, Any] | None:
    """Return the diagnostics of a sampler's chains by their predictions of the first training rows; None without."""
    if not diagnostics.are_chains(model.posterior):
        return None
    x = rows.train[0] if isinstance(rows.train, tuple) else next(rows.train.batch(_ROWS).as_numpy_iterator())[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", diagnostics.SamplingWarning)  # `fit` has warned of the same
        found = model.diagnose(x[:_ROWS])
    num_chains, num_draws = model.chains(x[:1]).shape[:2]
    known = lambda value: None if value is None or not np.isfinite(value) else float(value)
    return {
        "chains": num_chains,
        "draws of each chain": num_draws,
        "largest R-hat": known(np.nanmax(found.rhat, initial=0.0)),
        "smallest effective sample size": known(np.nanmin(found.ess, initial=np.inf)),
        "median effective sample size": known(np.nanmedian(found.ess)),
        "acceptance probability": known(found.accept),
        "share of transitions that diverged": known(found.divergent),
        "adapted step size": known(found.step_size),
    }


def _chain_section(figures: dict[str, Any] | None) -> list[Any]:
    """Return the section of what `chain_figures` found; nothing for other posteriors and for older runs."""
    if not figures:
        return []
    text = (
        "R-hat and effective sample size are those of the network's outputs at the first training rows. Chains that "
        "agree have an R-hat near 1."
    )
    known = {name: value for name, value in figures.items() if value is not None}
    return [report.Heading("Chains"), report.Text(text), report.Table(known)]


def _warning_section(messages: list[str]) -> list[Any]:
    return [report.Heading("Warnings"), *map(report.Text, messages)] if messages else []


def _far_predictions(pictures: FitPictures, rows: data.Data) -> list[str]:
    """Return a message if predictive means are beyond the training targets by more than the width of their range."""
    y = rows.train[1] if isinstance(rows.train, tuple) else pictures.y
    flat = lambda values: np.asarray(values, np.float64).reshape(len(values), -1)  # [N, K]
    observed, predicted = flat(y), flat(pictures.predicted)
    low, high = np.nanmin(observed, axis=0), np.nanmax(observed, axis=0)
    beyond = np.maximum(low - predicted, predicted - high) - (high - low)  # [N, K]
    if not (beyond > 0).any():
        return []
    row, entry = np.unravel_index(np.argmax(beyond), beyond.shape)
    return [
        f"Predictions are absurd: {int((beyond > 0).any(axis=1).sum())} of {len(predicted)} predictions are beyond "
        f"the training targets by more than their range, such as {predicted[row, entry]:.6g} where targets are "
        f"{low[entry]:.6g} to {high[entry]:.6g}. Lower the learning rate or step size, take more epochs or another "
        "method, or check the inputs for outliers."
    ]
