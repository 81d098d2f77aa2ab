"""Outputs for draws around one point, against those of the linearised network for each draw by itself."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl import around_point
from bnnrl.around_point import can_share, draws_around, num_fixed, outputs_around
from bnnrl.inference import SGD, Ensemble, GaussNewton, Laplace
from bnnrl.linearised import LinearisedNetwork, LinearisedProblem, expanded
from bnnrl.model.linearised_prediction import LinearisedPredictor
from bnnrl.model.prediction import Predictor
from bnnrl.network import Network
from bnnrl.posterior import Linearised, MeanField, Point, Product, pieces
from bnnrl.problem import Problem
from tests.scenarios import draws, inputs_of, mlp, networks

pytestmark = pytest.mark.usefixtures("without_xla")
NETWORKS = networks()
LAST = set(NETWORKS) - {"subclassed"}  # networks whose last layer is Dense


def last_offset(network: Network) -> int:
    """Return the number of weights before the last kernel."""
    return sum(network.sizes[: max(i for i, shape in enumerate(network.shapes) if len(shape) >= 2)])


@pytest.mark.parametrize("name", [*sorted(LAST), "dense, all layers"])
@pytest.mark.parametrize("batched", [1, 10**6])
def test_outputs_are_those_of_the_linearised_network(name, batched, monkeypatch):
    monkeypatch.setattr(around_point, "_BATCHED", batched)
    network = Network(NETWORKS[name.split(",")[0]])
    offset, W = 0 if "all" in name else last_offset(network), network.num_params
    w, changes = tf.constant(0.3 * draws(W)), tf.constant(draws(3, W - offset, seed=1))
    x = inputs_of(network.model, 4)
    assert can_share(network, offset)
    found = outputs_around(network, w, changes, x, [])
    theta = tf.concat([tf.tile(w[tf.newaxis], [3, 1]), tf.zeros([3, offset]), changes], axis=1)
    expected = LinearisedNetwork(network)(theta, tf.nest.map_structure(lambda a: tf.stack([a] * 3), x))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_are_covered(name):
    network = Network(NETWORKS[name])
    assert can_share(network, 0) == network.is_dense_chain
    assert can_share(network, last_offset(network)) == (name in LAST)
    assert not can_share(network, 1)


def test_a_learned_prior_deviates_as_its_expansion():
    problem = LinearisedProblem(Problem(mlp(3, 2, (4,)), "gaussian", "learned", 10))
    point, deviations = tf.constant(0.3 * draws(problem.num_params // 2)), 0.3 * draws(5, problem.num_params // 2)
    weights, moved, params = problem.split_around(point, tf.constant(deviations))
    together = tf.concat([tf.tile(point[tf.newaxis], [5, 1]), deviations], axis=1)
    expected, expected_params = problem.split(together)
    np.testing.assert_allclose(tf.concat([tf.tile(weights[tf.newaxis], [5, 1]), moved], axis=1), expected, rtol=1e-5)
    np.testing.assert_allclose(params, expected_params, rtol=1e-6)
    # The last entries alone, when the first ones do not deviate.
    deviations[:, :4] = 0.0
    _, tail, tail_params = problem.split_around(point, tf.constant(deviations[:, 4:]))
    np.testing.assert_array_equal(tail, problem.split_around(point, tf.constant(deviations))[1][:, 4:])
    np.testing.assert_array_equal(tail_params, params)


@pytest.mark.parametrize("size", [10, 2])
def test_draws_are_those_of_the_posterior(size):
    """In pieces too, whose seeds are their own."""
    point, own = tf.constant([1.0, 2.0, 3.0]), MeanField(tf.constant([2.5, 3.5]), tf.ones([2]))
    fixed = Linearised(point, Product((Point(point[:1]), own)))
    moving = Linearised(point, Product((Point(point[:1] + 1.0), own)))
    assert (num_fixed(fixed), num_fixed(moving)) == (1, 0)
    for found in (fixed, moving):
        drawn = draws_around(found, 5, 7, size)
        for around, whole in zip(drawn, pieces(expanded(found), 5, 7, size), strict=True):
            np.testing.assert_array_equal(around.point, whole[0, :3])
            np.testing.assert_array_equal(around.deviations, whole[:, 3 + num_fixed(found) :])


def each_by_itself(model: bnnrl.BayesianModel, x, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs [S, B, ...] and the likelihood's parameters for draws of which each has its own point."""
    problem = LinearisedProblem(model._problem)
    predictor = Predictor(problem, model._adapter)
    predictor.reference = model._predictor.reference
    theta = expanded(model.posterior).sample(number, 0)
    return predictor.all_outputs([theta], model._adapter.inputs(x))


@pytest.mark.parametrize("prior", [None, "learned"])
@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("dense", Laplace(SGD(1e-3), start=2)),
        ("dense", Ensemble(Laplace(SGD(1e-3), start=2), 2)),
        ("dense", Laplace(SGD(1e-3), start=2, structure="kronecker")),
        ("dense", GaussNewton(steps=2)),
        ("conv", Laplace(SGD(1e-3), start=2)),
        ("batch norm", Laplace(SGD(1e-3), start=2)),
    ],
    ids=["last layer", "ensemble", "kronecker", "Gauss-Newton", "conv", "batch norm"],
)
def test_models_predict_as_by_each_draw_alone(name, method, prior):
    if prior and name == "batch norm":
        pytest.skip("the same code")
    network = keras.models.clone_model(NETWORKS[name])
    model = bnnrl.BayesianModel(network, bnnrl.likelihoods.Gaussian("learned"), prior, method)
    x, y = inputs_of(network, 8), draws(8, 2)
    model.fit(x, y, batch_size=None, epochs=4, verbose=0)
    predictor = model._predictor
    assert isinstance(predictor, LinearisedPredictor)
    assert all(isinstance(piece, around_point.AroundPoint) for piece in predictor.draw(model.posterior, 5, 0))
    found = predictor.all_outputs(predictor.draw(model.posterior, 5, 0), model._adapter.inputs(x))
    for a, b in zip(found, each_by_itself(model, x, 5), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert np.ptp(found[0], axis=0).max() > 1e-3  # the draws differ
