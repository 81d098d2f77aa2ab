"""Checks on random episodes of an environment: reproducibility, initial states, scales, termination, state, cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import tensorflow as tf

from bnnrl.rl.angles import circular_means, unwrapped, wrap_angle, wrapped_entries
from bnnrl.rl.centre import centre_of
from bnnrl.rl.checks import hidden_state
from bnnrl.rl.checks.findings import Finding
from bnnrl.rl.checks.precision import REMEDY, coarse_entries
from bnnrl.rl.checks.task_functions import describe
from bnnrl.rl.episodes import Episode, run_episode
from bnnrl.rl.memory import Memory, memory_of
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.integration import integrate_positions
from bnnrl.rl.simulator.learned_env import true_transitions
from bnnrl.rl.tasks.task import Task

_WIDE_START = 0.5  # standard deviation of initial observations, relative to that of visited ones
_LARGEST = 1e5  # an entry beyond has an error of some 0.01 in float32, and may hide what matters
_MAX_RESIDUAL = 0.25  # of a position's movement that its velocity may leave unexplained
_FLAT_COST = 1e-6
_WRONG_SIGN_CORRELATION = 0.3
_LOW_R2 = 0.5


def check_episodes(
    task: Task, env: gymnasium.Env, episodes: Sequence[Episode], initial_obs: np.ndarray, seed: int, with_cost: bool
) -> Iterator[Finding]:
    """Yield the findings about random episodes.

    Args:
        task: the task of the environment.
        env: the environment, in which the first episode is run again.
        episodes: at least two episodes of random actions, the first one reset with `seed`.
        initial_obs: observations after some resets, [R, O].
        seed: seed of the first episode's reset.
        with_cost: whether to evaluate the task's cost, which must be known to compile.
    """
    given, expected = episodes[0].obs.shape[1:], env.observation_space.shape
    if given != expected:
        words = f"reset and step return observations of shape {given}, but observation_space has shape {expected}."
        yield Finding("problem", "observations", words, "Make observation_space and the observations agree.")
        return
    steps = sum(len(e) for e in episodes)
    words = f"{len(episodes)} random episodes, {steps} steps in all; observations and rewards are finite."
    yield Finding("ok", "episodes", words)
    yield from _reproducibility(env, episodes[0], seed)
    yield _initial_states(task, initial_obs, episodes)
    yield from _scales(task, episodes)
    yield from _invariant(task, episodes)
    yield from _velocities(task, episodes)
    yield from _termination(task, episodes)
    yield from _hidden_state(task, memory_of(env), episodes)
    if task.cost is not None and with_cost:
        yield from _cost(task, episodes)


def _reproducibility(env: gymnasium.Env, first: Episode, seed: int) -> Iterator[Finding]:
    """Run the first episode again with the same random numbers, and again with others after the reset."""
    if not _same(_replay(env, first, seed), first):
        words = "the same seed and actions give different episodes, so results cannot be reproduced."
        remedy = "Draw every random number from self.np_random, after super().reset(seed=seed)."
        yield Finding("note", "repeats", words, remedy)
        return
    yield Finding("ok", "repeats", "the same seed and actions give the same episode.")
    if _same(_replay(env, first, seed, noise_seed=seed + 1), first):
        yield Finding("ok", "noise", "steps and observations are deterministic, given initial state and actions.")
    else:
        yield Finding("ok", "noise", "steps or observations are random; the model learns the scale of the noise.")


def _replay(env: gymnasium.Env, episode: Episode, seed: int, noise_seed: int | None = None) -> np.ndarray:
    """Return the observations of the episode's actions, with a new random generator after the reset if asked for."""
    actions, replaced = iter(episode.actions), noise_seed is None

    def act(_):
        nonlocal replaced
        if not replaced:  # the reset has just seeded the environment's own generator
            env.unwrapped.np_random = np.random.default_rng(noise_seed)
            replaced = True
        return next(actions)

    return run_episode(env, act, seed, len(episode)).obs


