"""`bnnrl compare`: inference methods compared over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from bnnrl.cli import baseline, interrupt, train
from bnnrl.cli.options import optional

_GRACE = 30.0  # seconds to stop in after Ctrl-C: the runs stop within 5, then the summary is written


@dataclass
class Compare(train.Train):
    """Compare inference methods over seeds, each run as by `bnnrl train` in its own process and folder.

    Example: `bnnrl compare bnnrl/CartPoleSwingUp-v0 --methods swag,bbb,hmc --seeds 5`. The folder of a run is
    FOLDER/<method>/<seed>. A table and a picture show the results of all runs.
    """

    methods: Annotated[str | None, optional("STR", "none; required without --resume")] = None
    """Inference methods of the dynamics model, separated by commas, such as swag,bbb,hmc; also the model-free
    baselines sac and ppo of Stable-Baselines3, with its default settings."""
    baseline_steps: Annotated[int | None, optional("INT", "20000")] = None
    """Real steps of sac and ppo, unless they solve the task before; at least those of --trials."""
    seeds: int = 5
    """Number of seeds; the first is --seed."""
    engine: Literal["local", "ray"] = "local"
    """Processes on this machine (local), or tasks on the Ray cluster at RAY_ADDRESS, whose nodes share FOLDER (ray)."""
    jobs: Annotated[int | None, optional("INT", "one for each core")] = None
    """Number of runs at the same time, which share the cores."""
    retries: int = 2
    """How many times a run that fails is started again, from its last finished trial."""
    folder: Annotated[str | None, optional("STR", "runs/<env>/comparison/<seed>-<time>")] = None
    """Folder of the comparison. A comparison in it is resumed, and may get more methods, seeds and trials."""
    resume: Annotated[str | None, optional("STR", "none")] = None
    """Folder of an earlier comparison to resume with its own settings; --trials may increase the number of trials."""
    method: tyro.conf.Suppress[str] = "ensemble"

    def run(self) -> int:
        """Carry out the runs, write their summary, and return the exit code."""
        from bnnrl.comparison import comparison

        def opened(folder: Path) -> None:
            interrupt.configure(lambda: f"Resume: bnnrl compare --resume {folder}", _GRACE)

        commands = {"train": train.Train, "baseline": baseline.Baseline}
        return comparison.run(self, commands, _check, opened)


def _check(settings: dict[str, Any]) -> None:
    """Raise ValueError if the settings of one method's runs are invalid."""
    from bnnrl.rl import baselines

    make_agent = baseline.make_agent if settings["method"] in baselines.NAMES else train.make_agent
    make_agent(settings)
