"""Run folders: one run, one command, one folder that can be resumed and read by anyone."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from bnnrl import plots
from bnnrl.rl.callbacks import Callback, Trial
from bnnrl.rl.episodes import EnvironmentFault
from bnnrl.rl.pilco import PILCO
from bnnrl.rl.reporting import predictions
from bnnrl.storage import checkpoint, run_folder


class Run(Callback):
    """A run folder, kept up to date after each trial.

        config.json          the settings that make the run again, and the versions it was made with
        metrics.csv          a row for each trial
        checkpoints/step_N/  the agent after trial N; the two newest are kept
        curve.png            costs, and success or returns, by trial
        rollouts.png         the last trial's predicted trajectories against the real one
        predictions/         what was expected of each trial: quantiles of the particles
        video/               films of episodes, by `bnnrl evaluate --video`
        report.html          all of this on one page, by `bnnrl report` and at the end of a run

    Make one with `create` or `reopen`.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]):
        self.folder, self.settings = folder, settings

    @classmethod
    def create(cls, folder: str | os.PathLike[str] | None, settings: dict[str, Any]) -> Run:
        """Make a new run folder.

        Args:
            folder: where, or None for runs/<env>/<method>/<seed>-<time>.
            settings: what makes the run again; needs "env", "method" and "seed" where `folder` is None.

        Raises:
            ValueError: if the folder exists and is not empty, or cannot be made.
        """
        default = f"{str(settings.get('env')).rpartition(':')[2]}/{settings.get('method')}"
        return cls(run_folder.TRAIN.create(folder, default, settings), settings)

    @classmethod
    def reopen(cls, folder: str | os.PathLike[str]) -> Run:
        """Open the folder of an earlier run.

        Raises:
            ValueError: if it is not one of ours.
        """
        return cls(Path(folder), run_folder.TRAIN.read_config(folder)["settings"])

    def change(self, **settings) -> None:
        """Change settings of the run, in config.json too."""
        self.settings |= settings
        versions = run_folder.TRAIN.read_config(self.folder)["versions"]
        run_folder.TRAIN.write_config(self.folder, self.settings, versions)

    def latest(self, warn: Callable[[str], None]) -> PILCO | None:
        """Return the agent of the newest checkpoint that can be read, or None where there is none yet.

        Tables and pictures are brought to its state: they differ where a run died just before they were written, or
        where the newest checkpoint is damaged.

        Raises:
            CheckpointError: if there are checkpoints and none can be read.
        """
        found = checkpoint.read_latest(self.folder, warn)
        if found is None:
            return None
        agent = PILCO.from_saved(*found[1:])
        self.show(agent)
        return agent

    def on_trial_end(self, agent: PILCO, trial: Trial) -> None:
        if agent.prediction is not None:
            # Before the checkpoint: a run that dies between the two does the trial again, and writes the same.
            predictions.write(self.folder, trial.trial, agent.prediction)
        checkpoint.write_step(self.folder, trial.trial, *agent.to_saved())
        self.show(agent)

    def on_error(self, agent: PILCO, error: BaseException) -> None:
        if isinstance(error, EnvironmentFault) and agent.episodes:
            checkpoint.write_step(self.folder, len(agent.history), *agent.to_saved())

    def show(self, agent: PILCO) -> None:
        """Write metrics.csv and the pictures."""
        self.write_metrics(agent)
        if agent.history:
            self.draw(agent)

    def write_metrics(self, agent: PILCO) -> None:
        """Write metrics.csv, a row for each trial."""
        columns = [f.name for f in fields(Trial)]
        run_folder.write_table(self.folder / "metrics.csv", columns, [asdict(trial) for trial in agent.history])

    @staticmethod
    def title(agent: PILCO) -> str:
        """Return what pictures and reports of an agent are called."""
        preset = agent.task.env_kwargs.get("preset")
        name = agent.task.env_id + (f" ({preset})" if preset else "")
        return f"{name}, {agent.dynamics.method_name}, seed {agent.seed}"

    @staticmethod
    def outcome(agent: PILCO) -> str:
        """Return what came of an agent's trials, in words."""
        trials, task = len(agent.history), agent.task
        words = f"solved at trial {agent.solved}" if agent.solved else f"not solved in {trials} trials"
        if task.success is not None or not agent.history:
            return words
        last = agent.history[-1].evaluation_return
        if last is None:  # of an earlier version
            return f"{trials} trials done"
        if task.solved_return is None:
            return f"{trials} trials done, return {last:.4g}"
        return f"{words}, return {last:.4g} of {task.solved_return:g}"

    @staticmethod
    def draw_curve(path: Path, agent: PILCO, title: str) -> None:
        """Draw costs and success by trial, or returns where the task has no notion of success."""
        columns = ("predicted_cost", "real_cost", "evaluation_cost", "success_rate", "evaluation_return")
        *series, returns = [[getattr(trial, column) for trial in agent.history] for column in columns]
        plots.learning_curve(path, *series, title=title, returns=None if agent.task.success else returns)

    def draw(self, agent: PILCO) -> None:
        """Draw curve.png and, once a policy was planned, rollouts.png."""
        last, title = agent.history[-1], self.title(agent)
        self.draw_curve(self.folder / "curve.png", agent, title)
        if agent.prediction is not None:
            episode = agent.episodes[-1]
            plots.rollouts(
                self.folder / "rollouts.png",
                agent.prediction.obs,
                agent.prediction.costs,
                episode.obs,
                np.asarray(agent.costs(episode)),
                title=f"{title}, trial {last.trial}: predicted before it was run, and real",
                labels=agent.task.labels,
                dt=agent.task.step_seconds,
            )
