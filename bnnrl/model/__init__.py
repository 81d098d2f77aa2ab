"""The supervised model: a Keras network with a posterior."""

from bnnrl.model.bayesian_model import BayesianModel

__all__ = ["BayesianModel"]
