"""Methods by name."""

import pytest

from bnnrl import inference


@pytest.mark.parametrize("name", inference.REGISTRY)
def test_each_name_gives_a_method_with_its_defaults(name):
    method = inference.get(name)
    assert type(method) is inference.REGISTRY[name]
    assert method == inference.get(name.upper())
    for function in ("init", "step", "posterior"):
        assert callable(getattr(method, function))


def test_hyper_parameters_and_instances():
    assert inference.get("adam", learning_rate=0.5) == inference.Adam(0.5)
    method = inference.Ensemble(size=2)
    assert inference.get(method) is method


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(ValueError, match=r"`method`: expected one of .*'adam'.*Received: 'adm'.*mean 'adam'"):
        inference.get("adm")
    with pytest.raises(ValueError, match="mean 'ensemble'"):
        inference.get("Ensembles")
    with pytest.raises(ValueError, match=r"Received: 'zzz'\.$"):
        inference.get("zzz")


def test_an_unknown_hyper_parameter_or_object():
    with pytest.raises(ValueError, match=r"expected one of .*Received: 'learning_rat'.*'learning_rate'"):
        inference.get("adam", learning_rat=0.5)
    for bad in (inference.Adam, 3):
        with pytest.raises(ValueError, match=r"`method`: expected.*Received"):
            inference.get(bad)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="expected.*Received.*replace"):
        inference.get(inference.Adam(), size=2)
