"""The estimators for scikit-learn: its own checks, pipelines and pickling."""

import pickle
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import bnnrl
from bnnrl.sklearn import BayesianClassifier, BayesianRegressor

pytestmark = pytest.mark.usefixtures("without_xla")

QUICK: dict[str, Any] = {"hidden": (16,), "method": "adam", "hyper_parameters": {"learning_rate": 0.02}, "epochs": 40}


@pytest.mark.slow
@parametrize_with_checks([BayesianRegressor(**QUICK), BayesianClassifier(**QUICK)])
def test_the_checks_of_scikit_learn_pass(estimator, check):
    """These are the checks of `check_estimator`, one test each."""
    check(estimator)


def test_a_regressor_predicts_means_and_standard_deviations():
    x, y = load_diabetes(return_X_y=True)
    model = BayesianRegressor(**QUICK, random_state=0).fit(x[:300], y[:300])
    mean, std = model.predict(x[300:], return_std=True)
    assert mean.shape == std.shape == (142,)
    np.testing.assert_array_equal(mean, model.model_.predict(x[300:])[:, 0])
    np.testing.assert_allclose(std**2, model.model_.uncertainty(x[300:]).total[:, 0], rtol=1e-5)
    assert 0.3 < model.score(x[300:], y[300:]) < 0.7 and 40 < std.mean() < 70
    low, high = model.model_.interval(x[300:], 0.9)
    assert np.all((low[:, 0] < mean) & (mean < high[:, 0]))


def test_a_fitted_estimator_is_pickled_and_repeats_its_fit():
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = BayesianClassifier(**QUICK, random_state=1).fit(x, names)
    assert model.score(x, names) > 0.93 and list(model.classes_) == sorted(set(names))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    np.testing.assert_array_equal(again.fit(x, names).predict_proba(x), model.predict_proba(x))
    np.testing.assert_allclose(model.predict_proba(x).sum(axis=1), 1, rtol=1e-5)


def test_several_targets_a_scale_from_the_network_and_a_network_of_the_users_own():
    def network(features: int, outputs: int):
        return keras.Sequential([keras.Input((features,)), keras.layers.Dense(outputs)])

    x = np.random.default_rng(0).normal(size=(80, 2))
    y = x @ [[1.0, 2.0], [0.0, -1.0]]
    model = BayesianRegressor(network=network, likelihood="heteroscedastic", method="adam", epochs=5).fit(x, y)
    mean, std = model.predict(x, return_std=True)
    assert mean.shape == std.shape == (80, 2) and len(model.model_.layers) == 1
    assert model.model_.keras_model.output_shape == (None, 4)


def test_a_search_in_a_pipeline():
    x, y = load_iris(return_X_y=True)
    given: dict[str, Any] = {**QUICK, "epochs": 10}
    pipeline = make_pipeline(StandardScaler(), BayesianClassifier(**given, random_state=0))
    search = GridSearchCV(pipeline, {"bayesianclassifier__hidden": [(4,), (16,)]}, cv=2).fit(x, y)
    assert search.best_score_ > 0.8


def test_mistakes_are_told_at_fit():
    x = np.zeros((5, 2))
    with pytest.raises(ValueError, match="at least two classes.*one class"):
        BayesianClassifier().fit(x, np.ones(5))
    with pytest.raises(ValueError, match="swagg"):
        BayesianRegressor(method="swagg").fit(x, np.arange(5))


def test_scikit_learn_is_imported_on_first_use():
    code = "import sys, bnnrl; assert 'sklearn' not in sys.modules and 'sklearn' in dir(bnnrl)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert bnnrl.sklearn.BayesianRegressor is BayesianRegressor
