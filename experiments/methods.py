"""Every inference method for the dynamics model of an agent that learns cart-pole swing-up.

    python experiments/methods.py --seeds 0 1 2 3 4
    python experiments/methods.py --methods hmc dropout bbb --seeds 0 1 2 3 4

For each method and seed, the results are the trial that solved the task, the final cost, and scores of the model's
predictions of each new episode before the model is fitted to it. A run whose fit diverges ends unsolved.

Writes a row for each trial to experiments/results/methods.csv, and a summary to methods.md.
"""

from __future__ import annotations

import statistics
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import tyro
from sweeps import RESULTS, Row, outcome, quiet_single_thread, run_all, write_csv

METHODS = ("ensemble", "adam", "sgd", "dropout", "swag", "bbb", "vadam", "bsam", "sgld", "hmc")


@dataclass
class Args:
    """Settings of the experiment on inference methods."""

    preset: Literal["pilco", "deep-pilco", "mc-pilco"] = "deep-pilco"
    methods: tuple[str, ...] = METHODS
    seeds: tuple[int, ...] = tuple(range(5))
    trials: int = 8
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "methods"
    """Name of the result files."""


def one_step(agent, episode, num_draws: int = 50) -> tuple[float, float]:
    """Return negative log-likelihood and 90 % coverage of the model's one-step predictions from real states.

    The likelihood, in nats per step, is that of the equal mixture over the model draws, for differences in units of
    their standard deviation in the data. Coverage is that of the intervals of a Gaussian with the mean and the
    variance of the mixture.
    """
    import tensorflow as tf

    num_draws = min(num_draws, agent.model.posterior.num_distinct or num_draws)
    draws = agent.model.sample(num_draws, 0)
    step = agent.model.make_step(draws)
    tiled = lambda a: tf.tile(tf.constant(a, tf.float32)[tf.newaxis], [num_draws, 1, 1])
    obs, actions = tiled(episode.obs[:-1]), tiled(episode.actions)
    unit = draws.target_std.numpy()
    mean = step(obs, actions, tf.zeros(obs.shape)).numpy()
    std = (step(obs, actions, tf.ones(obs.shape)).numpy() - mean) / unit  # [S, T, O]
    error = (episode.obs[1:] - mean) / unit
    log_prob = (-0.5 * np.square(error / std) - np.log(std) - 0.5 * np.log(2 * np.pi)).sum(axis=-1)
    highest = log_prob.max(axis=0)
    nll = -np.mean(highest + np.log(np.mean(np.exp(log_prob - highest), axis=0)))
    spread = np.sqrt(error.var(axis=0) + np.square(std).mean(axis=0))
    return float(nll), float(np.mean(np.abs(error.mean(axis=0)) < 1.645 * spread))


def rollouts(agent, episode) -> tuple[float, float]:
    """Return negative log-likelihood and 90 % coverage of the particles that were predicted before the episode.

    The likelihood, in nats per step, is that of a Gaussian fitted to the particles at each time, in units of the
    standard deviation of differences in the data. Coverage is that of the central 90 % of the particles.
    """
    unit = agent.model.sample(1, 0).target_std.numpy()
    real = episode.obs[1:]
    particles = agent.prediction.obs[1 : len(real) + 1]  # [T, P, O]
    mean, std = particles.mean(axis=1), particles.std(axis=1) / unit + 1e-3
    nll = (0.5 * np.square((real - mean) / unit / std) + np.log(std) + 0.5 * np.log(2 * np.pi)).sum(axis=-1)
    low, high = np.quantile(particles, [0.05, 0.95], axis=1)
    return float(nll.mean()), float(np.mean((low <= real) & (real <= high)))


def run(preset: str, method: str, seed: int, trials: int) -> list[Row]:
    """Train one agent and return a row for each trial."""
    quiet_single_thread()
    import bnnrl
    from bnnrl.inference import Diverged
    from bnnrl.rl.callbacks import Callback

    rows: list[Row] = []

    class Score(Callback):
        def on_trial_end(self, agent, trial):
            scores: dict[str, Any] = dict.fromkeys(("step_nll", "step_coverage", "rollout_nll", "rollout_coverage"))
            if trial.trial > 1:
                scores["step_nll"], scores["step_coverage"] = one_step(agent, agent.episodes[-1])
                scores["rollout_nll"], scores["rollout_coverage"] = rollouts(agent, agent.episodes[-1])
            rows.append({"preset": preset, "method": method, "seed": seed, **asdict(trial), **scores})

    agent = bnnrl.PILCO(
        "bnnrl/CartPoleSwingUp-v0",
        dynamics=bnnrl.Dynamics(method=method),
        seed=seed,
        env_kwargs={"preset": preset},
    )
    with suppress(Diverged):
        agent.learn(trials, callbacks=[Score()], stop_when_solved=True)
    return rows


def summary(rows: list[Row], trials: int) -> str:
    """Return a Markdown table with a row for each method. Scores are medians over trials from the third on."""
    lines = [
        "| method | solved | trial solved at, by seed | final cost, by seed | one step: NLL, coverage | "
        "rollouts: NLL, coverage | seconds a trial, fit + search |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in dict.fromkeys(r["method"] for r in rows):
        own = [r for r in rows if r["method"] == method]
        seeds = sorted({r["seed"] for r in own})
        last = [max((r for r in own if r["seed"] == s), key=lambda r: r["trial"]) for s in seeds]
        by_seed = ", ".join(str(r["trial"]) if r["solved"] else f">{trials}" for r in last)
        costs = ", ".join(f"{r['evaluation_cost']:.2f}" for r in last)
        late = [r for r in own if r["trial"] > 2]
        middle = lambda name, of=late: statistics.median(r[name] for r in of) if of else float("nan")
        lines.append(
            f"| {method} | {sum(r['solved'] for r in last)}/{len(seeds)} | {by_seed} | {costs} | "
            f"{middle('step_nll'):.1f}, {middle('step_coverage'):.2f} | "
            f"{middle('rollout_nll'):.1f}, {middle('rollout_coverage'):.2f} | "
            f"{middle('fit_seconds'):.1f} + {middle('search_seconds'):.1f} |"
        )
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Run all methods and seeds, and write the results."""
    quiet_single_thread()
    from bnnrl.inference import get

    for method in args.methods:
        get(method)  # reports a mistyped name before the first run
    rows: list[Row] = []
    by_method = lambda: sorted(rows, key=lambda r: args.methods.index(r["method"]))
    for found in run_all(run, [(args.preset, m, s, args.trials) for s in args.seeds for m in args.methods], args.jobs):
        rows += found
        last = rows[-1]
        print(f"{last['method']}, seed {last['seed']}: {outcome(last)}", flush=True)
        write_csv(by_method(), RESULTS / f"{args.name}.csv")
    table = summary(by_method(), args.trials)
    (RESULTS / f"{args.name}.md").write_text(table)
    print(table)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