def _same(obs: np.ndarray, episode: Episode) -> bool:
    return obs.shape == episode.obs.shape and np.array_equal(obs, episode.obs)


def _initial_states(task: Task, initial_obs: np.ndarray, episodes: Sequence[Episode]) -> Finding:
    wrapped = wrapped_entries([*(e.obs for e in episodes), *initial_obs[:, np.newaxis]], task.angles)
    near = circular_means(initial_obs, list(wrapped))
    initial_obs = np.concatenate([unwrapped(obs[np.newaxis], near) for obs in initial_obs])
    visited = np.concatenate([unwrapped(e.obs, near) for e in episodes]).astype(np.float64)
    varies = hidden_state.varying(visited)
    relative = initial_obs.std(axis=0)[varies] / visited.std(axis=0)[varies]
    spread = float(np.mean(relative)) if varies.any() else 0.0
    words = f"initial observations spread {100 * spread:.0f} % as wide as visited ones (standard deviations)"
    if spread > _WIDE_START:
        remedy = "The policy must work from all of them: use several --episodes-per-trial, or Task(starts='visited')."
        return Finding("note", "reset", f"{words}: wide.", remedy)
    return Finding("ok", "reset", f"{words}: narrow.")


def _scales(task: Task, episodes: Sequence[Episode]) -> Iterator[Finding]:
    obs = np.concatenate([e.obs for e in episodes]).astype(np.float64)
    jumps = np.concatenate([np.diff(e.obs, axis=0) for e in episodes])
    # An agent subtracts constants before float32 would lose digits, but not before an environment has lost them.
    centre = centre_of(obs, task) if episodes[0].obs.dtype == np.float64 else ()
    largest = np.abs(obs - np.array(centre or 0.0)).max(axis=0)
    coarse = coarse_entries(episodes, task)
    rounded = [] if coarse is None else coarse.entries
    constant = [i for i in np.flatnonzero(np.ptp(obs, axis=0) == 0).tolist() if i not in rounded]
    huge = np.flatnonzero(largest > _LARGEST).tolist()
    wrapped = wrapped_entries([e.obs for e in episodes], range(obs.shape[1]))
    jumps, turned = (np.abs(a) for a in (jumps, wrap_angle(jumps)))
    # Unlike an angle, a velocity of this size is not continuous on the circle.
    turning = [i for i in wrapped if i not in task.angles and jumps[:, i].max() > 2 * turned[:, i].max()]
    if constant:
        words = f"entries {constant} had the same value in every observation."
        yield Finding("note", "scales", words, "Remove entries that carry no information.")
    if huge:
        words = f"entries {huge} reach {largest[huge].max():.3g} in absolute value, more than {_LARGEST:g}."
        yield Finding("note", "scales", words, "Rescale them: a float32 has seven digits.")
    if coarse is not None:
        yield Finding("note", "offset", coarse.words, REMEDY)
    if turning:
        words = f"entries {turning} jump by about 2π from one step to the next, as angles do."
        yield Finding("note", "angles", words, f"Declare angles in radians: Task(angles={tuple(turning)}).")
    if not constant and not huge and coarse is None:
        yield Finding("ok", "scales", f"every entry varies, and none exceeds {_LARGEST:g}.")


def _invariant(task: Task, episodes: Sequence[Episode]) -> Iterator[Finding]:
    """Find entries that an episode sets once, such as a goal: a model of few goals extrapolates badly to others."""
    fixed = np.all([np.ptp(e.obs, axis=0) == 0 for e in episodes], axis=0)
    fixed &= np.ptp(np.stack([e.obs[0] for e in episodes]), axis=0) > 0
    if undeclared := [i for i in np.flatnonzero(fixed).tolist() if i not in task.invariant]:
        words = f"entries {undeclared} are constant within each episode, and differ between episodes."
        remedy = f"If the dynamics do not depend on them, as on a goal, declare Task(invariant={tuple(undeclared)})."
        yield Finding("note", "invariant", words, remedy)


