"""Arrays of wrong shapes, types and values, given to metrics, pictures, diagnostics and scalers."""

# Wrong types are what these tests pass.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportOperatorIssue=false

import inspect
import typing
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from bnnrl import diagnostics, metrics, plots
from bnnrl.data import Scaler
from tests.fuzz.harness import REFUSED, anything, attempt, quick, thorough

Arguments = dict[str, typing.Any]


def _regression(rng: np.random.Generator, n: int) -> Arguments:
    y = rng.normal(size=n)
    low = y - rng.uniform(0, 2, n)
    return {
        **{"y": y, "mean": rng.normal(size=n), "std": rng.uniform(0.1, 2, n), "samples": rng.normal(size=(60, n))},
        **{"low": low, "high": low + rng.uniform(0, 3, n), "level": 0.9, "levels": np.array([0.1, 0.5, 0.9])},
    }


def _classification(rng: np.random.Generator, n: int) -> Arguments:
    return {
        **{"labels": rng.integers(0, 3, n), "probs": rng.dirichlet(np.ones(3), n), "bins": 5, "adaptive": False},
        **{"uncertainty_in": rng.uniform(0, 1, n), "uncertainty_out": rng.uniform(0, 2, n + 1)},
        **{"outputs": rng.normal(size=(n, 3)), "from_logits": True},
    }


def _pictures(rng: np.random.Generator, n: int) -> Arguments:
    shares = np.sort(rng.uniform(0, 1, n))
    bands = np.sort(rng.normal(size=(5, n + 1, 2)), axis=0)
    return {
        **{"title": "t", "name": "y", "ylabel": "y", "xlabel": "x", "unit": "nats", "dt": 0.1},
        **{"training": shares, "validation": shares, "x": np.arange(n) * 1.0, "mean": shares, "truth": shares},
        **{"epistemic": shares, "total": shares + 1, "x_train": shares, "y_train": shares, "y_true": shares},
        **{"confidence": shares, "accuracy": shares, "count": np.arange(n) + 1, "ece": 0.1},
        **{"expected": shares, "observed": shares, "inside": shares, "outside": shares},
        **{"inside_50": shares, "inside_95": shares, "predicted": [None, *shares[1:]], "real": shares},
        **{"evaluation": shares, "success": shares, "returns": shares, "methods": ["a", "b"]},
        **{"cost": np.ones((2, n)), "low": np.zeros((2, n)), "high": np.ones((2, n))},
        **{"chains": rng.normal(size=(2, n, 2)), "names": ["a", "b"], "max_lag": 1},
        **{"bands": bands, "cost_bands": bands[:, 1:, 0], "particles": bands[0][:, np.newaxis, :].repeat(3, 1)},
        **{"particle_costs": rng.normal(size=(n, 3)), "real_costs": shares, "labels": ["a", "b"]},
        **{"probs": rng.dirichlet(np.ones(3), n), "matrix": np.eye(3), "class_names": ["a", "b", "c"]},
    }


_SPECIAL: dict[str, Callable[[np.random.Generator, int], Arguments]] = {
    "heat_map": lambda rng, n: (
        {"y": np.arange(3.0), "values": rng.normal(size=(3, n)), "points": np.ones((2, 2))}
        | {"limits": (-1.0, 1.0), "labels": ("a", "b")}
    ),
    "decision_boundary": lambda rng, n: (
        {"x1": np.arange(n) * 1.0, "x2": np.arange(3.0)}
        | {"probs": rng.dirichlet(np.ones(2), (3, n)), "epistemic": rng.uniform(size=(3, n)), "class_names": ["a", "b"]}
        | {"x_train": rng.normal(size=(4, 2)), "y_train": np.array([0, 1, 0, 1]), "feature_names": ["a", "b"]}
    ),
    "roc": lambda rng, n: {"y_true": np.arange(n) % 3},
    "confusion": lambda rng, n: {"y_true": np.arange(n) % 3, "y_pred": np.arange(n) % 3, "num_classes": 3},
    "rollouts": lambda rng, n: {"real": rng.normal(size=(n + 1, 2))},
    "rollout_bands": lambda rng, n: {"real": rng.normal(size=(n + 1, 2))},
    "comparison": lambda rng, n: {"success": np.ones((2, n))},
    "interval_width": lambda rng, n: {},
}

METRICS = [
    *(metrics.rmse, metrics.mae, metrics.r2, metrics.crps, metrics.crps_gaussian, metrics.picp, metrics.interval),
    *(metrics.interval_gaussian, metrics.interval_width, metrics.quantile_calibration),
    *(metrics.quantile_calibration_gaussian, metrics.accuracy, metrics.nll, metrics.brier, metrics.auroc),
    *(metrics.precision_recall_f1, metrics.confusion_matrix, metrics.ood_auroc, metrics.reliability_curve),
    *(metrics.ece, metrics.adaptive_ece, metrics.TemperatureScaling.fit, metrics.TemperatureScaling(2.0).transform),
]
PICTURES = [getattr(plots, name) for name in plots.__all__ if inspect.isfunction(getattr(plots, name))]


