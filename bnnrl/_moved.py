"""Deprecated module paths and names of version 0.1.0, which work with a DeprecationWarning until version 0.3.0.

A finder on `sys.meta_path` makes the old module paths importable. A module that has lost names keeps them by
`__getattr__ = _moved.lookup(__name__)`.
"""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

REMOVED_IN = "0.3.0"

# Module of 0.1.0 -> the modules that hold its contents now; a name is looked up in their order.
MODULES: dict[str, tuple[str, ...]] = {
    "bnnrl.aggregates": ("bnnrl.comparison.statistics",),
    "bnnrl.board": ("bnnrl.comparison.live_table",),
    "bnnrl.checkpoint": ("bnnrl.storage.checkpoint",),
    "bnnrl.child": ("bnnrl.cli.worker", "bnnrl._tensorflow", "bnnrl.exit_codes", "bnnrl.comparison.jobs"),
    "bnnrl.commands": ("bnnrl.cli",),
    "bnnrl.commands.check": ("bnnrl.cli.check",),
    "bnnrl.commands.compare": ("bnnrl.cli.compare",),
    "bnnrl.commands.figures": ("bnnrl.cli.output",),
    "bnnrl.commands.fit": ("bnnrl.cli.fit",),
    "bnnrl.commands.runs": ("bnnrl.cli.evaluate", "bnnrl.cli.report"),
    "bnnrl.commands.train": ("bnnrl.cli.train",),
    "bnnrl.compare": ("bnnrl.comparison.comparison", "bnnrl.comparison.settings"),
    "bnnrl.data.examples": ("bnnrl.data.scikit_learn",),
    "bnnrl.data.prepared": ("bnnrl.data.tfds",),
    "bnnrl.data.records": ("bnnrl.data.tf_data",),
    "bnnrl.data.sources": ("bnnrl.data.readers",),
    "bnnrl.data.values": ("bnnrl.data.casting",),
    "bnnrl.engines": ("bnnrl.comparison.executors", "bnnrl.comparison.jobs"),
    "bnnrl.files": ("bnnrl.storage.atomic",),
    "bnnrl.fitting": ("bnnrl.cli.fit_run", "bnnrl.cli.fit_report"),
    "bnnrl.folders": ("bnnrl.storage.run_folder",),
    "bnnrl.front": ("bnnrl.model.keras_optimizer",),
    "bnnrl.inference.chain": ("bnnrl.inference.draw_buffer",),
    "bnnrl.inference.variational": ("bnnrl.inference.gradients",),
    "bnnrl.ray_engine": ("bnnrl.comparison.ray",),
    "bnnrl.rl.actions": ("bnnrl.rl.action_space",),
    "bnnrl.rl.checking": ("bnnrl.rl.checks",),
    "bnnrl.rl.dynamics": ("bnnrl.rl.simulator.dynamics",),
    "bnnrl.rl.features": ("bnnrl.rl.simulator.features",),
    "bnnrl.rl.functions": ("bnnrl.rl.checks.task_functions",),
    "bnnrl.rl.gym_tasks": ("bnnrl.rl.tasks.gymnasium_tasks",),
    "bnnrl.rl.markov": ("bnnrl.rl.checks.hidden_state",),
    "bnnrl.rl.methods": ("bnnrl.rl.simulator.presets",),
    "bnnrl.rl.plants": ("bnnrl.rl.tasks.plant_tasks",),
    "bnnrl.rl.predictions": ("bnnrl.rl.reporting.predictions",),
    "bnnrl.rl.progress": ("bnnrl.rl.reporting.live_table",),
    "bnnrl.rl.propagation": ("bnnrl.rl.simulator.propagation",),
    "bnnrl.rl.regression": ("bnnrl.rl.simulator.regression", "bnnrl.rl.simulator.settings"),
    "bnnrl.rl.rollout": ("bnnrl.rl.simulator.rollout",),
    "bnnrl.rl.runs": ("bnnrl.rl.reporting.run",),
    "bnnrl.rl.slices": ("bnnrl.rl.reporting.slices",),
    "bnnrl.rl.task": ("bnnrl.rl.tasks.task",),
    "bnnrl.rl.trials": ("bnnrl.rl.callbacks",),
    "bnnrl.rl.world": ("bnnrl.rl.simulator.learned_env",),
    "bnnrl.rows": ("bnnrl.model.inputs",),
    "bnnrl.saving": ("bnnrl.storage.load", "bnnrl.model.serialization"),
    "bnnrl.settings": ("bnnrl.storage.config",),
    "bnnrl.shards": ("bnnrl.model.device_data",),
    "bnnrl.standings": ("bnnrl.comparison.results",),
}

