"""Pictures of classes: their legends, cells and colours."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bnnrl import plots
from tests.plots.figures import figure_of, legend


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_roc_of_two_classes_is_one_curve_with_its_area(monkeypatch, rng):
    y, probs = rng.integers(0, 2, 80), rng.dirichlet([1, 1], 80)
    said = legend(figure_of(monkeypatch, plots.roc, y, probs, class_names=["no", "yes"]))
    assert said == ["chance: AUC 0.5", f"yes: AUC {roc_auc_score(y, probs[:, 1]):.3f}"]


def test_roc_of_many_classes_names_the_worst(monkeypatch, rng):
    y, probs = np.arange(260) % 13, rng.dirichlet(np.ones(13), 260)
    areas = sorted((roc_auc_score(y == k, probs[:, k]), k) for k in range(13))
    said = legend(figure_of(monkeypatch, plots.roc, y, probs))
    assert said[1] == f"3 others: AUC at least {areas[10][0]:.3f}"
    assert said[2:] == [f"class {k}: AUC {area:.3f}" for area, k in areas[:10]]


def test_roc_leaves_out_a_class_without_targets(monkeypatch, rng):
    said = legend(figure_of(monkeypatch, plots.roc, np.arange(40) % 2, rng.dirichlet(np.ones(3), 40)))
    assert [words.split(":")[0] for words in said] == ["chance", "class 0", "class 1"]


@pytest.mark.parametrize(("labels", "seen"), [([0, 3], "0 to 3"), ([-1, 2], "-1 to 2"), ([0, 0.5], "0 to 0.5")])
def test_labels_out_of_range(tmp_path, rng, labels, seen):
    with pytest.raises(ValueError, match=f"Invalid `y_true`: expected whole numbers in 0 to 2.* Received: {seen}"):
        plots.roc(tmp_path / "roc.png", labels, rng.dirichlet(np.ones(3), 2))


def test_one_class_is_no_choice(tmp_path):
    with pytest.raises(ValueError, match="Invalid `probs`: expected two classes or more on the last axis. Received: 1"):
        plots.roc(tmp_path / "roc.png", [0, 0], np.ones((2, 1)))


def test_confusion_shows_counts_and_accuracy(monkeypatch):
    figure = figure_of(monkeypatch, plots.confusion, [[8, 1], [0, 11]], "test set", ["cat", "dog"])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["8", "1", "0", "11"]
    assert figure.get_suptitle() == "test set: accuracy 95.0 %"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[100 * 8 / 9, 100 / 9], [0, 100]])


def test_confusion_of_many_classes_leaves_out_what_cannot_be_read(monkeypatch):
    axes = figure_of(monkeypatch, plots.confusion, np.eye(60)).axes[0]
    assert not axes.texts and len(axes.get_xticks()) == 20


def test_confusion_has_numbers_that_fit_into_their_cells(monkeypatch):
    figure = figure_of(monkeypatch, plots.confusion, 10_000 * np.eye(14))
    axes, renderer = figure.axes[0], figure.canvas.get_renderer()
    figure.draw_without_rendering()
    cell = axes.get_window_extent(renderer).width / 14
    assert len(axes.texts) == 196 and max(text.get_window_extent(renderer).width for text in axes.texts) < cell
    assert not figure_of(monkeypatch, plots.confusion, 10_000 * np.eye(20)).axes[0].texts


def test_confusion_of_a_class_without_targets_and_of_counts_below_zero(monkeypatch):
    axes = figure_of(monkeypatch, plots.confusion, [[0, 0], [1, 1]]).axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0, 0], [50, 50]])
    with pytest.raises(ValueError, match="Invalid `matrix`: expected counts of at least 0. Received: -1"):
        plots.confusion("nowhere", [[1, -1], [0, 1]])


def test_decision_boundary_is_white_where_undecided_and_coloured_where_sure(monkeypatch):
    first = np.array([[0.5, 0.9, 1.0]] * 2)  # [H, W]
    probs = np.stack([first, 1 - first], axis=-1)
    draw = plots.decision_boundary
    figure = figure_of(monkeypatch, draw, [0, 1, 2], [5, 6], probs, 0 * first, [[0, 5]], [1], feature_names=["m", "kg"])
    left, right = figure.axes[:2]
    paleness = np.asarray(left.images[0].get_array()).min(axis=-1)[0]
    assert paleness[0] == 1 and paleness[0] > paleness[1] > paleness[2]
    assert (left.get_xlabel(), left.get_ylabel(), right.get_xlabel()) == ("m", "kg", "m")
    assert left.get_xlim() == (-0.5, 2.5) and legend(figure) == ["class 0", "class 1"]


@pytest.mark.parametrize("x2", [[0], [0, 2, 1], [0, 1, 3]], ids=["one", "falling", "uneven"])
def test_decision_boundary_wants_an_even_grid(x2):
    shape = (len(x2), 2)
    with pytest.raises(ValueError, match="Invalid `x2`: expected two or more evenly spaced, increasing coordinates"):
        plots.decision_boundary("nowhere", [0, 1], x2, np.ones((*shape, 2)), np.ones(shape), [[0, 0]], [0])
