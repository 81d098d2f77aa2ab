"""The live table of a comparison."""

import os
import re
from pathlib import Path

from rich.console import Console

from bnnrl.comparison.jobs import Job
from bnnrl.comparison.live_table import LiveTable
from bnnrl.comparison.results import RunResult


def test_the_live_table():
    jobs = [Job(name, Path(name), (), ()) for name in ("adam, seed 0", "adam, seed 1", "swag, seed 0")]
    result = RunResult("adam", 0, [{"trial": 1, "evaluation_cost": 0.25, "search_seconds": 4.0}], False)
    with open(os.devnull, "w") as nowhere:
        console = Console(force_terminal=True, width=90, record=True, file=nowhere)
        with LiveTable("title", {job: lambda: result for job in jobs}, {jobs[0]}, 5, console) as shown:
            shown.on_state(jobs[2], "running")
            shown.on_state(jobs[1], "failed")
            console.print(shown._table())
    lines = [line.strip() for line in console.export_text().splitlines()]
    first = next(i for i, line in enumerate(lines) if "swag, seed 0" in line)
    assert re.fullmatch(r"│ swag, seed 0 │ running +│ +1 │ +1/5 │ +0.250 │ +4 │", lines[first])
    assert "failed" in lines[first + 1] and "done" in lines[first + 2]
    assert any("1 running, 1 failed, 1 done" in line for line in lines)
