"""`bnnrl check`: what of an environment and its task fits, and what does not, told before anything is trained."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Literal

import gymnasium
import numpy as np
import tensorflow as tf
from gymnasium.utils.env_checker import check_env

from bnnrl.rl import tasks
from bnnrl.rl.action_space import Actions
from bnnrl.rl.checks import hidden_state
from bnnrl.rl.checks.task_functions import check_functions, describe
from bnnrl.rl.episodes import EnvironmentFault, Episode, episode_length, make_env, run_episode
from bnnrl.rl.simulator.dynamics import integrate_positions
from bnnrl.rl.simulator.learned_env import true_transitions
from bnnrl.rl.tasks.task import Task

_EPISODES, _MOST_STEPS, _SECONDS = 12, 200, 4.0  # of random episodes, whichever comes first
_RESETS = 20
_WIDE = 0.5  # spread of initial states by that of visited ones
_HUGE = 1e5
_SLIP = 0.25  # of a position's movement that its velocity does not tell

# Advice of Gymnasium's that is not for these agents: they scale actions, and standardise observations.
_NO_MATTER = ("WARN: For Box action spaces, we recommend", "WARN: A Box observation space m")

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level  # a problem stops training or makes it futile; a note is worth a thought
    subject: str
    words: str
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """What was found."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether an agent can be trained: there is no problem."""
        return all(finding.level != "problem" for finding in self.findings)

    def __str__(self) -> str:
        rows = ((f.level, f.subject, f"{f.words} {f.remedy}".strip()) for f in self.findings)
        return "\n".join(f"{level:8}{subject}: {words}" for level, subject, words in rows)


def check(env: str | Task, seed: int = 0, env_kwargs: Mapping[str, Any] | None = None) -> Report:
    """Say what of an environment and its task fits an agent, from some seconds of random episodes.

    Args:
        env: the id of a Gymnasium environment, or a bnnrl.Task.
        seed: of resets and actions.
        env_kwargs: keyword arguments of gymnasium.make, for an environment given by its id.
    """
    return Report(tuple(_findings(env, seed, env_kwargs or {})))


def _findings(env: str | Task, seed: int, env_kwargs: Mapping[str, Any]) -> Iterator[Finding]:
    try:
        task = tasks.get(env, **env_kwargs) if isinstance(env, str) else env
        made = make_env(task)
    except Exception as error:  # of an environment's own constructor, too
        words = str(error) if isinstance(error, ValueError) else f"making it raised {type(error).__name__}: {error}"
        yield Finding("problem", "environment", words)
        return
    try:
        yield Finding("ok", "environment", f"{task.env_id} exists.")
        yield from _conventions(task)
        yield from _spaces(made)
        yield from _length(made, task)
        yield from _said(task, isinstance(env, str))
        found = list(_functions(task, made))
        yield from found
        try:
            episodes = _random_episodes(made, task, seed)
            initial = np.stack([made.reset(seed=seed + i)[0] for i in range(_RESETS)]).astype(np.float64)
        except EnvironmentFault as fault:
            yield Finding("problem", "episodes", str(fault))
            return
        except Exception as error:
            words = f"a random episode raised {type(error).__name__}: {error}"
            yield Finding("problem", "episodes", words, "Mend the environment: reset(seed=...) and step(action).")
            return
        if episodes[0].obs.shape[1:] != made.observation_space.shape:
            words = f"observations have shape {episodes[0].obs.shape[1:]}, the space {made.observation_space.shape}."
            yield Finding("problem", "observations", words, "Make the two the same.")
            return
        steps = sum(len(e) for e in episodes)
        yield Finding("ok", "episodes", f"{len(episodes)} random ones, {steps} steps; all observations are finite.")
        yield from _repeats(made, episodes[0], seed)
        yield from _reset(initial, episodes)
        yield from _scales(task, episodes)
        yield from _context(task, episodes)
        yield from _velocities(task, episodes)
        yield from _ends(task, episodes)
        yield from _state(task, episodes)
        if task.cost is not None and not any(f.level == "problem" for f in found):
            yield from _costs(task, episodes)
    finally:
        made.close()


