"""The keys of compiled programs: equal only for what compiles to the same program."""

import dataclasses
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import likelihoods
from bnnrl.inference import SGLD, SWAG, Adam, Ensemble, Schedule
from bnnrl.problem import Problem
from bnnrl.rl.tasks import SaturatingCost
from bnnrl.structure import NotShareable, numbers, structure, with_numbers

WIDTH = 0.5


def network(*layers, inputs=3):
    return keras.Sequential([keras.Input((inputs,)), *layers])


def dense(units=4, activation="swish", **settings):
    return network(keras.layers.Dense(units, activation, **settings), keras.layers.Dense(1))


def key(model, likelihood: Any = "gaussian", prior=None):
    return Problem(model, likelihood, tfd.Normal(0.0, 1.0) if prior is None else prior, 10).structure


class TestMethods:
    def test_numbers_are_no_part_of_the_structure(self):
        assert structure(Adam(1e-3)) == structure(Adam(0.5))
        assert structure(Ensemble(SWAG(Adam(1e-3), start=5))) == structure(Ensemble(SWAG(Adam(1e-2), start=9)))
        assert structure(Adam(Schedule(0.1, steps=9))) == structure(Adam(Schedule(0.2, steps=5)))

    @pytest.mark.parametrize(
        "other",
        [
            Adam(beta_1=0.5),
            Adam(Schedule(1e-3)),
            Ensemble(Adam(), size=4),
            Ensemble(SGLD()),
            SWAG(rank=3),
            SWAG(swa_rate=0.1),
        ],
    )
    def test_what_shapes_the_program_is(self, other):
        base = {Adam: Adam(), Ensemble: Ensemble(Adam(), size=5), SWAG: SWAG()}[type(other)]
        assert structure(other) != structure(base)

    def test_numbers_go_out_and_in_again(self):
        method = Ensemble(SWAG(Adam(1e-3), swa_rate=0.1, start=7))
        found = numbers(method)
        assert [float(n) for n in found] == pytest.approx([1e-3, 1e-8, 0.1, 7, 10, 0.5])
        again = with_numbers(method, iter([n * 2 for n in found]))
        assert float(again.method.optimizer.learning_rate) == pytest.approx(2e-3)  # type: ignore[attr-defined]
        assert int(again.method.start) == 14  # type: ignore[attr-defined]
        assert method.method.start == 7  # type: ignore[attr-defined]

    def test_a_subclass_of_the_users_is_not_shared_and_keeps_its_numbers(self):
        @dataclasses.dataclass(frozen=True)
        class Mine(Adam):
            pass

        assert numbers(Mine()) == []
        with pytest.raises(NotShareable):
            structure(Mine())


class TestFunctions:
    def test_functions_of_the_same_code_and_values_are_equal(self):
        make = lambda scale: lambda outputs: tfd.Normal(outputs, scale)
        assert structure(make(0.1)) == structure(make(0.1))
        assert structure(make(0.1)) != structure(make(0.2))

    def test_a_global_number_is_part_of_the_structure(self, monkeypatch):
        cost = SaturatingCost(lambda next_obs: tf.square(next_obs[..., 0] / WIDTH))
        before = structure(cost)
        assert structure(cost) == before
        monkeypatch.setitem(globals(), "WIDTH", 0.25)
        assert structure(cost) != before

    def test_defaults_and_partials_count(self):
        def f(x, scale=1.0):
            return x * scale

        assert structure(partial(f, scale=2.0)) == structure(partial(f, scale=2.0))
        assert structure(partial(f, scale=2.0)) != structure(partial(f, scale=3.0))
        before = structure(f)
        f.__defaults__ = (2.0,)
        assert structure(f) != before

    def test_what_may_change_is_refused(self):
        variable = tf.Variable(1.0)
        for value in (lambda x: x * variable, variable, object(), {1, 2}):
            with pytest.raises(NotShareable):
                structure(value)

    def test_a_module_within_a_function_is_known_by_its_name(self):
        def make():
            import tensorflow as local

            return lambda x: local.square(x)

        assert structure(make()) == structure(make())

    def test_a_function_that_calls_itself_is_refused(self):
        def countdown(x):
            return countdown(x - 1) if x else 0

        with pytest.raises(NotShareable):
            structure(countdown)

    def test_arrays_are_compared_by_value(self):
        assert structure(np.arange(3)) == structure(np.arange(3)) != structure(np.arange(3.0))
        assert structure(tf.ones([2])) == structure(tf.ones([2]))


