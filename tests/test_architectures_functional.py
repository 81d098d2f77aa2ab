"""Networks of several inputs, and of a class of their own, with every inference method."""

from tests import architectures


@architectures.every_method("two inputs", "named inputs", "subclassed")
def test_some_steps_lower_the_loss_and_the_model_comes_back(network, method, tmp_path):
    architectures.check(network, method, tmp_path)
