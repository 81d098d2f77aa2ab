"""`bnnrl train`: an agent trained in an environment."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import bnnrl
from bnnrl._tensorflow import import_tensorflow
from bnnrl.checks import changed, check_count
from bnnrl.cli import interrupt
from bnnrl.cli.environment import EnvironmentOptions, arguments_of
from bnnrl.cli.groups import UNNAMED_METHOD, Group
from bnnrl.cli.old_settings import migrated
from bnnrl.cli.options import optional
from bnnrl.cli.output import warn
from bnnrl.exit_codes import DONE
from bnnrl.rl import tasks
from bnnrl.rl.callbacks import PLAIN_SETTINGS
from bnnrl.storage import lock, run_folder
from bnnrl.storage.atomic import explained

_TRACKED_GRACE = 60.0  # seconds to stop in after Ctrl-C: a tracker uploads what is left


@dataclass
class Train(EnvironmentOptions):
    """Train an agent in a Gymnasium environment, and write a run folder.

    Example: `bnnrl train bnnrl/CartPoleSwingUp-v0 --preset deep-pilco --seed 0`. Ctrl-C stops the run, and
    `bnnrl train --resume FOLDER` continues it from its last finished trial.
    """

    method: Annotated[str | None, optional("STR", "gauss_newton for linked rods, else ensemble")] = None
    """Inference method of the dynamics model, such as ensemble, swag or hmc, or gp; an unknown name lists all."""
    policy: Literal["rbf", "mlp", "linear", "cem", "icem"] = "rbf"
    """Policy that is optimized (rbf, mlp or linear), or planner that searches actions at each step (cem or icem)."""
    propagation: Literal["ts_inf", "ts1", "moment_matching", "mean"] = "ts_inf"
    """Posterior sample of a particle: fixed (ts_inf) or new at each step (ts1); moment matching; or mean of samples."""
    learn_reward: bool = False
    """Learn models of reward and termination, even if the task defines them."""
    seed: int = 0
    """Seed of all random numbers of the run."""
    trials: Annotated[int | None, optional("INT", "8")] = None
    """Largest number of trials, including the first one, whose actions are random."""
    particles: int = 100
    """Number of particles in a rollout."""
    horizon: Annotated[int | None, optional("INT", "that of the task, else 1.25 x the length of an episode")] = None
    """Steps of a rollout, over which the policy is optimized or the planner plans."""
    episodes_per_trial: int = 1
    """Real episodes in a trial."""
    evaluation_episodes: int = 10
    """Episodes on which the policy of each trial is scored. The model is not trained on them."""
    stop_when_solved: bool = True
    """Stop after the first trial that solves the task."""
    track: bool = False
    """Log the run to Weights & Biases."""
    folder: Annotated[str | None, optional("STR", "runs/<env>/<method>/<seed>-<time>")] = None
    """Run folder."""
    resume: Annotated[str | None, optional("STR", "none")] = None
    """Folder of an earlier run to resume with its own settings; --trials may increase the number of trials."""
    config: Annotated[str | None, optional("FILE", "none")] = None
    """Settings as YAML or JSON, such as `bnnrl config` prints, or config.json of a run; other options replace them."""
    dynamics: Group = field(default_factory=dict)
    method_fields: Group = field(default_factory=dict)
    policy_fields: Group = field(default_factory=dict)
    search: Group = field(default_factory=dict)
    reward_model: Group = field(default_factory=dict)

    def run(self) -> int:
        """Train, write the report, and return the exit code."""
        if resumed := self.resume:
            interrupt.configure(lambda: _advice(resumed))
        run, make_agent = self._resume() if self.resume else self._begin()
        grace = _TRACKED_GRACE if run.settings.get("track") else interrupt.GRACE
        interrupt.configure(lambda: _advice(run.folder), grace)
        with lock.hold(run.folder, warn):
            return _train(run, make_agent())

    def _begin(self):
        """Return a new run, and a function that returns its agent."""
        if self.env is None:
            raise ValueError(
                "Invalid arguments: expected the id of an environment, or --resume FOLDER. Received: none."
            )
        settings = settings_of(self)
        check_count("evaluation_episodes", self.evaluation_episodes)
        agent = make_agent(settings)
        from bnnrl.rl.reporting.run import Run

        return Run.create(self.folder, settings), lambda: agent

    def _resume(self):
        """Return an earlier run, and a function that returns its agent as of the last finished trial."""
        if given := changed(self, ("resume", "trials")):
            raise ValueError(
                "Invalid arguments: expected only --trials beside --resume, which continues with the settings of the "
                f"run. Received: {', '.join(given)}."
            )
        import_tensorflow()
        from bnnrl.rl.reporting.run import Run

        run = Run.reopen(self.resume or "")
        trials = None if self.trials is None else check_count("trials", self.trials)

        def latest():
            if trials is not None:
                run.change(trials=max(trials, run.settings["trials"]))
            _tell_other_versions(run_folder.TRAIN.read_config(run.folder)["versions"])
            return run.latest(warn) or make_agent(run.settings)

        return run, latest


def _train(run, agent) -> int:
    """Carry out the trials that a run lacks, write the report, and return the exit code."""
    from bnnrl.inference import Diverged

    stop = run.settings["stop_when_solved"]
    missing = run.settings["trials"] - len(agent.history)
    finished = missing <= 0 or (stop and agent.solved is not None)
    report = run.folder / "report.html"
    if not finished:
        with explained(report):  # a run that dies after its last trial would keep the report of fewer trials
            report.unlink(missing_ok=True)
    try:
        _learn(run, agent, 0 if finished else missing)
    except (ValueError, Diverged) as error:
        raise ValueError(f"{error}\nRun folder: {run.folder}") from error
    from bnnrl.rl.reporting import html

    if not (finished and html.is_whole(report)):
        html.write(run.folder, agent, max_panels=40)  # takes some seconds
    print(f"{run.outcome(agent)}: {run.folder}")
    return DONE


def _advice(folder: str | Path) -> str:
    from bnnrl.storage import checkpoint

    return f"Finished trials kept: {checkpoint.newest_step(folder) or 0}. Resume: bnnrl train --resume {folder}"


def _tell_other_versions(then: dict[str, str]) -> None:
    """Print a line if the versions of Python or of a package differ from those that a run began with."""
    now = run_folder.current_versions()
    changed = [f"{name} {then[name]}, now {now[name]}" for name in now if then.get(name, now[name]) != now[name]]
    if changed:
        warn(f"The run began with other versions, and its results may differ from then on: {'; '.join(changed)}.")


def _learn(run, agent, trials: int) -> None:
    """Show the run's trials so far, and carry out `trials` more, with a tracker if the settings ask for one."""
    from bnnrl.rl.reporting.html import ProgressReport
    from bnnrl.rl.reporting.live_table import Progress

    settings = run.settings
    with contextlib.ExitStack() as stack:
        callbacks = [run, ProgressReport(run.folder)]
        if settings.get("track") and trials:
            from bnnrl.rl.tracker import TrialTracker

            callbacks.append(TrialTracker.start(agent, run.folder))
            stack.enter_context(callbacks[-1].tracker)
        callbacks.append(stack.enter_context(Progress(f"{settings['env']} -> {run.folder}", agent.history)))
        if trials:
            episodes = settings.get("evaluation_episodes", 10)  # runs of earlier versions lack this setting
            agent.learn(trials, callbacks, settings["stop_when_solved"], episodes)


