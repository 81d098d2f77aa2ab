"""Policy search on the learned simulator."""

from bnnrl.rl.search.searcher import PolicySearch, Searcher, Starts

__all__ = ["PolicySearch", "Searcher", "Starts"]