class TestNetworks:
    def test_names_of_layers_do_not_matter(self):
        assert key(dense()) == key(dense(name="any"))

    @pytest.mark.parametrize("other", [dense(5), dense(activation="tanh"), dense(use_bias=False)])
    def test_layers_do(self, other):
        assert key(other) != key(dense())

    def test_a_name_that_is_also_an_activation_does_not_hide_it(self):
        named = lambda word: network(keras.layers.Dense(4, word, name=word), keras.layers.Dense(1))
        assert key(named("tanh")) != key(named("relu"))

    def test_functional_models_are_compared_by_their_connections(self):
        def model(swap):
            a, b = keras.Input((3,)), keras.Input((3,))
            first, second = keras.layers.Dense(3)(a), keras.layers.Dense(3)(b)
            parts = [second, first] if swap else [first, second]
            return keras.Model([a, b], keras.layers.Dense(1)(keras.layers.Subtract()(parts)))

        assert key(model(False)) == key(model(False)) != key(model(True))

    def test_models_with_a_state_or_code_of_their_own_are_refused(self):
        frozen = dense()
        frozen.layers[0].trainable = False
        normalization = keras.layers.Normalization()
        normalization.adapt(np.ones([4, 3]))
        mine = network(keras.layers.Dense(4, lambda x: x * WIDTH), keras.layers.Dense(1))
        lambdas = network(keras.layers.Lambda(lambda x: 2 * x), keras.layers.Dense(1))
        for model in (frozen, network(normalization, keras.layers.Dense(1)), mine, lambdas):
            with pytest.raises(NotShareable):
                key(model)


class TestLikelihoodsAndPriors:
    def test_scales_are_numbers(self):
        assert key(dense(), likelihoods.Gaussian(0.1)) == key(dense(), likelihoods.Gaussian(0.2))
        assert key(dense(), likelihoods.Gaussian(0.1)) != key(dense(), likelihoods.Gaussian())
        assert key(dense(), prior=tfd.Normal(0.0, 1.0)) == key(dense(), prior=tfd.Normal(0.0, 2.0))
        assert key(dense(), prior=tfd.Normal(0.0, 1.0)) != key(dense(), prior=tfd.Laplace(0.0, 1.0))

    def test_patterns_are_compared_by_what_they_select(self):
        split = lambda kernel: {"*/kernel": tfd.Normal(0.0, kernel), "*": tfd.Normal(0.0, 1.0)}
        by_layer = {"*/kernel": tfd.Normal(0.0, 1.0), "*/bias": tfd.Normal(0.0, 1.0)}
        assert key(dense(), prior=split(1.0)) == key(dense(), prior=split(2.0)) == key(dense(), prior=by_layer)
        assert key(dense(), prior={"*": tfd.Normal(0.0, 1.0)}) != key(dense(), prior=split(1.0))

    def test_other_priors_are_compared_by_value(self):
        mixture = lambda scale: tfd.MixtureSameFamily(
            tfd.Categorical(probs=[0.5, 0.5]), tfd.Normal([0.0, 0.0], [1.0, scale])
        )
        assert key(dense(), prior=mixture(0.1)) == key(dense(), prior=mixture(0.1)) != key(dense(), prior=mixture(0.2))

    def test_a_variable_scale_is_refused(self):
        with pytest.raises(NotShareable):
            key(dense(), prior=tfd.Normal(0.0, tf.Variable(1.0)))

    def test_numbers_go_out_and_in_again(self):
        problem = Problem(dense(), likelihoods.Gaussian(), {"*": tfd.Normal(0.0, 2.0)}, 10)
        other = problem.with_numbers([number * 2 for number in problem.numbers()])
        theta = problem.init(0, 1)[0]
        expected = Problem(
            dense(), likelihoods.Gaussian(floor=2e-3, log_scale_prior_std=6.0), {"*": tfd.Normal(0.0, 4.0)}, 10
        )
        np.testing.assert_allclose(other.log_prior(theta), expected.log_prior(theta), rtol=1e-6)
        assert float(other.likelihood.floor) == pytest.approx(2e-3)  # type: ignore[attr-defined]