def settings_of(command: Train) -> dict[str, Any]:
    """Return the settings of a new run, which its config.json holds."""
    settings = dataclasses.asdict(command)
    del settings["folder"], settings["resume"], settings["config"]
    settings["trials"] = check_count("trials", 8 if command.trials is None else command.trials)
    if command.method is None:
        settings["method"] = _default_method(settings, tasks.resolve(settings["env"], **arguments_of(settings)))
    return settings


def _default_method(settings: Mapping[str, Any], task: bnnrl.Task) -> str:
    """Return the name of the inference method of a run whose settings name none.

    Raises:
        ValueError: if the settings have fields of a method, and the default of the task is another method.
    """
    import_tensorflow()
    from bnnrl.rl.defaults import default_dynamics

    method = default_dynamics(task).method_name
    if settings["method_fields"] and method != UNNAMED_METHOD:
        raise ValueError(
            f"Invalid `method.{next(iter(settings['method_fields']))}`: expected --method NAME beside the settings of "
            f"a method for {settings['env']!r}, whose default is {method}. Received: none."
        )
    return method


def make_agent(settings: dict[str, Any]):
    """Return the agent that a run's settings describe. Settings that runs of earlier versions lack have defaults."""
    settings = dataclasses.asdict(Train()) | migrated(settings)
    of_env = arguments_of(settings)
    task = tasks.resolve(settings["env"], **of_env)  # reports a mistyped name before the slow import of TensorFlow
    import_tensorflow()
    from bnnrl.cli import building
    from bnnrl.rl.defaults import default_search

    method = settings["method"] or _default_method(settings, task)
    return bnnrl.PILCO(
        settings["env"],
        building.dynamics(method, settings["method_fields"], settings["dynamics"]),
        building.policy(settings["policy"], settings["policy_fields"], settings["horizon"]),
        search=building.replaced(default_search(task), settings["search"]),
        reward_model=building.reward_model(settings["reward_model"]),
        **of_env,
        **{name: settings[name] for name in PLAIN_SETTINGS},
    )
