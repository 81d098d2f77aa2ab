"""Pictures of chains: correct autocorrelations, and chains of any kind."""

import numpy as np
import pytest

from bnnrl import plots
from tests.plots.figures import figure_of, legend


def chain_of(coefficient, draws=4000):
    """Return two chains of a first-order autoregression, [2, T, 1], whose autocorrelation at lag k is coefficient^k."""
    noise = np.random.default_rng(0).normal(size=(2, draws, 1))
    values = np.zeros_like(noise)
    for t in range(1, draws):
        values[:, t] = coefficient * values[:, t - 1] + noise[:, t]
    return values


def test_autocorrelation_of_an_autoregression(monkeypatch, caplog):
    figure = figure_of(monkeypatch, plots.autocorrelation, chain_of(0.8), names=["f"], max_lag=5)
    for line in figure.axes[0].lines[1:]:
        np.testing.assert_allclose(line.get_ydata(), 0.8 ** np.arange(6), atol=0.1)
    assert legend(figure) == ["chain 0", "chain 1"] and figure.axes[0].get_title(loc="left") == "f"
    assert not caplog.records


@pytest.mark.parametrize("max_lag", [0, 10])
def test_a_lag_out_of_range(max_lag):
    with pytest.raises(
        ValueError, match=f"Invalid `max_lag`: expected 1 to 9, below the number of draws. Received: {max_lag}"
    ):
        plots.autocorrelation("nowhere", np.zeros((1, 10, 1)), max_lag=max_lag)


@pytest.mark.parametrize("draw", [plots.trace, plots.autocorrelation])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 9, 9)])
def test_chains_too_short_or_of_too_many_functions(draw, shape):
    with pytest.raises(ValueError, match=r"Invalid `chains`: expected .* at least 2 draws T of at most 8 functions"):
        draw("nowhere", np.zeros(shape))


@pytest.mark.parametrize("draw", [plots.trace, plots.autocorrelation])
@pytest.mark.parametrize("fill", ["constant", "nan", "one-chain-nan"])
def test_chains_that_stand_still_or_were_lost(tmp_path, draw, fill):
    chains = np.random.default_rng(0).normal(size=(2, 20, 1))
    chains[0 if fill == "one-chain-nan" else slice(None)] = 1.0 if fill == "constant" else np.nan
    draw(tmp_path / "chains.png", chains)
    assert (tmp_path / "chains.png").stat().st_size > 1000


@pytest.mark.parametrize("num", range(1, 9))
def test_a_panel_for_each_function(monkeypatch, num):
    chains = np.random.default_rng(0).normal(size=(1, 20, num))
    titled = [axes for axes in figure_of(monkeypatch, plots.autocorrelation, chains).axes if axes.get_title(loc="left")]
    assert len(titled) == num
    assert len(figure_of(monkeypatch, plots.trace, chains).axes) == 2 * num
