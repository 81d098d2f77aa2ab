"""`cross_validate`: scores and calibration of a model on rows that it was not fitted to, by k-fold cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np

from bnnrl import data
from bnnrl.checks import check_flag, check_open_unit
from bnnrl.html_table import html_of_table
from bnnrl.metrics.calibration import bin_by_confidence
from bnnrl.metrics.conformal import Coverage, coverage
from bnnrl.metrics.predictive import Counted
from bnnrl.metrics.regression import r2_of, varies
from bnnrl.model import inputs, keras_data
from bnnrl.model.bayesian_model import BayesianModel
from bnnrl.model.folds import fitted, splits

_SHOWN = ("nll", "rmse", "r2", "accuracy", "ece")  # scores in the text of a result


class Fold(NamedTuple):
    """The scores of one fold's model on the rows that were held out."""

    num_train: int  # rows that the model was fitted to
    held_out: np.ndarray  # indices of the rows held out, [m]
    scores: dict[str, float]  # see `bnnrl.metrics.scores`
    coverage: Any  # Coverage of the intervals or sets; None for a likelihood without either


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The scores of a cross-validation, for each fold and for all rows that were held out together.

    `print` shows a table of them.

    Attributes:
        folds: the folds.
        scores: of all rows held out, each by the model that has not seen the row: the names are those of
            `BayesianModel.evaluate`. "rmse", "r2", "ece" and "ace" are computed from the rows of all folds together,
            and are not the means over the folds.
        coverage: the share of all rows held out whose target is in its interval or set, with the 95 % confidence
            interval for independent rows; None for a likelihood without either.
        level: the level of the intervals or sets.
        predictions: the predictive mean of each row by the model that has not seen the row, or the probabilities of
            its classes, [N, ...]. NaN for rows that no fold holds out. None for a likelihood without a mean.
        division: how the rows were divided, in words.
    """

    folds: tuple[Fold, ...]
    scores: dict[str, float]
    coverage: Any  # Coverage | None; with the union type, each use would need a check
    level: float
    predictions: Any  # np.ndarray | None
    division: str

    @property
    def num_rows(self) -> int:
        """The number of rows that were held out."""
        return sum(len(fold.held_out) for fold in self.folds)

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each fold, and one for all folds together, with the same columns.

        The columns are "fold", "training rows", "rows", the scores, and "coverage" with "coverage low" and "coverage
        high", the ends of its confidence interval.
        """
        number = lambda k, fold: {"fold": str(k), "training rows": fold.num_train, "rows": len(fold.held_out)}
        of_coverage = lambda found: (
            {} if found is None else {"coverage": found.share, "coverage low": found.low, "coverage high": found.high}
        )
        rows = [{**number(k + 1, f), **f.scores, **of_coverage(f.coverage)} for k, f in enumerate(self.folds)]
        every = {"fold": "all", "training rows": None, "rows": self.num_rows}
        return [*rows, {**every, **self.scores, **of_coverage(self.coverage)}]

    def _repr_html_(self) -> str:
        return html_of_table(self.table(), f"{len(self.folds)} folds, {self.division}; coverage of {self.level:.0%}")

    def __str__(self) -> str:
        names = [name for name in _SHOWN if name in self.scores]
        covered = [] if self.coverage is None else [f"coverage of {self.level:.0%} (95 % confidence interval)"]
        lines = [["fold", "rows", *names, *covered]]
        for row in self.table():
            figures = [f"{row[name]:.4g}" if name in row else "" for name in names]
            interval = f"{row['coverage']:.3f} ({row['coverage low']:.3f} to {row['coverage high']:.3f})"
            lines.append([row["fold"], str(row["rows"]), *figures, *([interval] if covered else [])])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = ("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines)
        return "\n".join([f"{len(self.folds)} folds, {self.division}", *aligned])


def cross_validate(
    model: BayesianModel | Callable[[], BayesianModel],
    x,
    y=None,
    folds: int = 5,
    *,
    stratify: bool = False,
    groups=None,
    times=None,
    level: float = 0.95,
    batch_size: int | None = 32,
    epochs: int = 10,
    class_weight: Mapping[Any, float] | None = None,
    num_samples: int = 100,
    seed: int = 0,
) -> CrossValidation:
    """Fit a model to all rows but those of a fold, for each of K folds, and score it on the rows that it has not seen.

    The given model is not changed. Rows from `bnnrl.data.load` are standardised anew by the training rows of each fold.
    What was learned from all rows before, such as the medians in place of missing entries of a table, is not.

    By default the rows are divided at random. Rows that depend on each other must not be in two folds, or the scores
    are too good: several rows of one patient or machine have the same `groups`, and rows in the order of time get
    `times`.

    Args:
        model: a BayesianModel, of which unfitted copies are fitted; or a function without arguments that makes an
            unfitted one, for a network that is to be another object for each fold.
        x: the rows, as in `BayesianModel.fit`; of the result of `bnnrl.data.load` the training part is taken.
        y: targets [N, ...]; None if they come with `x`.
        folds: K, the number of folds.
        stratify: whether all folds get the same share of every class. Targets are then one class for each row.
        groups: the group of each row, [N] of numbers or strings: no group is in two folds. Of the result of
            `bnnrl.data.load`, the groups or times that it was given, unless one of them is given here.
        times: the time of each row, [N] of numbers or dates. The distinct times are cut into K + 1 blocks in their
            order, and fold k holds out block k + 1 of a model of all blocks before: no model has seen the future. The
            first block is never held out. `range(N)` for rows that are in the order of time.
        level: of the intervals or sets whose coverage is counted.
        batch_size: of the fits, as in `BayesianModel.fit`.
        epochs: of the fits, as in `BayesianModel.fit`.
        class_weight: of the fits, as in `BayesianModel.fit`. The scores are not weighted.
        num_samples: posterior samples in predictions, as in `BayesianModel.predict`.
        seed: of the division into folds, of the fits and of the predictions.

    Returns:
        The scores and the coverage of each fold and of all folds together.

    Raises:
        ValueError: if there are too few rows, groups, times or rows of a class for the folds, `times` comes with
            `stratify` or `groups`, or as in `BayesianModel.fit`.
        bnnrl.inference.Diverged: if the fit of a fold diverges.

    Source: Stone, "Cross-Validatory Choice and Assessment of Statistical Predictions", JRSS B 1974; for times Bergmeir
    and Benítez, "On the Use of Cross-Validation for Time Series Predictor Evaluation", Information Sciences 2012.
    """
    make = _maker(model)
    level, like = check_open_unit("level", level), make()._adapter
    given = keras_data.gathered(x, y, None)
    if isinstance(given.x, data.Data):
        like.set_scalers(given.x.x_scaler, given.x.y_scaler)
        like.columns = given.x.columns
        x, y = like.own_rows(given.x.train)
        if groups is None and times is None:
            groups, times = given.x.groups, given.x.times
    else:
        x, y = like.own_rows(given.x, given.y)
    labels = _labels(y) if check_flag("stratify", stratify) else None
    divisions = splits(len(y), folds, seed, labels, groups, times)
    how = {"batch_size": batch_size, "epochs": epochs, "class_weight": class_weight, "seed": seed, "verbose": 0}
    scored = [
        _scored(fold_model, inputs.take(x, rows), y[rows], level, num_samples, seed)
        for fold_model, rows in fitted(make, x, y, divisions, like, **how)
    ]
    found = [
        Fold(len(division.train), division.held_out, each.scores, each.coverage)
        for division, each in zip(divisions, scored, strict=True)
    ]
    hits = [each.hits for each in scored if each.hits is not None]
    return CrossValidation(
        tuple(found),
        _pooled(scored),
        coverage(np.concatenate(hits)) if hits else None,
        level,
        _placed(len(y), divisions, scored),
        _in_words(stratify, groups, times),
    )


def _maker(model: Any) -> Callable[[], BayesianModel]:
    """Return a function that makes an unfitted model.

    Raises:
        ValueError: if `model` is neither a BayesianModel nor a function that makes one.
    """
    if isinstance(model, BayesianModel):
        return model.clone
    made: Any = model() if callable(model) and not isinstance(model, type) else model
    if not isinstance(made, BayesianModel):
        raise ValueError(
            "Invalid `model`: expected a BayesianModel, or a function without arguments that makes one. Received: "
            f"{model!r:.90}" + ("." if made is model else f", which made {type(made).__name__}.")
        )
    return cast(Any, model)


def _labels(y: np.ndarray) -> np.ndarray:
    """Return the class of each row, [N].

    Raises:
        ValueError: if targets are not one whole number for each row.
    """
    if y.size != len(y) or np.any(y != np.round(y)):
        raise ValueError(
            "Invalid `stratify`: expected False for targets that are not one class for each row. Received: "
            f"stratify=True, and targets of shape {y.shape}."
        )
    return y.reshape(-1)


def _in_words(stratify: bool, groups, times) -> str:
    if times is not None:
        return "in the order of time, each after all rows of its training part"
    return f"at random{', by whole groups' * (groups is not None)}{', with equal shares of every class' * stratify}"


class _Scored(NamedTuple):
    """What the model of a fold predicts for the m rows held out."""

    scores: dict[str, float]
    num_rows: int  # m
    hits: np.ndarray | None  # whether targets are in their intervals or sets, [n, ...]; n = m without time steps
    expected: np.ndarray | None  # predictive means or probabilities of classes, [m, ...]
    # Targets and predictions of what counts in scores, which are n time steps where the network masks some:
    target: np.ndarray  # [n, ...]
    counted: np.ndarray | None  # [n, ...]

    @property
    def coverage(self) -> Coverage | None:
        return None if self.hits is None else coverage(self.hits)


def _scored(model: BayesianModel, x: inputs.Arrays, y: np.ndarray, level: float, num_samples: int, seed) -> _Scored:
    """Return the scores of a fold's model on rows in their own units that it has not seen."""
    how = {"num_samples": num_samples, "seed": seed}
    scores, counted = model.evaluate(x, y, **how), Counted(None, model._adapter.mask(model._adapter.inputs(x)))
    expected = model.predict(x, **how) if len(scores) > 1 else None
    hits = None
    try:
        if "accuracy" in scores:
            sets = model.predict_set(x, level, **how)
            label = y.reshape(sets.shape[:-1]).astype(int)[..., np.newaxis]
            hits = np.take_along_axis(sets, label, axis=-1)[..., 0]
        else:
            low, high = model.interval(x, level, **how)
            hits = (low <= y.reshape(low.shape)) & (y.reshape(low.shape) <= high)
    except ValueError:  # a likelihood without quantiles has no intervals
        pass
    of = lambda values: None if values is None else counted.entries(values)
    return _Scored(scores, len(y), of(hits), expected, counted.entries(y), of(expected))


def _pooled(scored: list[_Scored]) -> dict[str, float]:
    """Return the scores of the rows of all folds together."""
    names = [name for name in scored[0].scores if all(name in each.scores for each in scored)]
    of_folds = {name: np.array([each.scores[name] for each in scored]) for name in names}
    entries, rows = [len(each.target) for each in scored], [each.num_rows for each in scored]
    average = lambda name, values: float(np.average(values, weights=rows if name == "nll" else entries))
    found = {name: average(name, values) for name, values in of_folds.items()}
    if scored[0].counted is None:
        return found
    target = np.concatenate([each.target for each in scored])
    expected = np.concatenate([each.counted for each in scored if each.counted is not None]).astype(np.float64)
    if "accuracy" not in found:
        target = target.reshape(expected.shape).astype(np.float64)
        mean_square = float(np.average(of_folds["rmse"] ** 2, weights=entries))
        return {**found, "rmse": mean_square**0.5, **({"r2": r2_of(target, expected)} if varies(target) else {})}
    hit, confidence = _classified(target, expected)
    errors = {name: bin_by_confidence(hit, confidence, adaptive=name == "ace").error for name in ("ece", "ace")}
    return {**found, **errors}


def _classified(target: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whether the most probable class is that of the target, and its probability, for each entry, [n]."""
    if probs.size == target.size:  # of y = 1
        of_one = probs.reshape(-1)
        return (of_one > 0.5) == (target.reshape(-1) > 0.5), np.maximum(of_one, 1 - of_one)
    probs = probs.reshape(-1, probs.shape[-1])
    return probs.argmax(axis=1) == target.reshape(-1), probs.max(axis=1)


def _placed(rows: int, divisions: list[Any], scored: list[_Scored]) -> np.ndarray | None:
    """Return the predictions of all folds in the order of the rows, NaN for rows that no fold holds out."""
    if scored[0].expected is None:
        return None
    found = np.full((rows, *scored[0].expected.shape[1:]), np.nan, np.float32)
    for division, each in zip(divisions, scored, strict=True):
        found[division.held_out] = each.expected
    return found
