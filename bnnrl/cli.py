"""The command line. TensorFlow is imported only by what needs it, so that help and mistakes answer at once."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import bnnrl
from bnnrl.checks import changed, check_count
from bnnrl.child import INTERRUPTED
from bnnrl.rl import tasks

_FIELDS = {"members": "size"}  # options whose setting has another name


@dataclass
class Train:
    """Train an agent: `bnnrl train bnnrl/CartPoleSwingUp-v0 --preset deep-pilco --seed 0`."""

    env: Annotated[str | None, tyro.conf.Positional] = None
    """Id of a Gymnasium environment with a registered task."""
    preset: str | None = None
    """Variant of the environment, for those that have presets."""
    method: str = "ensemble"
    """Inference method of the dynamics model."""
    policy: Literal["rbf", "mlp"] = "rbf"
    """Kind of policy."""
    seed: int = 0
    """All randomness derives from it."""
    trials: int | None = None
    """Trials at most, the random first one included; 8 if not given."""
    particles: int = 100
    """Particles in a rollout."""
    horizon: int | None = None
    """Steps the policy is optimised over; an episode's length and a quarter more if not given."""
    hidden: tuple[int, ...] | None = None
    """Widths of the model's hidden layers; this and the options below have the library's defaults if not given."""
    members: int | None = None
    """Members of the model, for method ensemble."""
    steps: int | None = None
    """Training steps of the model each trial."""
    restarts: int | None = None
    """Policies refined side by side."""
    updates: int | None = None
    """Gradient steps of a policy's refinement."""
    rounds: int | None = None
    """Rounds of scouting for policies."""
    scout_updates: int | None = None
    """Gradient steps of a scouting round."""
    candidates: int | None = None
    """Random policies screened in a scouting round."""
    stop_when_solved: bool = True
    """Stop after the first trial that solves the task."""
    track: bool = False
    """Log to Weights & Biases."""
    folder: str | None = None
    """Run folder; runs/<env>/<method>/<seed>-<time> if not given."""
    resume: str | None = None
    """Folder of an earlier run to go on with, under its own settings; --trials may raise their number."""

    def run(self) -> int:
        """Train, and return the exit code."""
        run, agent = self._resume() if self.resume else self._begin()
        from bnnrl.rl.progress import Progress

        trials, stop = run.settings["trials"], run.settings["stop_when_solved"]
        done = len(agent.history)
        finished = done >= trials or (stop and agent.solved is not None)
        tracked = []
        if run.settings.get("track") and not finished:
            from bnnrl.callbacks import TrialTracker

            tracked = [TrialTracker.start(agent, run.folder)]
        try:
            with contextlib.ExitStack() as stack:
                for callback in tracked:
                    stack.enter_context(callback.tracker)
                progress = stack.enter_context(Progress(f"{run.settings['env']} -> {run.folder}", agent.history))
                if not finished:
                    agent.learn(trials - done, [run, *tracked, progress], stop_when_solved=stop)
        except KeyboardInterrupt:
            print(
                f"Interrupted; {len(agent.history)} trials are kept. Go on: bnnrl train --resume {run.folder}",
                file=sys.stderr,
            )
            return INTERRUPTED
        except ValueError as error:
            raise ValueError(f"{error}\nRun folder: {run.folder}") from error
        from bnnrl.rl import reporting

        if not finished or not (run.folder / "report.html").exists():
            reporting.write(run.folder, agent, most_panels=40)  # some seconds
        solved = f"solved at trial {agent.solved}" if agent.solved else f"not solved in {len(agent.history)} trials"
        if agent.task.success is None:
            solved = f"{len(agent.history)} trials done"
        print(f"{solved}: {run.folder}")
        return 0

    def _begin(self):
        if self.env is None:
            raise ValueError(
                "Invalid arguments: expected the id of an environment, or --resume FOLDER. Received: none."
            )
        settings = dataclasses.asdict(self)
        del settings["folder"], settings["resume"]
        settings["trials"] = check_count("trials", 8 if self.trials is None else self.trials)
        agent = _make_agent(settings)
        from bnnrl.rl.runs import Run

        return Run.create(self.folder, settings), agent

    def _resume(self):
        if given := changed(self, ("resume", "trials")):
            raise ValueError(
                "Invalid arguments: expected none but --trials beside --resume, which goes on under the run's own "
                f"settings. Received: {', '.join(given)}."
            )
        bnnrl._import_tensorflow()
        from bnnrl.rl.runs import Run

        run = Run.reopen(self.resume or "")
        if self.trials is not None:
            run.change(trials=max(check_count("trials", self.trials), run.settings["trials"]))
        agent = run.latest(warn=lambda message: print(f"bnnrl: warning: {message}", file=sys.stderr))
        return run, agent or _make_agent(run.settings)


