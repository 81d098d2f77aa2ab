"""Dynamics models on recorded episodes: fitted to the first k, they predict the steps of the next one.

    python experiments/dynamics.py --folder EPISODES --seeds 0 1 2

`--folder` has a file <name>-<seed>.npz for each learning run of an agent in bnnrl/CartPoleSwingUp-v0, with the arrays
obs<i> [T + 1, 4] and act<i> [T, 1] of its episodes i = 0, 1, ... `gp` is an exact Gaussian process for each entry, see
`bnnrl.rl.simulator.gaussian_process`. A model with "midpoint" sees the middle of a step and is told which entries are
velocities, see `bnnrl.rl.simulator.integration`.

Errors are in standard deviations of the differences of the training steps. The negative log-likelihood of a step,
summed over its 4 entries, is that of a mixture: of the members of an ensemble, or of the draws of another posterior. A
member of Gauss-Newton learning contributes a normal distribution with the moments of its own draws, and so does the
Gaussian process, which is one component.

Adds a row for each fit to a CSV file in experiments/results/, in the place of an earlier row of the same fit, and
writes a table of medians over seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import tyro
from sweeps import Row, check_names, collect, quiet_single_thread, run_all

COLUMNS = ("rmse", "nll", "within_90", "seconds")
EPISODES = (1, 2, 3, 4, 5)
DRAWS, DRAWS_OF_MEMBER = 100, 100
METHODS = tuple(f"{name}{rule}" for name in ("ensemble", "gauss_newton", "gp") for rule in ("", ", midpoint"))

Step = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]  # obs, actions, noise -> next_obs


class Plant(NamedTuple):
    """What a dynamics model is told of a plant whose observation has four entries."""

    angles: tuple[int, ...]  # entries that are angles
    invariant: tuple[int, ...]  # entries that changes do not depend on
    velocities: dict[int, int]  # position entry -> velocity entry
    num_actions: int
    dt: float  # seconds of a step


CART_POLE = Plant(angles=(2,), invariant=(0,), velocities={0: 1, 2: 3}, num_actions=1, dt=0.1)


class Steps(NamedTuple):
    """Steps of episodes, one after another."""

    obs: np.ndarray  # [N, 4]
    actions: np.ndarray  # [N, A]
    next_obs: np.ndarray  # [N, 4]


@dataclass
class Args:
    """Settings of the comparison of dynamics models."""

    folder: Path
    """Folder of recorded episodes."""
    name: str = "deep-pilco"
    """Name of the recordings: files <name>-<seed>.npz."""
    methods: tuple[str, ...] = METHODS
    """Methods of `bnnrl.Dynamics`, each with ", midpoint" for `Dynamics(midpoint=True)`."""
    seeds: tuple[int, ...] = (100, 101, 102)
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    result: str = "dynamics"
    """Name of the result files."""


def read(folder: Path, name: str, seed: int) -> list[Steps]:
    """Return the episodes of a recording.

    Raises:
        FileNotFoundError: if there is no such recording.
    """
    path = folder / f"{name}-{seed}.npz"
    if not path.is_file():
        raise FileNotFoundError(f"Invalid `folder`: expected the file {path}. Received: none.")
    with np.load(path) as data:
        count = sum(key.startswith("obs") for key in data.files)
        pairs = [(data[f"obs{i}"], data[f"act{i}"]) for i in range(count)]
    return [Steps(*(a.astype(np.float32) for a in (obs[:-1], act, obs[1:]))) for obs, act in pairs]


def joined(episodes: list[Steps]) -> Steps:
    """Return the steps of several episodes."""
    return Steps(*(np.concatenate(parts) for parts in zip(*episodes, strict=True)))


def moments(step: Step, test: Steps, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the means and standard deviations of the next observation given each draw, [S, N, 4].

    The next observation is linear in the noise, which enters a velocity and, through it, a position.
    """
    tiled = lambda a: np.broadcast_to(a, (draws, *a.shape)).astype(np.float32)
    obs, actions = tiled(test.obs), tiled(test.actions)
    at = lambda noise: np.asarray(step(obs, actions, tiled(np.broadcast_to(noise, test.obs.shape))), np.float64)
    mean = at(np.zeros(4))
    return mean, np.sqrt(sum((at(unit) - mean) ** 2 for unit in np.eye(4)))


