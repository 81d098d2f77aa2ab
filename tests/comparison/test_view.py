"""The page that compares runs."""

import re
from pathlib import Path

import pytest

from bnnrl import cli
from bnnrl.comparison import view
from bnnrl.storage import run_folder

GIF = b"GIF89a" + bytes(200)


def control_run(folder: Path, method: str, seed: int, cost: float, **settings) -> Path:
    settings = {"env": "Pendulum-v1", "method": method, "seed": seed, "dynamics": {"hidden": [8]}, **settings}
    run_folder.TRAIN.create(folder, "", settings)
    rows = [{"trial": t, "steps": 200 * t, "evaluation_return": -cost / t, "evaluation_cost": cost} for t in (1, 2)]
    run_folder.write_table(folder / "metrics.csv", list(rows[0]), rows)
    return folder


def fit_run(folder: Path, method: str, nll: float) -> None:
    run_folder.FIT.create(folder, "", {"dataset": "wine", "method": method, "seed": 0})
    rows = [{"epoch": e, "loss": 3 / e, "val_loss": 4 / e} for e in (1, 2)]
    run_folder.write_table(folder / "metrics.csv", list(rows[0]), rows)
    run_folder.write_table(folder / "scores.csv", ["nll"], [{"nll": nll}])


def page_of(path: Path) -> str:
    return re.sub(r"base64,[^\"]+", "", path.read_text())


def test_runs_that_differ_in_their_seed_only_are_one_group(tmp_path):
    for seed in (0, 1):
        control_run(tmp_path / f"swag/{seed}", "swag", seed, 1.0)
    control_run(tmp_path / "wide", "swag", 0, 2.0, dynamics={"hidden": [64]})
    runs = view.read([tmp_path, tmp_path / "wide"])
    groups = view.groups_of(runs)
    assert {name: [run.seed for run in group] for name, group in groups.items()} == {"1: swag": [0, 1], "2: swag": [0]}
    assert view.differing(groups) == [{"setting": "dynamics.hidden", "1: swag": "[8]", "2: swag": "[64]"}]


def test_the_page_holds_curves_scores_links_and_films(tmp_path, capsys):
    for seed, cost in enumerate((1.0, 2.0, 6.0)):
        control_run(tmp_path / f"runs/swag/{seed}", "swag", seed, cost)
    film = control_run(tmp_path / "runs/hmc", "hmc", 0, 3.0) / "video/trial_2.gif"
    film.parent.mkdir()
    film.write_bytes(GIF)
    fit_run(tmp_path / "runs/fit", "bbb", 1.25)
    page = tmp_path / "view.html"
    assert cli.main(["view", str(tmp_path / "runs"), "--output", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n" and page.stat().st_size < 2_000_000
    text = page_of(page)
    assert set(re.findall("<h2>(.*?)</h2>", text)) == {"wine", "Pendulum-v1"}
    rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line) for line in text.splitlines() if line.startswith("<tr>")]
    swag = next(row for row in rows if row[0].endswith(": swag"))
    assert swag[1] == "3" and swag[-2] == "-1" and swag[-3] == "2"  # the medians of return and cost at the end
    assert next(row for row in rows if row[0].endswith(": bbb"))[-1] == "1.25"
    assert text.count('<img src="data:image/png;') == 2 and text.count('<img src="data:image/gif;') == 1
    links = re.findall('<a href="(.*?)">', text)
    assert all((tmp_path / link).exists() for link in links) and "runs/hmc/video/trial_2.gif" in links
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", text)


def test_a_large_film_is_linked_only(tmp_path, monkeypatch):
    monkeypatch.setattr(view, "_FILM_BYTES", 100)
    film = control_run(tmp_path / "a", "swag", 0, 1.0) / "video/a.gif"
    film.parent.mkdir()
    film.write_bytes(GIF)
    view.write(tmp_path / "v.html", view.read([tmp_path]))
    text = page_of(tmp_path / "v.html")
    assert "image/gif" not in text and '<a href="a/video/a.gif">' in text


def test_a_run_that_has_not_got_anywhere_is_shown_too(tmp_path):
    run_folder.TRAIN.create(tmp_path / "a", "", {"env": "Pendulum-v1", "method": "swag", "seed": 0})
    view.write(tmp_path / "v.html", view.read([tmp_path]))
    assert "run folder" in page_of(tmp_path / "v.html")


@pytest.mark.parametrize(("there", "found"), [(True, "no run in it"), (False, "no such folder")])
def test_folders_without_runs(tmp_path, capsys, there, found):
    folder = tmp_path / "none"
    if there:
        folder.mkdir()
    assert cli.main(["view", str(folder)]) == 2
    assert re.search(
        f"`bnnrl train`, `fit`, `compare` or `baseline`. Received: .*none \\({found}", capsys.readouterr().err
    )
