"""Names of version 0.1.0 whose successors have another signature, for `bnnrl._moved`; removed with it.

Each is called `<old module>_<old name>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnnrl.cli.fit_data import load_data
from bnnrl.cli.fit_report import FitReport
from bnnrl.inference.draw_buffer import DrawBuffer
from bnnrl.inference.hamiltonian import HamiltonianSampler, HMCState
from bnnrl.inference.hmc import HMC
from bnnrl.inference.sgld import SGLD
from bnnrl.storage import run_folder
from bnnrl.storage.atomic import atomic_write

compare_COMMAND = run_folder.COMPARISON.command
compare_KIND = run_folder.COMPARISON.name
data_tables_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": r"\s+", ".dat": r"\s+"}  # of files that tell no other
fitting_COMMAND = run_folder.FIT.command
fitting_KIND = run_folder.FIT.name
inference_chain_keep = DrawBuffer.append
inference_chain_no_draws = DrawBuffer.empty
inference_chain_ordered = DrawBuffer.in_order
inference_hmc_advance = HamiltonianSampler._advance


def fitting_show(path: Path, model, rows, settings: dict[str, Any], history: list[dict[str, Any]]):
    """Write scores.csv, the pictures and report.html; return the scores, and the pictures' captions by file."""
    return FitReport(path, settings, rows, model, history).write()


def fitting_evaluate(model, rows, settings: dict[str, Any], seed: int = 0) -> dict[str, float]:
    """Return the scores on the test part of the data, or on the training part if there is no test part."""
    return FitReport(Path(), settings, rows, model, []).scores(seed)


def fitting_draw(path: Path, model, rows, settings: dict[str, Any], history) -> dict[str, str]:
    """Draw the run's pictures and return their captions by file."""
    return FitReport(path, settings, rows, model, history)._pictures.draw({})


def fitting_write_report(path: Path, settings: dict, scores: dict, pictures: dict[str, str], model) -> None:
    """Write report.html."""
    FitReport(path, settings, load_data(settings), model, [])._write_html(scores, pictures)


def folders_create(
    folder: run_folder.Folder | None,
    default: str,
    kind: str,
    settings: dict[str, Any],
    hint: str,
    inside: str = "checkpoints",
) -> Path:
    """Make a new run folder with its config.json, and return its path."""
    subfolder = None if inside == "." else inside
    return run_folder.RunKind(kind, "", "--resume" in hint, subfolder).create(folder, default, settings)


def folders_read_config(folder: run_folder.Folder, kind: str, command: str) -> dict[str, Any]:
    """Return what config.json holds: "settings" and "versions"."""
    return run_folder.RunKind(kind, command, resumable=False).read_config(folder)


def folders_write_config(folder: Path, kind: str, settings: Mapping[str, Any], versions: Mapping[str, str]) -> None:
    """Write config.json."""
    run_folder.RunKind(kind, "", resumable=False).write_config(folder, settings, versions)


def folders_kind_of(folder: run_folder.Folder) -> str | None:
    """Return the name of the kind of run that `folder` holds; None if it holds no run."""
    kinds = (run_folder.TRAIN, run_folder.FIT, run_folder.COMPARISON)
    return next((kind.name for kind in kinds if kind.matches(folder)), None)


def folders_write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(text)


def inference_chain_check_chain(burn_in: int, thin: int, max_draws: int) -> None:
    """Raise ValueError unless the arguments are a sampler's."""
    SGLD(burn_in=burn_in, thin=thin, max_draws=max_draws)


def inference_hmc_check_sampler(step_size: float, chains: int, target_accept: float | None) -> None:
    """Raise ValueError unless the arguments are those of HMC and NUTS."""
    HMC(step_size, chains=chains, target_accept=target_accept)


def inference_hmc_current(problem, state: HMCState, batch):
    """Return the log joint of θ [C] in float64 and its gradient [C, D]."""
    return HMC()._current(problem, state, batch)


def inference_hmc_start_chains(problem, seed, theta, chains: int, step_size: float, max_draws: int) -> HMCState:
    """Return the state of HMC or NUTS before the first transition."""
    return HMC(step_size, chains=chains, max_draws=max_draws).init(problem, seed, theta)
