"""Dynamics models on recordings of real machines: fitted to the first k swing-ups, they predict the next two.

    python experiments/hardware.py --folder RECORDINGS

`--folder` has the folders `pendubot` and `acrobot`, with files experiment01.csv to experiment10.csv: swing-ups of
RealAIGym's double pendulum (DFKI, BSD-3) by one controller, sampled every 30.3 ms. A state is (q1, q2, q1', q2'), the
measured angles and velocities; an action is the torque that the controller asked for in each joint. Only the joint that
names the machine is driven; in the other one the controller compensates friction, by up to 0.5 N m. Of the 10 s of a
recording, the first three are used: the swing-up takes 1.3 s, and the rest is spent upright.

A torque takes effect one sample after it was asked for, so that the models are given the action of the sample before.
`--delay 0` gives them that of the same sample.

One step ahead, errors, likelihoods and coverage are those of `experiments/dynamics.py`. For a second ahead, 100
particles, each with a draw of the model and noise of its own, follow the recorded torques from every third sample.
Their median is the prediction; the likelihood is that of a normal distribution with their mean and variance, summed
over the 4 entries; coverage is the share of entries between their quantiles 0.05 and 0.95. Errors are in standard
deviations of the change, over one step or one second, in the training recordings.

Adds a row for each fit to a CSV file in experiments/results/, in the place of an earlier row of the same fit, and
writes a table of each machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import tyro
from dynamics import Model, Plant, Step, Steps, joined, scores
from sweeps import Row, check_names, collect, heading, quiet_single_thread, run_all

MACHINES = ("pendubot", "acrobot")
DOUBLE_PENDULUM = Plant(angles=(0, 1), invariant=(), velocities={0: 2, 1: 3}, num_actions=2, dt=1 / 33)
METHODS = (
    *("gp", "ensemble", "gauss_newton", "adam", "laplace", "swag", "dropout", "vbll"),
    *("gp, midpoint", "mclmc"),
)
AHEAD = 33  # samples in a second
EVERY = 3  # samples from the start of one prediction to the next
PARTICLES = 100
TESTED = 2  # recordings that a fit predicts
SCORES = ("rmse", "nll", "within_90")


@dataclass
class Args:
    """Settings of the comparison of dynamics models on recordings."""

    folder: Path
    """Folder of the recordings."""
    methods: tuple[str, ...] = METHODS
    """Methods of `bnnrl.Dynamics`, each with ", midpoint" for `Dynamics(midpoint=True)`."""
    machines: tuple[str, ...] = MACHINES
    recordings: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers k of recordings to fit to, at most 8 of the 10."""
    samples: int = 100
    """Samples used of each recording, from its start."""
    delay: int = 1
    """Samples after which a torque that was asked for takes effect."""
    seed: int = 0
    jobs: int = 1
    """Number of runs at the same time, each with one thread."""
    result: str = "hardware"
    """Name of the result files."""


def read(folder: Path, machine: str, number: int, samples: int, delay: int) -> Steps:
    """Return the steps between the first samples of a recording, each with the torques asked for `delay` samples ago.

    Raises:
        FileNotFoundError: if there is no such recording.
    """
    path = folder / machine / f"experiment{number:02d}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"Invalid `folder`: expected the file {path}. Received: none.")
    table: Any = np.genfromtxt(path, delimiter=",", names=True, max_rows=samples, dtype=np.float64)
    columns = lambda *names: np.stack([table[f"{name}{joint}"] for name in names for joint in (1, 2)], axis=1)
    states = columns("pos_meas", "vel_meas").astype(np.float32)
    return Steps(states[delay:-1], columns("tau_con")[: -1 - delay].astype(np.float32), states[1 + delay :])


