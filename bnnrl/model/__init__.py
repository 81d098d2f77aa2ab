"""The supervised model: a Keras network with a posterior."""

from bnnrl.model.bayesian_model import BayesianModel
from bnnrl.model.convergence import Converged

__all__ = ["BayesianModel", "Converged"]
