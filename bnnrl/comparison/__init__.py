"""Comparison of methods over seeds: runs in processes or on Ray, their results and statistics."""
