"""Results that are summarized by method."""

from rich.console import Console

from bnnrl.comparison import results
from tests.plots.figures import share_inked


def test_a_run_without_success_or_with_gaps_is_summed_up_too(tmp_path):
    row = {"trial": 1, "evaluation_cost": 0.5}
    found = [results.RunResult("adam", 0, [row], True), results.RunResult("sgd", 0, [], False)]
    adam, sgd = results.summary(found, 2)
    assert "solved" not in adam and adam["evaluation_cost_median"] == 0.5 and adam["evaluation_cost_low"] is None
    assert sgd["finished"] == 0 and sgd["evaluation_cost_median"] is None
    results.draw(tmp_path / "c.png", found, 2, "one method has finished, the task has no success")
    assert share_inked(tmp_path / "c.png") > 0.005
    console = Console(record=True, width=100)
    console.print(results.table([adam, sgd], 2))
    assert "return" not in console.export_text()
