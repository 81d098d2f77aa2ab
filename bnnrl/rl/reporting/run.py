"""Run folders of agents: a callback that keeps checkpoints, metrics and pictures up to date, and resumes them."""

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
    """Callback of `PILCO.learn` that updates a run folder after each trial. Make it by `create` or `reopen`.

    The folder holds:

        config.json          settings that repeat the run, and the versions of Python and packages
        metrics.csv          one row per trial
        checkpoints/step_N/  the agent after trial N; the two newest are kept
        curve.png            costs, and success rates or returns, by trial
        rollouts.png         predicted trajectories of the last trial, and the real one
        predictions/         quantiles of the predicted trajectories of each trial
        video/               videos of episodes, made by `bnnrl evaluate --video`
        report.html          all of this on one page, made at the end of a run and by `bnnrl report`

    Args:
        folder: the run folder.
        settings: the settings in its config.json.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]):
        self.folder, self.settings = folder, settings

    @classmethod
    def create(cls, folder: str | os.PathLike[str] | None, settings: dict[str, Any]) -> Run:
        """Make a new run folder.

        Args:
            folder: path of the folder, or None for runs/<env>/<method>/<seed>-<time>.
            settings: settings that repeat the run; must hold "env", "method" and "seed" if `folder` is None.

        Raises:
            ValueError: if the folder exists and is not empty, or cannot be made.
        """
        default = f"{str(settings.get('env')).rpartition(':')[2]}/{settings.get('method')}"
        return cls(run_folder.TRAIN.create(folder, default, settings), settings)

    @classmethod
    def reopen(cls, folder: str | os.PathLike[str]) -> Run:
        """Open the folder of an earlier run.

        Raises:
            ValueError: if the folder was not made by `bnnrl train`.
        """
        return cls(Path(folder), run_folder.TRAIN.read_config(folder)["settings"])

    def change(self, **settings) -> None:
        """Change settings of the run, also in config.json."""
        self.settings |= settings
        versions = run_folder.TRAIN.read_config(self.folder)["versions"]
        run_folder.TRAIN.write_config(self.folder, self.settings, versions)

    def latest(self, warn: Callable[[str], None]) -> PILCO | None:
        """Return the agent of the newest checkpoint that can be read, or None if there is no checkpoint yet.

        metrics.csv and the pictures are written again, since they differ from the checkpoint if the run died between
        writing the two, or if the newest checkpoint is damaged.

        Args:
            warn: called with a message for each damaged checkpoint that is skipped.

        Raises:
            CheckpointError: if there are checkpoints, but none can be read.
        """
        found = checkpoint.read_latest(self.folder, warn)
        if found is None:
            return None
        checkpoint.prune(self.folder)
        agent = PILCO.from_saved(*found[1:])
        self.write_outputs(agent)
        return agent

    def on_trial_end(self, agent: PILCO, trial: Trial) -> None:
        """Write the trial's prediction, a checkpoint, metrics and pictures."""
        if agent.prediction is not None:
            # Before the checkpoint: a run that dies between the two repeats the trial and writes the same prediction.
            predictions.write(self.folder, trial.trial, agent.prediction)
        checkpoint.write_step(self.folder, trial.trial, *agent.to_saved())
        self.write_outputs(agent)

    def on_error(self, agent: PILCO, error: BaseException) -> None:
        """Write a checkpoint after a fault of the environment, which keeps the steps before the fault."""
        if isinstance(error, EnvironmentFault) and agent.episodes:
            checkpoint.write_step(self.folder, len(agent.history), *agent.to_saved())

    def write_outputs(self, agent: PILCO) -> None:
        """Write metrics.csv and, after the first trial, the pictures."""
        self.write_metrics(agent)
        if agent.history:
            self.draw(agent)

    def write_metrics(self, agent: PILCO) -> None:
        """Write metrics.csv, one row per trial."""
        columns = [f.name for f in fields(Trial)]
        run_folder.write_table(self.folder / "metrics.csv", columns, [asdict(trial) for trial in agent.history])

    @staticmethod
    def title(agent: PILCO) -> str:
        """Return the title of an agent's pictures and report: environment, method and seed."""
        preset = agent.task.env_kwargs.get("preset")
        name = agent.task.env_id + (f" ({preset})" if preset else "")
        return f"{name}, {agent.dynamics.method_name}, seed {agent.seed}"

    @staticmethod
    def outcome(agent: PILCO) -> str:
        """Return a sentence fragment that says whether an agent solved its task, or the last return."""
        trials, task = len(agent.history), agent.task
        outcome = f"solved at trial {agent.solved}" if agent.solved else f"not solved in {trials} trials"
        if task.success is not None or not agent.history:
            return outcome
        last_return = agent.history[-1].evaluation_return
        if last_return is None:  # a run of an early version, which recorded no returns
            return f"{trials} trials done"
        if task.solved_return is None:
            return f"{trials} trials done, return {last_return:.4g}"
        return f"{outcome}, return {last_return:.4g} of {task.solved_return:g}"

    @staticmethod
    def draw_curve(path: Path, agent: PILCO, title: str) -> None:
        """Draw costs and success rates by trial to a PNG, or returns if the task does not define success."""
        columns = ("predicted_cost", "real_cost", "evaluation_cost", "success_rate", "evaluation_return")
        *series, returns = [[getattr(trial, column) for trial in agent.history] for column in columns]
        # Beside a prediction, the real cost over the same steps, which may be fewer than the episode's.
        pairs = zip(agent.history, series[1], strict=True)
        series[1] = [real if trial.compared_cost is None else trial.compared_cost for trial, real in pairs]
        plots.learning_curve(path, *series, title=title, returns=None if agent.task.success else returns)

    def draw(self, agent: PILCO) -> None:
        """Draw curve.png and, if the last trial has a prediction, rollouts.png."""
        last, title = agent.history[-1], self.title(agent)
        self.draw_curve(self.folder / "curve.png", agent, title)
        if agent.prediction is not None:
            start = np.median(agent.prediction.obs[0], axis=0)
            episode = predictions.aligned(agent, agent.episodes[-1], start)
            plots.rollouts(
                self.folder / "rollouts.png",
                agent.prediction.obs,
                agent.prediction.costs,
                episode.obs,
                np.asarray(agent.costs(episode)),
                title=f"{title}, trial {last.trial}: predicted before the trial, and real",
                labels=agent.task.labels,
                dt=agent.task.step_seconds,
            )
