"""Every inference method on handwritten digits: classification, and detection of digits not seen in training.

    python experiments/digits.py --seeds 0 1 2

The data are scikit-learn's 1797 digits of 8 x 8 pixels. Four fifths are training rows, the same as in
experiments/peers. The network is 64-100-100-10 with N(0, 1) priors, unless the method's name gives another prior,
and is fitted for 100 epochs with minibatches of 32 rows. Predictions use 100 posterior samples. A second fit is
without two of the classes; its epistemic uncertainty is scored on how well it detects digits of these classes.

Writes a row for each run, and a table, to experiments/results/.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import tyro
from sweeps import Row, check_names, quiet_single_thread, run_all, spread, tabulate

EPOCHS, BATCH, HELD_OUT = 100, 32, (8, 9)
# Averaging members makes predictions less confident. With N(0, 1) priors, members are underconfident already.
WIDE = "ensemble, N(0, 9)"
COLUMNS = ("accuracy", "nll", "ece", "ood_auroc", "seconds")


def methods(steps: int) -> dict[str, Any]:
    """Return each method for a run of `steps` minibatches; methods that need all rows set their own number of steps."""
    from bnnrl import inference as bi

    falling = lambda rate: bi.Schedule(rate, rate / 100, steps)
    adam, per_epoch = bi.Adam(falling(3e-3)), steps // EPOCHS
    return {
        "sgd": bi.SGD(falling(0.05), momentum=0.9),
        "adam": adam,
        "ensemble": bi.Ensemble(adam, 5),
        WIDE: bi.Ensemble(adam, 5),
        "dropout": bi.MCDropout(falling(3e-3), rate=0.1),
        "sgld": bi.Ensemble(bi.SGLD(3e-5, steps // 2, per_epoch, 50), 2),
        "hmc": bi.WarmStart(bi.HMC(1e-3, 20, chains=2, burn_in=60, max_draws=20, mass="identity"), bi.Adam(3e-3), 600),
        "swag": bi.SWAG(bi.Adam(1e-3), start=steps // 2, every=per_epoch, rank=20),
        "laplace": bi.Laplace(adam, start=steps - 2 * per_epoch),
        "bbb": bi.BBB(falling(3e-3), temperature=0.03),
        "vadam": bi.VADAM(falling(3e-2), temperature=0.003),
        "bsam": bi.BSAM(falling(0.1), s_init=10.0, clip_radius=0.1, temperature=0.03),
        "ivon": bi.IVON(falling(0.1), hess_init=0.1, clip_radius=0.3, temperature=0.03),
    }


@dataclass
class Args:
    """Settings of the digits experiment."""

    methods: tuple[str, ...] = ()
    """Names of methods; all by default."""
    seeds: tuple[int, ...] = (0, 1, 2)
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "digits"
    """Name of the result files."""


def fit(name: str, x: np.ndarray, y: np.ndarray, seed: int) -> tuple[Any, float]:
    """Return a fitted model and the seconds of the fit, including compilation."""
    import keras
    from tensorflow_probability import distributions as tfd

    import bnnrl

    layers = [keras.layers.Dense(100, "relu"), keras.layers.Dense(100, "relu"), keras.layers.Dense(10)]
    method = methods(len(x) // BATCH * EPOCHS)[name]
    prior = tfd.Normal(0.0, 3.0 if name == WIDE else 1.0)
    model = bnnrl.BayesianModel(keras.Sequential([keras.Input((64,)), *layers]), "categorical", prior, method)
    whole = method.full_batch_only
    started = perf_counter()
    model.fit(x, y, batch_size=None if whole else BATCH, epochs=700 if whole else EPOCHS, seed=seed, verbose=0)
    return model, perf_counter() - started


def run(name: str, seed: int) -> Row:
    """Fit once with all classes and once without the held-out classes, and return a row."""
    quiet_single_thread()
    import warnings

    from sklearn.datasets import load_digits

    from bnnrl import metrics
    from bnnrl.diagnostics import SamplingWarning

    warnings.simplefilter("ignore", SamplingWarning)
    x, y = (np.asarray(a) for a in load_digits(return_X_y=True))
    order = np.random.default_rng(seed).permutation(len(x))
    x, y, cut = x[order] / 16, y[order], int(0.8 * len(x))
    model, seconds = fit(name, x[:cut], y[:cut], seed)
    scores = model.evaluate(x[cut:], y[cut:])
    seen = ~np.isin(y[:cut], HELD_OUT)
    blind, _ = fit(name, x[:cut][seen], y[:cut][seen], seed)
    parts, strange = blind.uncertainty(x[cut:]), np.isin(y[cut:], HELD_OUT)
    doubt = parts.total if name in ("sgd", "adam") else parts.epistemic  # a point estimate has no epistemic uncertainty
    auroc = metrics.ood_auroc(doubt[~strange], doubt[strange])
    return {"method": name, "seed": seed, **{k: scores[k] for k in COLUMNS[:3]}, "ood_auroc": auroc, "seconds": seconds}


def summary(rows: list[Row]) -> str:
    """Return a Markdown table with medians and ranges over seeds."""
    lines = [f"| method | {' | '.join(COLUMNS)} |", "|---|" + "---|" * len(COLUMNS)]
    for name in dict.fromkeys(row["method"] for row in rows):
        cells = []
        for column in COLUMNS:
            digits = 1 if column == "seconds" else 3
            own = (row[column] for row in rows if row["method"] == name)
            cells.append(spread(own, f"{{:.{digits}f}}".format))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Run all methods and seeds, and write the results."""
    quiet_single_thread()
    known = list(methods(EPOCHS))
    check_names("methods", args.methods, known)
    calls = [(name, seed) for name in args.methods or known for seed in args.seeds]
    tabulate(run_all(run, calls, args.jobs), args.name, summary)


if __name__ == "__main__":
    main(tyro.cli(Args))
