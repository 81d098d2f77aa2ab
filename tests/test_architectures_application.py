"""A network of keras.applications with every inference method: each compiles to thousands of memory maps."""

from tests import architectures


@architectures.every_method("keras application")
def test_some_steps_lower_the_loss_and_the_model_comes_back(network, method, tmp_path):
    architectures.check(network, method, tmp_path)
