"""Control tasks of Gymnasium over seeds: the mean return of evaluation episodes after each trial.

    python experiments/gym_suite.py --envs Pendulum-v1 CartPole-v1 --seeds 0 1 2 3 4
    python experiments/gym_suite.py --envs Pendulum-v1 --costs learned
    python experiments/gym_suite.py --envs Reacher-v5 --agents policy pets

A trial is one episode; the actions of the first one are random. The tasks are those of `bnnrl.tasks`. With `--costs
learned`, the agent does not know the task and learns models of reward and termination. The agent "policy" is the
default agent. The agent "pets" plans each action with the cross-entropy method over 25 steps, with the same ensemble
and particles (Chua et al., NeurIPS 2018). MuJoCo's tasks need `pip install "bnnrl[mujoco]"`.

Writes a row for each trial, a summary and a picture to experiments/results/.
"""

from __future__ import annotations

import itertools
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter

import tyro
from sweeps import Row, check_names, collect, outcome, quiet_single_thread, run_all

ENVS = (
    "Pendulum-v1",
    "CartPole-v1",
    "MountainCarContinuous-v0",
    "InvertedPendulum-v5",
    "Acrobot-v1",
    "Reacher-v5",
    "InvertedDoublePendulum-v5",
)
COSTS = ("task", "learned")
AGENTS = ("policy", "pets")


@dataclass
class Args:
    """Settings of the experiment on control tasks."""

    envs: tuple[str, ...] = ENVS
    costs: tuple[str, ...] = ("task",)
    """task: the cost that the registered task defines; learned: a model of the reward."""
    agents: tuple[str, ...] = ("policy",)
    """policy: a policy optimized by gradients through the model; pets: actions planned at each step."""
    seeds: tuple[int, ...] = tuple(range(5))
    trials: int = 10
    evaluation_episodes: int = 10
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "gym-suite"
    """Name of the result files."""


def run(env: str, cost: str, agent: str, seed: int, trials: int, evaluation_episodes: int) -> list[Row]:
    """Train one agent and return a row for each trial."""
    quiet_single_thread()
    import bnnrl

    started = perf_counter()
    task = bnnrl.tasks.get(env)
    if cost == "learned":
        task = replace(task, cost=None, termination=None, terminal_cost=None)
    learner = bnnrl.PILCO(task, policy=bnnrl.planners.CEM() if agent == "pets" else None, seed=seed)
    learner.learn(trials, stop_when_solved=True, evaluation_episodes=evaluation_episodes)
    seconds = perf_counter() - started
    told = {"env": env, "cost": cost, "agent": agent, "seed": seed}
    return [{**told, **asdict(t), "run_seconds": seconds} for t in learner.history]


def summary(rows: list[Row]) -> str:
    """Return a Markdown table with a row for each environment, cost and agent."""
    lines = [
        "| environment | cost | agent | solved | trial solved at, by seed | median | real steps till then, median | "
        "best mean return, by seed | seconds a run, median |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in _kinds(rows):
        runs = _runs(rows, kind)
        solved = [run[-1]["solved"] for run in runs]
        steps = statistics.median(run[-1]["steps"] for run in runs)
        best = ", ".join(f"{max(r['evaluation_return'] for r in run):.4g}" for run in runs)
        by_seed = ", ".join(f"{'' if run[-1]['solved'] else '>'}{len(run)}" for run in runs)
        lines.append(
            f"| {' | '.join(kind)} | {sum(solved)}/{len(runs)} | {by_seed} | "
            f"{statistics.median(len(run) + (not run[-1]['solved']) for run in runs):g} | {steps:g} | {best} | "
            f"{statistics.median(run[0]['run_seconds'] for run in runs):.0f} |"
        )
    return "\n".join(lines) + "\n"


def draw(rows: list[Row], path: Path) -> None:
    """Draw the mean return of each seed by trial, with a panel for each environment, cost and agent."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    kinds = _kinds(rows)
    columns = min(3, len(kinds))
    height = -(-len(kinds) // columns)
    figure, axes = plt.subplots(height, columns, figsize=(4.2 * columns, 3.2 * height), squeeze=False)
    for axis in axes.flat[len(kinds) :]:
        axis.set_visible(False)
    for axis, kind in zip(axes.flat, kinds, strict=False):
        for run in _runs(rows, kind):
            axis.plot([r["trial"] for r in run], [r["evaluation_return"] for r in run], marker="o", markersize=3)
        env, cost, agent = kind
        words = [env, *([f"{cost} cost"] if cost != "task" else []), *([agent] if agent != "policy" else [])]
        axis.set_title(", ".join(words), fontsize=10)
        axis.set_xlabel("trial (one episode each)")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for row in axes:
        row[0].set_ylabel("mean return of fresh episodes")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _kinds(rows: list[Row]) -> list[tuple[str, str, str]]:
    """Return the distinct (environment, cost, agent) of the rows."""
    return list(dict.fromkeys((r["env"], r["cost"], r["agent"]) for r in rows))


def _runs(rows: list[Row], kind: tuple[str, str, str]) -> list[list[Row]]:
    """Return the rows of one (environment, cost, agent), by seed."""
    own = [r for r in rows if (r["env"], r["cost"], r["agent"]) == kind]
    return [[r for r in own if r["seed"] == seed] for seed in sorted({r["seed"] for r in own})]


def main(args: Args) -> None:
    """Run all environments, costs, agents and seeds, and write the results."""
    check_names("envs", args.envs, ENVS)
    check_names("costs", args.costs, COSTS)
    check_names("agents", args.agents, AGENTS)
    calls = [
        (*call, args.trials, args.evaluation_episodes)
        for call in itertools.product(args.envs, args.costs, args.agents, args.seeds)
    ]
    collect(run_all(run, calls, args.jobs), args.name, _tell, summary, draw)


def _tell(run: list[Row]) -> str:
    """Return a line about a finished run."""
    last = run[-1]
    return (
        f"{last['env']}, {last['cost']} cost, {last['agent']}, seed {last['seed']}: {outcome(last)}, "
        f"mean return {last['evaluation_return']:.4g}, {last['run_seconds']:.0f} s"
    )


if __name__ == "__main__":
    main(tyro.cli(Args))
