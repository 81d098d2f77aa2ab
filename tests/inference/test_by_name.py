"""Methods by name: what follows from the length of a run."""

import warnings
from dataclasses import replace
from typing import Any, cast

import keras
import numpy as np
import pytest

import bnnrl
from bnnrl.inference import (
    HMC,
    REGISTRY,
    SGLD,
    SWAG,
    VADAM,
    Adam,
    CurvatureStep,
    Run,
    ShortRunWarning,
    WarmStart,
    for_run,
    innermost,
)
from tests.scenarios import draws


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 5000])
def test_every_stage_fits_into_the_run(name, steps):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShortRunWarning)
        method = for_run(name, Run(steps, rows=100, batch_size=20, num_params=300))
    assert method.min_steps <= steps
    if steps >= 50:
        expected = REGISTRY[name]
        assert isinstance(method, expected) or isinstance(innermost(method), expected)


def test_rates_fall_over_the_run_and_with_the_number_of_weights():
    found = for_run("adam", Run(2000, 100, 20, 300))
    assert found == Adam(bnnrl.inference.Schedule(1e-2, 1e-4, 2000), beta_2=0.99)
    assert for_run("adam", Run(1000, 100, 20, 5_000_000)).current_rate(0) == ("learning_rate", pytest.approx(1e-3))


@pytest.mark.parametrize(("steps", "rate"), [(10, 0.05), (400, 0.03), (100_000, 0.01)])
def test_adams_rates_let_a_parameter_change_by_six_in_a_short_run(steps, rate):
    found = for_run("adam", Run(steps, 100, 20, 300))
    assert found.current_rate(0) == ("learning_rate", pytest.approx(rate))


def test_adam_forgets_first_gradients_within_the_run():
    # With the β₂ of the paper, 0.999, the first gradients slow the last steps: the mean of this fit stays 0.8 standard
    # deviations of the posterior from the mode.
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 3)) @ np.array([[1.0, 0.6, 0.0], [0.0, 0.8, 0.0], [0.0, 0.0, 1.0]])
    design = np.column_stack([x, np.ones(60)])
    y = design @ rng.normal(size=(4, 1)) + 0.5 * rng.normal(size=(60, 1))
    covariance = np.linalg.inv(design.T @ design / 0.25 + np.eye(4))
    mode = (covariance @ design.T @ y / 0.25)[:, 0]
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, bnnrl.likelihoods.Gaussian(0.5), method="adam")
    model.fit(x, y, batch_size=20, epochs=500, seed=3, verbose=0)
    distance = np.abs(np.asarray(model.posterior.sample(1, 0))[0] - mode) / np.sqrt(np.diag(covariance))
    assert distance.max() < 0.1


@pytest.mark.parametrize(("steps", "beta_2"), [(50, 0.9), (1000, 0.99), (50_000, 0.999)])
@pytest.mark.parametrize("name", ["adam", "ensemble", "dropout", "vbll", "bbb", "svgd", "sgld", "hmc"])
def test_beta_2_follows_from_the_length_of_the_run(name, steps, beta_2):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShortRunWarning)
        method: Any = for_run(name, Run(steps, 100, 20, 300))
    if isinstance(method, WarmStart):
        method = method.start
    while not hasattr(method, "beta_2"):
        method = method.inner
    assert method.beta_2 == beta_2


def test_samplers_with_all_rows_have_eight_chains_or_four_where_a_step_takes_long():
    for name in ("hmc", "nuts", "mclmc"):
        chains = lambda rows, name=name: cast(HMC, innermost(for_run(name, Run(400, rows, rows, 500)))).chains
        assert (chains(4000), chains(4001)) == (8, 4)
    assert cast(HMC, innermost(for_run("hmc", Run(400, 100, 100, 500), chains=2))).chains == 2


def test_steps_of_chains_follow_from_the_curvature_and_are_given_by_number():
    run = Run(1000, 100, 20, 300)
    least = {"sgld": 2e-5, "csgld": 0.0, "psgld": 4e-5, "sghmc": 2e-5}
    for name, value in least.items():
        assert cast(SGLD, innermost(for_run(name, run))).step_size == CurvatureStep(value)
        assert cast(SGLD, innermost(for_run(name, run, step_size=1e-5))).step_size == 1e-5