def _arguments(function, make, seed: int, n: int) -> Arguments:
    """Return valid arguments of a function, by the names of its parameters."""
    rng = np.random.default_rng(seed)
    values = make(rng, n) | _SPECIAL.get(function.__name__, lambda rng, n: {})(rng, n)
    return {name: values[name] for name in inspect.signature(function).parameters if name in values}


_VALUES = [np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-300, -1.0, 2.0, 0.5, 0.0, 1e38, 3, -1, 255]


@st.composite
def _spoilt(draw, value):
    """An array like `value`, of another form, type, shape or with another entry; or anything."""
    array = np.asarray(value)
    if array.dtype.kind in "OUS" or draw(st.integers(0, 4)) == 0:
        return draw(anything)
    kind = draw(st.sampled_from(["entry", "dtype", "shape", "form"]))
    if kind == "entry" and array.size:
        array = array.astype(draw(st.sampled_from([np.float64, array.dtype])))
        with np.errstate(all="ignore"):
            try:
                array.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from(_VALUES))
            except (OverflowError, ValueError):
                return None
        return array
    if kind == "dtype":
        dtype = draw(st.sampled_from([np.float16, np.float32, int, bool, complex, object, str, np.uint8, "M8[s]"]))
        with np.errstate(all="ignore"):
            return array.astype(float).astype(int).astype(dtype) if dtype == "M8[s]" else array.astype(dtype)
    if kind == "shape":
        return draw(
            st.sampled_from(
                [array[..., np.newaxis], array[np.newaxis], array.ravel(), array[:0] if array.ndim else array, array.T]
                + ([array[:-1], array[..., 0], np.concatenate([array, array]), array[:1]] if array.ndim else [])
            )
        )
    forms = [array.tolist(), tuple(array.tolist()) if array.ndim else (array,)]
    if array.dtype.kind in "biuf":
        forms.append(tf.constant(array))
    return draw(st.sampled_from(forms))


def _finite(result) -> bool:
    result = result.temperature if isinstance(result, metrics.TemperatureScaling) else result
    return all(np.all(np.isfinite(np.asarray(part, float))) for part in tf.nest.flatten(result))


def _call(data, group: str, function, make, extra: Arguments):
    arguments = _arguments(function, make, data.draw(st.integers(0, 3)), data.draw(st.sampled_from([1, 2, 4, 7])))
    wrong = data.draw(st.sets(st.sampled_from(sorted(arguments)), min_size=0, max_size=2), label="spoilt")
    arguments |= {name: data.draw(_spoilt(value=arguments[name]), label=name) for name in sorted(wrong)}
    names = {*inspect.signature(function).parameters, *extra, "chains"}
    return attempt(f"{group}.{function.__name__}", names, lambda: function(*extra.values(), **arguments)), wrong


def _check_metric(function, data) -> None:
    make = lambda rng, n: _regression(rng, n) | _classification(rng, n)
    result, _ = _call(data, "metrics", function, make, {})
    assert result is REFUSED or _finite(result), result


@pytest.mark.filterwarnings("ignore:The temperature is at its bound:UserWarning")
@pytest.mark.parametrize("function", METRICS, ids=lambda f: f.__name__)
@quick(3)
@given(data=st.data())
def test_metrics(function, data):
    _check_metric(function, data)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The temperature is at its bound:UserWarning")
@pytest.mark.parametrize("function", METRICS, ids=lambda f: f.__name__)
@thorough(600)
@given(data=st.data())
def test_metrics_at_length(function, data):
    _check_metric(function, data)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")  # a character that Matplotlib's font lacks
@pytest.mark.parametrize("function", PICTURES, ids=lambda f: f.__name__)
@thorough(60)
@given(data=st.data())
def test_pictures(tmp_path_factory, function, data):
    path = tmp_path_factory.getbasetemp() / "picture.png"
    path.unlink(missing_ok=True)
    result, _ = _call(data, "plots", function, _pictures, {"path": path})
    assert path.exists() == (result is not REFUSED)


@pytest.mark.slow
@pytest.mark.parametrize("function", [diagnostics.split_rhat, diagnostics.bulk_ess], ids=lambda f: f.__name__)
@thorough(300)
@given(data=st.data())
def test_diagnostics(function, data):
    result, wrong = _call(data, "diagnostics", function, lambda rng, n: {"values": rng.normal(size=(2, 3 * n, 2))}, {})
    assert result is REFUSED or wrong or _finite(result)


@pytest.mark.slow
@thorough(600)
@given(data=st.data())
def test_scalers(data):
    result, _ = _call(data, "Scaler", Scaler.fit, lambda rng, n: {"x": rng.normal(size=(n, 2))}, {})
    if result is not REFUSED:
        assert _finite([result.mean, result.std]) and np.all(result.std > 0)
