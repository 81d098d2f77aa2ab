"""A linear system with a quadratic cost (LQR): the agent's cost relative to that of the optimal controller.

    python experiments/lqr.py --seeds 0 1 2 3 4

A unit mass on a line, sampled at 10 Hz, starts about 1 m from the origin and is to come to rest there within 40 steps,
with little force. The Riccati recursion gives the optimal controller u = −K_t x, with a gain for each step. The agent
learns a linear policy with one gain. The agent knows the cost, but not the dynamics. Both controllers act in the same
200 episodes.

Writes a row for each trial and a summary to experiments/results/.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np
import tyro
from sweeps import Row, collect, quiet_single_thread, run_all

STEPS, DT, NOISE_STD, LIMIT = 40, 0.1, 0.01, 10.0
A = np.array([[1.0, DT], [0.0, 1.0]])
B = np.array([[0.5 * DT**2], [DT]])
STATE_COST, ACTION_COST = np.diag([1.0, 0.1]), 0.1
ENV_ID = "bnnrl/LinearQuadratic-v0"


class LinearQuadratic(gymnasium.Env):
    """System x' = A x + B u + noise with reward −(x'ᵀ Q x' + r u²). Initial states are N((1, 0), 0.2²)."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-LIMIT, LIMIT, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """See `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        self._state = np.array([1.0, 0.0]) + 0.2 * self.np_random.normal(size=2)
        return self._state.astype(np.float32), {}

    def step(self, action):
        """See `gymnasium.Env.step`."""
        u = float(action[0])
        self._state = A @ self._state + B[:, 0] * u + NOISE_STD * self.np_random.normal(size=2)
        cost = self._state @ STATE_COST @ self._state + ACTION_COST * u**2
        return self._state.astype(np.float32), -float(cost), False, False, {}


gymnasium.register(ENV_ID, lambda **_: LinearQuadratic(), max_episode_steps=STEPS, disable_env_checker=True)


@dataclass
class Args:
    """Settings of the LQR experiment."""

    seeds: tuple[int, ...] = tuple(range(5))
    trials: int = 10
    jobs: int = 2
    """Number of runs at the same time, each with one thread."""
    name: str = "lqr"
    """Name of the result files."""


def optimal_gains() -> np.ndarray:
    """Return the gains K_t of the optimal policy u = −K_t x for t = 0 to STEPS − 1, [STEPS, 1, 2]."""
    gains, value = [], np.zeros([2, 2])  # cost-to-go after the last step
    for _ in range(STEPS):
        after = STATE_COST + value
        gain = np.linalg.solve(np.array([[ACTION_COST]]) + B.T @ after @ B, B.T @ after @ A)
        closed = A - B @ gain
        value = closed.T @ after @ closed + ACTION_COST * gain.T @ gain
        gains.append(gain)
    return np.array(gains[::-1])


def mean_cost(act, episodes: int = 200) -> float:
    """Return the mean cost of an episode with the policy (obs, t) -> action. All policies get the same episodes."""
    env, total = LinearQuadratic(), 0.0
    for episode in range(episodes):
        obs, _ = env.reset(seed=episode)
        for t in range(STEPS):
            obs, reward, *_ = env.step(np.clip(act(obs, t), -LIMIT, LIMIT))
            total -= reward
    return total / episodes


def make_agent(seed: int, **changes):
    """Return the agent, whose task defines the cost."""
    import tensorflow as tf

    import bnnrl

    def cost(obs, action, next_obs):
        weights = tf.constant(np.diag(STATE_COST), tf.float32)
        return tf.reduce_sum(weights * tf.square(next_obs), -1) + ACTION_COST * tf.square(action[..., 0])

    task = bnnrl.Task(ENV_ID, cost, dt=DT, labels=("x, m", "x′, m/s"), horizon=STEPS)
    return bnnrl.PILCO(task, policy=bnnrl.policies.Linear(), seed=seed, **changes)


def run(seed: int, trials: int) -> list[Row]:
    """Train one agent and return a row for each trial from the second on."""
    quiet_single_thread()
    from bnnrl.rl.callbacks import Callback

    started, gains, rows = perf_counter(), optimal_gains(), []
    best = mean_cost(lambda obs, t: -gains[t] @ obs)

    class Score(Callback):
        def on_trial_end(self, agent, trial):
            if trial.trial > 1:
                cost = mean_cost(lambda obs, t: agent.predict(obs)[0])
                rows.append({"seed": seed, "cost": cost, "optimum": best, "excess": cost / best - 1, **asdict(trial)})

    make_agent(seed).learn(trials, callbacks=[Score()], evaluation_episodes=1)
    return [{**row, "run_seconds": perf_counter() - started} for row in rows]


def summary(rows: list[Row], trials: int) -> str:
    """Return a Markdown table with the cost above the optimum, by trial and seed."""
    seeds = sorted({r["seed"] for r in rows})
    lines = [
        f"Mean cost of an episode, the optimum {rows[0]['optimum']:.3f}; per cent more, by trial (one episode each):",
        "",
        "| seed | " + " | ".join(map(str, range(2, trials + 1))) + " |",
        "|---|" + "---|" * (trials - 1),
    ]
    for seed in seeds:
        lines.append(f"| {seed} | " + " | ".join(f"{100 * r['excess']:.1f}" for r in rows if r["seed"] == seed) + " |")
    last = [100 * r["excess"] for r in rows if r["trial"] == trials]
    lines += ["", f"After trial {trials}: median {statistics.median(last):.1f} % ({min(last):.1f} to {max(last):.1f})."]
    return "\n".join(lines) + "\n"


def _tell(run: list[Row]) -> str:
    """Return a line about a finished run."""
    return f"seed {run[-1]['seed']}: {100 * run[-1]['excess']:.1f} % above the optimum, {run[-1]['run_seconds']:.0f} s"


def main(args: Args) -> None:
    """Run all seeds, and write the results."""
    calls = [(seed, args.trials) for seed in args.seeds]
    collect(run_all(run, calls, args.jobs), args.name, _tell, partial(summary, trials=args.trials))


if __name__ == "__main__":
    main(tyro.cli(Args))