@dataclass
class Compare(Train):
    """Compare inference methods over seeds: `bnnrl compare bnnrl/CartPoleSwingUp-v0 --methods swag,bbb,hmc --seeds 5`.

    Each run is that of `bnnrl train` in a process and a folder of its own, FOLDER/<method>/<seed>.
    """

    methods: str | None = None
    """Inference methods of the dynamics model, with commas between them."""
    seeds: int = 5
    """How many; --seed is the first."""
    engine: Literal["local", "ray"] = "local"
    """Processes on this machine, or Ray tasks on the cluster at RAY_ADDRESS, whose nodes share the folder."""
    jobs: int | None = None
    """Runs side by side, which share the cores; as many as there are cores if not given."""
    retries: int = 2
    """How often a run that fails is tried again, from its last trial."""
    folder: str | None = None
    """Folder of the comparison, gone on with if it is one; runs/<env>/comparison/<seed>-<time> if not given."""
    resume: str | None = None
    """Folder of an earlier comparison to go on with, under its own settings; --trials may raise their number."""
    method: tyro.conf.Suppress[str] = "ensemble"

    def run(self) -> int:
        """Carry out the runs, sum them up, and return the exit code."""
        from bnnrl import compare

        return compare.run(self, Train, _make_agent)


@dataclass
class Fit:
    """Fit a network to data: `bnnrl fit digits --method swag`, `bnnrl fit rows.csv --targets price`."""

    dataset: Annotated[str, tyro.conf.Positional]
    """A CSV or Parquet file, an image folder, one of scikit-learn's data sets, or a prepared one of TFDS."""
    method: str = "ensemble"
    """Inference method."""
    likelihood: str | None = None
    """categorical, bernoulli, gaussian, heteroscedastic or poisson; by the targets if not given."""
    hyper: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """Hyper-parameters of the method, such as size=10 or learning_rate=1e-2."""
    hidden: tuple[int, ...] = (50, 50)
    """Widths of the network's hidden layers; images pass two convolutions first."""
    activation: str = "relu"
    """Of the hidden layers."""
    network: str | None = None
    """A .keras file with the architecture, instead."""
    epochs: int = 100
    """Passes over the data."""
    batch_size: int = 32
    """Rows in a minibatch; methods that need all rows get them."""
    samples: int = 100
    """Draws of the posterior in predictions."""
    targets: tuple[str, ...] | None = None
    """Columns or features that are targets; a table's last column if not given."""
    task: Literal["classification", "regression"] | None = None
    """How to read the targets; by their type if not given."""
    test: float = 0.2
    """Share of the rows to score on."""
    validation: float = 0.0
    """Share of the rows to score after each epoch."""
    data_dir: str | None = None
    """Where TFDS prepared data."""
    seed: int = 0
    """All randomness derives from it."""
    track: bool = False
    """Log to Weights & Biases."""
    folder: str | None = None
    """Run folder; runs/<dataset>/<method>/<seed>-<time> if not given."""

    def run(self) -> int:
        """Fit, print the scores, and return the exit code."""
        settings = dataclasses.asdict(self)
        del settings["folder"]
        bnnrl._import_tensorflow()
        from bnnrl import fitting

        path, scores = fitting.run(settings, self.folder)
        _print(scores)
        print(f"{path / 'report.html'}")
        return 0


