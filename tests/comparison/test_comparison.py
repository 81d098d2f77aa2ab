"""`bnnrl compare`: which runs are started, retried and kept, and the files written about them."""

import csv
import re
import sys
from pathlib import Path

import pytest

from bnnrl import cli
from bnnrl.comparison import executors, jobs
from bnnrl.storage import run_folder
from tests.comparison.processes import ENV_ID, alive
from tests.plots.figures import share_inked

# Runs with the real process and folder whose trials take no time: no model is fitted, and the policies of a seed are
# the same for all methods. The run of method adam is killed in trial 2, once.
CHEAP = """
import os, pathlib, signal, sys
import numpy as np
from bnnrl import _tensorflow
from bnnrl.cli import worker
def improve(self, trial):
    import tensorflow as tf
    threads = tf.config.threading
    print("threads", threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads())
    mark = pathlib.Path("died")
    if (self.dynamics.method_name, trial, mark.exists()) == ("adam", 2, False):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    rng = np.random.default_rng([self.seed, trial])
    self.control.population = rng.normal(size=(1, self.control.controller.num_params)).astype(np.float32)
    return 0.5
def limit_threads(threads, limit=_tensorflow.limit_threads):
    limit(threads)
    from bnnrl.rl.pilco import PILCO
    from bnnrl.rl.simulator.learned_env import LearnedEnv
    LearnedEnv.fit, PILCO._improve  # what is replaced exists
    LearnedEnv.fit, PILCO._improve = lambda self, episodes, seed: None, improve
_tensorflow.limit_threads = limit_threads
sys.exit(worker.main())
"""


def run(folder, *args: str) -> int:
    return cli.main(["compare", ENV_ID, "--methods", "adam,sgd", "--seeds", "2", "--folder", str(folder), *args])


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path) as file:
        return list(csv.DictReader(file))


def starts(folder: Path) -> dict[str, int]:
    """Return how often each run was started."""
    logs = {str(p.relative_to(folder).with_suffix("")): p.read_text() for p in folder.rglob("*.log")}
    return {name: text.count("$ bnnrl") for name, text in logs.items()}


