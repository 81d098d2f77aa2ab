"""Policy search on the learned simulator."""

from bnnrl import _moved
from bnnrl.rl.search.searcher import InitialStates, PolicySearch, Searcher

__all__ = ["InitialStates", "PolicySearch", "Searcher"]

__getattr__ = _moved.lookup(__name__)