def _conventions(task: Task) -> Iterator[Finding]:
    """Gymnasium's own check."""
    env = gymnasium.make(task.env_id, **task.env_kwargs, disable_env_checker=True).unwrapped
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        failed = ""
        try:
            check_env(env, skip_render_check=True, skip_close_check=True)
        except Exception as error:
            failed = f"{type(error).__name__}: {error}"
    env.close()
    subject = "conventions"
    if failed:
        yield Finding("note", subject, f"Gymnasium's check_env fails: {failed}".rstrip("."), "Mend the environment.")
    plain = (str(w.message).removeprefix("\x1b[33m").removesuffix("\x1b[0m") for w in told)
    mine = [w.removeprefix("WARN: ") for w in dict.fromkeys(plain) if not w.startswith(_NO_MATTER)]
    for words in mine:
        yield Finding("note", subject, words)
    if not failed and not mine:
        yield Finding("ok", subject, "Gymnasium's check_env passes.")


def _spaces(env: gymnasium.Env) -> Iterator[Finding]:
    actions = Actions.of(env.action_space, "the environment")
    kind = f"one of {actions.size}" if actions.discrete else f"{actions.size} in [{actions.low}, {actions.high}]"
    yield Finding("ok", "spaces", f"{env.observation_space.shape[0]} observation entries; actions: {kind}.")  # pyright: ignore[reportOptionalSubscript]


def _length(env: gymnasium.Env, task: Task) -> Iterator[Finding]:
    length = episode_length(env)
    if length is not None:
        held = f", each action held for {task.action_repeat} steps" if task.action_repeat > 1 else ""
        yield Finding("ok", "length", f"an episode is cut after {length} actions{held}.")
    elif task.horizon is not None:
        yield Finding("ok", "length", f"unknown; episodes are stopped after the task's horizon, {task.horizon}.")
    else:
        remedy = "Give gymnasium.register max_episode_steps, Task a horizon, or bnnrl train --horizon."
        yield Finding("problem", "length", "the environment does not say how long its episodes are.", remedy)


def _said(task: Task, by_id: bool) -> Iterator[Finding]:
    if by_id and not tasks.is_registered(task.env_id):
        remedy = "Where you can write them down, pass a bnnrl.Task, or register it: bnnrl.tasks.register(task)."
        words = "none is registered: reward and termination would be learned."
        yield Finding("note", "task", words, remedy)
        return
    learned = [name for name, said in (("reward", task.cost), ("termination", task.termination)) if said is None]
    words = f"it says {'a cost' if task.cost else 'no cost'}, {len(task.angles)} angles"
    tail = f"; learned: {' and '.join(learned)} (if there is any)." if learned else "; nothing is learned but dynamics."
    yield Finding("ok", "task", words + tail)


def _functions(task: Task, env: gymnasium.Env) -> Iterator[Finding]:
    if task.cost is None and task.termination is None:
        return
    try:
        check_functions(task, env)
    except ValueError as error:
        yield Finding("problem", "cost" if "`cost`" in str(error) else "termination", str(error))
        return
    if task.cost is not None:
        yield Finding("ok", "cost", "it compiles, has the right shape, and a gradient.")


def _random_episodes(env: gymnasium.Env, task: Task, seed: int) -> list[Episode]:
    actions, episodes = Actions.of(env.action_space, task.env_id), []
    until = perf_counter() + _SECONDS
    while len(episodes) < 2 or (len(episodes) < _EPISODES and perf_counter() < until):
        rng = np.random.default_rng([seed, len(episodes)])
        episodes.append(run_episode(env, lambda _, r=rng: actions.random(r), seed + len(episodes), _MOST_STEPS))
    return episodes


def _repeats(env: gymnasium.Env, first: Episode, seed: int) -> Iterator[Finding]:
    """The first episode once more, from the same seed; and with the noise of another."""

    def again(other: int | None) -> np.ndarray:
        given = iter(first.actions)

        def act(_):
            if other is not None and not hasattr(act, "done"):
                env.unwrapped.np_random = np.random.default_rng(other)
                act.done = True  # pyright: ignore[reportFunctionMemberAccess]
            return next(given)

        return run_episode(env, act, seed, len(first)).obs

    def same(obs: np.ndarray) -> bool:
        return obs.shape == first.obs.shape and np.array_equal(obs, first.obs)

    if not same(again(None)):
        remedy = "Draw all that is random from self.np_random, after super().reset(seed=seed)."
        yield Finding("note", "repeats", "the same seed and actions give another episode: runs differ.", remedy)
        return
    yield Finding("ok", "repeats", "the same seed and actions give the same episode.")
    if same(again(seed + 1)):
        yield Finding("ok", "noise", "a step is a function of what came before.")
    else:
        yield Finding("ok", "noise", "steps or observations are random; the model learns how much.")