@dataclass
class Evaluate:
    """Score a run anew: `bnnrl evaluate FOLDER --episodes 20`.

    An agent runs fresh episodes; a fitted network predicts its test part.
    """

    folder: Annotated[str, tyro.conf.Positional]
    """A run folder, or one that an agent was saved to."""
    episodes: int = 20
    """How many, of an agent."""
    seed: int = 0
    """Of the initial states and noise, or of the posterior's draws."""
    video: bool = False
    """Film the first episode of an agent too, to FOLDER/video/."""

    def run(self) -> int:
        """Evaluate, print a line for each figure, and return the exit code."""
        from bnnrl import folders

        if self.video and folders.kind_of(self.folder) != "run":
            raise ValueError(
                f"Invalid `--video`: expected the folder of a run made by `bnnrl train`. Received: {self.folder}. "
                "In Python, `bnnrl.rl.video.record` films any agent."
            )
        found = bnnrl.load(self.folder)
        if isinstance(found, bnnrl.PILCO):
            _print(found.evaluate(self.episodes, self.seed))
            if self.video:
                from bnnrl.rl import video

                name = f"trial_{len(found.history)}-seed_{self.seed}"
                print(video.record(found, Path(self.folder) / "video" / name, self.seed))
        else:
            from bnnrl import fitting

            settings = folders.read_config(self.folder, fitting.KIND, fitting.COMMAND)["settings"]
            _print(fitting.evaluate(found, fitting.load_data(settings), settings, self.seed))
        return 0


@dataclass
class Report:
    """Write a run's report.html anew: `bnnrl report FOLDER`. It holds the film that `bnnrl evaluate --video` made."""

    folder: Annotated[str, tyro.conf.Positional]
    """A run folder of `bnnrl train` or `bnnrl fit`."""
    entries: tuple[int, int] | None = None
    """Of the observation, over which policy and value are shown; the first angle and the next if not given."""

    def run(self) -> int:
        """Write the report, print its path, and return the exit code."""
        from bnnrl import folders

        if folders.kind_of(self.folder) == "fit":
            bnnrl._import_tensorflow()
            from bnnrl import fitting

            print(fitting.rebuild(self.folder))
            return 0
        folders.read_config(self.folder, "run", "bnnrl train` or `bnnrl fit")
        agent = bnnrl.load(self.folder)
        from bnnrl.rl import reporting

        print(reporting.write(self.folder, agent, self.entries))
        return 0


def _print(figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")


def _make_agent(settings: dict):
    env_kwargs = {"preset": settings["preset"]} if settings["preset"] else {}
    tasks.get(settings["env"], **env_kwargs)  # a mistyped name is told before TensorFlow is loaded

    def given(*options: str) -> dict[str, Any]:
        return {_FIELDS.get(o, o): settings[o] for o in options if settings[o] is not None}

    return bnnrl.PILCO(
        settings["env"],
        bnnrl.Dynamics(method=settings["method"], **given("hidden", "members", "steps")),
        {"rbf": bnnrl.policies.RBF, "mlp": bnnrl.policies.MLP}[settings["policy"]](),
        particles=settings["particles"],
        horizon=settings["horizon"],
        search=bnnrl.PolicySearch(**given("restarts", "updates", "rounds", "scout_updates", "candidates")),
        seed=settings["seed"],
        env_kwargs=env_kwargs,
    )


_COMMANDS = {"train": Train, "compare": Compare, "fit": Fit, "evaluate": Evaluate, "report": Report}


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 2 bad input, 1 failed, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    if argv == ["--version"]:
        print(f"bnnrl {bnnrl.__version__}")
        return 0
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            _COMMANDS,
            prog="bnnrl",
            description="Bayesian neural networks, and model-based reinforcement learning with them.",
            args=argv or ["--help"],
        )
    except SystemExit as stop:
        # No arguments: help, but it is not what was wanted.
        return 2 if not argv or stop.code else 0
    with warnings.catch_warnings():
        # Gymnasium's advice on how to write environments is not for those who use them.
        warnings.filterwarnings("ignore", module="gymnasium")
        try:
            return command.run()
        except ValueError as error:
            print(f"bnnrl: error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
