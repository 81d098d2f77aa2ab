"""Every method by name against the best settings that a search finds for it, on small data sets.

    python experiments/tuned.py
    python experiments/tuned.py --folder UCI_Datasets --sets concrete --methods swag vbll

Data, network and prior are those of experiments/defaults.py. A fifth of the training rows are validation rows. A search
of 20 trials by Optuna's TPE changes the fields that `bnnrl tune` changes for the method; the number of epochs, from 30
to 300; and a factor of all learning rates and step sizes, from 0.1 to 10, which `bnnrl tune` leaves as they follow from
the run. The network and the minibatches of 32 rows stay. The first trial is the method by its name alone, for 100
epochs. The trial with the least negative log-likelihood of the validation rows is the tuned method.

Both, by name and tuned, are then fitted to all training rows with each seed, and scored on test rows that the search
never saw. Where the tuned method is ahead by more than 0.1 nats, a third set of fits tells why: each has a single
setting of the tuned method, and the others by name.

Methods that need all rows at every step take minutes for a fit, and are left out. Adds a row for each method and set to
a CSV file in experiments/results/, in the place of an earlier row of the same, and writes a table of all its rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import defaults
import numpy as np
import tyro
from sweeps import Row, check_names, collect, heading, quiet_single_thread, run_all

AHEAD = 0.1  # nats by which a tuned method may be ahead of the method by name
SETS = ("diabetes", "friedman1", "concrete")
BY_NAME = {"epochs": defaults.EPOCHS, "batch_size": defaults.BATCH, "rate": 1.0}
RATES = ("learning_rate", "step_size")  # fields whose values the factor multiplies
FIT = ("set", "method")  # columns that say which search a row is of


@dataclass
class Args:
    """Settings of the comparison of methods by name with tuned ones."""

    folder: Path | None = None
    """Folder of the UCI data sets, for those of them among `sets`."""
    sets: tuple[str, ...] = SETS
    """Names of data sets, see experiments/defaults.py."""
    methods: tuple[str, ...] = ()
    """Names of methods; by default, all that train with minibatches."""
    trials: int = 20
    """Trials of a search."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the last fits. The first is also that of the rows' division and of the search."""
    jobs: int = 1
    """Number of searches at the same time, each with one thread."""
    name: str = "tuned"
    """Name of the result files."""


def space(method: str) -> dict[str, dict[str, Any]]:
    """Return the search space of a method, as `bnnrl tune` writes it."""
    from bnnrl.cli import tune_space

    found = tune_space.default("fit", method)
    del found["hidden"], found["batch_size"]
    return {**found, "batch_size": {"choices": [defaults.BATCH]}, "rate": {"low": 0.1, "high": 10.0, "log": True}}


def scaled(method: Any, factor: float) -> Any:
    """Return a method with all learning rates and step sizes, its own and those of a wrapped one, times a factor."""
    from bnnrl.inference import CurvatureStep, Schedule

    changed: dict[str, Any] = {}
    for field in fields(method):
        value = getattr(method, field.name)
        if field.name not in RATES:
            changed[field.name] = scaled(value, factor) if is_dataclass(value) else value
        elif isinstance(value, Schedule):
            changed[field.name] = replace(value, initial=factor * value.initial, final=factor * value.final)
        elif isinstance(value, CurvatureStep):
            changed[field.name] = replace(value, least=factor * value.least)
        else:
            changed[field.name] = factor * value
    return replace(method, **changed)


