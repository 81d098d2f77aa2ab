"""`load` from the data sets of scikit-learn."""

import numpy as np
import pytest
from sklearn import datasets

from bnnrl.data import load
from bnnrl.data.scikit_learn import EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_loads(name):
    data = load(name)
    assert data.name == name and data.test is not None
    x, y = data.train
    assert x.dtype == np.float32 and len(x) == len(y) == data.num_train
    if data.class_names:
        assert data.y_scaler is None and set(y) == set(range(len(data.class_names)))
    else:
        assert data.y_scaler is not None and y.shape[1] == 1
    assert data.feature_names is None or len(data.feature_names) == x.shape[-1]


def test_digits_are_images():
    data = load("digits", test=0)
    assert data.train[0].shape == (1797, 8, 8, 1) and data.train[0].min() == 0 and data.train[0].max() == 1
    assert data.class_names == tuple("0123456789") and data.x_scaler is None


def test_diabetes_is_in_its_own_units():
    x, y = datasets.load_diabetes(return_X_y=True, scaled=False)
    data = load("diabetes", test=0)
    np.testing.assert_allclose(data.train[0], x, rtol=1e-6)
    np.testing.assert_array_equal(data.train[1][:, 0], y)
    assert data.feature_names is not None and data.feature_names[:3] == ("age", "sex", "bmi")


def test_friedman1_is_one_data_set():
    np.testing.assert_array_equal(load("friedman1", test=0).train[0], load("friedman1", test=0, seed=5).train[0])
