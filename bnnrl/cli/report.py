"""`bnnrl report`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

import bnnrl
from bnnrl._tensorflow import import_tensorflow


@dataclass
class Report:
    """Write a run's report.html anew: `bnnrl report FOLDER`. It holds the film that `bnnrl evaluate --video` made."""

    folder: Annotated[str, tyro.conf.Positional]
    """A run folder of `bnnrl train` or `bnnrl fit`."""
    entries: tuple[int, int] | None = None
    """Of the observation, over which policy and value are shown; the first angle and the next if not given."""

    def run(self) -> int:
        """Write the report, print its path, and return the exit code."""
        from bnnrl.storage import run_folder

        if run_folder.FIT.matches(self.folder):
            import_tensorflow()
            from bnnrl.cli import fit_run

            print(fit_run.rebuild(self.folder))
            return 0
        run_folder.check_kind(self.folder, run_folder.TRAIN, run_folder.FIT)
        agent = bnnrl.load(self.folder)
        from bnnrl.rl.reporting import html

        print(html.write(self.folder, agent, self.entries))
        return 0
