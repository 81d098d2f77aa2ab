"""`bnnrl evaluate`: the scores of a trained agent or a fitted network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import bnnrl
from bnnrl.cli.fit import settings_of
from bnnrl.cli.output import show
from bnnrl.exit_codes import DONE


@dataclass
class Evaluate:
    """Score an agent on new episodes, or a fitted network on its test data.

    Example: `bnnrl evaluate FOLDER --episodes 20 --video`.
    """

    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Run folder of `bnnrl train` or `bnnrl fit`, or a folder that an agent was saved to."""
    episodes: int = 20
    """Number of episodes, for an agent."""
    seed: int = 0
    """Seed of the episodes, or of the posterior samples of a fitted network."""
    video: bool = False
    """Record the first episode of an agent as a video in FOLDER/video/."""

    def run(self) -> int:
        """Evaluate, print a line for each figure, and return the exit code."""
        from bnnrl.storage import run_folder

        if self.video and not run_folder.TRAIN.matches(self.folder):
            raise ValueError(
                f"Invalid `--video`: expected the folder of a run made by `bnnrl train`. Received: {self.folder}. "
                "In Python, `bnnrl.rl.video.record` records any agent."
            )
        found = bnnrl.load(self.folder)
        if isinstance(found, bnnrl.PILCO):
            show(found.evaluate(self.episodes, self.seed))
            if self.video:
                from bnnrl.rl import video

                name = f"trial_{len(found.history)}-seed_{self.seed}"
                print(video.record(found, Path(self.folder) / "video" / name, self.seed))
        else:
            from bnnrl.cli.fit_data import load_data
            from bnnrl.cli.fit_report import FitReport

            settings = settings_of(self.folder)
            show(FitReport(Path(self.folder), settings, load_data(settings), found, history=[]).scores(self.seed))
        return DONE
