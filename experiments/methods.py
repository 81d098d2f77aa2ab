"""Every inference method as the dynamics model of the swing-up agent.

    python experiments/methods.py --seeds 0 1 2 3 4
    python experiments/methods.py --methods hmc dropout bbb --seeds 0 1 2 3 4

For each method and seed: the trial it was solved at, the cost at the end, and how the model's predictions fared against
each new episode, which it had not seen. A run whose fit diverges ends there, unsolved. Writes a row for each trial to
experiments/results/methods.csv, and a summary to methods.md.
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
    """Inference methods on cart-pole swing-up."""

    preset: Literal["pilco", "deep-pilco", "mc-pilco"] = "deep-pilco"
    methods: tuple[str, ...] = METHODS
    seeds: tuple[int, ...] = tuple(range(5))
    trials: int = 8
    jobs: int = 2
    """Runs side by side, each with one thread."""
    name: str = "methods"
    """Of the result files."""


def one_step(agent, episode, num_draws: int = 50) -> tuple[float, float]:
    """Return of the model's predictions, each from a real state, the negative log-likelihood and the 90 % coverage.

    The likelihood is that of the equal mixture over the model's draws, in nats a step, of differences in units of
    their spread in the data. Coverage is that of the intervals of a normal with the mixture's mean and variance.
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
    """Return of the particles predicted before the episode their negative log-likelihood and 90 % coverage.

    The likelihood is that of a normal fitted to the particles' entries at each time, in nats a step, in units of the
    spread of differences in the data. Coverage is that of the particles' central 90 %.
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
    """Return a Markdown table, a line for each method; scores are medians over its trials from the third on."""
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
    quiet_single_thread()
    from bnnrl.inference import get

    for method in args.methods:
        get(method)  # a mistyped name is told before the first run
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