class Model:
    """A dynamics model of the package.

    Args:
        method: a method of `bnnrl.Dynamics`.
        midpoint: whether it sees the middle of a step, and is told which entries are velocities.
        plant: what it is told of the plant.
    """

    def __init__(self, method: str, midpoint: bool, plant: Plant):
        import tensorflow as tf

        import bnnrl
        from bnnrl.rl.simulator.dynamics import DynamicsModel
        from bnnrl.rl.simulator.features import Features

        settings = bnnrl.Dynamics(method=method, midpoint=midpoint)
        self._components = {"gauss_newton": settings.size, "gp": 1}.get(method)  # None: as many as draws
        told = {"velocities": plant.velocities, "dt": plant.dt} if midpoint else {}
        features = Features(4, plant.angles, plant.invariant)
        self._dynamics = DynamicsModel(settings, features, plant.num_actions, capacity=128, **told)
        self._step = tf.function(lambda draws, *args: self._dynamics.make_step(draws)(*args), autograph=False)

    def fit(self, train: Steps, seed: int) -> None:
        """Fit to steps."""
        self._dynamics.fit(*train, seed)

    def sample_step(self, num_draws: int, seed: int) -> Step:
        """Return the step function of draws from the fitted model, for particles [S, N, 4] and noise [S, N, 4]."""
        draws = self._dynamics.sample(num_draws, seed)
        return lambda *args: self._step(draws, *args)

    def components(self, test: Steps, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return means and standard deviations of the mixture's components, [C, N, 4]."""
        members, per_member = (self._components, DRAWS_OF_MEMBER) if self._components else (DRAWS, 1)
        found = moments(self.sample_step(members * per_member, seed), test, members * per_member)
        means, stds = (a.reshape(members, per_member, *a.shape[1:]) for a in found)
        return means.mean(axis=1), np.sqrt(means.var(axis=1) + (stds**2).mean(axis=1))


def scores(means: np.ndarray, stds: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return error, negative log-likelihood of a step and share within 90 % intervals of a mixture.

    Args:
        means: [C, N, T].
        stds: [C, N, T].
        y: [N, T].
    """
    from scipy import special, stats

    log_probs = stats.norm.logpdf(y, means, stds).sum(axis=-1)
    nll = np.log(len(means)) - special.logsumexp(log_probs, axis=0)
    chance = stats.norm.cdf(y, means, stds).mean(axis=0)
    return {
        "rmse": float(np.sqrt(np.mean((means.mean(axis=0) - y) ** 2))),
        "nll": float(nll.mean()),
        "within_90": float(np.mean((chance > 0.05) & (chance < 0.95))),
    }


def run(folder: Path, name: str, method: str, seeds: tuple[int, ...]) -> list[Row]:
    """Fit a method to the first episodes of each recording, and return a row for each fit."""
    quiet_single_thread()
    known, _, midpoint = method.partition(", ")
    model = Model(known, bool(midpoint), CART_POLE)
    model.fit(joined(read(folder, name, seeds[0])[:1]), 0)  # compiles
    rows = []
    for seed in seeds:
        episodes = read(folder, name, seed)
        for k in (k for k in EPISODES if k < len(episodes)):
            train, test = joined(episodes[:k]), episodes[k]
            started = perf_counter()
            model.fit(train, 10 * seed + k)
            seconds = perf_counter() - started
            unit = (train.next_obs - train.obs).std(axis=0).astype(np.float64)
            means, stds = model.components(test, seed)
            own = scores(means / unit, stds / unit, test.next_obs / unit)
            rows.append({"method": method, "seed": seed, "episodes": k, **own, "seconds": seconds})
    return rows


def tell(rows: list[Row]) -> str:
    """Return a line about the fits of a method."""
    return f"{rows[0]['method']}: nll {np.median([row['nll'] for row in rows]):.3g} (median of {len(rows)} fits)"


def summary(rows: list[Row]) -> str:
    """Return a Markdown table of medians over seeds."""
    counts = sorted({row["episodes"] for row in rows})
    lines = [
        f"| method, after {', '.join(map(str, counts))} episodes | RMSE | NLL | within 90 % | seconds |",
        "|---|---|---|---|---|",
    ]
    for method in dict.fromkeys(row["method"] for row in rows):
        of = lambda column, k, method=method: np.median(
            [row[column] for row in rows if row["method"] == method and row["episodes"] == k]
        )
        cells = [" ".join(f"{of(column, k):.3g}" for k in counts) for column in COLUMNS]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    seeds = sorted({row["seed"] for row in rows})
    lines += ["", f"Medians over seeds {', '.join(map(str, seeds))}; fitted to so many episodes, tested on the next."]
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Run all methods, and write the results."""
    from bnnrl.rl.simulator.presets import PRESETS

    known = [*PRESETS, "gp"]
    check_names("methods", args.methods, [*known, *(f"{name}, midpoint" for name in known)])
    for seed in args.seeds:
        try:
            read(args.folder, args.name, seed)
        except FileNotFoundError as error:
            raise SystemExit(str(error)) from error
    calls = [(args.folder, args.name, method, args.seeds) for method in args.methods]
    collect(run_all(run, calls, args.jobs), args.result, tell, summary, kept_by=("method", "seed", "episodes"))


if __name__ == "__main__":
    main(tyro.cli(Args))
