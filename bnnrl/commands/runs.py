"""`bnnrl evaluate` and `bnnrl report`: what is done with a folder that another command made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import bnnrl
from bnnrl.commands.figures import show


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
        from bnnrl import folders

        if self.video and folders.kind_of(self.folder) != "run":
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
            from bnnrl import fitting

            settings = folders.read_config(self.folder, fitting.KIND, fitting.COMMAND)["settings"]
            show(fitting.evaluate(found, fitting.load_data(settings), settings, self.seed))
        return 0


@dataclass
class Report:
    """Write a run's report.html anew: `bnnrl report FOLDER`. It holds the film that `bnnrl evaluate --video` made."""

    folder: Annotated[str, tyro.conf.Positional]
    """A run folder of `bnnrl train` or `bnnrl fit`."""
    entries: tuple[int, int] | None = None
    """Of the observation, over which policy and value are shown; the first angle and the next if not given."""

    def run(self) -> int:
        """Write the report, print its path, and return the exit code."""
        from bnnrl import folders

        if folders.kind_of(self.folder) == "fit":
            bnnrl._import_tensorflow()
            from bnnrl import fitting

            print(fitting.rebuild(self.folder))
            return 0
        folders.read_config(self.folder, "run", "bnnrl train` or `bnnrl fit")
        agent = bnnrl.load(self.folder)
        from bnnrl.rl import reporting

        print(reporting.write(self.folder, agent, self.entries))
        return 0