def particles(step: Step, recording: Steps, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where particles are a second after every third sample, [P, N, 4], and the recorded states, [N, 4]."""
    starts = np.arange(0, len(recording.obs) - AHEAD + 1, EVERY)
    rng = np.random.default_rng(seed)
    obs = np.broadcast_to(recording.obs[starts], (PARTICLES, len(starts), 4)).astype(np.float32)
    for i in range(AHEAD):
        torques = recording.actions[starts + i]
        actions = np.broadcast_to(torques, (*obs.shape[:2], torques.shape[-1])).astype(np.float32)
        obs = np.asarray(step(obs, actions, rng.normal(size=obs.shape).astype(np.float32)))
    return obs.astype(np.float64), recording.next_obs[starts + AHEAD - 1].astype(np.float64)


def particle_scores(found: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return error, negative log-likelihood and share within 90 % intervals of particles.

    Args:
        found: particles, [P, N, T]; one that left the range of float32 makes its error and likelihood infinite.
        y: recorded states, [N, T].
    """
    if not np.isfinite(found).all():
        return {"rmse": np.inf, "nll": np.inf, "within_90": 0.0}
    low, median, high = np.quantile(found, [0.05, 0.5, 0.95], axis=0)
    return {
        "rmse": float(np.sqrt(np.mean((median - y) ** 2))),
        "nll": scores(found.mean(axis=0)[np.newaxis], found.std(axis=0)[np.newaxis], y)["nll"],
        "within_90": float(np.mean((low < y) & (y < high))),
    }


def run(args: Args, machine: str, method: str) -> list[Row]:
    """Fit a method to the first recordings of a machine, and return a row for each number of them."""
    quiet_single_thread()
    known, _, midpoint = method.partition(", ")
    model = Model(known, bool(midpoint), DOUBLE_PENDULUM)
    take = lambda number: read(args.folder, machine, number, args.samples, args.delay)
    rows = []
    for k in args.recordings:
        fitted, tested = [take(i) for i in range(1, k + 1)], [take(i) for i in range(k + 1, k + 1 + TESTED)]
        train, test = joined(fitted), joined(tested)
        started = perf_counter()
        model.fit(train, 10 * args.seed + k)
        seconds = perf_counter() - started
        unit = (train.next_obs - train.obs).std(axis=0).astype(np.float64)
        means, stds = model.components(test, args.seed)
        one_step = scores(means / unit, stds / unit, test.next_obs / unit)
        step = model.sample_step(PARTICLES, args.seed)
        ends, states = zip(*(particles(step, recording, args.seed) for recording in tested), strict=True)
        unit = np.concatenate([r.next_obs[AHEAD - 1 :] - r.obs[: 1 - AHEAD] for r in fitted]).std(axis=0)
        second = particle_scores(np.concatenate(ends, axis=1) / unit, np.concatenate(states) / unit)
        scored = (("step", one_step), ("second", second))
        figures = {f"{name}_{ahead}": found[name] for ahead, found in scored for name in SCORES}
        fit = {"machine": machine, "method": method, "delay": args.delay, "seed": args.seed, "recordings": k}
        rows.append({**fit, **figures, "seconds": seconds})
    return rows


def tell(rows: list[Row]) -> str:
    """Return a line about the fits of a method."""
    shown = "; ".join(f"{row['recordings']}: {row['nll_step']:.3g}, {row['nll_second']:.3g}" for row in rows)
    return f"{rows[0]['machine']}, {rows[0]['method']}, NLL of a step and a second after k recordings: {shown}"


def summary(rows: list[Row]) -> str:
    """Return a Markdown table of each machine and delay."""
    lines: list[str] = []
    titles = [f"{name} {ahead}" for ahead in ("step", "1 s") for name in ("RMSE", "NLL", "within 90 %")]
    for machine, delay in dict.fromkeys((row["machine"], row["delay"]) for row in rows):
        shown = [row for row in rows if (row["machine"], row["delay"]) == (machine, delay)]
        counts = sorted({row["recordings"] for row in shown})
        title = f"{machine.capitalize()}, a torque acts {delay} sample{'s' * (delay != 1)} late"
        lines += heading(title, [f"method, after {', '.join(map(str, counts))}", *titles, "seconds"])
        for method in dict.fromkeys(row["method"] for row in shown):
            lines.append(_line(method, [row for row in shown if row["method"] == method]))
        lines.append("")
    return "\n".join(lines)


def _line(method: str, rows: list[Row]) -> str:
    """Return the table's line of a method: medians over seeds, for each number of recordings."""
    figures = [f"{name}_{ahead}" for ahead in ("step", "second") for name in SCORES]
    counts = sorted({row["recordings"] for row in rows})
    of = lambda column, k: np.median([row[column] for row in rows if row["recordings"] == k])
    cells = [" ".join(f"{of(column, k):.3g}" for k in counts) for column in (*figures, "seconds")]
    return f"| {method} | {' | '.join(cells)} |"


def main(args: Args) -> None:
    """Run all methods, and write the results."""
    from bnnrl.rl.simulator.presets import PRESETS

    known = [*PRESETS, "gp"]
    check_names("methods", args.methods, [*known, *(f"{name}, midpoint" for name in known)])
    check_names("machines", args.machines, MACHINES)
    try:
        for machine in args.machines:
            for number in range(1, max(args.recordings) + 1 + TESTED):
                read(args.folder, machine, number, args.samples, args.delay)
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from error
    calls = [(args, machine, method) for method in args.methods for machine in args.machines]
    kept_by = ("machine", "method", "delay", "seed", "recordings")
    collect(run_all(run, calls, args.jobs), args.result, tell, summary, kept_by=kept_by)


if __name__ == "__main__":
    main(tyro.cli(Args))
