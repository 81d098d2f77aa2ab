"""`bnnrl report`: the HTML report of a run, written again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

import bnnrl
from bnnrl._tensorflow import import_tensorflow
from bnnrl.cli.fit import settings_of
from bnnrl.cli.options import optional
from bnnrl.exit_codes import DONE


@dataclass
class Report:
    """Write report.html of a run again, with the videos that `bnnrl evaluate --video` has recorded since.

    Example: `bnnrl report FOLDER`.
    """

    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Run folder of `bnnrl train` or `bnnrl fit`."""
    entries: Annotated[tuple[int, int] | None, optional("INT INT", "the first angle and the entry after it")] = None
    """Indices of the two observation entries over which the policy and the value function are shown."""

    def run(self) -> int:
        """Write the report, print its path, and return the exit code."""
        from bnnrl.storage import run_folder

        if run_folder.FIT.matches(self.folder):
            import_tensorflow()
            from bnnrl.cli import fit_run

            print(fit_run.rebuild(self.folder, settings_of(self.folder)))
            return DONE
        run_folder.check_kind(self.folder, run_folder.TRAIN, run_folder.FIT)
        agent = bnnrl.load(self.folder)
        from bnnrl.rl.reporting import html

        print(html.write(self.folder, agent, self.entries))
        return DONE
