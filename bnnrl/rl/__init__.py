"""Model-based reinforcement learning: tasks, dynamics, rollouts, policies and PILCO."""
