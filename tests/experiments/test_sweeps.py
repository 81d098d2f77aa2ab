"""Result files of experiments that are run in several parts."""

import pytest
import sweeps


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    """The folder of result files."""
    monkeypatch.setattr(sweeps, "RESULTS", tmp_path)
    return tmp_path


def collect(*rows, **options):
    """Collect rows, a run each, in the files "found"."""
    sweeps.collect(([row] for row in rows), "found", str, lambda rows: f"{len(rows)} rows", **options)


def test_rows_of_earlier_runs_are_kept_and_repeated_ones_replaced(results):
    kept_by = ("name", "seed")
    collect({"name": "a", "seed": 0, "score": 1.5}, {"name": "b", "seed": 0, "score": 2.5}, kept_by=kept_by)
    collect({"name": "b", "seed": 0, "score": 3.5}, {"name": "b", "seed": 1, "score": 4.5}, kept_by=kept_by)
    rows = sweeps.read_csv(results / "found.csv")
    assert [tuple(row.values()) for row in rows] == [("a", 0, 1.5), ("b", 0, 3.5), ("b", 1, 4.5)]
    assert (results / "found.md").read_text() == "3 rows"


def test_without_such_columns_a_run_begins_anew(results):
    collect({"name": "a", "score": 1})
    collect({"name": "b", "score": 2})
    assert sweeps.read_csv(results / "found.csv") == [{"name": "b", "score": 2}]