def _reset(initial: np.ndarray, episodes: list[Episode]) -> Iterator[Finding]:
    visited = np.concatenate([e.obs for e in episodes]).std(axis=0)
    share = float(np.mean((initial.std(axis=0) / np.maximum(visited, 1e-9))[visited > 1e-9] if visited.any() else 0.0))
    words = f"initial states spread {100 * share:.0f} % as wide as visited ones"
    if share > _WIDE:
        remedy = "A policy has to work from all of them: several --episodes-per-trial, or Task(starts='visited')."
        yield Finding("note", "reset", f"{words}: wide.", remedy)
    else:
        yield Finding("ok", "reset", f"{words}: narrow.")


def _scales(task: Task, episodes: list[Episode]) -> Iterator[Finding]:
    obs = np.concatenate([e.obs for e in episodes]).astype(np.float64)
    jumps = np.concatenate([np.diff(e.obs, axis=0) for e in episodes])
    constant = np.flatnonzero(np.ptp(obs, axis=0) == 0).tolist()
    huge = np.flatnonzero(np.abs(obs).max(axis=0) > _HUGE).tolist()
    turning = (np.abs(jumps) > 5.0).any(axis=0) & (np.abs(obs).max(axis=0) < 2 * np.pi + 0.1)
    turning = [i for i in np.flatnonzero(turning).tolist() if i not in task.angles]
    if constant:
        yield Finding("note", "scales", f"entries {constant} never changed.", "Leave out what says nothing.")
    if huge:
        remedy = "Rescale them: a float has seven digits."
        yield Finding("note", "scales", f"entries {huge} go beyond {_HUGE:g}.", remedy)
    if turning:
        words = f"entries {turning} jump by about 2π, as angles do."
        yield Finding("note", "angles", words, f"Name them: Task(angles={tuple(turning)}).")
    if not constant and not huge:
        yield Finding("ok", "scales", "every entry varies, and none is huge.")


def _context(task: Task, episodes: list[Episode]) -> Iterator[Finding]:
    """Entries such as a goal, that an episode sets and keeps: a model fitted to few values is far off at others."""
    kept = np.all([np.ptp(e.obs, axis=0) == 0 for e in episodes], axis=0)
    kept &= np.ptp(np.stack([e.obs[0] for e in episodes]), axis=0) > 0
    if named := [i for i in np.flatnonzero(kept).tolist() if i not in task.invariant]:
        words = f"entries {named} keep their value within an episode, and differ between episodes."
        remedy = f"If no change depends on them, as on a goal, name them: Task(invariant={tuple(named)})."
        yield Finding("note", "invariant", words, remedy)


def _velocities(task: Task, episodes: list[Episode]) -> Iterator[Finding]:
    """Whether positions move as the velocities that the task names for them say."""
    if not task.velocities or task.step_seconds is None:
        return
    before, after = (np.concatenate([e.states[part] for e in episodes]) for part in (slice(-1), slice(1, None)))
    expected = integrate_positions(tf.constant(before), tf.constant(after), task.velocities, task.step_seconds).numpy()
    moved, left = after - before, after - expected
    for change in (moved, left):
        angles = list(task.angles)
        change[:, angles] = (change[:, angles] + np.pi) % (2 * np.pi) - np.pi
    rms = lambda a: np.sqrt(np.mean(a**2, axis=0))
    slips = rms(left) > _SLIP * rms(moved)
    wrong = [position for position in task.velocities if slips[position]]
    if wrong:
        words = f"entries {wrong} do not move as their velocities say."
        yield Finding(
            "note", "velocities", words, "Leave them out of Task(velocities=...): their changes are then learned."
        )
    else:
        yield Finding("ok", "velocities", "positions move as their velocities say.")


