"""`bnnrl view`: one page that compares runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from bnnrl.exit_codes import DONE


@dataclass
class View:
    """Write one HTML page that compares runs: settings that differ, curves with bands over seeds, scores and films.

    Example: `bnnrl view runs/Pendulum-v1 --output pendulum.html`. Runs that differ in their seeds only are one curve.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER ...")]
    """Folders of runs by `bnnrl train`, `fit`, `compare` or `baseline`, or folders that hold such folders."""
    output: str = "view.html"
    """The page."""

    def run(self) -> int:
        """Write the page, print its path, and return the exit code."""
        from bnnrl.comparison import view

        if not self.runs:
            raise ValueError("Invalid `runs`: expected at least one folder. Received: none.")
        view.write(self.output, view.read(self.runs))
        print(self.output)
        return DONE
