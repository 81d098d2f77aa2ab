"""Deep PILCO on cart-pole swing-up: a dropout network, with and without moment matching.

    python experiments/deep_pilco.py --seeds 0 1 2 3 4 5 6 7 8 9

The protocol is that of Gal, McAllister and Rasmussen, "Improving PILCO with Bayesian Neural Network Dynamics Models",
2016: trials of 2.5 s that begin with the pole hanging; a network with two hidden layers of 200 ReLU units and MC
dropout; particles that keep a dropout mask for a whole rollout and are redrawn from their Gaussian at each step
(moment matching); an RBF policy with 50 units. A variant without moment matching shows the effect of that step.

Writes a row for each trial, a table and a picture to experiments/results/.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import tyro
from sweeps import Row, check_names, collect, quiet_single_thread, run_all

PROPAGATIONS = ("moment_matching", "ts_inf")


@dataclass
class Args:
    """Settings of the Deep PILCO experiment."""

    seeds: tuple[int, ...] = tuple(range(10))
    propagations: tuple[str, ...] = ("moment_matching",)
    trials: int = 10
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "deep-pilco-protocol"
    """Name of the result files."""


def run(propagation: str, seed: int, trials: int) -> list[Row]:
    """Train one agent and return a row for each trial."""
    quiet_single_thread()
    import bnnrl

    started = perf_counter()
    agent = bnnrl.PILCO(
        "bnnrl/CartPoleSwingUp-v0",
        dynamics=bnnrl.Dynamics(hidden=(200, 200), activation="relu", method="dropout"),
        policy=bnnrl.policies.RBF(50),
        propagation=propagation,
        seed=seed,
        env_kwargs={"preset": "deep-pilco"},
    )
    agent.learn(trials)
    seconds = perf_counter() - started
    return [{"propagation": propagation, "seed": seed, **asdict(t), "run_seconds": seconds} for t in agent.history]


def _by_trial(rows: list[Row], propagation: str, column: str) -> dict[int, list[float]]:
    """Return the sorted values of a column by trial, for the runs with this propagation."""
    own = [r for r in rows if r["propagation"] == propagation]
    return {t: sorted(r[column] for r in own if r["trial"] == t) for t in sorted({r["trial"] for r in own})}


def summary(rows: list[Row]) -> str:
    """Return a Markdown table with the cost of each trial, as median and range over seeds."""
    lines = [
        "| propagation | trial | real cost, median (range) | of fresh episodes, median (range) | solved by then |",
        "|---|---|---|---|---|",
    ]
    show = lambda values: f"{statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"
    for propagation in dict.fromkeys(r["propagation"] for r in rows):
        fresh = _by_trial(rows, propagation, "evaluation_cost")
        for trial, costs in _by_trial(rows, propagation, "real_cost").items():
            own = [r for r in rows if r["propagation"] == propagation and r["trial"] <= trial and r["solved"]]
            solved = f"{len({r['seed'] for r in own})}/{len(costs)}"
            lines.append(f"| {propagation} | {trial} | {show(costs)} | {show(fresh[trial])} | {solved} |")
    return "\n".join(lines) + "\n"


def draw(rows: list[Row], path: Path) -> None:
    """Draw the median cost by trial with the range over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, axis = plt.subplots(figsize=(5, 3.4))
    for propagation in dict.fromkeys(r["propagation"] for r in rows):
        costs = _by_trial(rows, propagation, "real_cost")
        line = axis.plot(list(costs), [statistics.median(v) for v in costs.values()], marker="o", label=propagation)[0]
        low, high = [v[0] for v in costs.values()], [v[-1] for v in costs.values()]
        axis.fill_between(list(costs), low, high, color=line.get_color(), alpha=0.15)
    axis.set(xlabel="trial of 2.5 s", ylabel="mean cost of the trial, median and range", ylim=(0, 1.03))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(args: Args) -> None:
    """Run all seeds, and write the results."""
    check_names("propagations", args.propagations, PROPAGATIONS)
    calls = [(p, seed, args.trials) for p in args.propagations for seed in args.seeds]
    collect(run_all(run, calls, args.jobs), args.name, _tell, summary, draw)


def _tell(run: list[Row]) -> str:
    """Return a line about a finished run."""
    costs = ", ".join(f"{r['real_cost']:.2f}" for r in run)
    return f"{run[0]['propagation']}, seed {run[0]['seed']}: {costs}; {run[0]['run_seconds']:.0f} s"


if __name__ == "__main__":
    main(tyro.cli(Args))
