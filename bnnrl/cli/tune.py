"""`bnnrl tune`: settings of `bnnrl fit` or `bnnrl train` found by Optuna."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from bnnrl._tensorflow import import_tensorflow
from bnnrl.checks import changed, check_count
from bnnrl.cli import interrupt, tune_space
from bnnrl.cli.groups import UNNAMED_METHOD
from bnnrl.cli.options import optional
from bnnrl.cli.output import check_file
from bnnrl.cli.tune_runs import base_arguments, check_space, options_of
from bnnrl.exit_codes import DONE
from bnnrl.storage import run_folder

_GRACE = 10.0  # seconds to stop in after Ctrl-C: the study is told that the trial failed


@dataclass
class Tune:
    """Find good settings of `bnnrl fit` or `bnnrl train` with Optuna, and write the best as a file for --config.

    Examples: `bnnrl tune fit rows.csv --method swag --trials 50`, `bnnrl tune train Pendulum-v1 --config base.yaml`.
    Several processes with the same --resume FOLDER share the trials.
    """

    command: Annotated[
        Literal["fit", "train"] | None, tyro.conf.Positional, optional("{fit,train}", "none; required without --resume")
    ] = None
    """The command whose settings are tuned."""
    target: Annotated[str | None, tyro.conf.Positional, optional("DATASET|ENV", "none; required without --resume")] = (
        None
    )
    """What the command takes: a data set, or the id of an environment."""
    method: Annotated[str | None, optional("STR", "that of --config, else ensemble")] = None
    """Inference method."""
    config: Annotated[str | None, optional("FILE", "none")] = None
    """Settings that all trials share, as YAML or JSON; --space says which of them are changed."""
    space: Annotated[str | None, optional("FILE", "that of the method")] = None
    """Search space as YAML, a line for each option: `method.rank: {choices: [5, 20]}`,
    `dynamics.prior_std: {low: 0.1, high: 10, log: true}`."""
    trials: int = 30
    """Number of trials, each of which tries other settings. Those that were finished earlier count."""
    seeds: int = 1
    """Seeds with which the settings of a trial run; the mean of the scores counts."""
    sampler: str = "TPESampler"
    """Sampler of Optuna that chooses settings, such as TPESampler, RandomSampler or GPSampler."""
    pruner: str = "MedianPruner"
    """Pruner of Optuna that ends poor trials early, such as MedianPruner, HyperbandPruner or NopPruner."""
    storage: Annotated[str | None, optional("URL", "a file in the folder")] = None
    """Database of the study, such as sqlite:///study.db; a file in the folder needs none."""
    seed: int = 0
    """Seed of the sampler, and first seed of the runs."""
    folder: Annotated[str | None, optional("STR", "runs/<target>/tune/<seed>-<time>")] = None
    """Folder of the study."""
    resume: Annotated[str | None, optional("STR", "none")] = None
    """Folder of an earlier study to go on with; --trials may increase the number of trials."""

    def run(self) -> int:
        """Carry out the trials, write the best settings and the pictures, and return the exit code."""
        folder, settings = self._resume() if self.resume else self._begin()
        import_tensorflow()
        from bnnrl.cli import tune_study

        study = tune_study.Tuning(folder, settings)
        interrupt.configure(lambda: f"Finished trials are kept. Resume: bnnrl tune --resume {folder}", _GRACE)
        study.run(check_count("trials", self.trials))
        print(study.write_results())
        return DONE

    def _begin(self) -> tuple[Path, dict[str, Any]]:
        """Return the folder and the settings of a new study, which are checked before the folder is made."""
        if self.command is None or self.target is None:
            raise ValueError(
                "Invalid arguments: expected `fit` and a data set, `train` and the id of an environment, or --resume "
                f"FOLDER. Received: command={self.command!r}, target={self.target!r}."
            )
        for name in ("trials", "seeds"):
            check_count(name, getattr(self, name))
        if self.command == "fit":
            check_file(self.target)
        base = options_of(self.command, base_arguments(self.command, self.target, self.method, self.config))
        method = base.method or UNNAMED_METHOD
        space = tune_space.read(self.space) if self.space else tune_space.default(self.command, method)
        settings = {**asdict(self), "method": method, "space": space}
        for name in ("config", "folder", "resume", "trials"):
            del settings[name]
        check_space(settings, self.config)
        import_tensorflow()
        from bnnrl.cli import tune_study

        tune_study.check_names(self.sampler, self.pruner)
        place = f"{Path(self.target).stem if self.command == 'fit' else self.target.rpartition(':')[2]}/tune"
        folder = run_folder.STUDY.create(self.folder, place, settings)
        if self.config:
            shutil.copyfile(self.config, folder / f"base{Path(self.config).suffix}")
        return folder, settings

    def _resume(self) -> tuple[Path, dict[str, Any]]:
        if given := changed(self, ("resume", "trials")):
            raise ValueError(
                "Invalid arguments: expected only --trials beside --resume, which goes on with the settings of the "
                f"study. Received: {', '.join(given)}."
            )
        folder = Path(self.resume or "")
        return folder, run_folder.STUDY.read_config(folder)["settings"]
