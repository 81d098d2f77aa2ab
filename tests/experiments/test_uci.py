"""The UCI protocol's splits, from files and made."""

import numpy as np
import pytest
import uci

ROWS, FEATURES, SPLITS = 21, 3, 2


@pytest.fixture
def folder(tmp_path):
    """A set "tiny" whose target is the sum of its features, which are all different."""
    data = tmp_path / "tiny" / "data"
    data.mkdir(parents=True)
    x = np.arange(ROWS * FEATURES, dtype=float).reshape(ROWS, FEATURES) / 8
    np.savetxt(data / "data.txt", np.column_stack([x, x.sum(axis=1)]))
    save = lambda name, values: np.savetxt(data / name, values, fmt="%d")
    save("index_features.txt", np.arange(FEATURES))
    save("index_target.txt", [FEATURES])
    save("n_splits.txt", [SPLITS])
    for split in range(SPLITS):
        order = np.random.default_rng(split).permutation(ROWS)
        save(f"index_train_{split}.txt", order[:19])
        save(f"index_test_{split}.txt", order[19:])
    return tmp_path


@pytest.mark.parametrize("split", range(SPLITS))
def test_a_split_of_files_shares_out_the_rows(folder, split):
    part = uci.read(folder, "tiny", split)
    assert part.x.shape == (19, FEATURES) and part.y.shape == (19, 1)
    assert part.x_test.shape == (2, FEATURES) and part.y_test.shape == (2, 1)
    np.testing.assert_array_equal(part.y[:, 0], part.x.sum(axis=1))
    train, test = set(part.x[:, 0]), set(part.x_test[:, 0])
    assert not train & test
    assert sorted(train | test) == [FEATURES * row / 8 for row in range(ROWS)]


def test_splits_differ(folder):
    first, second = (uci.read(folder, "tiny", split) for split in range(SPLITS))
    assert set(first.x_test[:, 0]) != set(second.x_test[:, 0])


def test_one_test_row_and_one_feature_are_read(folder):
    data = folder / "tiny" / "data"
    (data / "index_features.txt").write_text("1\n")
    (data / "index_train_0.txt").write_text("\n".join(map(str, range(1, ROWS))))
    (data / "index_test_0.txt").write_text("0\n")
    part = uci.read(folder, "tiny", 0)
    assert part.x.shape == (ROWS - 1, 1) and part.x_test.shape == (1, 1)


@pytest.mark.parametrize("file", ["data.txt", "index_target.txt", "index_test_1.txt", "n_splits.txt"])
def test_a_missing_file_is_named(folder, file):
    (folder / "tiny" / "data" / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"tiny/data/{file}"):
        uci.read(folder, "tiny", 1)


def test_a_missing_split_is_refused(folder):
    with pytest.raises(ValueError, match="expected 0 to 1"):
        uci.read(folder, "tiny", 2)


def test_a_row_in_both_parts_is_refused(folder):
    data = folder / "tiny" / "data"
    (data / "index_test_0.txt").write_text((data / "index_train_0.txt").read_text())
    with pytest.raises(ValueError, match="19 of them in both"):
        uci.read(folder, "tiny", 0)


@pytest.mark.parametrize(("name", "rows"), [("diabetes", 442), ("friedman1", 500)])
def test_splits_that_are_made_share_out_the_rows(name, rows):
    part = uci.make(name, 0)
    assert len(part.x) == round(0.9 * rows) and len(part.x) + len(part.x_test) == rows
    together = np.concatenate([part.x, part.x_test])
    whole = np.concatenate([uci.make(name, 1).x, uci.make(name, 1).x_test])
    np.testing.assert_array_equal(np.unique(together, axis=0), np.unique(whole, axis=0))
    assert len(np.unique(together, axis=0)) == rows


def test_least_squares_finds_a_line(folder):
    scores = uci.least_squares(uci.read(folder, "tiny", 0))
    assert scores["rmse"] < 1e-9 and scores["nll"] < -10


def test_the_summary_sets_published_figures_beside():
    fit = {"set": "yacht", "method": "adam", **uci.Kind("normal", "heteroscedastic", 40)._asdict()}
    rows = [
        {**fit, "split": split, "rmse": rmse, "nll": 1.0, "picp_95": 0.9, "seconds": 2.0}
        for split, rmse in enumerate([1.0, 2.0, 3.0])
    ]
    table = uci.summary(rows)
    assert "| adam, N(0, 1), heteroscedastic | 2.000 ± 0.577 |" in table and "| 3 |" in table
    assert "| MC dropout, published | 1.11 ± 0.09 | 1.55 ± 0.03 |" in table