def _velocities(task: Task, episodes: Sequence[Episode]) -> Iterator[Finding]:
    """Compare positions with x' = x + dt (v + v') / 2, which rollouts use for the entries in `Task.velocities`."""
    if not task.velocities or task.step_seconds is None:
        return
    before, after = (np.concatenate([e.states[part] for e in episodes]) for part in (slice(-1), slice(1, None)))
    expected = integrate_positions(tf.constant(before), tf.constant(after), task.velocities, task.step_seconds).numpy()
    movement, residual = after - before, after - expected
    for change in (movement, residual):
        angles = list(task.angles)
        change[:, angles] = wrap_angle(change[:, angles])
    rms = lambda a: np.sqrt(np.mean(a**2, axis=0))
    exceeds = rms(residual) > _MAX_RESIDUAL * rms(movement)
    wrong = [position for position in task.velocities if exceeds[position]]
    if wrong:
        words = f"positions {wrong} miss x' = x + dt (v + v') / 2 by over {100 * _MAX_RESIDUAL:.0f} % of their change."
        remedy = "Correct dt or the indices, or leave them out of Task(velocities=...): their changes are then learned."
        yield Finding("note", "velocities", words, remedy)
    else:
        yield Finding("ok", "velocities", "positions follow x' = x + dt (v + v') / 2 of their velocities.")


def _termination(task: Task, episodes: Sequence[Episode]) -> Iterator[Finding]:
    terminated = sum(bool(e.terminated[0]) for e in episodes)
    words = f"{terminated} of {len(episodes)} random episodes terminated"
    if task.termination is None:
        tail = "; the termination probability is learned" if terminated else ""
        yield Finding("ok", "termination", f"{words}{tail}.")
        return
    try:
        wrong = sum(_disagreements(task.termination, e) for e in episodes)
    except Exception:  # `check_functions` has reported the function
        return
    if wrong:
        words += f", and the task's rule disagrees with the environment at {wrong} steps."
        yield Finding("note", "termination", words, "Write the rule as the environment has it.")
    else:
        yield Finding("ok", "termination", f"{words}, and the task's rule agrees at every step.")


def _disagreements(rule: Any, episode: Episode) -> int:
    predicted = np.asarray(rule(*true_transitions(episode))).astype(np.float64) > 0.5
    return int((predicted != episode.terminations.astype(bool)).sum())


def _hidden_state(task: Task, memory: Memory, episodes: Sequence[Episode]) -> Iterator[Finding]:
    """Find whether the observation is a Markov state, of which reward and next observation are functions."""
    if not hidden_state.has_enough_data(episodes):
        words = "the episodes are too few or too short to tell whether the past matters."
        yield Finding("ok", "hidden state", words)
        return
    if centre := centre_of(memory.newest(np.concatenate([e.obs for e in episodes])), task):
        episodes = [replace(e, obs=e.obs - memory.begin(np.array(centre))) for e in episodes]
    features = Features(memory.num_obs, task.angles, memory=memory)
    data = hidden_state.Transitions.of(episodes, features)
    reward, delay = hidden_state.judge_reward(data), hidden_state.judge_delay(episodes, features)
    # What depends on earlier actions depends on the past.
    dynamics = {} if delay else hidden_state.judge_dynamics(data)
    if task.cost is None:
        yield from _learned_reward(reward, data, episodes)
    dependent = {entry: verdict.gains for entry, verdict in dynamics.items() if verdict.gains}
    if reward is not None and reward.gains:
        words = f"the reward depends on more than (obs, action, next_obs): {_list(reward.gains)}."
        remedy = _remedy(max(reward.gains, key=lambda name: reward.gains[name]), task)
        yield Finding("note", "hidden state", words, remedy)
    if dependent:
        largest = max(dependent.values(), key=lambda gains: max(gains.values()))
        words = f"changes of entries {sorted(dependent)} depend on more than (obs, action): {_list(largest)}."
        remedy = _remedy(max(largest, key=lambda name: largest[name]), task)
        yield Finding("note", "hidden state", words, remedy)
    if delay:
        gain = f"reduces the prediction error by {100 * max(delay.gains.values()):.0f} %"
        late = f"{delay.steps} step{'s' * (delay.steps > 1)}"
        words = f"actions take effect {late} late: in changes of entries {sorted(delay.gains)}, the action then {gain}."
        yield Finding("note", "hidden state", words, f"Declare the delay: Task(delay={delay.steps}).")
    if not dependent and not delay and not (reward and reward.gains):
        words = "in random episodes, neither the reward nor the next observation depends on the past."
        yield Finding("ok", "hidden state", words)


