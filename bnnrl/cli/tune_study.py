"""A study of Optuna: trials of settings of `bnnrl fit` or `bnnrl train`, their scores, and the best settings."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import keras

from bnnrl.checks import nearest
from bnnrl.cli import fit_data, fit_run, train, tune_space
from bnnrl.cli.config import as_yaml
from bnnrl.cli.output import warn
from bnnrl.cli.tune_runs import base_arguments, options_of, settings_of
from bnnrl.inference import Diverged
from bnnrl.rl.callbacks import Callback
from bnnrl.storage.atomic import WriteError, atomic_write
from bnnrl.storage.run_folder import VERSION

try:
    import optuna
    import sqlalchemy.exc
    from optuna.storages.journal import JournalFileBackend
except ImportError as error:
    raise ValueError(
        'Invalid command: `bnnrl tune` expected the package optuna. Received: none. Run `pip install "bnnrl[tune]"`.'
    ) from error

_VALIDATION = 0.2  # share of the rows that score a trial of `bnnrl fit` without validation data of its own
_SECONDS = 60.0  # that a trial waits for a database that another process has locked
_PICTURES = {
    "history.png": "plot_optimization_history",
    "importances.png": "plot_param_importances",
    "slice.png": "plot_slice",
}
_DONE = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)


def check_names(sampler: str, pruner: str) -> None:
    """Raise ValueError unless Optuna has a sampler and a pruner of these names."""
    _named("sampler", sampler, optuna.samplers)
    _named("pruner", pruner, optuna.pruners)


def _named(option: str, name: str, module: Any) -> Any:
    known = [word for word in module.__all__ if word.endswith(option.capitalize()) and _has_defaults(module, word)]
    if name not in known:
        raise ValueError(f"Invalid `{option}`: expected one of {known}. Received: {name!r}.{nearest(name, known)}")
    return getattr(module, name)


def _has_defaults(module: Any, name: str) -> bool:
    """Return whether a class can be made without arguments, which a grid of values, for example, cannot."""
    cls = getattr(module, name)
    parameters = inspect.signature(cls).parameters.values()
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return not (inspect.isabstract(cls) or needed)


class Tuning:
    """A study in a folder.

        config.json     the settings of the study, with its search space
        base.yaml       settings that all trials share, if there are any
        study.log       the trials, unless a database holds them
        best.yaml       the best settings so far, which --config of the command takes
        history.png, importances.png, slice.png

    Args:
        folder: an existing folder.
        settings: the settings in its config.json.

    Raises:
        ValueError: if the database cannot be opened.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.settings = folder, settings
        base = next(iter(folder.glob("base.*")), None)
        self._arguments = base_arguments(settings["command"], settings["target"], settings["method"], base)
        self.study = self._open()

    def _open(self) -> optuna.Study:
        pruner = _named("pruner", self.settings["pruner"], optuna.pruners)()
        name = self.folder.absolute().name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            create = lambda: optuna.create_study(
                storage=self._storage(), study_name=name, pruner=pruner, load_if_exists=True
            )
            study = _telling_of_storage(create)
            study.sampler = self._sampler(len(study.get_trials(deepcopy=False)))
        return study

    def _sampler(self, num_started: int) -> Any:
        """Return the sampler; its seed depends on the trials so far, so that a process that resumes draws others."""
        sampler = _named("sampler", self.settings["sampler"], optuna.samplers)
        takes_seed = "seed" in inspect.signature(sampler).parameters
        return sampler(**({"seed": self.settings["seed"] + num_started} if takes_seed else {}))

    def _storage(self) -> Any:
        url = self.settings["storage"]
        if url is None:
            backend = JournalFileBackend(str(self.folder / "study.log"))
            return optuna.storages.JournalStorage(backend)
        engine = {"connect_args": {"timeout": _SECONDS}} if url.startswith("sqlite") else {}
        return optuna.storages.RDBStorage(url, engine_kwargs=engine)

    @property
    def num_done(self) -> int:
        """The number of trials that were finished or pruned."""
        return len(self.study.get_trials(deepcopy=False, states=_DONE))

    def run(self, trials: int) -> None:
        """Carry out trials until there are `trials` in all that were finished or pruned.

        Raises:
            WriteError: if the database stays locked. What was finished before is kept.
        """
        stop = optuna.study.MaxTrialsCallback(trials, states=_DONE)
        if self.num_done < trials:
            optimize = lambda: self.study.optimize(self._score, callbacks=[self._tell, stop], catch=(Diverged,))
            _telling_of_storage(optimize)

    def _score(self, trial: optuna.Trial) -> float:
        values = tune_space.suggest(trial, self.settings["space"])
        print(f"trial {trial.number}: {values}", flush=True)
        score = {"fit": _score_fit, "train": _score_train}[self.settings["command"]]
        options = options_of(self.settings["command"], self._arguments + tune_space.arguments(values))
        scores = []
        for i in range(self.settings["seeds"]):
            options.seed = self.settings["seed"] + i
            scores.append(score(options, (lambda step, value: _report(trial, step, value)) if i == 0 else _ignore))
        return fmean(scores)

    def _tell(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Print the score of a trial, and write the best settings so far."""
        state = "" if trial.state in _DONE else " (the fit diverged)"
        print(f"trial {trial.number}: {trial.state.name.lower()}{state}, score {trial.value}", flush=True)
        if any(each.state == _DONE[0] for each in study.get_trials(deepcopy=False)):
            self._write_best()

    def _write_best(self) -> None:
        values = tune_space.values_of(self.study.best_params, self.settings["space"])
        options = options_of(self.settings["command"], self._arguments + tune_space.arguments(values))
        settings = {"version": VERSION, **settings_of(options)}
        head = (
            f"# Best of {self.num_done} trials, score {self.study.best_value:.6g}. "
            f"Use: bnnrl {self.settings['command']} --config {self.folder / 'best.yaml'}\n"
        )
        with atomic_write(self.folder / "best.yaml") as unfinished:
            unfinished.write_text(head + as_yaml(settings), encoding="utf-8")

    def write_results(self) -> str:
        """Write the best settings and the pictures, and return a line about them."""
        if not any(trial.state == _DONE[0] for trial in self.study.get_trials(deepcopy=False)):
            return f"No trial has a score yet: {self.folder}"
        self._write_best()
        for file, plot in _PICTURES.items():
            self._draw(file, plot)
        best = self.study.best_trial
        return f"best score {best.value:.6g} at trial {best.number}: {self.folder / 'best.yaml'}"

    def _draw(self, file: str, plot: str) -> None:
        """Draw a picture by Optuna; some need several finished trials, and are left out before."""
        from matplotlib import pyplot

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's remarks about its plots
            try:
                axes = getattr(optuna.visualization.matplotlib, plot)(self.study)
            except (ValueError, RuntimeError) as error:
                warn(f"{file} is left out: {error}")
                return
            figure = getattr(axes, "figure", None) or axes.flat[0].figure
            with atomic_write(self.folder / file) as unfinished:
                figure.savefig(unfinished, format="png", bbox_inches="tight")
            pyplot.close(figure)


def _report(trial: optuna.Trial, step: int, value: float) -> None:
    """Report the score of a trial at a step, and raise TrialPruned if the pruner ends it."""
    trial.report(value, step)
    if trial.should_prune():
        raise optuna.TrialPruned


def _ignore(step: int, value: float) -> None:
    pass


class _Epochs(keras.callbacks.Callback):
    """Reports the validation NLL after each epoch that leaves a posterior, which a sampler's first epochs do not."""

    def __init__(self, report: Callable[[int, float], None]):
        super().__init__()
        self.report = report

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report the validation NLL."""
        if logs and "val_nll" in logs:
            self.report(epoch, float(logs["val_nll"]))


class _Trials(Callback):
    """Reports the mean cost of the evaluation episodes after each trial of an agent."""

    def __init__(self, report: Callable[[int, float], None]):
        self.report = report

    def on_trial_end(self, agent: Any, trial: Any) -> None:
        """Report the mean cost of the evaluation episodes."""
        self.report(trial.trial, trial.evaluation_cost)


def _score_fit(options: Any, report: Callable[[int, float], None]) -> float:
    """Return the NLL of the validation data."""
    options.validation = options.validation or _VALIDATION
    settings = vars(options)
    rows = fit_data.load_data(settings)
    model = fit_run.make_model(settings, rows)
    batch_size = None if model.method.full_batch_only else options.batch_size
    callbacks = [_Epochs(report)]
    model.fit(rows, batch_size=batch_size, epochs=options.epochs, callbacks=callbacks, seed=options.seed, verbose=0)
    return float(model.evaluate(rows.validation, num_samples=options.samples, seed=0)["nll"])


def _score_train(options: Any, report: Callable[[int, float], None]) -> float:
    """Return the mean cost of the evaluation episodes after the last trial."""
    settings = train.settings_of(options)
    agent = train.make_agent(settings)
    agent.learn(settings["trials"], [_Trials(report)], settings["stop_when_solved"], settings["evaluation_episodes"])
    return agent.history[-1].evaluation_cost


def _telling_of_storage(call: Callable[[], Any]) -> Any:
    """Return what a function returns; tell in a message of a database that is locked or cannot be used."""
    try:
        return call()
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        reason = getattr(error, "orig", None) or error.__cause__ or error
        raise WriteError(
            f"Cannot use the database of the study ({reason}). Finished trials are kept. If another "
            "program has locked it, close that program."
        ) from error
