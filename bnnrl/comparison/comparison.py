"""Inference methods compared over seeds: a folder of run folders, filled by an engine and summed up."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bnnrl.checks import changed, check_count
from bnnrl.exit_codes import INTERRUPTED
from bnnrl.storage import run_folder

_HOW = ("engine", "jobs", "retries")  # how the runs are carried out, which changes nothing in them
_GROWING = ("methods", "seeds", "trials")


def run(command: Any, train: type, check: Callable[[dict[str, Any]], Any]) -> int:
    """Carry out a comparison, or go on with one, and return the exit code.

    Args:
        command: the command's options: those of `train` that runs share, methods, seeds, engine, jobs and retries.
        train: the command of one run.
        check: called with the settings of one run for each method, to raise ValueError where they are wrong.

    Raises:
        ValueError: for bad input.
    """
    for option, value in (("seeds", command.seeds), ("jobs", command.jobs), ("trials", command.trials)):
        if value is not None:
            check_count(option, value)
    if isinstance(command.retries, bool) or command.retries < 0:
        raise ValueError(
            f"Invalid `retries`: expected an integer of at least 0. Received: retries={command.retries!r}."
        )
    settings = _earlier(command) if command.resume else _given(command, train)
    for method in settings["methods"]:
        check({**settings, "method": method})
    path = _open(command.resume or command.folder, settings)
    return Comparison(path, settings, train).carry_out(command.engine, command.jobs, command.retries)


class Comparison:
    """A folder of runs, one for each method and seed.

        config.json              the settings all runs share, the methods and the seeds
        <method>/<seed>/         a run folder
        <method>/<seed>.log      what the run printed
        comparison.csv           a row for each run and trial
        summary.csv              a row for each method
        comparison.png           cost and success by trial

    Args:
        folder: it has been made.
        settings: as in config.json.
        train: the command of one run.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], train: type):
        from bnnrl.comparison import results

        self.folder, self.settings = folder.absolute(), settings
        seeds = range(settings["seed"], settings["seed"] + settings["seeds"])
        ends = {"trials": settings["trials"], "stop_when_solved": settings["stop_when_solved"]}
        self.jobs = {}
        for method in settings["methods"]:
            for seed in seeds:
                job = self._job(method, seed, train)
                self.jobs[job] = partial(results.read, job.folder, method, seed, **ends)

    def _job(self, method: str, seed: int, train: type):
        from bnnrl.comparison.executors import Job

        folder = self.folder / method / str(seed)
        options = {**self.settings, "method": method, "seed": seed, "folder": str(folder)}
        resume = {"resume": str(folder), "trials": self.settings["trials"]}
        return Job(f"{method}, seed {seed}", folder, arguments(train, options), arguments(train, resume))

    def carry_out(self, engine: str, jobs: int | None, retries: int) -> int:
        """Carry out what is not finished, sum up, and return the exit code."""
        from bnnrl.comparison.executors import drive
        from bnnrl.comparison.live_table import Board

        done = {job for job, read in self.jobs.items() if read().finished}
        todo = [job for job in self.jobs if job not in done]
        failed, interrupted = {}, False
        try:
            if todo:
                carrier = _engine(engine, jobs, len(todo))
                with Board(f"{self.settings['env']} -> {self.folder}", self.jobs, done, self.settings["trials"]) as b:
                    failed = drive(carrier, todo, retries, b.tell)
        except KeyboardInterrupt:
            interrupted = True
        self.sum_up()
        for job, reason in failed.items():
            tail = "\n".join(f"  {line}" for line in job.log_tail())
            print(f"{job.name} failed: {reason}. The end of {job.log}:\n{tail}", file=sys.stderr)
        if failed or interrupted:
            word = "Interrupted; trials that were done are kept." if interrupted else f"{len(failed)} runs failed."
            print(f"{word} Go on: bnnrl compare --resume {self.folder}", file=sys.stderr)
        return INTERRUPTED if interrupted else int(bool(failed))

    def sum_up(self) -> None:
        """Write tables and the picture, and print the summary; nothing of what has no run to tell of yet."""
        from rich.console import Console

        from bnnrl.comparison import results

        found, trials = [read() for read in self.jobs.values()], self.settings["trials"]
        if any(result.rows for result in found):
            results.write_rows(self.folder / "comparison.csv", found)
        if not any(result.finished for result in found):
            return
        rows = results.summary(found, trials)
        run_folder.write_table(self.folder / "summary.csv", list(rows[0]), rows)
        preset = self.settings["preset"]
        name = self.settings["env"] + (f" ({preset})" if preset else "")
        title = f"{name}: {self.settings['seeds']} seeds, interquartile mean with its 95 % interval"
        results.draw(self.folder / "comparison.png", found, trials, title)
        width = None if Console().is_terminal else 140  # in a file nothing need be wrapped
        Console(width=width).print(results.table(rows, trials))
        print(self.folder / "comparison.png")


