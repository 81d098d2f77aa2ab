"""Networks of dense layers with every inference method."""

from bnnrl import inference
from tests import architectures


def test_every_method_is_here():
    assert architectures.METHODS.keys() == inference.REGISTRY.keys()


@architectures.every_method("dense", "batch norm", "layer norm", "dropout", "frozen", "mixed precision")
def test_some_steps_lower_the_loss_and_the_model_comes_back(network, method, tmp_path):
    architectures.check(network, method, tmp_path)
