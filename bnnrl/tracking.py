"""Tracking of runs by Weights & Biases, which never stops a run: what goes wrong with it is told once, as a warning."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

Path = str | os.PathLike[str]

_FINISH_SECONDS = 300.0  # given to the last uploads where the user has set no limit: without one they may never end
_NO_LOGIN_NEEDED = ("offline", "dryrun", "disabled")


class TrackingWarning(UserWarning):
    """Tracking does not work, or no longer; the run itself goes on."""


def start(
    project: str,
    config: Mapping[str, Any],
    group: str | None = None,
    name: str | None = None,
    run_id: str | None = None,
    folder: Path | None = None,
    tags: Iterable[str] = (),
) -> Tracker:
    """Begin a run at Weights & Biases, or go on with one.

    The mode is wandb's own, by WANDB_MODE or `wandb offline`. A run that the user has begun with `wandb.init` is left
    alone: this one stands beside it, in the same mode. Nothing is asked on the terminal or written to it.

    Args:
        project: the project's name.
        config: the run's settings, JSON-able.
        group: runs to be compared, such as an experiment's seeds.
        name: what the run is called.
        run_id: `Tracker.id` of an earlier run to go on with; a new run if None or unknown. Offline, the parts of a run
            are joined when `wandb sync` uploads them.
        folder: where wandb keeps its files, in a folder `wandb` in it; the working directory if None.
        tags: labels.

    Returns:
        A tracker; one that does nothing where wandb cannot be used.

    Warns:
        TrackingWarning: if wandb is not installed, nobody is logged in, or the run cannot begin.
    """
    try:
        import wandb
    except Exception as error:  # a broken installation raises whatever it likes
        _warn(f"Nothing is tracked: wandb cannot be imported ({_in_words(error)}). Run `pip install wandb`.")
        return Tracker()
    try:
        return Tracker(_begin(wandb, project, config, group, name, run_id, folder, tags))
    except Exception as error:
        _warn(
            f"Nothing is tracked: wandb began no run ({_in_words(error)}). Run `wandb login`, or set "
            "WANDB_MODE=offline to keep the run on disk."
        )
        return Tracker()


class Tracker:
    """A run at Weights & Biases; made by `start`, and without arguments one that does nothing.

    No method raises: the first error is told by a TrackingWarning, later ones are passed over in silence. As a context
    manager it finishes the run, as failed where the block ends in an error.
    """

    def __init__(self, run: Any = None):
        self._run = run
        self._warned = False
        self.next_step: int = getattr(run, "step", 0)  # the first that has nothing logged to it yet

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        self.finish(0 if kind is None else 1)

    @property
    def id(self) -> str | None:
        """The run's id, to go on with it by `start(run_id=...)`; None where nothing is tracked."""
        return None if self._run is None else self._run.id

    def configure(self, config: Mapping[str, Any]) -> None:
        """Add to the run's settings, or change them."""
        self._try("settings", lambda run: run.config.update(dict(config), allow_val_change=True))

    def log(self, metrics: Mapping[str, Any], step: int, last: bool = False) -> None:
        """Log figures of a step.

        Args:
            metrics: numbers by name; None is left out, and a truth value is 0 or 1, which can be drawn as a curve.
            step: at least 0. Steps never go back: what comes for an earlier one is dropped.
            last: whether this is all of the step, so that it is sent at once and not when the next step begins.
        """
        plain = {k: int(v) if isinstance(v, bool) else v for k, v in metrics.items() if v is not None}
        self._log("metrics", lambda: plain, step, last)

    def picture(self, name: str, path: Path, step: int) -> None:
        """Log a picture of a step, from a file, which is copied at once. It goes before a `log` that is the last."""

        def image() -> dict[str, Any]:
            import wandb

            return {name: wandb.Image(os.fspath(path))}

        self._log(f"the picture {name!r}", image, step)

    def video(self, name: str, path: Path, step: int | None = None) -> None:
        """Log a video file as it is, .mp4, .webm, .ogg or .gif: of a step, or of one that has nothing yet."""

        def video() -> dict[str, Any]:
            import wandb

            return {name: wandb.Video(os.fspath(path))}

        self._log(f"the video {name!r}", video, self.next_step if step is None else step)

    def artifact(self, name: str, folder: Path, type: str) -> None:
        """Upload a folder as the next version of an artifact.

        Args:
            name: the artifact's; characters that wandb does not allow in it become "-".
            folder: its files are copied at once.
            type: what it is, such as "posterior".
        """

        def upload(run: Any) -> None:
            import wandb

            artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", name, flags=re.ASCII), type)
            artifact.add_dir(os.fspath(folder))
            run.log_artifact(artifact)

        self._try(f"the artifact {name!r}", upload)

    def summary(self, figures: Mapping[str, Any]) -> None:
        """Set figures that describe the run as a whole."""
        self._try("the summary", lambda run: run.summary.update(dict(figures)))

    def finish(self, exit_code: int = 0) -> None:
        """Upload what is left and end the run, as failed if `exit_code` is not 0. What comes later is dropped."""
        self._try("the end of the run", lambda run: run.finish(exit_code=exit_code))
        self._run = None

    def _log(self, what: str, values: Callable[[], dict[str, Any]], step: int, last: bool = False) -> None:
        # Without `commit` wandb sends a step when a later one begins, so that a step can be logged in parts.
        self._try(what, lambda run: run.log(values(), step=step, **({"commit": True} if last else {})))
        self.next_step = max(self.next_step, step + 1)

    def _try(self, what: str, action: Callable[[Any], object]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:
            if not self._warned:
                self._warned = True
                _warn(
                    f"wandb failed at {what} ({_in_words(error)}), and later failures of this run are not told. What "
                    "it has on disk can be sent by `wandb sync FOLDER`, with the run's folder in `wandb/`."
                )


def _begin(wandb: Any, project, config, group, name, run_id, folder, tags) -> Any:
    shared = wandb.setup(settings=wandb.Settings(silent=True)).settings
    mode, beside = shared.mode, wandb.run
    if beside is not None:  # wandb answers no question about the login then, and one that is online has it
        mode = beside.settings.mode
    elif mode not in _NO_LOGIN_NEEDED and not wandb.login(prompt=False):
        raise ValueError("no API key is configured")
    return wandb.init(
        project=project,
        config=dict(config),
        group=group,
        name=name,
        id=run_id,
        resume="allow",
        dir=None if folder is None else os.fspath(folder),
        tags=tuple(tags),
        mode=mode,
        reinit="default" if beside is None else "create_new",
        settings=wandb.Settings(
            console="off",
            silent=True,
            finish_timeout=shared.finish_timeout or _FINISH_SECONDS,
            finish_timeout_raises=True,
        ),
    )


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).rstrip('.')}"


def _warn(message: str) -> None:
    warnings.warn(message, TrackingWarning, stacklevel=3)
