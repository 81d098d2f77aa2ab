"""`bnnrl compare`: methods compared over seeds, in a folder of run folders that an executor fills."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bnnrl.comparison import settings as comparison_settings
from bnnrl.comparison.settings import train_arguments
from bnnrl.exit_codes import DONE, FAILED, INTERRUPTED
from bnnrl.rl import baselines
from bnnrl.storage import lock, run_folder


def run(
    command: Any,
    commands: Mapping[str, type],
    check: Callable[[dict[str, Any]], Any],
    opened: Callable[[Path], None] = lambda _: None,
) -> int:
    """Run or resume a comparison, and return the exit code.

    Args:
        command: the options of `bnnrl compare`: those of `train` that all runs share, methods, seeds, engine, jobs and
            retries.
        commands: the dataclasses with the options of `bnnrl train` and `bnnrl baseline`, by the command's name.
        check: called with the settings of one run of each method, to raise ValueError if they are invalid.
        opened: called with the comparison's folder as soon as there is one.

    Raises:
        ValueError: for bad input.
        WriteError: if the operating system refuses to write.
    """
    comparison_settings.check_options(command)
    if command.resume:
        settings = comparison_settings.of_resumed(command)
    else:
        settings = comparison_settings.of_new(command, commands["train"])
    for method in settings["methods"]:
        check({**settings, "method": method})
    path, settings = comparison_settings.open_folder(command.resume or command.folder, settings)
    opened(path)
    with lock.hold(path, warn=lambda message: print(f"bnnrl: warning: {message}", file=sys.stderr)):
        return Comparison(path, settings, commands).run(command.engine, command.jobs, command.retries)


class Comparison:
    """A folder of runs, one for each method and seed.

        config.json              settings that all runs share, methods and seeds
        <method>/<seed>/         run folder
        <method>/<seed>.log      output of the run
        comparison.csv           a row for each run and trial
        summary.csv              a row for each method
        comparison.png           evaluation cost and success by trial

    Args:
        folder: an existing folder.
        settings: the settings in its config.json.
        commands: see `run`.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], commands: Mapping[str, type]):
        from bnnrl.comparison import results

        self.folder, self.settings = folder.absolute(), settings
        seeds = range(settings["seed"], settings["seed"] + settings["seeds"])
        limits = {"trials": settings["trials"], "stop_when_solved": settings["stop_when_solved"]}
        self.readers = {}  # a function for each job that reads its result
        for method in settings["methods"]:
            for seed in seeds:
                job = self._job(method, seed, commands)
                steps = self._steps if method in baselines.NAMES else None
                self.readers[job] = partial(results.read, job.folder, method, seed, **limits, steps=steps)

    @property
    def _steps(self) -> int:
        """The number of real steps of a baseline."""
        return self.settings["baseline_steps"]

    def _job(self, method: str, seed: int, commands: Mapping[str, type]):
        from bnnrl.comparison.jobs import Job

        folder = self.folder / method / str(seed)
        options = {**self.settings, "method": method, "seed": seed, "folder": str(folder)}
        resume = {"resume": str(folder), "trials": self.settings["trials"]}
        command = "train"
        if method in baselines.NAMES:
            command, options, resume = "baseline", {**options, "steps": self._steps}, {**resume, "steps": self._steps}
        begin, again = (train_arguments(commands[command], given, command) for given in (options, resume))
        return Job(f"{method}, seed {seed}", folder, begin, again)

    def run(self, engine: str, num_parallel: int | None, retries: int) -> int:
        """Run all jobs that are not finished, write the summary, and return the exit code.

        Args:
            engine: "local" or "ray".
            num_parallel: how many jobs run at a time; None for the executor's default.
            retries: how many times a failed job is started again.
        """
        from bnnrl.comparison.executors import run_jobs
        from bnnrl.comparison.live_table import LiveTable

        done = {job for job, read in self.readers.items() if read().finished}
        unfinished = [job for job in self.readers if job not in done]
        failed, interrupted = {}, False
        try:
            if unfinished:
                executor = make_executor(engine, len(unfinished), num_parallel)
                title = f"{self.settings['env']} -> {self.folder}"
                with LiveTable(title, self.readers, done, self.settings["trials"]) as shown:
                    failed = run_jobs(executor, unfinished, retries, shown.on_state)
        except KeyboardInterrupt:
            interrupted = True
        self.write_summary()
        for job, reason in failed.items():
            tail = "\n".join(f"  {line}" for line in job.log_tail())
            print(f"{job.name} failed: {reason}. The end of {job.log}:\n{tail}", file=sys.stderr)
        if interrupted:
            print(f"Interrupted; finished trials are kept. {self._advice}", file=sys.stderr)
            return INTERRUPTED
        if failed:
            print(f"Failed runs: {len(failed)}. {self._advice}", file=sys.stderr)
            return FAILED
        return DONE

    @property
    def _advice(self) -> str:
        return f"Resume: bnnrl compare --resume {self.folder}"

    def write_summary(self) -> None:
        """Write comparison.csv, summary.csv and comparison.png and print the summary, as far as there are results."""
        from rich.console import Console

        from bnnrl.comparison import results

        found, trials = [read() for read in self.readers.values()], self.settings["trials"]
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
        width = None if Console().is_terminal else 140  # so that the table is not wrapped in a file
        Console(width=width).print(results.table(rows, trials))
        print(self.folder / "comparison.png")


def make_executor(engine: str, num_jobs: int, num_parallel: int | None):
    """Return the executor for `num_jobs` jobs, `num_parallel` at a time; `engine` is "local" or "ray"."""
    if engine == "ray":
        from bnnrl.comparison.ray import RayExecutor

        return RayExecutor(num_parallel)
    from bnnrl.comparison.executors import LocalExecutor

    return LocalExecutor.sharing_cores(num_jobs, num_parallel)