def test_a_short_run_is_told_with_the_steps_that_it_needs():
    with pytest.warns(ShortRunWarning, match="30 steps is too short for 'hmc', which needs at least 80"):
        for_run("hmc", Run(30, 100, 100, 300))
    with pytest.warns(ShortRunWarning, match="so that Adam takes its place"):
        assert isinstance(for_run("swag", Run(2, 100, 100, 300)), Adam)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for_run("hmc", Run(100, 100, 100, 300))
        for_run("adam", Run(1, 100, 100, 300))


def test_vadam_starts_within_a_tight_prior_and_chains_keep_a_bounded_number_of_draws():
    tight = Run(100, 20, 20, 300, prior_precision=400.0)
    assert cast(VADAM, for_run("vadam", tight)).prec_init == 600.0
    long = cast(HMC, innermost(for_run("hmc", Run(10_000, 100, 100, 300))))
    assert long.max_draws == 200 and long.thin * long.max_draws == 2600 and long.burn_in == 2500


def test_given_hyper_parameters_leave_the_others_to_the_run():
    run = Run(1000, 100, 20, 300)
    assert for_run("swag", run, rank=7) == replace(cast(SWAG, for_run("swag", run)), rank=7)
    warmed = cast(WarmStart, for_run("sgld", run, step_size=1e-7))
    assert (
        warmed.steps == cast(WarmStart, for_run("sgld", run)).steps and cast(SGLD, innermost(warmed)).step_size == 1e-7
    )
    with pytest.raises(ValueError, match="hyper-parameter of 'swag'.*Received: 'rnk'.*'rank'"):
        for_run("swag", run, rnk=7)


def test_a_loaded_model_follows_its_next_run(tmp_path):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    given = {"rank": 3}
    model = bnnrl.BayesianModel(network, bnnrl.likelihoods.Gaussian(0.5), method="swag", hyper_parameters=given)
    x, y = draws(40, 2), draws(40, 1, seed=1)
    history = model.fit(x, y, epochs=30, verbose=0)
    used: dict[str, Any] = (history.params or {})["method"]
    assert used["class"] == "SWAG" and used["start"] == 15
    model.save(tmp_path / "m")
    loaded = bnnrl.load(tmp_path / "m")
    assert loaded.method == model.method
    loaded.fit(x, y, epochs=60, verbose=0)
    assert (loaded.method.start, loaded.method.rank) == (30, 3)


def test_a_refused_or_short_fit_leaves_the_next_one_its_method():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, bnnrl.likelihoods.Gaussian(0.5), method="hmc")
    x, y = draws(40, 2), draws(40, 1, seed=1)
    before = model.method
    with pytest.raises(ValueError, match="Invalid targets"):
        model.fit(x, y[:, [0, 0, 0]], epochs=3, verbose=0)
    assert model.method is before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.fit(x, y, epochs=1, verbose=0)
        assert isinstance(model.method, Adam)
        model.fit(x, y, epochs=40, verbose=0)
    assert isinstance(innermost(model.method), HMC)


@pytest.mark.parametrize("name", ["swag", "sgld", "hmc", "gauss_newton"])
def test_a_model_fits_in_three_epochs(name):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, "gaussian", method=name)
    x, y = draws(40, 2), draws(40, 1, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a short run, and of chains that have not mixed
        model.fit(x, y, batch_size=10, epochs=3, verbose=0)
    assert np.all(np.isfinite(model.predict(x)))
    assert model.method.min_steps <= (3 if model.method.full_batch_only else 12)


@pytest.mark.parametrize(
    ("name", "run", "message"),
    [
        ("adm", Run(10, 100, 20, 300), "Invalid `name`: .* Did you mean 'adam'"),
        ("adam", Run(0, 100, 20, 300), "Invalid `steps`: expected an integer of at least 1"),
        ("swag", Run(10, 100, 20, 2.5), "Invalid `num_params`: .*2.5"),  # pyright: ignore[reportArgumentType]
        ("vadam", Run(10, 100, 20, 300, float("nan")), "Invalid `prior_precision`: .*nan"),
    ],
)
def test_bad_input_is_refused(name, run, message):
    with pytest.raises(ValueError, match=message):
        for_run(name, run)
