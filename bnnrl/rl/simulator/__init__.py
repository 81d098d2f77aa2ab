"""The learned simulator: Bayesian networks fitted to real episodes, and particle rollouts through their draws."""
