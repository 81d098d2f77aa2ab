"""Every picture is written whole, is not blank, shows its data, and refuses arrays that it cannot draw."""

import matplotlib.image
import numpy as np
import pytest

from bnnrl import plots
from bnnrl.plots import style
from tests.plots.figures import share_inked

RNG = np.random.default_rng(0)
N, C = 40, 3
PROBS = RNG.dirichlet(np.ones(C), N)
LABELS = np.arange(N) % C

# Small arrays of the right shapes for each function. Add new functions here.
ARRAYS = {
    "autocorrelation": {"chains": RNG.normal(size=(2, 30, 2))},
    "calibration_curve": {"expected": np.linspace(0.1, 0.9, 9), "observed": np.linspace(0.2, 0.8, 9)},
    "comparison": {
        **{"cost": RNG.uniform(0.3, 0.6, (3, 5)), "low": RNG.uniform(0.1, 0.2, (3, 5))},
        **{"high": RNG.uniform(0.7, 0.9, (3, 5)), "success": RNG.uniform(0, 1, (3, 5))},
    },
    "confusion": {"matrix": RNG.integers(0, 50, (C, C))},
    "counts": {
        **{"y_true": RNG.integers(0, 9, N), "mean": RNG.uniform(3, 6, N), "low": RNG.integers(0, 3, N)},
        **{"high": RNG.integers(6, 9, N), "draws": RNG.integers(0, 9, (5, N))},
    },
    "coverage_by_horizon": {"inside_50": np.linspace(0.3, 0.6, 9), "inside_95": np.linspace(0.7, 1.0, 9)},
    "decision_boundary": {
        "x1": np.linspace(-1, 1, 7),
        "x2": np.linspace(-1, 2, 5),
        "probs": RNG.dirichlet(np.ones(C), (5, 7)),
        "epistemic": RNG.uniform(size=(5, 7)),
        "x_train": RNG.uniform(-1, 1, (N, 2)),
        "y_train": LABELS,
    },
    "entropy_histogram": {"inside": RNG.uniform(0, 0.5, N), "outside": RNG.uniform(0, 1, N + 1)},
    "heat_map": {
        **{"x": np.linspace(-1, 1, 7), "y": np.linspace(-1, 2, 5), "values": RNG.uniform(-1, 1, (5, 7))},
        "points": RNG.uniform(-1, 1, (6, 2)),
    },
    "loss_curve": {"training": np.linspace(2, 1, N), "validation": np.linspace(3, 2, N)},
    "predicted_vs_true": {"y_true": RNG.normal(size=N), "mean": RNG.normal(size=N), "total": np.ones(N)},
    "predictive_bands": {
        **{"x": RNG.normal(size=N), "mean": RNG.normal(size=N), "epistemic": np.ones(N), "total": np.full(N, 2.0)},
        **{"x_train": RNG.normal(size=8), "y_train": RNG.normal(size=8), "truth": np.zeros(N)},
    },
    "reliability": {"confidence": [0.4, 0.6, 0.8], "accuracy": [0.3, 0.6, 0.9], "count": [3, 9, 30], "ece": 0.05},
    "roc": {"y_true": LABELS, "probs": PROBS},
    "trace": {"chains": RNG.normal(size=(2, 30, 2))},
}
EACH = [(name, argument) for name, given in ARRAYS.items() for argument in given if argument != "ece"]
GAPS_ALLOWED = {"autocorrelation", "comparison", "coverage_by_horizon", "loss_curve", "reliability", "trace"}


def drawn(path, name, **changed):
    """Return the pixels of a picture of `ARRAYS`, some of them changed."""
    getattr(plots, name)(path, **{**ARRAYS[name], **changed})
    return matplotlib.image.imread(path)


def test_every_picture_is_here_or_has_tests_of_its_own():
    pictures = {name for name in plots.__all__ if name[0].islower()}
    assert pictures - {"bands", "learning_curve", "rollout_bands", "rollouts"} == set(ARRAYS)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Return a folder with each picture of `ARRAYS`."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ARRAYS:
        drawn(folder / f"{name}.png", name)
    return folder