def arguments(train: type, options: dict[str, Any]) -> tuple[str, ...]:
    """Return the command line of `bnnrl train` with these options; those that have their default are left out."""
    found = ["train"]
    for field in dataclasses.fields(train):
        value = options.get(field.name, field.default)
        if field.name == "env" and value is not None:
            found.append(value)
        elif value != field.default:
            name = field.name.replace("_", "-")
            if isinstance(value, bool):
                found.append(f"--{name}" if value else f"--no-{name}")
            else:
                found += [f"--{name}", *map(str, value if isinstance(value, list | tuple) else [value])]
    return tuple(found)


def _engine(engine: str, jobs: int | None, todo: int):
    if engine == "ray":
        from bnnrl.comparison.ray import Ray

        return Ray(jobs)
    from bnnrl.comparison.executors import Local, cores

    jobs = min(jobs or cores(), todo)
    return Local(jobs, max(1, cores() // jobs))


def _given(command: Any, train: type) -> dict[str, Any]:
    """Return the settings of a new comparison."""
    methods = list(dict.fromkeys(name.strip() for name in (command.methods or "").split(",") if name.strip()))
    if command.env is None or not methods:
        raise ValueError(
            "Invalid arguments: expected the id of an environment and --methods, such as --methods swag,bbb,hmc, or "
            f"--resume FOLDER. Received: env={command.env!r}, methods={command.methods!r}."
        )
    shared = [field.name for field in dataclasses.fields(train) if field.name not in ("method", "folder", "resume")]
    settings = {name: getattr(command, name) for name in shared}
    settings |= {"methods": methods, "seeds": command.seeds, "trials": 8 if command.trials is None else command.trials}
    return json.loads(json.dumps(settings))  # as config.json gives them back


def _earlier(command: Any) -> dict[str, Any]:
    """Return the settings of the comparison to go on with."""
    if given := changed(command, ("resume", "trials", *_HOW)):
        raise ValueError(
            f"Invalid arguments: expected none but --trials, --{', --'.join(_HOW)} beside --resume, which goes on "
            f"under the comparison's own settings. Received: {', '.join(given)}."
        )
    settings = run_folder.COMPARISON.read_config(command.resume)["settings"]
    return {**settings, "trials": max(settings["trials"], command.trials or 0)}


def _open(folder: str | None, settings: dict[str, Any]) -> Path:
    """Return the comparison's folder, made or found; `settings` takes in what an earlier comparison there has more.

    Raises:
        ValueError: if the folder is something else, or a comparison with other settings.
    """
    if folder is None or not run_folder.COMPARISON.matches(folder):
        default = f"{settings['env'].rpartition(':')[2]}/comparison"
        return run_folder.COMPARISON.create(folder, default, settings)
    config = run_folder.COMPARISON.read_config(folder)
    earlier = config["settings"]
    other = [name for name in settings if name not in _GROWING and settings[name] != earlier.get(name, settings[name])]
    if other:
        told = ", ".join(f"{name}={settings[name]!r} where it was {earlier[name]!r}" for name in other)
        raise ValueError(
            f"Invalid run folder: expected a new one, or a comparison with the same settings but for more methods, "
            f"seeds or trials. Received: {folder}, and {told}. Name another folder."
        )
    settings["methods"] = list(dict.fromkeys([*earlier["methods"], *settings["methods"]]))
    settings |= {name: max(earlier[name], settings[name]) for name in ("seeds", "trials")}
    run_folder.COMPARISON.write_config(Path(folder), settings, config["versions"])
    return Path(folder)
