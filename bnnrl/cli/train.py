"""`bnnrl train`."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

import bnnrl
from bnnrl._tensorflow import import_tensorflow
from bnnrl.checks import changed, check_count
from bnnrl.exit_codes import INTERRUPTED
from bnnrl.rl import tasks

_FIELDS = {"members": "size"}  # options whose setting has another name
_AGENTS = ("propagation", "particles", "horizon", "seed", "episodes_per_trial", "learn_reward")  # options of PILCO


@dataclass
class Train:
    """Train an agent: `bnnrl train bnnrl/CartPoleSwingUp-v0 --preset deep-pilco --seed 0`."""

    env: Annotated[str | None, tyro.conf.Positional] = None
    """Id of a Gymnasium environment, as module:Name-v0 where a module of yours registers it."""
    preset: str | None = None
    """Variant of the environment, for those that have presets."""
    method: str = "ensemble"
    """Inference method of the dynamics model."""
    policy: Literal["rbf", "mlp", "linear", "cem", "icem"] = "rbf"
    """Kind of policy, or the planner that does without one."""
    propagation: Literal["ts_inf", "ts1", "moment_matching", "mean"] = "ts_inf"
    """How particles go through the model's draws."""
    learn_reward: bool = False
    """Learn reward and termination, whatever the task says of them."""
    seed: int = 0
    """All randomness derives from it."""
    trials: int | None = None
    """Trials at most, the random first one included; 8 if not given."""
    particles: int = 100
    """Particles in a rollout."""
    horizon: int | None = None
    """Steps the policy is optimised over; the task's, or an episode's length and a quarter more, if not given."""
    episodes_per_trial: int = 1
    """Real episodes in a trial."""
    evaluation_episodes: int = 10
    """Fresh episodes that each trial's policy is scored on; the model is not given them."""
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
        from bnnrl.rl.reporting.live_table import Progress

        trials, stop = run.settings["trials"], run.settings["stop_when_solved"]
        done = len(agent.history)
        finished = done >= trials or (stop and agent.solved is not None)
        tracked = []
        if run.settings.get("track") and not finished:
            from bnnrl.rl.tracker import TrialTracker

            tracked = [TrialTracker.start(agent, run.folder)]
        try:
            with contextlib.ExitStack() as stack:
                for callback in tracked:
                    stack.enter_context(callback.tracker)
                progress = stack.enter_context(Progress(f"{run.settings['env']} -> {run.folder}", agent.history))
                if not finished:
                    evaluated = run.settings.get("evaluation_episodes", 10)  # runs by earlier versions do not say
                    agent.learn(trials - done, [run, *tracked, progress], stop, evaluated)
        except KeyboardInterrupt:
            print(
                f"Interrupted; {len(agent.history)} trials are kept. Go on: bnnrl train --resume {run.folder}",
                file=sys.stderr,
            )
            return INTERRUPTED
        except ValueError as error:
            raise ValueError(f"{error}\nRun folder: {run.folder}") from error
        from bnnrl.rl.reporting import html

        if not finished or not (run.folder / "report.html").exists():
            html.write(run.folder, agent, max_panels=40)  # which takes some seconds
        print(f"{run.outcome(agent)}: {run.folder}")
        return 0

    def _begin(self):
        if self.env is None:
            raise ValueError(
                "Invalid arguments: expected the id of an environment, or --resume FOLDER. Received: none."
            )
        settings = dataclasses.asdict(self)
        del settings["folder"], settings["resume"]
        settings["trials"] = check_count("trials", 8 if self.trials is None else self.trials)
        check_count("evaluation_episodes", self.evaluation_episodes)
        agent = make_agent(settings)
        from bnnrl.rl.reporting.run import Run

        return Run.create(self.folder, settings), agent

    def _resume(self):
        if given := changed(self, ("resume", "trials")):
            raise ValueError(
                "Invalid arguments: expected none but --trials beside --resume, which goes on under the run's own "
                f"settings. Received: {', '.join(given)}."
            )
        import_tensorflow()
        from bnnrl.rl.reporting.run import Run

        run = Run.reopen(self.resume or "")
        if self.trials is not None:
            run.change(trials=max(check_count("trials", self.trials), run.settings["trials"]))
        agent = run.latest(warn=lambda message: print(f"bnnrl: warning: {message}", file=sys.stderr))
        return run, agent or make_agent(run.settings)


def make_agent(settings: dict[str, Any]):
    """Return the agent of a run's settings; what a run by an earlier version does not name has its default."""
    settings = dataclasses.asdict(Train()) | settings
    env_kwargs = {"preset": settings["preset"]} if settings["preset"] else {}
    tasks.get(settings["env"], **env_kwargs)  # a mistyped name is told before TensorFlow is loaded

    def given(*options: str) -> dict[str, Any]:
        return {_FIELDS.get(o, o): settings[o] for o in options if settings[o] is not None}

    planners = {"cem": bnnrl.planners.CEM, "icem": bnnrl.planners.ICEM}
    policies = {"rbf": bnnrl.policies.RBF, "mlp": bnnrl.policies.MLP, "linear": bnnrl.policies.Linear}
    kind = settings["policy"]
    return bnnrl.PILCO(
        settings["env"],
        bnnrl.Dynamics(method=settings["method"], **given("hidden", "members", "steps")),
        planners[kind](**given("horizon")) if kind in planners else policies[kind](),
        search=bnnrl.PolicySearch(**given("restarts", "updates", "rounds", "scout_updates", "candidates")),
        env_kwargs=env_kwargs,
        **{name: settings[name] for name in _AGENTS},
    )
