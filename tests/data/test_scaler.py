"""Scalers and padding."""

import numpy as np
import pytest

from bnnrl.data import Scaler, pad_rows, round_up_rows
from tests.scenarios import draws


def test_a_scaler_standardises_each_column():
    x = draws(200, 3) * [1.0, 50.0, 1e-4] + [0.0, -7.0, 1.0]
    z = Scaler.fit(x).transform(x)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(z.std(0), 1, rtol=1e-3)


def test_a_scaler_keeps_to_the_rows_it_was_fitted_on():
    scaler = Scaler.fit(np.array([[0.0], [2.0]]))
    np.testing.assert_array_equal(scaler.transform(np.array([[5.0]])), [[4.0]])


def test_a_constant_column_is_only_centred():
    x = np.full([10, 2], [3.0, 1e4], np.float32)
    np.testing.assert_array_equal(Scaler.fit(x).transform(x), np.zeros([10, 2]))
    np.testing.assert_array_equal(Scaler.fit(x).std, [1.0, 1.0])


@pytest.mark.parametrize("factor", [1e-30, 1e-8, 1e8])
@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_the_scale_of_the_values_does_not_matter(factor, offset):
    x = (draws(200, 2) + np.float32(offset)).astype(np.float64)
    expected = Scaler.fit(x).transform(x)
    for dtype in (np.float32, np.float64):
        scaled = (factor * x).astype(dtype)
        np.testing.assert_allclose(Scaler.fit(scaled).transform(scaled), expected, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_time_stamps_keep_their_digits(dtype):
    seconds = np.arange(500)[:, np.newaxis]
    stamps = (1_700_000_000 + seconds).astype(dtype)
    np.testing.assert_allclose(Scaler.fit(stamps).transform(stamps), Scaler.fit(seconds).transform(seconds), atol=1e-6)
    huge = (2**40 + seconds).astype(dtype)
    np.testing.assert_allclose(Scaler.fit(huge).transform(huge), Scaler.fit(seconds).transform(seconds), atol=1e-6)


def test_rounding_noise_is_only_centred():
    single = np.full([50, 1], 0.1, np.float32) + 1e-8 * draws(50, 1)
    double = np.full([50, 1], 0.1) + 1e-17 * np.arange(50)[:, np.newaxis]
    for x in (single, double):
        assert Scaler.fit(x).std == 1.0


def test_padding():
    x = draws(3, 2)
    padded = pad_rows(x, 5)
    assert padded.dtype == "float32"
    np.testing.assert_array_equal(padded, np.r_[x, np.zeros([2, 2])])
    np.testing.assert_array_equal(pad_rows(x, 3), x)
    with pytest.raises(ValueError, match=r"`capacity`: expected.*Received: 2"):
        pad_rows(x, 2)


@pytest.mark.parametrize("bad", [np.zeros([0, 2]), np.array([[1.0, np.nan]]), np.array([[np.inf]]), np.array([["a"]])])
def test_rows_are_checked(bad):
    for function in (Scaler.fit, lambda x: pad_rows(x, 3)):
        with pytest.raises(ValueError, match=r"`x`: expected.*Received"):
            function(bad)


def test_inverse_undoes_transform():
    x = draws(50, 2) * [3.0, 0.2] + [10.0, -1.0]
    scaler = Scaler.fit(x)
    np.testing.assert_allclose(scaler.inverse(scaler.transform(x)), x, rtol=1e-5)
    assert scaler.inverse(np.zeros([4, 2])).dtype == np.float32


@pytest.mark.parametrize(("count", "capacity"), [(1, 1), (17, 17), (33, 34), (404, 416), (405, 416), (4096, 4096)])
def test_capacities_are_few_and_close(count, capacity):
    assert round_up_rows(count) == capacity


def test_a_capacity_adds_at_most_its_share_of_rows():
    counts = range(1, 3000)
    assert all(n <= round_up_rows(n, 4) <= 1.25 * n for n in counts)
    assert len({round_up_rows(n, 4) for n in counts}) < 48
