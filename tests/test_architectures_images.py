"""Convolutional networks with every inference method."""

from tests import architectures


@architectures.every_method("conv 1-d", "conv 2-d", "separable conv")
def test_training_lowers_the_loss_and_a_loaded_model_predicts_the_same(network, method, tmp_path):
    architectures.check(network, method, tmp_path)
