"""Convolutional networks with every inference method."""

from tests import architectures


@architectures.every_method("conv 1-d", "conv 2-d", "separable conv")
def test_some_steps_lower_the_loss_and_the_model_comes_back(network, method, tmp_path):
    architectures.check(network, method, tmp_path)
