"""Results that are summarized by method."""

from rich.console import Console

from bnnrl.comparison import results
from bnnrl.storage import run_folder
from tests.plots.figures import figure_of, share_inked


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


def rows(steps: list[int], costs: list[float], solved: list[bool]) -> list[dict]:
    columns = zip(steps, costs, solved, strict=True)
    return [
        {"trial": s // 100, "steps": s, "evaluation_cost": c, "evaluation_return": -c, "solved": d}
        for s, c, d in columns
    ]


def baseline_and_agent(with_success: bool) -> list[results.RunResult]:
    agent = rows([100, 200], [0.9, 0.1], [False, with_success])
    sac = rows([100, 200, 300, 450], [1.0, 0.9, 0.8, 0.2], [False, False, False, with_success])
    return [results.RunResult("swag", 0, agent, True), results.RunResult("sac", 0, sac, True, 450)]


def test_a_baseline_is_summed_up_within_the_steps_of_the_trials_too():
    swag, within, sac = results.summary(baseline_and_agent(True), 2)
    assert (swag["method"], within["method"], sac["method"]) == ("swag", "sac, 2 trials", "sac")
    assert (swag["median_solved_steps"], within["median_solved_steps"], sac["median_solved_steps"]) == (200, None, 450)
    assert (within["evaluation_cost_median"], sac["evaluation_cost_median"]) == (0.9, 0.2)


def test_with_baselines_the_picture_is_by_real_steps(monkeypatch):
    figure = figure_of(monkeypatch, results.draw, baseline_and_agent(True), 2, "title")
    cost, solved = figure.axes
    assert cost.get_xscale() == "log" and solved.get_xlabel() == "real steps"
    ends = {line.get_label(): line.get_xdata()[-1] for line in cost.get_lines() if line.get_label()[0] != "_"}
    assert ends == {"swag": 200, "sac": 450}
    shown = {line.get_label(): line.get_ydata().tolist() for line in solved.get_lines()}
    assert shown["swag"] == [0, 100] and shown["sac"] == [0, 0, 0, 100]
    (returns,) = figure_of(monkeypatch, results.draw, baseline_and_agent(False), 2, "title").axes
    assert returns.get_ylabel() == "evaluation return, per episode"


def test_a_baseline_is_finished_after_its_steps(tmp_path):
    table = [{"trial": 1, "steps": 100}, {"trial": 2, "steps": 200}]
    run_folder.write_table(tmp_path / "metrics.csv", ["trial", "steps"], table)
    read = lambda **given: results.read(tmp_path, "sac", 0, 2, True, **given)
    assert read().finished and read(steps=200).finished and not read(steps=201).finished
    assert read(steps=300).progress(2) == "200/300 steps" and read().progress(2) == "2/2"
