"""Tracking of runs by Weights & Biases (wandb). An error of wandb never stops a run: the first becomes a warning."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

Path = str | os.PathLike[str]

_FINISH_SECONDS = 300.0  # time limit of the last uploads if the user has set none; without a limit they may never end
_NO_LOGIN_NEEDED = ("offline", "dryrun", "disabled")


class TrackingWarning(UserWarning):
    """Tracking failed; the run itself continues."""


def start(
    project: str,
    config: Mapping[str, Any],
    group: str | None = None,
    name: str | None = None,
    run_id: str | None = None,
    folder: Path | None = None,
    tags: Iterable[str] = (),
) -> Tracker:
    """Start a run at Weights & Biases, or resume one.

    The mode is that of wandb, set by WANDB_MODE or `wandb offline`. If the user has an active run from `wandb.init`,
    this one is created beside it in the same mode. Nothing is asked or written on the terminal.

    Args:
        project: the name of the project.
        config: the settings of the run, JSON-able.
        group: the name of a group of runs to be compared, such as the seeds of an experiment.
        name: the display name of the run.
        run_id: `Tracker.id` of a run to resume; a new run if None or if there is no such run. The parts of a run that
            was tracked offline are joined when `wandb sync` uploads them.
        folder: the folder in which wandb makes its folder `wandb`; the working directory if None.
        tags: labels of the run.

    Returns:
        A tracker. If wandb cannot be used, its methods do nothing.

    Warns:
        TrackingWarning: if wandb is not installed, nobody is logged in, or the run cannot be started.
    """
    try:
        import wandb
    except Exception as error:  # a broken installation may raise any error
        _warn(f"Nothing is tracked: wandb cannot be imported ({_described(error)}). Run `pip install wandb`.")
        return Tracker()
    try:
        return Tracker(_begin(wandb, project, config, group, name, run_id, folder, tags))
    except Exception as error:
        _warn(
            f"Nothing is tracked: wandb began no run ({_described(error)}). Run `wandb login`, or set "
            "WANDB_MODE=offline to keep the run on disk."
        )
        return Tracker()


class Tracker:
    """A run at Weights & Biases, from `start`. The methods of `Tracker()` do nothing.

    No method raises an error of wandb. The first becomes a TrackingWarning, later ones are ignored. As a context
    manager the tracker finishes the run, as failed if the block raises.

    Args:
        run: the run of wandb; None to track nothing.

    Attributes:
        next_step: the first step for which nothing has been logged.
    """

    def __init__(self, run: Any = None):
        self._run = run
        self._warned = False
        self.next_step: int = getattr(run, "step", 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        self.finish(0 if kind is None else 1)

    @property
    def id(self) -> str | None:
        """The id of the run, with which `start(run_id=...)` resumes it; None if nothing is tracked."""
        return None if self._run is None else self._run.id

    def configure(self, config: Mapping[str, Any]) -> None:
        """Add or change settings of the run."""
        self._try("settings", lambda run: run.config.update(dict(config), allow_val_change=True))

    def log(self, metrics: Mapping[str, Any], step: int, last: bool = False) -> None:
        """Log the metrics of a step.

        Args:
            metrics: numbers by name. None is left out; True and False are logged as 1 and 0, which wandb can plot.
            step: the step, at least 0. wandb ignores metrics of a step before the latest.
            last: whether the step is complete. Then it is sent at once, otherwise when the next step begins.
        """
        plain = {k: int(v) if isinstance(v, bool) else v for k, v in metrics.items() if v is not None}
        self._log("metrics", lambda: plain, step, last)

    def picture(self, name: str, path: Path, step: int) -> None:
        """Log an image file of a step. The file is copied at once.

        Args:
            name: the name of the picture.
            path: the image file.
            step: the step, which must not be complete: call this before `log(..., last=True)`.
        """

        def image() -> dict[str, Any]:
            import wandb

            return {name: wandb.Image(os.fspath(path))}

        self._log(f"the picture {name!r}", image, step)

    def video(self, name: str, path: Path, step: int | None = None) -> None:
        """Log a video file without converting it.

        Args:
            name: the name of the video.
            path: a .mp4, .webm, .ogg or .gif file.
            step: the step; `next_step` if None.
        """

        def video() -> dict[str, Any]:
            import wandb

            return {name: wandb.Video(os.fspath(path))}

        self._log(f"the video {name!r}", video, self.next_step if step is None else step)

    def artifact(self, name: str, folder: Path, type: str) -> None:
        """Upload a folder as the next version of an artifact.

        Args:
            name: the name of the artifact. Characters that wandb does not allow become "-".
            folder: the folder, whose files are copied at once.
            type: the type of the artifact, such as "posterior".
        """

        def upload(run: Any) -> None:
            import wandb

            artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", name, flags=re.ASCII), type)
            artifact.add_dir(os.fspath(folder))
            run.log_artifact(artifact)

        self._try(f"the artifact {name!r}", upload)

    def summary(self, figures: Mapping[str, Any]) -> None:
        """Set values that describe the run as a whole, such as its final scores."""
        self._try("the summary", lambda run: run.summary.update(dict(figures)))

    def finish(self, exit_code: int = 0) -> None:
        """Upload the rest and end the run, as failed if `exit_code` is not 0. Later calls of any method do nothing."""
        self._try("the end of the run", lambda run: run.finish(exit_code=exit_code))
        self._run = None

    def _log(self, what: str, values: Callable[[], dict[str, Any]], step: int, last: bool = False) -> None:
        # Without `commit` wandb sends a step only when a later one begins, so a step can be logged in several calls.
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
                    f"wandb failed at {what} ({_described(error)}). Later failures of this run give no warning. Data "
                    "on disk can be sent by `wandb sync FOLDER`, where FOLDER is the run's folder in `wandb/`."
                )


def _begin(wandb: Any, project, config, group, name, run_id, folder, tags) -> Any:
    shared = wandb.setup(settings=wandb.Settings(silent=True)).settings
    mode, active = shared.mode, wandb.run
    if active is not None:  # wandb.login has no effect after wandb.init, and an active run that is online has a login
        mode = active.settings.mode
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
        reinit="default" if active is None else "create_new",
        settings=wandb.Settings(
            console="off",
            silent=True,
            finish_timeout=shared.finish_timeout or _FINISH_SECONDS,
            finish_timeout_raises=True,
        ),
    )


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).rstrip('.')}"


def _warn(message: str) -> None:
    warnings.warn(message, TrackingWarning, stacklevel=3)
