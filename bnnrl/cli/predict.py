"""`bnnrl predict`: predictions of a fitted model for the rows of a new table."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import bnnrl
from bnnrl.checks import check_count, check_open_unit
from bnnrl.cli.options import optional
from bnnrl.cli.output import check_file, warn
from bnnrl.exit_codes import DONE


@dataclass
class Predict:
    """Predict the targets of new rows with a model that was fitted to a table, and write a CSV file.

    The file has a line for each row: mean, standard deviation and interval of each target, or the most probable class
    and the probability of each class. Columns are found by their names.

    Example: `bnnrl predict runs/rows/ensemble/0-20260101-120000 new.csv`.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Run folder of `bnnrl fit`, or a folder that a model was saved to."""
    rows: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """A CSV or Parquet file with the columns that the model was fitted to."""
    output: Annotated[str | None, optional("STR", "FILE with -predictions.csv at its end")] = None
    """The file to write."""
    level: float = 0.95
    """Probability with which an interval is to hold the target."""
    samples: int = 100
    """Number of posterior samples."""
    seed: int = 0
    """Seed of the posterior samples."""

    def run(self) -> int:
        """Write the predictions, print the path of their file, and return the exit code."""
        check_open_unit("--level", self.level)
        check_count("--samples", self.samples)
        check_file(self.rows)
        path = Path(self.rows)
        output = Path(self.output or path.with_name(f"{path.stem}-predictions.csv"))
        if output.exists() and os.path.samefile(output, path):
            raise ValueError(f"Invalid `--output`: expected another file than that of the rows. Received: {output}.")
        model = bnnrl.load(self.model)
        from bnnrl.cli import predictions

        frame = predictions.read(model, path)
        found = predictions.table(model, frame, self.level, self.samples, self.seed)
        for column, unknown in model.columns.unknown(frame).items():
            warn(f"Column {column!r} has categories that the training rows did not have: {unknown}.")
        predictions.write(output, found)
        print(output)
        return DONE
