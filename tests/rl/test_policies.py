"""Policies: the formula, the bounds and the sizes."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.rl.policies import MLP, RBF, Controller, Linear
from bnnrl.rl.simulator.features import Features
from bnnrl.seeds import as_seed

REFERENCE = tf.constant(np.random.default_rng(0).normal(size=(200, 5)) * [1, 2, 3, 0.5, 0.0] + 1, tf.float32)


def test_rbf_is_its_formula():
    rng, policy = np.random.default_rng(1), RBF(3)
    c, log_l, w = rng.normal(size=(3, 5)), rng.normal(size=5) * 0.3, rng.normal(size=(3, 2))
    x = rng.normal(size=(7, 5))
    distance = np.square((x[:, None] - c) / np.exp(log_l)).sum(-1)
    expected = np.tanh(np.exp(-0.5 * distance) @ w)
    params = tf.constant(np.concatenate([c.ravel(), log_l, w.ravel()])[None], tf.float32)
    np.testing.assert_allclose(policy(params, tf.constant(x[None], tf.float32), 2)[0], expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("hidden", [(), (3,), (3, 6)])
def test_mlp_is_its_formula(hidden):
    rng, policy, widths = np.random.default_rng(1), MLP(hidden), [5, *hidden, 2]
    layers = [(rng.normal(size=(i, o)), rng.normal(size=o)) for i, o in itertools.pairwise(widths)]
    x = expected = rng.normal(size=(7, 5))
    for kernel, bias in layers:
        expected = np.tanh(expected @ kernel + bias)
    params = tf.constant(np.concatenate([a.ravel() for layer in layers for a in layer])[None])
    assert params.shape[1] == policy.num_params(5, 2)
    np.testing.assert_allclose(policy(params, tf.constant(x[None]), 2)[0], expected, rtol=1e-10)


SPREAD = np.array([*REFERENCE.numpy()[:, :4].std(axis=0), 1.0])  # the last feature does not vary


def test_rbf_starts_all_over_what_was_observed():
    params = RBF(100, weight_scale=3.0, length_scale=0.5).init(as_seed(0), 2, REFERENCE, 2).numpy()
    centers, log_scales, weights = np.split(params, [500, 505], axis=1)
    rows = {tuple(row) for row in REFERENCE.numpy()}
    drawn = {tuple(center) for center in centers[0].reshape(100, 5)}
    assert drawn <= rows and len(drawn) > 60  # of 200 rows, with replacement
    np.testing.assert_allclose(np.exp(log_scales), np.tile(0.5 * SPREAD, (2, 1)), rtol=1e-4)
    assert -3 <= weights.min() < -2.8 and 2.8 < weights.max() <= 3


def test_mlp_starts_on_standardised_features():
    params = MLP((50,), weight_scale=0.5).init(as_seed(0), 20, REFERENCE, 1).numpy().astype(np.float64)
    kernel, bias = params[:, :250].reshape(20, 5, 50), params[:, 250:300]
    before = REFERENCE.numpy() @ kernel + bias[:, np.newaxis]
    assert np.abs(before.mean(axis=1)).max() < 1e-3
    np.testing.assert_allclose(
        np.mean(before.std(axis=1)), 0.5 * np.sqrt(4 / 5), rtol=0.1
    )  # four of five features vary
    np.testing.assert_allclose(params[:, 300:-1].std(), 0.5 / np.sqrt(50), rtol=0.1)


def test_parameter_scales_are_natural_sizes():
    np.testing.assert_allclose(RBF(3).parameter_scales(REFERENCE, 2), [*np.tile(SPREAD, 3), *np.ones(5 + 6)], rtol=1e-4)
    np.testing.assert_allclose(
        MLP((4,)).parameter_scales(REFERENCE, 2), [*np.repeat(1 / SPREAD, 4), *np.ones(4 + 8 + 2)], rtol=1e-4
    )


@pytest.mark.parametrize("policy", [RBF(4), MLP((3, 6)), Linear()], ids=["rbf", "mlp", "linear"])
def test_sizes_seeds_and_parameter_scales(policy):
    size = policy.num_params(5, 2)
    params = policy.init(as_seed(0), 3, REFERENCE, 2)
    assert params.shape == (3, size) and policy.parameter_scales(REFERENCE, 2).shape == (size,)
    assert np.all(policy.parameter_scales(REFERENCE, 2) > 0) and np.isfinite(params).all()
    np.testing.assert_array_equal(params, policy.init(as_seed(0), 3, REFERENCE, 2))
    assert not np.allclose(params[0], params[1]) and not np.allclose(params, policy.init(as_seed(1), 3, REFERENCE, 2))
    actions = policy(params, tf.tile(REFERENCE[tf.newaxis], [3, 1, 1]), 2)
    assert actions.shape == (3, 200, 2)


def test_a_linear_policy_is_a_network_without_hidden_units():
    linear, network = Linear(0.7), MLP((), 0.7)
    params, x = linear.init(as_seed(0), 3, REFERENCE, 2), tf.tile(REFERENCE[tf.newaxis], [3, 1, 1])
    np.testing.assert_array_equal(params, network.init(as_seed(0), 3, REFERENCE, 2))
    np.testing.assert_array_equal(linear.parameter_scales(REFERENCE, 2), network.parameter_scales(REFERENCE, 2))
    np.testing.assert_array_equal(linear(params, x, 2), network(params, x, 2))
    kernel, bias = params[0, :10].numpy().reshape(5, 2), params[0, 10:].numpy()
    np.testing.assert_allclose(
        linear(params, x, 2)[0], np.tanh(REFERENCE.numpy() @ kernel + bias), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_array_equal(linear.apply_dropout(params, 0.9, as_seed(1), 5, 2), params)  # it has no hidden units
    np.testing.assert_array_equal(network.apply_dropout(params, 0.9, as_seed(1), 5, 2), params)


# Which parameters are the outgoing weights of hidden units, unit by unit.
OUTGOING = {
    "rbf": (RBF(40), lambda params: params[:, 40 * 5 + 5 :].reshape(-1, 40, 2)),
    "first of two layers": (MLP((40, 30)), lambda params: params[:, 40 * 6 : 40 * 36].reshape(-1, 40, 30)),
    "second of two layers": (MLP((40, 30)), lambda params: params[:, 40 * 6 + 30 * 41 : -2].reshape(-1, 30, 2)),
}


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize(("policy", "outgoing"), OUTGOING.values(), ids=OUTGOING)
def test_units_are_dropped_as_a_whole_and_the_mean_is_kept(policy, outgoing, rate):
    params = policy.init(as_seed(0), 200, REFERENCE, 2)
    dropped = policy.apply_dropout(params, rate, as_seed(1), 5, 2).numpy()
    before, after = outgoing(params.numpy()), outgoing(dropped)
    factor = after / before  # [R, units, weights]
    np.testing.assert_allclose(factor, np.broadcast_to(factor[..., :1], factor.shape), rtol=1e-5)
    kept = factor[..., 0] > 0
    np.testing.assert_allclose(factor[..., 0][kept], 1 / (1 - rate), rtol=1e-5)
    error = np.sqrt(rate * (1 - rate) / kept.size)
    assert abs(kept.mean() - (1 - rate)) < 4 * error
    assert abs(factor.mean() - 1) < 4 * error / (1 - rate)
    assert len(np.unique(kept, axis=0)) > 100  # each policy drops its own


@pytest.mark.parametrize("policy", [RBF(40), MLP((40, 30))], ids=["rbf", "mlp"])
def test_nothing_else_is_dropped(policy):
    params = policy.init(as_seed(0), 1, REFERENCE, 2)
    np.testing.assert_array_equal(policy.apply_dropout(params, 0.0, as_seed(1), 5, 2), params)
    dropped = policy.apply_dropout(params, 0.5, as_seed(1), 5, 2).numpy()
    np.testing.assert_array_equal(dropped, policy.apply_dropout(params, 0.5, as_seed(1), 5, 2))
    assert np.any(dropped != policy.apply_dropout(params, 0.5, as_seed(2), 5, 2))
    outgoing = [pick(np.arange(params.shape[1])[np.newaxis]) for own, pick in OUTGOING.values() if own == policy]
    others = np.setdiff1d(np.arange(params.shape[1]), np.concatenate([o.ravel() for o in outgoing]))
    np.testing.assert_array_equal(dropped[0, others], params.numpy()[0, others])


def test_policies_go_side_by_side():
    policy = RBF(4)
    params, x = policy.init(as_seed(0), 3, REFERENCE, 1), tf.random.stateless_normal([3, 7, 5], as_seed(1))
    together = policy(params, x, 1)
    for i in range(3):
        np.testing.assert_allclose(together[i], policy(params[i : i + 1], x[i : i + 1], 1)[0], rtol=1e-5, atol=1e-6)


def test_actions_stay_within_the_bounds():
    features = Features(3)
    controller = Controller(RBF(4), features, tf.constant([-1.0, 2.0]), tf.constant([3.0, 5.0]))
    strong = RBF(4, weight_scale=100.0).init(as_seed(0), 2, tf.random.stateless_normal([50, 3], as_seed(2)), 2)
    actions = controller(strong, tf.random.stateless_normal([2, 500, 3], as_seed(1))).numpy()
    assert (actions >= [-1, 2]).all() and (actions <= [3, 5]).all()
    assert actions.min() < -0.9 and actions.max() > 4.9  # the bounds are reached
    middle = controller(tf.zeros([1, controller.num_params]), tf.zeros([1, 1, 3]))
    np.testing.assert_allclose(middle[0, 0], [1.0, 3.5])


def test_a_discrete_policy_weighs_actions_and_does_the_heaviest():
    controller = Controller(MLP((6,)), Features(5), tf.zeros(3), tf.ones(3), discrete=True)
    params, obs = controller.init(as_seed(0), 2, REFERENCE), tf.tile(REFERENCE[tf.newaxis], [2, 1, 1])
    relaxed, executed = controller(params, obs).numpy(), controller.executed(params, obs).numpy()
    assert relaxed.shape == executed.shape == (2, 200, 3)
    np.testing.assert_allclose(relaxed.sum(-1), 1, rtol=1e-5)
    assert (relaxed > 0).all() and len(np.unique(relaxed.argmax(-1))) == 3
    np.testing.assert_array_equal(executed, np.eye(3)[relaxed.argmax(-1)])
    sure = tf.tile(tf.constant([[0.0] * 30 + [0.0] * 6 + [0.0] * 18 + [9.0, -9.0, -9.0]]), [2, 1])
    assert controller(sure, obs).numpy()[..., 0].min() > 0.999  # nearly the action itself
    with tf.GradientTape() as tape:
        tape.watch(params)
        weight = controller(params, obs)[..., 0]
    assert np.abs(tape.gradient(weight, params)).max() > 0


def test_a_continuous_policy_does_what_it_says():
    controller = Controller(RBF(4), Features(5), tf.constant([-1.0]), tf.constant([2.0]))
    params, obs = controller.init(as_seed(0), 2, REFERENCE), tf.tile(REFERENCE[tf.newaxis], [2, 1, 1])
    np.testing.assert_array_equal(controller.executed(params, obs), controller(params, obs))


def test_a_controller_drops_its_policys_units():
    controller = Controller(RBF(4), Features(5), tf.zeros(2), tf.ones(2))
    params = controller.init(as_seed(0), 3, REFERENCE)
    expected = RBF(4).apply_dropout(params, 0.5, as_seed(1), 5, 2)
    np.testing.assert_array_equal(controller.apply_dropout(params, 0.5, as_seed(1)), expected)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: RBF(0), "num_centers"),
        (lambda: RBF(weight_scale=0.0), "weight_scale"),
        (lambda: RBF(length_scale=-1.0), "length_scale"),
        (lambda: MLP((0,)), "hidden"),
        (lambda: Linear(0.0), "weight_scale"),
    ],
)
def test_bad_numbers(make, name):
    with pytest.raises(ValueError, match=f"Invalid `{name}`.*expected.*Received"):
        make()


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_an_rbf_policy_is_the_same_for_shifted_and_scaled_features(scale):
    policy, features = RBF(20, length_scale=2.0), REFERENCE[:, :4]
    shift = 1e4 if scale == 1.0 else 0.0
    other = scale * features + shift
    actions = [
        policy(policy.init(as_seed(1), 3, rows, 1), tf.tile(rows[tf.newaxis], [3, 1, 1]), 1).numpy()
        for rows in (features, other)
    ]
    assert actions[0].std() > 0.2
    # At 10⁴, neighbouring numbers of float32 are 0.001 apart.
    np.testing.assert_allclose(actions[1], actions[0], atol=0.02 if shift else 1e-4)
    scales = [policy.parameter_scales(rows, 1).numpy()[:80] for rows in (features, other)]
    np.testing.assert_allclose(scales[1], scale * scales[0], rtol=1e-3)


def test_a_feature_that_varies_by_rounding_alone_keeps_its_scale():
    rows = tf.constant(np.random.default_rng(0).normal(size=(50, 1)) * 1e-5 + 1e3, tf.float32)
    assert RBF(1).parameter_scales(rows, 1).numpy()[0] == 1
