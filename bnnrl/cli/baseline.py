"""`bnnrl baseline`: a model-free algorithm trained in an environment, to compare an agent with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from bnnrl._tensorflow import import_tensorflow
from bnnrl.checks import changed, check_count
from bnnrl.cli import interrupt, train
from bnnrl.cli.environment import EnvironmentOptions
from bnnrl.cli.options import optional
from bnnrl.cli.output import warn
from bnnrl.comparison.settings import BASELINE_STEPS
from bnnrl.exit_codes import DONE
from bnnrl.storage import lock, run_folder
from bnnrl.storage.atomic import atomic_write, explained

_OF_FOLDER = ("folder", "resume")


@dataclass
class Baseline(EnvironmentOptions):
    """Train Stable-Baselines3's SAC or PPO with its default settings, evaluated as `bnnrl train` evaluates an agent.

    Example: `bnnrl baseline Pendulum-v1 --method sac --steps 20000`. The folder gets metrics.csv and model.zip, which
    Stable-Baselines3 loads. `bnnrl compare --methods ensemble,sac` compares such runs with those of agents.
    """

    method: Literal["sac", "ppo"] = "sac"
    """The algorithm."""
    steps: Annotated[int | None, optional("INT", str(BASELINE_STEPS))] = None
    """Real steps; at least those of --trials."""
    seed: int = 0
    """Seed of all random numbers of the run."""
    trials: Annotated[int | None, optional("INT", "8")] = None
    """Trials of the agent to compare with: there is an evaluation after the steps of each, and then up to --steps."""
    horizon: Annotated[int | None, optional("INT", "as for `bnnrl train`")] = None
    """Steps of an episode, where the environment does not say."""
    learn_reward: bool = False
    """Score by the environment's reward, even if the task defines a cost."""
    episodes_per_trial: int = 1
    """Real episodes in a trial."""
    evaluation_episodes: int = 10
    """Episodes of each evaluation."""
    stop_when_solved: bool = True
    """Stop after the first evaluation that solves the task."""
    folder: Annotated[str | None, optional("STR", "runs/<env>/<method>/<seed>-<time>")] = None
    """Run folder."""
    resume: Annotated[str | None, optional("STR", "none")] = None
    """Folder of an earlier run to repeat from its beginning; --trials and --steps may increase these."""

    def run(self) -> int:
        """Train, write the run folder, and return the exit code."""
        from bnnrl.rl import baselines

        settings = self._earlier(self.resume) if self.resume else self._settings()
        baselines.import_library()
        agent = make_agent(settings)
        folder = self._open(settings)
        interrupt.configure(lambda: f"Repeat: bnnrl baseline --resume {folder}")
        with lock.hold(folder, warn):
            metrics = folder / "metrics.csv"
            with explained(metrics):
                metrics.unlink(missing_ok=True)
            model = baselines.learn(
                settings["method"],
                agent,
                settings["steps"],
                settings["trials"],
                settings["evaluation_episodes"],
                settings["stop_when_solved"],
                lambda rows: run_folder.write_table(metrics, baselines.COLUMNS, rows),
            )
            with atomic_write(folder / "model.zip") as unfinished, open(unfinished, "wb") as file:
                model.save(file)
        print(f"{run_folder.read_table(metrics)[-1]['steps']} real steps: {folder}")
        return DONE

    def _settings(self) -> dict[str, Any]:
        """Return the settings of a new run, which its config.json holds."""
        if self.env is None:
            raise ValueError(
                "Invalid arguments: expected the id of an environment, or --resume FOLDER. Received: none."
            )
        settings = dataclasses.asdict(self)
        for name in _OF_FOLDER:
            del settings[name]
        defaults = {"steps": BASELINE_STEPS, "trials": 8}
        given = {name: default if settings[name] is None else settings[name] for name, default in defaults.items()}
        counts = {**given, "evaluation_episodes": self.evaluation_episodes}
        return settings | {name: check_count(name, value) for name, value in counts.items()}

    def _earlier(self, folder: str) -> dict[str, Any]:
        """Return the settings of an earlier run, with more trials and steps if these are asked for."""
        if given := changed(self, ("resume", "trials", "steps")):
            raise ValueError(
                "Invalid arguments: expected only --trials and --steps beside --resume, which repeats the run with its "
                f"settings. Received: {', '.join(given)}."
            )
        settings = run_folder.BASELINE.read_config(folder)["settings"]
        return settings | {name: max(settings[name], getattr(self, name) or 0) for name in ("trials", "steps")}

    def _open(self, settings: dict[str, Any]) -> Path:
        """Return the run folder, a new one unless `resume` names it, with the settings in its config.json."""
        if self.resume:
            folder = Path(self.resume)
            run_folder.BASELINE.write_config(folder, settings, run_folder.current_versions())
            return folder
        default = f"{settings['env'].rpartition(':')[2]}/{settings['method']}"
        return run_folder.BASELINE.create(self.folder, default, settings)


def make_agent(settings: dict[str, Any]):
    """Return an agent with the environment, the seed and the evaluation that a baseline's settings describe.

    Raises:
        ValueError: if the settings are invalid, the algorithm cannot act in the environment, or the package is missing.
    """
    from bnnrl.rl import baselines

    baselines.check_installed()
    import_tensorflow()
    shared = {field.name for field in dataclasses.fields(train.Train)} - {"method"}
    agent = train.make_agent({name: value for name, value in settings.items() if name in shared})
    if agent is not None:  # what tests put in the place of agents
        baselines.check(settings["method"], agent)
    return agent
