"""`bnnrl fit`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from bnnrl._tensorflow import import_tensorflow
from bnnrl.cli.output import show


@dataclass
class Fit:
    """Fit a network to data: `bnnrl fit digits --method swag`, `bnnrl fit rows.csv --targets price`."""

    dataset: Annotated[str, tyro.conf.Positional]
    """A CSV or Parquet file, an image folder, one of scikit-learn's data sets, or a prepared one of TFDS."""
    method: str = "ensemble"
    """Inference method."""
    likelihood: str | None = None
    """categorical, bernoulli, gaussian, heteroscedastic or poisson; by the targets if not given."""
    hyper: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """Hyper-parameters of the method, such as size=10 or learning_rate=1e-2."""
    hidden: tuple[int, ...] = (50, 50)
    """Widths of the network's hidden layers; images pass two convolutions first."""
    activation: str = "relu"
    """Of the hidden layers."""
    network: str | None = None
    """A .keras file with the architecture, instead."""
    epochs: int = 100
    """Passes over the data."""
    batch_size: int = 32
    """Rows in a minibatch; methods that need all rows get them."""
    samples: int = 100
    """Draws of the posterior in predictions."""
    targets: tuple[str, ...] | None = None
    """Columns or features that are targets; a table's last column if not given."""
    task: Literal["classification", "regression"] | None = None
    """How to read the targets; by their type if not given."""
    test: float = 0.2
    """Share of the rows to score on."""
    validation: float = 0.0
    """Share of the rows to score after each epoch."""
    data_dir: str | None = None
    """Where TFDS prepared data."""
    seed: int = 0
    """All randomness derives from it."""
    track: bool = False
    """Log to Weights & Biases."""
    folder: str | None = None
    """Run folder; runs/<dataset>/<method>/<seed>-<time> if not given."""

    def run(self) -> int:
        """Fit, print the scores, and return the exit code."""
        settings = dataclasses.asdict(self)
        del settings["folder"]
        import_tensorflow()
        from bnnrl.cli import fit_run

        path, scores = fit_run.run(settings, self.folder)
        show(scores)
        print(f"{path / 'report.html'}")
        return 0
