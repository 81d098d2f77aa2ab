"""Networks of sequences with every inference method."""

from tests import architectures


@architectures.every_method("lstm", "gru", "attention", "embedding")
def test_training_lowers_the_loss_and_a_loaded_model_predicts_the_same(network, method, tmp_path):
    architectures.check(network, method, tmp_path)