def _ends(task: Task, episodes: list[Episode]) -> Iterator[Finding]:
    count = sum(bool(e.terminated[0]) for e in episodes)
    words = f"{count} of {len(episodes)} episodes terminated"
    if task.termination is None:
        yield Finding("ok", "termination", f"{words}{'; when is learned' if count else ''}.")
        return
    try:
        missed = sum(_disagreements(task, e) for e in episodes)
    except Exception:
        return  # the function's own finding says why
    if missed:
        remedy = "Write the rule as the environment has it."
        said = f"{words}; the task's rule says otherwise of {missed} steps."
        yield Finding("note", "termination", said, remedy)
    else:
        yield Finding("ok", "termination", f"{words}, as the task's rule says.")


def _disagreements(task: Task, episode: Episode) -> int:
    said = np.asarray(task.termination(*true_transitions(episode))).astype(np.float64) > 0.5  # pyright: ignore[reportOptionalCall]
    return int((said != episode.ends.astype(bool)).sum())


def _state(task: Task, episodes: list[Episode]) -> Iterator[Finding]:
    """Whether what is shown is the state, of which reward and next observation are functions."""
    if not hidden_state.enough(episodes):
        words = "episodes are too few or too short to tell whether the past matters."
        yield Finding("ok", "hidden state", words)
        return
    data = hidden_state.Transitions.of(episodes, task.angles)
    reward, dynamics = hidden_state.reward(data), hidden_state.dynamics(data)
    if reward is None and task.cost is None:
        words = f"it was {data.rewards[0]:.4g} at every step"
        if any(e.terminated[0] for e in episodes):
            yield Finding("ok", "reward", f"{words}: only how long episodes last tells better from worse.")
        else:
            remedy = "Planning has nothing to go by until it changes: a Task with a cost helps."
            yield Finding("note", "reward", f"{words}, and no episode terminated.", remedy)
    remedy = "Show what it depends on in the observation: gymnasium.wrappers.TimeAwareObservation shows the time."
    if reward is not None and reward.helps:
        words = f"the reward depends on more than (obs, action, next_obs): it is told better by {_list(reward.helps)}."
        yield Finding("note", "hidden state", words, remedy)
    elif reward is not None and reward.r2 < 0.5 and task.cost is None:
        words = f"the reward is hardly told by (obs, action, next_obs) in random episodes (R² {reward.r2:.2f})."
        yield Finding("note", "reward", words, "It may be rare or noisy: a Task with a cost helps.")
    worse = {entry: verdict for entry, verdict in dynamics.items() if verdict.helps}
    if worse:
        best = max((v.helps for v in worse.values()), key=lambda helps: max(helps.values()))
        words = f"changes of entries {sorted(worse)} depend on more than (obs, action): they are told better by "
        remedy = "Show it, such as velocities or a stack of frames."
        yield Finding("note", "hidden state", f"{words}{_list(best)}.", remedy)
    if not worse and not (reward and reward.helps):
        words = "neither reward nor next observation depends on the past, as far as random episodes tell."
        yield Finding("ok", "hidden state", words)


def _list(helps: Mapping[str, float]) -> str:
    return " or ".join(f"{name} ({100 * share:.0f} % less error)" for name, share in helps.items())


def _costs(task: Task, episodes: list[Episode]) -> Iterator[Finding]:
    """The cost where random episodes went."""
    cost: Any = partial(task.cost)  # pyright: ignore[reportArgumentType, reportCallIssue]
    value, reward = (
        np.concatenate([np.asarray(cost(*true_transitions(e))) for e in episodes]),
        np.concatenate([e.rewards for e in episodes]),
    )
    if not np.isfinite(value).all():
        words = f"{describe(cost.func)} is not finite at {(~np.isfinite(value)).sum()} of {len(value)} real steps."
        yield Finding("problem", "cost", words, "Keep logarithms, roots and quotients off the edge.")
        return
    if np.ptp(value) < 1e-6:
        words = f"it is {value[0]:.4g} at every real step: there is nothing to improve on."
        yield Finding("note", "cost", words, "Widen it, so that random episodes tell better from worse.")
    elif np.ptp(reward) > 0 and (rank := _rank_correlation(value, reward)) > 0.3:
        words = f"it rises with the reward (rank correlation {rank:.2f})."
        yield Finding("note", "cost", words, "Look at its sign: a cost is made small.")


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    ranks = np.stack([np.unique(x, return_inverse=True)[1] for x in (a, b)])
    return float(np.corrcoef(ranks)[0, 1])  # pyright: ignore[reportIndexIssue]