def test_runs_are_those_of_train_and_a_killed_one_goes_on_as_if_it_had_not(tmp_path, monkeypatch, fresh_python):
    monkeypatch.setattr(jobs, "PROGRAM", (*fresh_python, "-c", CHEAP))
    monkeypatch.chdir(tmp_path)
    options = ["--seed", "1", "--trials", "3", "--no-stop-when-solved"]
    command = ["compare", ENV_ID, "--methods", "adam,sgd", "--seeds", "1", "--jobs", "2", "--folder", "f"]
    assert cli.main([*command, *options]) == 0
    log = Path("f/adam/1.log").read_text()
    folder = tmp_path / "f/adam/1"
    assert [line for line in log.splitlines() if line.startswith("$")] == [
        f"$ bnnrl train {ENV_ID} --method adam {' '.join(options)} --folder {folder}",
        f"$ bnnrl train --trials 3 --resume {folder}",
    ]
    threads = max(1, jobs.cores() // 2)
    assert f"threads {threads} {threads}\n" in log and "cuda" not in log and Path("died").exists()
    untimed = lambda row: {name: value for name, value in row.items() if not name.endswith("_seconds")}
    found, undisturbed = ([untimed(row) for row in rows_of(Path(f"f/{m}/1/metrics.csv"))] for m in ("adam", "sgd"))
    assert found == undisturbed and len(found) == 3
    assert Path("f/sgd/1.log").read_text().count("$ bnnrl") == 1


def test_what_is_made_of_the_runs(tmp_path, fakes, capfd):
    assert run(tmp_path / "f", "--trials", "4") == 0
    out = capfd.readouterr().out
    assert "adam, seed 1: solved at trial 3 (" in out and "(4 of 4)" in out and "interquartile" in out
    assert re.search(r"sgd +2/2 +2/2 +3 +0\.255 +12 *\n +0\.255 \[0\.25, 0\.26\] +12 \[12, 12\]", out), out
    rows = rows_of(tmp_path / "f/comparison.csv")
    assert [(r["method"], r["seed"], r["trial"]) for r in rows[:5]] == [("adam", "0", t) for t in "1234"] + [
        ("adam", "1", "1")
    ]
    assert len(rows) == 16 and rows[0]["evaluation_cost"] == "1.0"
    adam, sgd = rows_of(tmp_path / "f/summary.csv")
    assert (adam["method"], adam["runs"], adam["finished"], adam["solved"]) == ("adam", "2", "2", "2")
    assert [adam[f"success_by_trial_{t}"] for t in range(1, 5)] == ["0.0", "0.0", "1.0", "1.0"]
    assert sgd["median_solved_trial"] == "3.0" and float(sgd["evaluation_cost_iqm"]) == pytest.approx(0.255)
    assert sgd["evaluation_return_iqm"] == "" and float(sgd["seconds_median"]) == 12  # no such column; 4 trials of 3 s
    assert share_inked(tmp_path / "f/comparison.png") > 0.01


def test_baselines_run_beside_agents(tmp_path, fakes, monkeypatch, capfd):
    assert run(tmp_path / "f", "--methods", "sac,adam") == 2
    assert 'pip install "bnnrl[sb3]"' in capfd.readouterr().err and not (tmp_path / "f").exists()
    monkeypatch.setattr("bnnrl.rl.baselines.check_installed", lambda: None)
    fakes(sac_0={"dies": [3]})
    options = ("--methods", "sac", "--trials", "4", "--baseline-steps", "300", "--no-stop-when-solved")
    assert run(tmp_path / "f", *options, "--policy.num-centers", "9") == 0
    folder = tmp_path / "f/sac/0"
    assert [line for line in (tmp_path / "f/sac/0.log").read_text().splitlines() if line.startswith("$")] == [
        f"$ bnnrl baseline {ENV_ID} --steps 300 --trials 4 --no-stop-when-solved --folder {folder}",
        f"$ bnnrl baseline --steps 300 --trials 4 --resume {folder}",
    ]
    out = capfd.readouterr().out
    assert "sac, seed 1: solved at trial 3" in out and re.search(r"sac, 4 trials +2/2 +2/2 +3 +300", out), out
    assert cli.main(["compare", "--resume", str(tmp_path / "f"), "--baseline-steps", "500"]) == 0
    assert "--steps 500 --trials 4" in (tmp_path / "f/sac/1.log").read_text()


def test_a_run_that_always_fails_is_told_and_the_others_go_on(tmp_path, fakes, capfd):
    fakes(adam_1={"fails": 7}, sgd_0={"dies": [1, 2]})
    assert run(tmp_path, "--trials", "2", "--retries", "2", "--jobs", "2") == 1
    out, err = capfd.readouterr()
    assert f"adam, seed 1 failed: exit code 7. The end of {tmp_path}/adam/1.log:\n  line 10\n" in err
    assert f"  line 19\nFailed runs: 1. Resume: bnnrl compare --resume {tmp_path}\n" in err and "sgd" not in err
    assert "adam, seed 1: failed (" in out
    starts = {
        f"{m}/{s}": (tmp_path / m / f"{s}.log").read_text().count("$ bnnrl") for m in ("adam", "sgd") for s in "01"
    }
    assert starts == {"adam/0": 1, "adam/1": 3, "sgd/0": 3, "sgd/1": 1}


def test_a_second_comparison_goes_on_and_may_ask_for_more(tmp_path, fakes, capfd):
    fakes(adam_1={"dies": [2]})
    assert run(tmp_path, "--trials", "2", "--retries", "0") == 1
    assert "killed by SIGKILL" in capfd.readouterr().err
    assert cli.main(["compare", "--resume", str(tmp_path)]) == 0
    assert starts(tmp_path) == {"adam/0": 1, "adam/1": 2, "sgd/0": 1, "sgd/1": 1}
    assert [len(rows_of(tmp_path / f"adam/{seed}/metrics.csv")) for seed in "01"] == [2, 2]
    config = (tmp_path / "config.json").read_text()
    assert cli.main(["compare", "--resume", str(tmp_path)]) == 0  # nothing is left to do
    assert starts(tmp_path)["adam/1"] == 2 and (tmp_path / "config.json").read_text() == config
    more = ["compare", ENV_ID, "--methods", "swag", "--seeds", "1", "--trials", "3", "--folder", str(tmp_path)]
    assert cli.main(more) == 0
    assert starts(tmp_path) == {"adam/0": 2, "adam/1": 3, "sgd/0": 2, "sgd/1": 2, "swag/0": 1, "swag/1": 1}
    assert [row["solved"] for row in rows_of(tmp_path / "summary.csv")] == ["2", "2", "2"]
    assert cli.main(["compare", "--resume", str(tmp_path), "--trials", "9"]) == 0  # all are solved, and stop there
    assert starts(tmp_path)["swag/0"] == 1


def test_ctrl_c_stops_all_runs_and_says_how_to_go_on(tmp_path, fakes, monkeypatch, capfd):
    fakes(adam_0={"hangs": [2]}, adam_1={"hangs": [1]})
    poll = executors.LocalExecutor.poll

    def interrupted(self):
        if (tmp_path / "adam/0/begun_2").exists() and (tmp_path / "adam/1/begun_1").exists():
            raise KeyboardInterrupt
        return poll(self)

    with monkeypatch.context() as patch:
        patch.setattr(executors.LocalExecutor, "poll", interrupted)
        assert run(tmp_path, "--trials", "2", "--jobs", "2") == 130
    pids = [int((tmp_path / "adam" / seed / "pid").read_text()) for seed in "01"]
    assert not any(map(alive, pids))
    assert "KeyboardInterrupt" in (tmp_path / "adam/0.log").read_text()  # asked to stop, and not just killed
    err = capfd.readouterr().err
    assert err == f"Interrupted; finished trials are kept. Resume: bnnrl compare --resume {tmp_path}\n"
    assert len(rows_of(tmp_path / "comparison.csv")) == 1
    assert not (tmp_path / "comparison.png").exists()  # no run has finished
    fakes()
    assert cli.main(["compare", "--resume", str(tmp_path)]) == 0
    assert len(rows_of(tmp_path / "comparison.csv")) == 8


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["compare"], "expected the id of an environment and --methods.*--resume FOLDER"),
        (["compare", ENV_ID], "--methods, such as"),
        (["compare", ENV_ID, "--methods", ","], "--methods, such as"),
        (["compare", ENV_ID, "--methods", "adam,swga"], "Invalid `method`.*Did you mean 'swag'"),
        (["compare", "bnnrl/CartPoleSwingup-v0", "--methods", "adam"], f"Did you mean '{ENV_ID}'"),
        (
            ["compare", ENV_ID, "--methods", "adam", "--seeds", "0"],
            "Invalid `seeds`: expected an integer of at least 1",
        ),
        (["compare", ENV_ID, "--methods", "adam", "--seed", "-1"], "Invalid `seed`"),
        (["compare", ENV_ID, "--methods", "adam", "--jobs", "0"], "Invalid `jobs`"),
        (["compare", ENV_ID, "--methods", "adam", "--trials", "0"], "Invalid `trials`"),
        (["compare", ENV_ID, "--methods", "adam", "--retries", "-1"], "Invalid `retries`"),
        (["compare", ENV_ID, "--methods", "adam", "--folder", "mine"], "Received: mine, which exists.*another folder"),
        (["compare", "--resume", "nowhere"], "made by `bnnrl compare`. Received: nowhere \\(no such folder"),
        (["compare", "--resume", "mine"], "no config.json of a bnnrl run of that kind"),
        (["compare", "--resume", "mine", "--methods", "sgd"], "beside --resume.* Received: methods"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_bad_input(tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    run_folder.TRAIN.write_config(tmp_path / "mine", {}, {})
    assert cli.main(args) == 2
    found = capsys.readouterr()
    assert found.out == "" and re.search(message, found.err.replace("\n", " ")), found.err
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "config.json"]


def test_other_settings_are_refused(tmp_path, fakes, capsys):
    assert run(tmp_path / "f", "--trials", "1") == 0
    before = (tmp_path / "f/config.json").read_text()
    assert run(tmp_path / "f", "--trials", "1", "--dynamics.steps", "9", "--policy.num-centers", "8") == 2
    differing = "dynamics={'steps': 9} instead of {}, policy_fields={'num_centers': 8} instead of {}"
    assert f"{differing}. Name another" in capsys.readouterr().err
    assert (tmp_path / "f/config.json").read_text() == before


def test_ray_that_is_not_installed(tmp_path, fakes, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(tmp_path / "f", "--engine", "ray") == 2
    assert 'Run `pip install "bnnrl[ray]"`' in capsys.readouterr().err
