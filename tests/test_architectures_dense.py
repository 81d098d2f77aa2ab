"""Networks of dense layers with every inference method."""

from bnnrl import inference
from tests import architectures


def test_every_method_is_tested():
    """Gauss-Newton learning refuses batch normalisation and large networks: `tests/battery.py` has it on the others."""
    assert architectures.METHODS.keys() == inference.REGISTRY.keys() - {"gauss_newton"}


@architectures.every_method("dense", "batch norm", "layer norm", "dropout", "frozen", "mixed precision")
def test_training_lowers_the_loss_and_a_loaded_model_predicts_the_same(network, method, tmp_path):
    architectures.check(network, method, tmp_path)
