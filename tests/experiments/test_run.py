"""Tests of `experiments/benchmarks/run.py`, by scripts that stand for those of other packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from experiments.benchmarks import run
from experiments.benchmarks.run import Args, check, compare, table, write

READY = "print('{\"first_s\": 1.0}', flush=True)"
BLOCK = 'input(); print(\'{"ms": 2.0, "cores": 1.0}\', flush=True)'
SCRIPTS = {
    "good": f"print('loading'); {READY}\nwhile True: {BLOCK}",
    "absent": "import a_package_that_is_absent",
    "dies": f"{READY}; input(); raise SystemExit('out of memory')",
    "dies later": f"{READY}; {BLOCK}; {BLOCK}; input(); raise SystemExit('out of memory')",
    "hangs": "input(); input()",
}


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """Return a function that compares some of the scripts in two rounds."""
    monkeypatch.setattr(run, "HERE", tmp_path)

    def function(*names: str):
        scripts = {}
        for i, name in enumerate(names):
            (tmp_path / f"{i}_torch.py").write_text(SCRIPTS[name])
            scripts[name] = [f"{i}_torch.py"]
        return compare("Title", scripts, Path(sys.executable), Args(rounds=2))

    return function


def test_packages_that_are_absent_or_stop_are_named_and_the_others_timed(compared):
    rows = compared("good", "absent", "dies")
    assert [(row["stack"], row["ms"]) for row in rows if "ms" in row] == [("good", 2.0)] * 2
    missing = {row["stack"]: row["missing"] for row in rows if "missing" in row}
    assert missing == {
        "absent": "1_torch.py stopped: ModuleNotFoundError: No module named 'a_package_that_is_absent'",
        "dies": "2_torch.py stopped: out of memory",
    }
    assert "Not run: absent. 1_torch.py stopped: ModuleNotFoundError" in "\n".join(table("Title", rows))


def test_a_script_that_stops_between_rounds_ends_its_comparison_only(compared):
    rows = compared("good", "dies later")
    assert [row["missing"] for row in rows] == ["1_torch.py stopped: out of memory"]
    assert "0 rounds." in table("Title", rows)


def test_a_script_that_does_not_answer_is_ended(compared, monkeypatch):
    monkeypatch.setattr(run, "_LIMIT_S", 0.5)
    (row,) = compared("hangs")
    assert row["missing"] == "0_torch.py did not answer in 0.5 s"


def test_tables_that_are_not_run_again_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    monkeypatch.setattr(run, "TABLES", {"peers": {"First": {}, "Second": {}}})
    monkeypatch.setattr(run, "versions", lambda peers: "versions")
    row = {"stack": "bnnrl", "round": 0, "ms": 2.0, "cores": 1.0, "first_s": 1.0}
    write("peers", [row | {"comparison": "Second"}], Path())
    (tmp_path / "peers.csv").unlink()  # as of a table that is older than the file
    kept = (tmp_path / "peers.md").read_text().partition("## ")[2].partition("Medians")[0]
    write("peers", [row | {"comparison": "First, 1 processor"}], Path())
    again = (tmp_path / "peers.md").read_text()
    assert f"## {kept}Medians" in again and again.count("## ") == 2
    assert again.index("## First, 1 processor") < again.index("## Second")


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("rounds", 0, "Invalid `--rounds`: expected at least 1. Received: 0."),
        ("cores", 0, "Invalid `--cores`: expected 1 to "),
        ("peers", Path("absent"), "Invalid `--peers`: expected a Python interpreter. Received: absent."),
        ("only", ("NUTS", "NUTZ"), "Received: 'NUTZ'."),
    ],
)
def test_bad_arguments(argument, value, message):
    with pytest.raises(SystemExit) as error:
        check(Args(**{argument: value}))
    assert message in str(error.value)
