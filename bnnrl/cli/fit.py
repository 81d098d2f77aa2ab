"""`bnnrl fit`: a Bayesian neural network fitted to data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from bnnrl._tensorflow import import_tensorflow
from bnnrl.cli.groups import Group
from bnnrl.cli.old_settings import migrated
from bnnrl.cli.options import optional
from bnnrl.cli.output import check_file, show
from bnnrl.exit_codes import DONE
from bnnrl.storage import run_folder


@dataclass
class Fit:
    """Fit a Bayesian neural network to data, and write a run folder with scores, pictures and a report.

    Examples: `bnnrl fit digits --method swag`, `bnnrl fit rows.csv --targets price`.
    """

    dataset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
    """A CSV, Parquet or .npz file, an image folder, or the name of a data set of scikit-learn or TFDS."""
    method: str = "ensemble"
    """Inference method, such as ensemble, swag, bbb, laplace or hmc; an unknown name lists all."""
    likelihood: Annotated[str | None, optional("STR", "categorical for classes, else gaussian")] = None
    """Likelihood of the targets: categorical for classes; ordinal for classes that are numbers with an order, such as
    ratings; bernoulli for zeros and ones; gaussian, heteroscedastic or studentt for real targets; poisson or
    negativebinomial for counts. Models of censored targets are fitted in Python."""
    prior: Annotated[
        Literal["learned", "normal"] | None,
        optional("{learned,normal}", "learned for real targets, else normal"),
    ] = None
    """Prior of the weights: N(0, 1), or one whose scales are inferred with the weights."""
    hidden: tuple[int, ...] = (50, 50)
    """Widths of the network's hidden layers. For images, two convolutions come first."""
    activation: str = "relu"
    """Keras activation of the hidden layers."""
    network: Annotated[str | None, optional("STR", "dense layers, see --hidden")] = None
    """A .keras file with the network to fit, which replaces --hidden and --activation."""
    epochs: int = 100
    """Number of passes over the training data."""
    batch_size: int = 32
    """Rows in a minibatch. Methods that need the full data set use all rows."""
    samples: int = 100
    """Number of posterior samples in predictions."""
    targets: Annotated[tuple[str, ...] | None, optional("STR [STR ...]", "the last column")] = None
    """Names of the columns or features that are targets."""
    inputs: Annotated[tuple[str, ...] | None, optional("STR [STR ...]", "all but the targets")] = None
    """Names of the columns or features that are inputs."""
    exclude: Annotated[tuple[str, ...] | None, optional("STR [STR ...]", "none")] = None
    """Names of columns of a table that are no inputs."""
    task: Annotated[
        Literal["classification", "regression"] | None,
        optional("{classification,regression}", "regression for real numbers, else classification"),
    ] = None
    """Whether the targets are classes or real numbers."""
    test: float = 0.2
    """Fraction of the rows for the test data, on which the fit is scored."""
    validation: float = 0.0
    """Fraction of the rows for the validation data, on which the loss is computed after each epoch."""
    split_by: Annotated[str | None, optional("COLUMN", "none")] = None
    """Column of a table whose groups are not divided, such as patient: no group is in two parts, nor in two folds."""
    split_in_time: Annotated[str | None, optional("COLUMN|rows", "none")] = None
    """Column of a table with the time of each row, or rows for the order of the rows: the test data are the latest
    rows, and folds are later than what their models are fitted to."""
    calibrate: Annotated[str | None, optional("STR", "none")] = None
    """Calibration on the validation data, such as auto, normalized, cqr, spread, isotonic, aps or temperature; or cv+,
    by cross-validation on the training data, for which --folds more models are fitted."""
    folds: int = 5
    """Folds of --calibrate cv+."""
    cross_validate: Annotated[int | None, optional("INT", "none")] = None
    """Number of folds of the training data for a cross-validation: so many more models are fitted, each to all rows but
    those of a fold, and scored on the rows of the fold. Add --test 0 to divide all rows."""
    data_dir: Annotated[str | None, optional("STR", "that of TFDS")] = None
    """Folder where TensorFlow Datasets (TFDS) has prepared data sets. If given, DATASET is the name of one of them."""
    seed: int = 0
    """Seed of all random numbers of the run."""
    track: bool = False
    """Log the run to Weights & Biases."""
    folder: Annotated[str | None, optional("STR", "runs/<dataset>/<method>/<seed>-<time>")] = None
    """Run folder."""
    config: Annotated[str | None, optional("FILE", "none")] = None
    """Settings as YAML or JSON, or config.json of an earlier fit; other options replace them."""
    method_fields: Group = field(default_factory=dict)
    likelihood_fields: Group = field(default_factory=dict)

    def run(self) -> int:
        """Fit, print the scores, and return the exit code."""
        settings = dataclasses.asdict(self)
        del settings["folder"], settings["config"]
        if self.data_dir is None:
            check_file(self.dataset)
        import_tensorflow()
        from bnnrl.cli import fit_run

        path, scores = fit_run.run(settings, self.folder)
        show(scores)
        print(f"{path / 'report.html'}")
        return DONE


def settings_of(folder: str) -> dict[str, Any]:
    """Return the options of an earlier fit; those that its config.json lacks have their defaults.

    Raises:
        ValueError: if the folder holds no fit.
    """
    return dataclasses.asdict(Fit("")) | migrated(run_folder.FIT.read_config(folder)["settings"])
