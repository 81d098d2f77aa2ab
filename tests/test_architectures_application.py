"""A network of keras.applications with every inference method; compiled, each takes thousands of memory maps."""

from tests import architectures


@architectures.every_method("keras application")
def test_training_lowers_the_loss_and_a_loaded_model_predicts_the_same(network, method, tmp_path):
    architectures.check(network, method, tmp_path)
