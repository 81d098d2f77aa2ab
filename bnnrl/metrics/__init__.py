"""Metrics of predictions as NumPy arrays, and the scores and uncertainties of a predictive distribution."""

from bnnrl.metrics.calibration import Reliability, TemperatureScaling, adaptive_ece, ece, reliability_curve
from bnnrl.metrics.classification import (
    ClassScores,
    accuracy,
    auroc,
    brier,
    confusion_matrix,
    nll,
    ood_auroc,
    precision_recall_f1,
)
from bnnrl.metrics.conformal import Coverage, conformal_quantile, coverage
from bnnrl.metrics.predictive import Uncertainty, mean, scores, uncertainty
from bnnrl.metrics.regression import (
    QuantileCalibration,
    crps,
    crps_gaussian,
    interval,
    interval_gaussian,
    interval_width,
    mae,
    picp,
    quantile_calibration,
    quantile_calibration_gaussian,
    r2,
    rmse,
)

__all__ = [
    "ClassScores",
    "Coverage",
    "QuantileCalibration",
    "Reliability",
    "TemperatureScaling",
    "Uncertainty",
    "accuracy",
    "adaptive_ece",
    "auroc",
    "brier",
    "conformal_quantile",
    "confusion_matrix",
    "coverage",
    "crps",
    "crps_gaussian",
    "ece",
    "interval",
    "interval_gaussian",
    "interval_width",
    "mae",
    "mean",
    "nll",
    "ood_auroc",
    "picp",
    "precision_recall_f1",
    "quantile_calibration",
    "quantile_calibration_gaussian",
    "r2",
    "reliability_curve",
    "rmse",
    "scores",
    "uncertainty",
]
