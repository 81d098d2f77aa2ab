"""Films of an agent in its environment: GIF files, or MP4 files if imageio-ffmpeg is installed."""

from __future__ import annotations

import importlib.util
import itertools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from bnnrl.rl.action_space import ActionSpace
from bnnrl.rl.episodes import episode_length, make_env
from bnnrl.rl.pilco import PILCO
from bnnrl.storage.atomic import atomic_write

SUFFIXES = (".gif", ".mp4")
_DEFAULT_FPS = 30.0
_HIGHEST_GIF_FPS = 50.0  # browsers slow down a GIF whose frames are shorter than 20 ms


def record(agent: PILCO, path: str | os.PathLike[str], seed: int = 0) -> Path:
    """Film one episode of the agent, the first episode of `agent.evaluate(seed=seed)`.

    The film plays in real time if the task gives the seconds of a step, else at the frame rate in the environment's
    metadata. The episode runs in a new environment where one can be made, and
    the agent does not change.

    Args:
        agent: an agent with a policy.
        path: path of the film, with the suffix .gif or .mp4. Without a suffix, the film is an .mp4 if imageio-ffmpeg
            is installed, else a .gif. Missing folders are created.
        seed: seed of the evaluation.

    Returns:
        The path of the film.

    Raises:
        ValueError: if the suffix is another one, an .mp4 lacks its encoder, the environment cannot render, or the
            agent has no policy.
    """
    path, env = _check_path(Path(path)), _make_env(agent)
    try:
        seconds = agent.task.step_seconds
        fps = float(1 / seconds if seconds else env.metadata.get("render_fps") or _DEFAULT_FPS)
        frames = _frames(agent, env, seed)
        first = next(frames)  # before the folder is created: an environment that cannot render leaves none behind
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as unfinished:
            _ENCODERS[path.suffix](unfinished, itertools.chain([first], frames), fps)
    finally:
        if env.unwrapped is not agent.env.unwrapped:
            env.close()
    return path


def films(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the paths of the films in a run folder."""
    return [path for path in (Path(folder) / "video").glob("*") if path.suffix in SUFFIXES]


def _check_path(path: Path) -> Path:
    """Return the path with a suffix, or raise ValueError if it names no file or its suffix cannot be written."""
    if not path.name:
        raise ValueError(f"Invalid `path`: expected the name of a file. Received: {path}.")
    has_encoder = importlib.util.find_spec("imageio_ffmpeg") is not None
    if not path.suffix:
        return path.with_suffix(".mp4" if has_encoder else ".gif")
    if path.suffix not in SUFFIXES or (path.suffix == ".mp4" and not has_encoder):
        remedy = " Run `pip install bnnrl[video]` for .mp4." if path.suffix == ".mp4" else ""
        expected = ".gif or .mp4" if has_encoder else ".gif"
        raise ValueError(f"Invalid `path`: expected a name that ends in {expected}. Received: {path}.{remedy}")
    return path


def _make_env(agent: PILCO) -> gymnasium.Env:
    """Return an environment of the agent's task that renders frames."""
    try:
        return make_env(agent.task, render_mode="rgb_array")
    except (ValueError, ImportError, gymnasium.error.Error) as error:
        raise _cannot_render(agent, str(error)) from error


def _frames(agent: PILCO, env: gymnasium.Env, seed: int) -> Iterator[np.ndarray]:
    """Run an evaluation episode and yield its frames, uint8 [height, width, 3]."""
    act, action_space = agent.evaluation_actor(seed), ActionSpace.of(env.action_space, agent.task.env_id)
    obs, _ = env.reset(seed=agent.evaluation_seed(seed))
    yield _render(agent, env)
    max_steps = math.inf if episode_length(env) else agent.horizon
    steps, ended = 0, False
    while not ended and steps < max_steps:
        obs, _, terminated, truncated, _ = env.step(action_space.for_env(act(obs)))
        steps, ended = steps + 1, terminated or truncated
        yield _render(agent, env)


def _render(agent: PILCO, env: gymnasium.Env) -> np.ndarray:
    try:
        frame: Any = env.render()
    except (NotImplementedError, ImportError, gymnasium.error.Error) as error:
        raise _cannot_render(agent, str(error) or type(error).__name__) from error
    if np.ndim(frame) != 3 or np.shape(frame)[-1] != 3:
        raise _cannot_render(agent, f"`render` returned {type(frame).__name__} of shape {np.shape(frame)}")
    return np.ascontiguousarray(frame, np.uint8)


def _cannot_render(agent: PILCO, reason: str) -> ValueError:
    return ValueError(
        'Invalid environment: expected one that renders with render_mode="rgb_array". Received: '
        f"{agent.task.env_id!r}, which does not ({reason.rstrip('.')}). If it only lacks a package, install that "
        "package: `pip install bnnrl[video]` installs pygame, which Gymnasium's classic environments need."
    )


def _write_gif(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    from PIL import Image

    every = math.ceil(fps / _HIGHEST_GIF_FPS)
    images = (Image.fromarray(frame).quantize(64) for frame in itertools.islice(frames, 0, None, every))
    duration = max(10, 10 * round(100 * every / fps))  # in ms; the GIF format stores hundredths of a second
    next(images).save(path, "GIF", save_all=True, append_images=images, duration=duration, loop=0, optimize=False)


def _write_mp4(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    import imageio_ffmpeg

    first = next(frames)
    height, width = first.shape[:2]
    # H.264 needs even sizes. "faststart" puts the index first, so that a browser plays before it has loaded the file.
    params = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white", "-movflags", "+faststart", "-f", "mp4"]
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (width, height),
        fps=fps,  # pyright: ignore[reportArgumentType]  (imageio-ffmpeg accepts fractions)
        macro_block_size=1,
        output_params=params,
        ffmpeg_log_level="error",
    )
    try:
        writer.send(None)
        for frame in itertools.chain([first], frames):
            writer.send(frame)
    finally:
        writer.close()


_ENCODERS: dict[str, Callable[[Path, Iterator[np.ndarray], float], None]] = {".gif": _write_gif, ".mp4": _write_mp4}
