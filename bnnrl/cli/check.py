"""`bnnrl check`: whether an agent can learn in an environment, on the command line."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from bnnrl._tensorflow import import_tensorflow
from bnnrl.cli.environment import arguments_of
from bnnrl.cli.options import optional
from bnnrl.exit_codes import BAD_INPUT, DONE
from bnnrl.rl import tasks

if TYPE_CHECKING:
    from bnnrl.rl.checks import Report

_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}
_WIDTH = 140  # of the table where there is no terminal


@dataclass
class Check:
    """Check an environment and its task before training, from some seconds of random episodes.

    Example: `bnnrl check my_module:MyEnv-v0`. The exit code is 0 if an agent can be trained, and 2 if not.
    """

    env: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENV")]
    """Id of a Gymnasium environment; module:Name-v0 if importing your module registers it."""
    preset: Annotated[str | None, optional("STR", "none")] = None
    """Variant of the environment, for environments that have presets."""
    env_kwargs: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE ...")] = ()
    """Keyword arguments of the environment, such as gravity=9.8 continuous=True."""
    wrapper: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODULE:CLASS ...")] = ()
    """Wrappers around the environment, the innermost first, such as gymnasium.wrappers:FlattenObservation."""
    reset_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE ...")] = ()
    """Options of each reset of the environment."""
    seed: int = 0
    """Seed of resets and random actions."""

    def run(self) -> int:
        """Print a table of the findings, and return the exit code."""
        of_env = arguments_of(vars(self))
        tasks.resolve(self.env, **of_env)  # reports a mistyped name before the slow import of TensorFlow
        report = _shown(self, of_env)
        problems = sum(finding.level == "problem" for finding in report.findings)
        print("An agent can be trained." if report.ok else f"No agent can be trained. Problems to fix: {problems}.")
        return DONE if report.ok else BAD_INPUT


def _shown(command: Check, of_env: dict[str, Any]) -> Report:
    """Return the findings, which a table shows as they come, or where there is no terminal at the end."""
    import_tensorflow()
    from rich import box
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from bnnrl.rl.checks import Report, iter_findings

    console = Console(width=None if Console().is_terminal else _WIDTH)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", caption="checking", caption_justify="left")
    for heading in ("", "subject", "finding"):
        table.add_column(heading)
    found = []
    live = Live(table, console=console, auto_refresh=False, vertical_overflow="visible")
    with live if console.is_terminal else nullcontext():
        for finding in iter_findings(command.env, command.seed, **of_env):
            found.append(finding)
            table.add_row(Text(finding.level, _STYLES[finding.level]), Text(finding.subject), Text(finding.text))
            if console.is_terminal:
                live.refresh()
        table.caption = None
    if not console.is_terminal:
        console.print(table)
    return Report(tuple(found))