# Name of 0.1.0 -> its new full name. The old name's module is one of the table above, or calls `lookup`.
NAMES: dict[str, str] = {
    "bnnrl.board.Board": "bnnrl.comparison.live_table.LiveTable",
    "bnnrl.callbacks.TrialTracker": "bnnrl.rl.tracker.TrialTracker",
    "bnnrl.compare.arguments": "bnnrl.comparison.settings.train_arguments",
    "bnnrl.data.values.finite": "bnnrl.data.casting.as_float32",
    "bnnrl.engines.Engine": "bnnrl.comparison.executors.Executor",
    "bnnrl.engines.Local": "bnnrl.comparison.executors.LocalExecutor",
    "bnnrl.engines.drive": "bnnrl.comparison.executors.run_jobs",
    "bnnrl.engines.finish": "bnnrl.comparison.jobs.wait",
    "bnnrl.engines.halt": "bnnrl.comparison.jobs.stop_all",
    "bnnrl.files.replacing": "bnnrl.storage.atomic.atomic_write",
    "bnnrl.fitting.hyper_parameters": "bnnrl.cli.options.named_values",
    "bnnrl.front.Optimizer": "bnnrl.model.keras_optimizer.KerasOptimizerView",
    "bnnrl.inference.chain.Draws": "bnnrl.inference.draw_buffer.DrawBuffer",
    "bnnrl.inference.chain.put": "bnnrl.inference.draw_buffer.write_slot",
    "bnnrl.inference.nearest": "bnnrl.checks.nearest",
    "bnnrl.inference.hmc.Adaptation": "bnnrl.inference.hamiltonian.Adaptation",
    "bnnrl.ray_engine.Ray": "bnnrl.comparison.ray.RayExecutor",
    "bnnrl.ray_engine.WAIT": "bnnrl.comparison.ray.CONNECT_TIMEOUT",
    "bnnrl.rl.actions.Actions": "bnnrl.rl.action_space.ActionSpace",
    "bnnrl.rl.checking.Level": "bnnrl.rl.checks.findings.Level",
    "bnnrl.rl.dynamics.Draws": "bnnrl.rl.simulator.regression.NetworkDraws",
    "bnnrl.rl.dynamics.Regressor": "bnnrl.rl.simulator.regression.RegressionModel",
    "bnnrl.rl.dynamics.integrated": "bnnrl.rl.simulator.integration.integrate_positions",
    "bnnrl.rl.markov.dynamics": "bnnrl.rl.checks.hidden_state.judge_dynamics",
    "bnnrl.rl.markov.enough": "bnnrl.rl.checks.hidden_state.has_enough_data",
    "bnnrl.rl.markov.reward": "bnnrl.rl.checks.hidden_state.judge_reward",
    "bnnrl.rl.predictions.Compared": "bnnrl.rl.reporting.predictions.TrialComparison",
    "bnnrl.rl.predictions.Summary": "bnnrl.rl.reporting.predictions.Quantiles",
    "bnnrl.rl.regression.Draws": "bnnrl.rl.simulator.regression.NetworkDraws",
    "bnnrl.rl.regression.Regressor": "bnnrl.rl.simulator.regression.RegressionModel",
    "bnnrl.rl.reporting.write": "bnnrl.rl.reporting.html.write",
    "bnnrl.rl.rollout.World": "bnnrl.rl.simulator.rollout.SimulatedEnv",
    "bnnrl.rl.search.Starts": "bnnrl.rl.search.InitialStates",
    "bnnrl.rl.world.WorldDraws": "bnnrl.rl.simulator.learned_env.ModelDraws",
    "bnnrl.rl.world.WorldModel": "bnnrl.rl.simulator.learned_env.LearnedEnv",
    "bnnrl.rl.world.true_steps": "bnnrl.rl.simulator.learned_env.true_transitions",
    "bnnrl.seeds.noise": "bnnrl.seeds.fast_normal",
    "bnnrl.standings.Standing": "bnnrl.comparison.results.RunResult",
}

