"""Pictures of fits, predictions, chains and control. Each function draws arrays to one PNG file.

Matplotlib's Agg canvas draws without a display and without global state.
"""

from bnnrl.plots.bands import Band, bands
from bnnrl.plots.calibration import calibration_curve, entropy_histogram, reliability
from bnnrl.plots.chains import autocorrelation, trace
from bnnrl.plots.classification import confusion, decision_boundary, roc
from bnnrl.plots.comparison import comparison
from bnnrl.plots.control import coverage_by_horizon, heat_map, learning_curve, rollout_bands, rollouts
from bnnrl.plots.counts import counts
from bnnrl.plots.style import GOOD, GRID, MODEL, REAL
from bnnrl.plots.supervised import loss_curve, predicted_vs_true, predictive_bands

__all__ = [
    "GOOD",
    "GRID",
    "MODEL",
    "REAL",
    "Band",
    "autocorrelation",
    "bands",
    "calibration_curve",
    "comparison",
    "confusion",
    "counts",
    "coverage_by_horizon",
    "decision_boundary",
    "entropy_histogram",
    "heat_map",
    "learning_curve",
    "loss_curve",
    "predicted_vs_true",
    "predictive_bands",
    "reliability",
    "roc",
    "rollout_bands",
    "rollouts",
    "trace",
]
