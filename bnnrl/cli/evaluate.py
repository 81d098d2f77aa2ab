"""`bnnrl evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import bnnrl
from bnnrl.cli.output import show


@dataclass
class Evaluate:
    """Score a run anew: `bnnrl evaluate FOLDER --episodes 20`.

    An agent runs fresh episodes; a fitted network predicts its test part.
    """

    folder: Annotated[str, tyro.conf.Positional]
    """A run folder, or one that an agent was saved to."""
    episodes: int = 20
    """How many, of an agent."""
    seed: int = 0
    """Of the initial states and noise, or of the posterior's draws."""
    video: bool = False
    """Film the first episode of an agent too, to FOLDER/video/."""

    def run(self) -> int:
        """Evaluate, print a line for each figure, and return the exit code."""
        from bnnrl.storage import run_folder

        if self.video and not run_folder.TRAIN.matches(self.folder):
            raise ValueError(
                f"Invalid `--video`: expected the folder of a run made by `bnnrl train`. Received: {self.folder}. "
                "In Python, `bnnrl.rl.video.record` films any agent."
            )
        found = bnnrl.load(self.folder)
        if isinstance(found, bnnrl.PILCO):
            show(found.evaluate(self.episodes, self.seed))
            if self.video:
                from bnnrl.rl import video

                name = f"trial_{len(found.history)}-seed_{self.seed}"
                print(video.record(found, Path(self.folder) / "video" / name, self.seed))
        else:
            from bnnrl.cli.fit_report import FitReport
            from bnnrl.cli.fit_run import load_data

            settings = run_folder.FIT.read_config(self.folder)["settings"]
            show(FitReport(Path(self.folder), settings, load_data(settings), found, history=[]).scores(self.seed))
        return 0