def _remedy(part: str, task: Task) -> str:
    """Return how an agent is given a part of the past on which something depends."""
    if part == hidden_state.TIME:
        return "Add the time to the observation, as gymnasium.wrappers.TimeAwareObservation does."
    if part == hidden_state.REWARD:
        return "Add the reward before, or what it depends on, to the observation."
    if part == hidden_state.ACTION:
        return f"Give the agent the action before, too: Task(delay={max(task.delay, task.history) + 1})."
    number = task.history + (1 if part == hidden_state.PAST else 2)
    return (
        "Add what is missing to the observation, such as velocities, or give the agent past observations and actions: "
        f"Task(history={number})."
    )


def _learned_reward(
    reward: hidden_state.Verdict | None, data: hidden_state.Transitions, episodes: Sequence[Episode]
) -> Iterator[Finding]:
    """Find whether random episodes say anything about a reward that has to be learned."""
    if reward is None:
        words = f"the reward was {data.rewards[0]:.4g} at every step"
        if any(e.terminated[0] for e in episodes):
            yield Finding("ok", "reward", f"{words}: returns differ only by the length of an episode.")
        else:
            remedy = "Until the reward changes, all plans look equally good: give the Task a cost."
            yield Finding("note", "reward", f"{words}, and no episode terminated.", remedy)
    elif not reward.gains and reward.r2 < _LOW_R2:
        words = f"(obs, action, next_obs) hardly predict the reward in random episodes (R² {reward.r2:.2f})."
        yield Finding("note", "reward", words, "It may be rare or noisy: give the Task a cost if you know one.")


def _list(gains: Mapping[str, float]) -> str:
    return " or ".join(f"{name} reduces the prediction error by {100 * gain:.0f} %" for name, gain in gains.items())


def _cost(task: Task, episodes: Sequence[Episode]) -> Iterator[Finding]:
    """Evaluate the cost at the real transitions."""
    cost: Any = task.cost
    values = np.concatenate([np.asarray(cost(*true_transitions(e))) for e in episodes])
    rewards = np.concatenate([e.rewards for e in episodes])
    if not np.isfinite(values).all():
        count = (~np.isfinite(values)).sum()
        words = f"{describe(cost)} is not finite at {count} of {len(values)} real steps."
        remedy = "Keep arguments of log, sqrt and divisions away from 0, as by tf.maximum."
        yield Finding("problem", "cost", words, remedy)
    elif np.ptp(values) < _FLAT_COST:
        words = f"the cost is {values[0]:.4g} at every real step, so no policy looks better than another."
        yield Finding("note", "cost", words, "Widen the cost, so that it varies over random episodes.")
    elif np.ptp(rewards) > 0 and (correlation := _rank_correlation(values, rewards)) > _WRONG_SIGN_CORRELATION:
        words = f"the cost rises with the reward (rank correlation {correlation:.2f}), but costs are minimised."
        yield Finding("note", "cost", words, "Check the sign of the cost.")


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    ranks = np.stack([np.unique(x, return_inverse=True)[1] for x in (a, b)])
    return float(np.corrcoef(ranks)[0, 1])  # pyright: ignore[reportIndexIssue]
