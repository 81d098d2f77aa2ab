"""Policy search on the learned simulator."""

from bnnrl import _moved
from bnnrl.rl.search.initial_states import InitialStates
from bnnrl.rl.search.objective import SearchObjective
from bnnrl.rl.search.searcher import Searcher
from bnnrl.rl.search.settings import PolicySearch

__all__ = ["InitialStates", "PolicySearch", "SearchObjective", "Searcher"]

__getattr__ = _moved.lookup(__name__)