# Name of 0.1.0 that `bnnrl._deprecated` keeps, because its successor has another signature -> the successor.
REPLACED: dict[str, str] = {
    "bnnrl.data.tables.SEPARATORS": "bnnrl.data.table_files.read_file",
    "bnnrl.compare.COMMAND": "bnnrl.storage.run_folder.COMPARISON.command",
    "bnnrl.compare.KIND": "bnnrl.storage.run_folder.COMPARISON.name",
    "bnnrl.fitting.COMMAND": "bnnrl.storage.run_folder.FIT.command",
    "bnnrl.fitting.KIND": "bnnrl.storage.run_folder.FIT.name",
    "bnnrl.fitting.draw": "bnnrl.cli.fit_report.FitReport.write",
    "bnnrl.fitting.evaluate": "bnnrl.cli.fit_report.FitReport.scores",
    "bnnrl.fitting.show": "bnnrl.cli.fit_report.FitReport.write",
    "bnnrl.fitting.write_report": "bnnrl.cli.fit_report.FitReport.write",
    "bnnrl.folders.create": "bnnrl.storage.run_folder.RunKind.create",
    "bnnrl.folders.kind_of": "bnnrl.storage.run_folder.RunKind.matches",
    "bnnrl.folders.read_config": "bnnrl.storage.run_folder.RunKind.read_config",
    "bnnrl.folders.write_config": "bnnrl.storage.run_folder.RunKind.write_config",
    "bnnrl.folders.write_text": "bnnrl.storage.atomic.atomic_write",
    "bnnrl.inference.chain.check_chain": "bnnrl.inference.Sampler",
    "bnnrl.inference.chain.keep": "bnnrl.inference.draw_buffer.DrawBuffer.append",
    "bnnrl.inference.chain.no_draws": "bnnrl.inference.draw_buffer.DrawBuffer.empty",
    "bnnrl.inference.chain.ordered": "bnnrl.inference.draw_buffer.DrawBuffer.in_order",
    "bnnrl.inference.hmc.advance": "bnnrl.inference.hamiltonian.HamiltonianSampler",
    "bnnrl.inference.hmc.check_sampler": "bnnrl.inference.hamiltonian.HamiltonianSampler",
    "bnnrl.inference.hmc.current": "bnnrl.inference.hamiltonian.HamiltonianSampler",
    "bnnrl.inference.hmc.start_chains": "bnnrl.inference.hamiltonian.HamiltonianSampler.init",
}


def lookup(module: str) -> Callable[[str], Any]:
    """Return the `__getattr__` for a module of version 0.1.0 that has moved or lost names.

    Raises:
        AttributeError: by the returned function, for a name that version 0.1.0 did not have either.
    """

    def __getattr__(name: str) -> Any:
        old = f"{module}.{name}"
        if old in NAMES:
            new_module, _, new_name = NAMES[old].rpartition(".")
            warn(old, NAMES[old])
            return getattr(importlib.import_module(new_module), new_name)
        if old in REPLACED:
            warn(old, REPLACED[old])
            return getattr(importlib.import_module("bnnrl._deprecated"), old.removeprefix("bnnrl.").replace(".", "_"))
        for new_module in map(importlib.import_module, MODULES.get(module, ())):
            if hasattr(new_module, name):
                return getattr(new_module, name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return __getattr__


def install() -> None:
    """Make the old module paths importable."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())  # last, so that an existing module of the same path comes first


def renamed_argument(**names: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Return a decorator of functions some of whose keyword arguments have a new name.

    Args:
        **names: the new name by the old one, which works with a DeprecationWarning.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            for old, new in names.items():
                if old in kwargs:
                    if new in kwargs:
                        raise ValueError(f"Invalid `{old}`: expected none beside `{new}`, its new name.")
                    warn(f"The argument `{old}`", f"`{new}`")
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return wrapper

    return decorate


def warn(old: str, new: str) -> None:
    """Warn the caller of the calling function that `old` is deprecated in favour of `new`."""
    # Level 1 is this function, 2 its caller, 3 the user's line; Python does not count the frames of its own importer.
    warnings.warn(f"{old} is deprecated and will be removed in {REMOVED_IN}. Use {new}.", DeprecationWarning, 3)


class _Finder(MetaPathFinder, Loader):
    """Finder and loader of the old module paths: empty modules whose names are looked up in the new ones."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in MODULES:
            return None
        return ModuleSpec(fullname, self, is_package=any(name.startswith(f"{fullname}.") for name in MODULES))

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        warn(name, " or ".join(MODULES[name]))
        module.__dict__["__getattr__"] = lookup(name)
