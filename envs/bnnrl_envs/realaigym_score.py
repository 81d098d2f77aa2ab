"""Score and robustness of RealAIGym's double pendulum, by the formulas of its leaderboards (version 2)."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bnnrl_envs.plant import Floats
from bnnrl_envs.realaigym import DURATION, STEP, Disturbances, Machine
from bnnrl_envs.two_links import DESIGN_C1, TwoLinks

__all__ = ["robustness", "score", "swing_up_time"]

_VALUES = 21  # of each parameter and disturbance
_PUSH_SEQUENCES = 50
_POSITION, _VELOCITY = 0.35, 1.0  # rad and rad/s, largest distances of the final state from upright at rest


def swing_up_time(states: ArrayLike, step: float = STEP) -> float | None:
    """Return from which time on, in s, the tip is above 0.9 (l1 + l2) until the end; None if it is not at the end.

    Args:
        states: states of an episode, [T + 1, 4].
        step: seconds between two of them.
    """
    up = DESIGN_C1.tip(states)[:, 1] > 0.9 * sum(DESIGN_C1.lengths)
    if not up[-1]:
        return None
    return step * (len(up) - int(np.argmin(up[::-1]))) if not up.all() else 0.0


def score(states: ArrayLike, torques: ArrayLike, step: float = STEP) -> float:
    """Return the score of an episode, in [0, 1]; 0 if the pendulum is not upright at the end.

    With the swing-up time t in s, the score is

        1 - [tanh(pi t / 20) + tanh(pi E / 60) + tanh(pi C / 20) + tanh(pi S / 0.1) + tanh(pi V / 400)] / 5

    where E = sum |dq tau| (J), C = integral of tau^2 dt (N^2 m^2 s), S = standard deviation of the changes of tau from
    step to step (N m) and V = integral of q'^2 dt (rad^2/s), each summed over the joints.

    Args:
        states: states of an episode, [T + 1, 4].
        torques: torques asked for, [T, 2], which were held from state to state.
        step: seconds between two states.

    Raises:
        ValueError: if the arrays do not have these shapes.
    """
    states, torques = np.asarray(states, np.float64), np.asarray(torques, np.float64)
    if torques.shape != (len(states) - 1, 2) or states.shape[1:] != (4,):
        raise ValueError(
            "Invalid `torques`: expected shape (T, 2), beside `states` of shape (T + 1, 4). Received: "
            f"{torques.shape} and {states.shape}."
        )
    time = swing_up_time(states, step)
    if time is None:
        return 0.0
    energy = np.abs(np.diff(states[:, :2], axis=0) * torques).sum()
    effort, speed = (np.square(a).sum() * step for a in (torques, states[:-1, 2:]))
    roughness = np.diff(torques, axis=0).std(axis=0).sum()
    parts = time / 20, energy / 60, effort / 20, roughness / 0.1, speed / 400
    return 1.0 - sum(math.tanh(math.pi * part) for part in parts) / len(parts)


def robustness(
    act: Callable[[Floats], Floats], joint: int, control_period: float = 0.02, seed: int = 0
) -> dict[str, float]:
    """Return the shares of successes under the disturbances of the benchmark, by their kind, and their mean as "all".

    An episode succeeds if it ends within 0.35 rad and 1 rad/s of upright at rest. "model": each of 10 parameters has 21
    values, the others stay. "velocity noise", "torque noise", "torque response" and "delay": 21 values each. "pushes":
    50 random sequences of three pushes in each joint. All episodes are simulated side by side.

    Args:
        act: function from measured states [B, 4] to torques [B], without memory of the past.
        joint: the driven joint, 0 or 1.
        control_period: time for which an action is held, s.
        seed: seed of noise and pushes.
    """
    kinds, links, disturbances = _episodes()
    machine = Machine(links, joint, disturbances, np.random.default_rng(seed), (len(kinds),))
    held = round(control_period / STEP)
    for _ in range(round(DURATION / control_period)):
        machine.hold(act(machine.measure().T), held)
    q1, q2, *velocities = machine.state
    far = [np.abs((angle + math.pi) % (2 * math.pi) - math.pi) for angle in (q1 - math.pi, q2)]
    success = (np.max(far, axis=0) < _POSITION) & (np.abs(velocities).max(axis=0) < _VELOCITY)
    shares = {kind: float(success[kinds == kind].mean()) for kind in dict.fromkeys(kinds.tolist())}
    return {**shares, "all": float(np.mean(list(shares.values())))}


def _episodes() -> tuple[np.ndarray, TwoLinks, Disturbances]:
    """Return the kind of disturbance of each episode, and the machines and disturbances of all as arrays."""
    scales, drags, coulombs = (
        np.linspace(0.75, 1.25, _VALUES),
        np.linspace(-0.1, 0.1, _VALUES),
        np.linspace(-0.2, 0.2, _VALUES),
    )
    of_model: list[tuple[str, int | None, Floats]] = [
        ("motor_inertia", None, np.linspace(0.0, 1e-4, _VALUES)),
        ("masses", 1, scales * DESIGN_C1.masses[1]),
    ]
    for i in (0, 1):
        of_model += [("centres", i, scales * DESIGN_C1.centres[i]), ("inertias", i, scales * DESIGN_C1.inertias[i])]
        of_model += [("damping", i, drags), ("friction", i, coulombs)]
    others = {
        "velocity_noise": np.linspace(0.0, 0.5, _VALUES),
        "torque_noise": np.linspace(0.0, 1.1, _VALUES),
        "torque_response": np.linspace(0.1, 2.0, _VALUES),
        "delay": np.arange(_VALUES),
        "pushes": np.ones(_PUSH_SEQUENCES, bool),
    }
    kinds = np.concatenate(
        [["model"] * _VALUES * len(of_model), *([name.replace("_", " ")] * len(v) for name, v in others.items())]
    )
    where = 0
    fields: dict[str, Any] = {name: _repeated(getattr(DESIGN_C1, name), len(kinds)) for name, *_ in of_model}
    for name, i, values in of_model:
        target = fields[name] if i is None else fields[name][i]
        target[where : where + len(values)] = values
        where += len(values)
    disturbed: dict[str, Any] = {name: np.full(len(kinds), getattr(Disturbances(), name)) for name in others}
    for name, values in others.items():
        disturbed[name][where : where + len(values)] = values
        where += len(values)
    return kinds, replace(DESIGN_C1, **fields), Disturbances(**disturbed)


def _repeated(value: Any, count: int) -> Any:
    """Return a number as an array [count], or a pair of numbers as a pair of arrays."""
    return tuple(np.full(count, v) for v in value) if isinstance(value, tuple) else np.full(count, value)
