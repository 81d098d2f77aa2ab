"""`bnnrl check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

import bnnrl
from bnnrl.rl import tasks

_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


@dataclass
class Check:
    """Say what of an environment fits, before training: `bnnrl check my_module:MyEnv-v0`.

    Some random episodes are run. The exit code is 0 if an agent can be trained, and 2 if not.
    """

    env: Annotated[str, tyro.conf.Positional]
    """Id of a Gymnasium environment, as module:Name-v0 where a module of yours registers it."""
    preset: str | None = None
    """Variant of the environment, for those that have presets."""
    seed: int = 0
    """Of resets and actions."""

    def run(self) -> int:
        """Print a table of what was found, and return the exit code."""
        env_kwargs = {"preset": self.preset} if self.preset else {}
        tasks.get(self.env, **env_kwargs)  # a mistyped name is told before TensorFlow is loaded
        report = bnnrl.check(self.env, self.seed, env_kwargs)
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, header_style="bold")
        for heading in ("", "what", "finding"):
            table.add_column(heading)
        for f in report.findings:
            table.add_row(Text(f.level, _STYLES[f.level]), Text(f.subject), Text(f"{f.words} {f.remedy}".strip()))
        Console(width=None if Console().is_terminal else 140).print(table)
        problems = sum(f.level == "problem" for f in report.findings)
        print("An agent can be trained." if report.ok else f"No agent can be trained: {problems} to mend.")
        return 0 if report.ok else 2
