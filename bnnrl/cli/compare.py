"""`bnnrl compare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tyro

from bnnrl.cli import train


@dataclass
class Compare(train.Train):
    """Compare inference methods over seeds: `bnnrl compare bnnrl/CartPoleSwingUp-v0 --methods swag,bbb,hmc --seeds 5`.

    Each run is that of `bnnrl train` in a process and a folder of its own, FOLDER/<method>/<seed>.
    """

    methods: str | None = None
    """Inference methods of the dynamics model, with commas between them."""
    seeds: int = 5
    """How many; --seed is the first."""
    engine: Literal["local", "ray"] = "local"
    """Processes on this machine, or Ray tasks on the cluster at RAY_ADDRESS, whose nodes share the folder."""
    jobs: int | None = None
    """Runs side by side, which share the cores; as many as there are cores if not given."""
    retries: int = 2
    """How often a run that fails is tried again, from its last trial."""
    folder: str | None = None
    """Folder of the comparison, gone on with if it is one; runs/<env>/comparison/<seed>-<time> if not given."""
    resume: str | None = None
    """Folder of an earlier comparison to go on with, under its own settings; --trials may raise their number."""
    method: tyro.conf.Suppress[str] = "ensemble"

    def run(self) -> int:
        """Carry out the runs, sum them up, and return the exit code."""
        from bnnrl.comparison import comparison

        return comparison.run(self, train.Train, train.make_agent)
