"""What the features of linked rods are worth: one-step errors of dynamics models after a few random episodes.

    python experiments/linkage.py

A dynamics model is fitted to episodes of uniformly random torques, and predicts steps from states that a swing-up
passes through, drawn uniformly: angles of any size, angular rates of up to 8 rad/s, on a cart at up to 3 m/s, and any
torques. Errors are in standard deviations of the changes of the velocities there, so that 1 is the error of a model
that knows the mean change alone. Without the features (`Dynamics(linkage=False)`), models see the sine and cosine of
each angle.

Adds a row for each fit to a CSV file in experiments/results/, in the place of an earlier row of the same fit, and
writes a table of medians and ranges over seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import true_dynamics
import tyro
from sweeps import Row, check_names, collect, heading, quiet_single_thread, run_all, spread

from bnnrl_envs.chain import START_STD, SwingUp

PLANTS = {name: plant for name, plant in true_dynamics.PLANTS.items() if len(plant.chain.lengths) > 1}
TEST_STEPS, DRAWS = 400, 10
FASTEST = 8.0  # rad/s, of the states that are predicted from
FASTEST_CART = 3.0  # m/s
OBS_NOISE_STD = 0.01  # of each observation entry, as in the environments


@dataclass
class Args:
    """Settings of the experiment."""

    plants: tuple[str, ...] = tuple(PLANTS)
    """Names of plants."""
    methods: tuple[str, ...] = ("gp", "ensemble")
    """Methods of `bnnrl.Dynamics`."""
    episodes: tuple[int, ...] = (1, 3, 6)
    """Numbers of episodes that models are fitted to."""
    seeds: tuple[int, ...] = (100, 101, 102, 103, 104)
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "linkage"
    """Name of the result files."""


def random_episode(plant: SwingUp, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the observations [H + 1, O] and the actions [H, A] of an episode of random actions."""
    states = [rng.normal(scale=START_STD, size=plant.chain.size)]
    actions = rng.uniform(-1, 1, size=(plant.horizon, len(plant.max_action))) * plant.max_action
    for action in actions:
        states.append(plant.chain.advance(states[-1], action, plant.dt))
    noise = rng.normal(scale=OBS_NOISE_STD, size=(len(states), plant.chain.size))
    return (np.array(states) + noise).astype(np.float32), actions.astype(np.float32)


def test_steps(plant: SwingUp, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return states, actions and next states of a swing-up's region, [N, O], [N, A], [N, O]."""
    cart, rods = plant.chain.has_cart, len(plant.chain.lengths)
    bounds = [0.5, FASTEST_CART] * cart + [np.pi, FASTEST] * rods
    states = rng.uniform(-1, 1, size=(TEST_STEPS, plant.chain.size)) * bounds
    actions = rng.uniform(-1, 1, size=(TEST_STEPS, len(plant.max_action))) * plant.max_action
    return states, actions, plant.chain.advance(states, actions, plant.dt)


def run(name: str, method: str, linkage: bool, counts: tuple[int, ...], seeds: tuple[int, ...]) -> list[Row]:
    """Fit a method to random episodes of a plant, and return a row for each fit."""
    quiet_single_thread()
    import tensorflow as tf

    import bnnrl
    from bnnrl.rl.simulator.dynamics import DynamicsModel
    from bnnrl.rl.simulator.features import Features
    from bnnrl.seeds import as_seed

    plant, task = PLANTS[name], bnnrl.tasks.get(f"bnnrl/{name}-v0")
    rates = task.angular_rates if linkage else ()
    features = Features(plant.chain.size, task.angles, task.invariant, rates=rates)
    settings = bnnrl.Dynamics(method=method, midpoint=True)
    rows = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        states, actions, expected = test_steps(plant, rng)
        episodes = [random_episode(plant, rng) for _ in range(max(counts))]
        for count in counts:
            obs = np.concatenate([o[:-1] for o, _ in episodes[:count]])
            after = np.concatenate([o[1:] for o, _ in episodes[:count]])
            done = np.concatenate([a for _, a in episodes[:count]])
            sizes = len(plant.max_action), 512, task.velocities, plant.dt
            model = DynamicsModel(settings, features, *sizes)
            model.fit(obs, done, after, seed)
            step = model.make_step(model.sample(DRAWS, as_seed(seed)))
            tiled = lambda a: tf.constant(np.broadcast_to(a, (DRAWS, *a.shape)), tf.float32)
            found = np.asarray(step(tiled(states), tiled(actions), tf.zeros([DRAWS, *states.shape]))).mean(axis=0)
            error = ((found - expected) / (expected - states).std(axis=0))[:, 1::2]
            rmse, median = float(np.sqrt(np.mean(error**2))), float(np.median(np.abs(error)))
            own = {"plant": name, "method": method, "linkage": linkage, "episodes": count, "seed": seed}
            rows.append({**own, "rmse": rmse, "median_error": median})
    return rows


def tell(rows: list[Row]) -> str:
    """Return a line about the fits of a method to a plant."""
    first, last = rows[0], rows[-1]
    what = f"{first['plant']}, {first['method']}, {'with' if first['linkage'] else 'without'} the features"
    return f"{what}: error {last['rmse']:.3g} after {last['episodes']} episodes (seed {last['seed']})"


def summary(rows: list[Row]) -> str:
    """Return a Markdown table of medians and ranges over seeds."""
    counts = sorted({row["episodes"] for row in rows})
    title = "One-step errors of velocities, with and without the features of linked rods"
    lines = heading(title, ("plant", "method", "features", *(f"{k} episode{'s' * (k > 1)}" for k in counts)))
    for plant, method, linkage in dict.fromkeys((r["plant"], r["method"], str(r["linkage"])) for r in rows):
        own = [r for r in rows if (r["plant"], r["method"], str(r["linkage"])) == (plant, method, linkage)]
        found = [[r["rmse"] for r in own if r["episodes"] == k] for k in counts]
        cells = [spread(errors, lambda v: f"{v:.2f}") if errors else "" for errors in found]
        lines.append(f"| {plant} | {method} | {'yes' if linkage == 'True' else 'no'} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Medians and ranges over seeds {sorted({r['seed'] for r in rows})}."]) + "\n"


def main(args: Args) -> None:
    """Run all plants and methods, and write the results."""
    quiet_single_thread()
    check_names("plants", args.plants, PLANTS)
    calls = [
        (p, m, links, args.episodes, args.seeds) for p in args.plants for m in args.methods for links in (True, False)
    ]
    kept_by = ("plant", "method", "linkage", "episodes", "seed")
    collect(run_all(run, calls, args.jobs), args.name, tell, summary, kept_by=kept_by)


if __name__ == "__main__":
    main(tyro.cli(Args))