def make_method(name: str, settings: Mapping[str, Any], rows: int, num_params: int) -> Any:
    """Return the method by name for a run of these settings, with those of its fields that they name."""
    from bnnrl.inference import Run, for_run

    batch = int(settings["batch_size"])
    run = Run(settings["epochs"] * max(1, rows // batch), rows, batch, num_params)
    own = {key.removeprefix("method."): value for key, value in settings.items() if key.startswith("method.")}
    return scaled(for_run(name, run, **own), settings["rate"])


def nll(data: Any, part: Any, name: str, method: str, settings: Mapping[str, Any], seed: int) -> float:
    """Return the negative log-likelihood of a part's rows after a fit; infinity if the fit fails."""
    from bnnrl.inference import Diverged

    x = data.train[0]
    model = defaults.make_model(name, method, "learned", x.shape[1])
    if dict(settings) != BY_NAME:
        chosen = make_method(method, settings, len(x), model.keras_model.count_params())
        model = defaults.make_model(name, chosen, "learned", x.shape[1])
    try:
        model.fit(data, batch_size=settings["batch_size"], epochs=settings["epochs"], seed=seed, verbose=0)
        found = model.evaluate(part, seed=seed)["nll"]
    except (ValueError, Diverged):
        return float("inf")
    return found if np.isfinite(found) else float("inf")


def search(folder: Path | None, name: str, method: str, trials: int, seed: int) -> dict[str, Any]:
    """Return the settings with the least negative log-likelihood on validation rows."""
    import optuna

    from bnnrl.cli import tune_space

    data, options = defaults.load(folder, name, seed, validation=0.2), space(method)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    by_name = nll(data, data.validation, name, method, BY_NAME, seed)
    best: tuple[float, dict[str, Any]] = by_name, dict(BY_NAME)
    for _ in range(trials - 1):
        trial = study.ask()
        settings = tune_space.suggest(trial, options)
        score = nll(data, data.validation, name, method, settings, seed)
        study.tell(trial, min(score, 1e6))
        best = min(best, (score, settings), key=lambda pair: pair[0])
    return best[1]


def run(folder: Path | None, name: str, method: str, trials: int, seeds: tuple[int, ...]) -> list[Row]:
    """Tune a method on a data set, and return a row with test scores by name, tuned, and with each tuned setting."""
    quiet_single_thread()
    import warnings

    warnings.simplefilter("ignore", UserWarning)  # of chains that have not mixed, and of short runs
    settings = search(folder, name, method, trials, seeds[0])
    data = defaults.load(folder, name, seeds[0])
    median = lambda chosen: float(np.median([nll(data, data.test, name, method, chosen, seed) for seed in seeds]))
    by_name, tuned = median(BY_NAME), median(settings)
    alone: dict[str, float] = {}
    if by_name > tuned + AHEAD:
        alone = {key: median({**BY_NAME, key: value}) for key, value in settings.items() if BY_NAME.get(key) != value}
    scores = {"default": by_name, "tuned": tuned}
    return [{"set": name, "method": method, **scores, "settings": json.dumps(settings), "alone": json.dumps(alone)}]


def shown(settings: Mapping[str, Any]) -> str:
    """Return settings as text: numbers with three digits, and the fields of a method without "method."."""
    value = lambda a: f"{a:.3g}" if isinstance(a, float) else str(a)
    return ", ".join(f"{key.removeprefix('method.')} {value(entry)}" for key, entry in settings.items())


def tell(rows: list[Row]) -> str:
    """Return a line about the search of a method on a data set."""
    (row,) = rows
    return f"{row['set']}, {row['method']}: by name {row['default']:.3f}, tuned {row['tuned']:.3f}, {row['settings']}"


def summary(rows: list[Row]) -> str:
    """Return a Markdown table with a row for each method and set."""
    lines = heading(
        "Negative log-likelihood of test rows by name and tuned",
        ["set", "method", "by name", "tuned", "difference", "tuned settings", "by name with one of them"],
    )
    for row in rows:
        behind = row["default"] - row["tuned"]
        difference = f"**{behind:.3f}**" if behind > AHEAD else f"{behind:.3f}"
        settings = shown(json.loads(row["settings"])) if json.loads(row["settings"]) != BY_NAME else "as by name"
        columns = [f"{row['default']:.3f}", f"{row['tuned']:.3f}", difference, settings]
        lines.append(f"| {' | '.join([row['set'], row['method'], *columns, shown(json.loads(row['alone']))])} |")
    lines += ["", f"Medians over the seeds of the fit. Bold is a tuned method that is ahead by more than {AHEAD}."]
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Run all searches, and write the results."""
    quiet_single_thread()
    from bnnrl.inference import REGISTRY, get

    small = [method for method in REGISTRY if not get(method).full_batch_only]
    check_names("sets", args.sets, (*defaults.SHIPPED, *defaults.OF_FOLDER))
    check_names("methods", args.methods, small)
    calls = [(args.folder, s, m, args.trials, args.seeds) for s in args.sets for m in args.methods or small]
    collect(run_all(run, calls, args.jobs), args.name, tell, summary, kept_by=FIT)


if __name__ == "__main__":
    main(tyro.cli(Args))
