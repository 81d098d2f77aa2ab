"""Trial results, the model's prediction of a trial, and the callbacks of `PILCO.learn`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import gymnasium

    from bnnrl.rl.episodes import Episode
    from bnnrl.rl.planners import CEM
    from bnnrl.rl.policies import Policy
    from bnnrl.rl.search import PolicySearch
    from bnnrl.rl.simulator.dynamics import DynamicsModel
    from bnnrl.rl.simulator.settings import Dynamics
    from bnnrl.rl.tasks import Task

# Arguments and attributes of `bnnrl.PILCO` that are a number, a word or a flag, which are saved and logged as they are.
PLAIN_SETTINGS = ("propagation", "particles", "horizon", "episodes_per_trial", "learn_reward", "seed")


@dataclass(frozen=True)
class Trial:
    """Results of one trial.

    Real costs and returns are means over the trial's real episodes, evaluation costs and returns over the evaluation
    episodes after the trial.
    """

    trial: int  # its number, counted from 1
    steps: int  # real steps of all trials so far, evaluation excluded
    experience: float | None  # the same in seconds; None where time has no meaning
    predicted_cost: float | None  # mean over steps and particles; None for a random trial or a planner
    real_cost: float  # mean cost of a step
    evaluation_cost: float  # mean cost of a step
    success_rate: float | None  # share of the evaluation episodes; None where the task has no notion of success
    solved: bool
    fit_seconds: float
    search_seconds: float
    real_return: float | None = None  # sum of an episode's rewards
    evaluation_return: float | None = None  # sum of an episode's rewards
    compared_cost: float | None = None  # real mean cost over the steps of `predicted_cost`; None without a prediction
    predicted_cost_low: float | None = None  # 5 % quantile of an episode's mean cost, as predicted; None without
    predicted_cost_high: float | None = None  # 95 % quantile
    keeping_probability: float | None = None  # predicted, of keeping all constraints; None without any or a prediction
    violations: int | None = None  # real steps of the trial that violate a constraint; None without any
    evaluation_violations: int | None = None  # the same of the evaluation episodes


@dataclass(frozen=True)
class Prediction:
    """What the model predicted of a trial before the trial was run."""

    obs: np.ndarray  # [H + 1, P, O] particles
    costs: np.ndarray  # [H, P]
    violated: np.ndarray = field(default_factory=lambda: np.zeros([0, 0], bool))  # [P, C] whether on any step

    def cost_interval(self, steps: int | None) -> tuple[float, float]:
        """Return the 90 % interval of an episode's mean cost over the first `steps`; None takes all of them.

        It is that of the particles' mean costs, each particle being an episode. With propagation "moment_matching",
        particles are exchanged at each step, and the interval is too narrow.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # of particles that have overflowed
            low, high = np.quantile(self.costs[:steps].mean(axis=0), (0.05, 0.95))
        return float(low), float(high)

    @property
    def keeping_probability(self) -> float | None:
        """Share of the particles that keep all constraints; None without constraints."""
        return float(1 - self.violated.any(axis=1).mean()) if self.violated.size else None


class Agent(Protocol):
    """The part of `bnnrl.PILCO` that callbacks may rely on; see there for the meaning of each attribute."""

    env: gymnasium.Env
    task: Task
    dynamics: Dynamics
    policy: Policy | CEM
    search: PolicySearch
    reward_model: Dynamics
    propagation: str
    particles: int
    horizon: int
    episodes_per_trial: int
    learn_reward: bool
    seed: int
    model: DynamicsModel
    episodes: list[Episode]
    history: list[Trial]
    prediction: Prediction | None

    @property
    def is_planner(self) -> bool:
        """Whether actions are planned at each step."""
        ...

    @property
    def solved(self) -> int | None:
        """The first trial after which the task counted as solved, or None."""
        ...

    def costs(self, episode: Episode) -> np.ndarray:
        """Return the cost of each step of a real episode, [T]."""
        ...

    def mean_cost(self, episode: Episode) -> float:
        """Return the mean cost over a real episode's steps."""
        ...

    def predict(self, observation: np.ndarray) -> tuple[np.ndarray, None]:
        """Return the action for an observation, and None."""
        ...

    def evaluate(self, episodes: int = 20, seed: int = 0) -> dict[str, Any]:
        """Return figures of the agent over fresh real episodes."""
        ...

    def to_saved(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return a JSON-able description and named arrays."""
        ...


class Callback:
    """Base class of callbacks, which `PILCO.learn` calls; every method does nothing unless it is overridden."""

    def on_phase(self, agent: Agent, trial: int, phase: str) -> None:
        """Called when a phase of a trial begins: "model", "policy", "episode" or "evaluation"."""

    def on_trial_end(self, agent: Agent, trial: Trial) -> None:
        """Called after each trial."""

    def on_error(self, agent: Agent, error: BaseException) -> None:
        """Called when an error or an interruption stops learning; `agent` keeps what was learned so far."""
