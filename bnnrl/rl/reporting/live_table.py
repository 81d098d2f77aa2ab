"""Live table of a run's trials on a terminal."""

from __future__ import annotations

from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from bnnrl.rl.callbacks import Callback, Trial
from bnnrl.rl.pilco import PILCO

_PHASES = {
    "model": "fitting the dynamics model",
    "policy": "searching for a policy",
    "episode": "acting in the environment",
    "evaluation": "evaluating the policy",
}


class Progress(Callback):
    """Callback of `PILCO.learn` that shows a table with one row per trial, and what the agent is doing.

    Columns are the experience, the predicted cost with its 90 % interval, the real cost, the success rate or return,
    and, for a task with constraints, the number of real steps that violate one. Without a terminal each trial is a
    line of text. The table is live inside a `with` statement::

        with Progress("my run") as progress:
            agent.learn(trials=8, callbacks=[progress])

    Args:
        title: title of the table.
        history: trials of an earlier part of the run, which are shown first.
        console: where to show the table; None is standard output.
    """

    def __init__(self, title: str, history: list[Trial] | None = None, console: Console | None = None):
        console = console or Console()
        self._title, self._trials = title, list(history or [])
        self._console = console
        self._live = Live(console=console, refresh_per_second=8) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
            self._show()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._show()
            self._live.stop()

    def on_phase(self, agent: PILCO, trial: int, phase: str) -> None:
        """Show what the agent is doing below the table."""
        self._show(f"trial {trial}: {_PHASES[phase]}")

    def on_trial_end(self, agent: PILCO, trial: Trial) -> None:
        """Add the trial's row."""
        self._trials.append(trial)
        self._show()
        if self._live is None:
            print(_line(trial), file=self._console.file, flush=True)

    def _show(self, activity: str | None = None) -> None:
        if self._live:
            spinner = [Spinner("dots", activity)] if activity else []
            self._live.update(Group(self._table(), *spinner))

    def _table(self) -> Table:
        table = Table(title=self._title, title_justify="left", header_style="bold")
        by_return = bool(self._trials) and all(
            t.success_rate is None and t.evaluation_return is not None for t in self._trials
        )
        score = "return" if by_return else "success"
        constrained = any(t.violations is not None for t in self._trials)
        headings = "trial", "experience", "predicted cost", "real cost", "evaluation cost", score
        for heading in (*headings, *(["violations"] if constrained else []), "seconds"):
            table.add_column(heading, justify="right")
        for t in self._trials:
            table.add_row(
                str(t.trial),
                f"{t.steps} steps" if t.experience is None else f"{t.experience:.1f} s",
                ("random" if t.trial == 1 else "-") if t.predicted_cost is None else _predicted(t),
                f"{t.real_cost:.3f}",
                f"{t.evaluation_cost:.3f}",
                f"{t.evaluation_return:.4g}" if by_return else _percent(t.success_rate),
                *(["-" if t.violations is None else str(t.violations)] if constrained else []),
                f"{t.fit_seconds + t.search_seconds:.1f}",
                style="green" if t.solved else None,
            )
        return table


def _line(t: Trial) -> str:
    """Return the results of a trial in one line."""
    parts = [f"{t.steps} steps" if t.experience is None else f"{t.experience:.1f} s of experience"]
    parts += [] if t.predicted_cost is None else [f"predicted cost {_predicted(t)}"]
    parts += [f"real cost {t.real_cost:.3f}", f"evaluation cost {t.evaluation_cost:.3f}"]
    parts += [] if t.success_rate is None else [f"success {_percent(t.success_rate)}"]
    parts += [] if t.evaluation_return is None else [f"return {t.evaluation_return:.4g}"]
    parts += [] if t.violations is None else [f"{t.violations} steps in violation of a constraint"]
    return f"trial {t.trial}: {', '.join(parts)}, {t.fit_seconds + t.search_seconds:.1f} s"


def _predicted(t: Trial) -> str:
    """Return the expected cost of a trial, with its 90 % interval where the trial has one."""
    low, high = t.predicted_cost_low, t.predicted_cost_high
    return f"{t.predicted_cost:.3f}" + ("" if low is None else f" (90 %: {low:.3f} to {high:.3f})")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"