@pytest.mark.parametrize("name", ARRAYS)
def test_it_is_written_whole_and_of_a_size_for_a_page(pictures, name):
    assert {p.name for p in pictures.iterdir()} == {f"{name}.png" for name in ARRAYS}
    height, width, _ = matplotlib.image.imread(pictures / f"{name}.png").shape
    assert 640 <= width <= 1000 and 280 <= height <= 1000
    assert share_inked(pictures / f"{name}.png") > 0.01


@pytest.mark.parametrize(("name", "argument"), EACH)
def test_it_shows_each_of_its_arrays(pictures, tmp_path, name, argument):
    given = np.array(ARRAYS[name][argument])
    changed = given[::-1].copy()  # of the same range, so that the axes stay
    if argument in {"epistemic", "total", "truth"}:
        changed = given + 0.5
    elif name == "entropy_histogram":
        changed = given**2
    elif argument == "draws":
        changed = given**2 // 9  # in another order, they are as frequent
    elif argument in {"x1", "x2", "points"}:
        changed = given * 1.5
    before = matplotlib.image.imread(pictures / f"{name}.png")
    after = drawn(tmp_path / "changed.png", name, **{argument: changed})
    assert before.shape != after.shape or (before != after).any()


@pytest.mark.parametrize(("name", "argument"), EACH)
@pytest.mark.parametrize("spoil", ["shape", "empty", "words"])
def test_wrong_arrays_are_refused(tmp_path, name, argument, spoil):
    given = np.array(ARRAYS[name][argument])
    wrong = {"shape": given[..., None], "empty": given[:0], "words": given.astype(str)}[spoil]
    with pytest.raises(ValueError, match=rf"Invalid `{argument}`: expected .* Received: "):
        drawn(tmp_path / "picture.png", name, **{argument: wrong})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "argument"), EACH)
def test_entries_that_are_not_finite(tmp_path, name, argument):
    given = np.array(ARRAYS[name][argument], float)
    given.flat[0] = np.inf
    if name in GAPS_ALLOWED or argument == "values":
        drawn(tmp_path / "picture.png", name, **{argument: given})
        assert share_inked(tmp_path / "picture.png") > 0.01
    else:
        with pytest.raises(ValueError, match=f"Invalid `{argument}`: .* Received: 1 of {given.size} that are NaN, inf"):
            drawn(tmp_path / "picture.png", name, **{argument: given})


def test_arrays_of_one_call_must_agree(tmp_path):
    with pytest.raises(ValueError, match=r"Invalid `mean`: expected finite numbers \[40\].*Received: shape \[39\]"):
        drawn(tmp_path / "picture.png", "predicted_vs_true", mean=np.zeros(39))
    with pytest.raises(ValueError, match=r"shape \[40, 1\]\. Pass `mean\[\.\.\., 0\]`"):
        drawn(tmp_path / "picture.png", "predicted_vs_true", mean=np.zeros((40, 1)))


@pytest.mark.parametrize("title", ["", "short", "a title of many words " * 12])
def test_a_title_of_any_length_fits(tmp_path, title):
    pixels = drawn(tmp_path / "picture.png", "loss_curve", title=title)[..., :3]
    assert pixels[:, -3:].min() > 0.9  # nothing runs into the right edge


def test_names_are_counted_and_cut_to_fit(tmp_path):
    with pytest.raises(ValueError, match="Invalid `class_names`: expected 3 names. Received: .'a', 'b'."):
        drawn(tmp_path / "picture.png", "roc", class_names=["a", "b"])
    long = ["a class with a name that no legend has room for"] * C
    assert drawn(tmp_path / "picture.png", "roc", class_names=long)[:, -3:, :3].min() > 0.9


def test_a_picture_that_cannot_be_drawn_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "curve.png"
    draw = lambda: plots.learning_curve(path, [None], [0.5], [0.5], [None], "title")
    draw()
    old = path.read_bytes()

    def fail(figure, file, **kwargs):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(style.Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        draw()
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]
