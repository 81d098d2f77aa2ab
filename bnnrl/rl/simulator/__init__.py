"""The learned simulator: dynamics model, features, rollouts and the propagation of particles."""
