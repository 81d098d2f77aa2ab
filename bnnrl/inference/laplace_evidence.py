"""The Laplace approximation of log p(data), and the scales of a learned prior and the noise that maximise it."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize

from bnnrl.inference.gradients import require_normal_prior
from bnnrl.inference.laplace_normal import Curvature
from bnnrl.learned_prior import LOG_RANGE, LearnedPrior
from bnnrl.likelihoods import Gaussian
from bnnrl.problem import Problem

NOISE_RANGE = (math.log(1e-2), math.log(1e2))  # bounds of the logarithm of the factor of the noise


class Evidence:
    """log p(data | θ̂) + log p(θ̂) + (P / 2) log 2π − ½ log det(N H + Λ), for weights θ̂ that stay where they are.

    The P entries are the weights and the likelihood's parameters. Under a learned prior, `hyper` holds the log-scale of
    each group of weights among them, and for a Gaussian of learned scale the logarithm t of a factor of all noise
    scales, which multiplies the curvature in the weights by exp(−2 t). Otherwise `hyper` is empty.

    Source: MacKay, "A Practical Bayesian Framework for Backpropagation Networks", Neural Computation 1992; Immer et
    al., "Scalable Marginal Likelihood Estimation for Model Selection in Deep Learning", ICML 2021.

    Args:
        problem: the problem; N is its `num_data`.
        theta: θ̂ [D].
        curvature: N H of the P entries from `offset` on.
        offset: the number of first weights, which are fixed.
        log_likelihood: log p(data | θ̂).
    """

    def __init__(self, problem: Problem, theta: tf.Tensor, curvature: Curvature, offset: int, log_likelihood: float):
        own, params, log_scales = (np.asarray(a, np.float64) for a in problem.parts(theta))
        self._problem, self._curvature, self._offset = problem, curvature, offset
        self._theta, self._log_likelihood = np.asarray(theta, np.float64), log_likelihood
        self._params, self._num_weights = params, len(own) - offset
        normal = require_normal_prior(problem, None)
        of_each = lambda a: np.broadcast_to(np.asarray(a, np.float64), [problem.num_params])[: len(own) + len(params)]
        std, mean = 1 / np.sqrt(of_each(normal.precision)), of_each(normal.mean)
        values = np.concatenate([np.asarray(problem.split(theta)[0], np.float64), params])
        self._groups = np.zeros(0, int)  # the number of each group among the entries
        self._group = np.zeros([self._num_weights, 0])  # 1 where a weight belongs to a group
        if isinstance(problem.prior, LearnedPrior):
            base = problem.prior.scales(tf.zeros([len(log_scales)]))
            std = np.concatenate([np.asarray(base, np.float64), std[len(own) :]])
            mean = np.concatenate([problem.prior.means, mean[len(own) :]])
            group = problem.prior.group_of_each[offset:]
            self._groups = np.unique(group)
            self._group = (group[:, np.newaxis] == self._groups).astype(np.float64)
        self._std, self._deviation = std[offset:], (values - mean)[offset:]
        likelihood = problem.likelihood
        learned = isinstance(likelihood, Gaussian) and likelihood._is("learned")
        self._tunes_noise = learned and isinstance(problem.prior, LearnedPrior)
        self._start = np.concatenate([log_scales[self._groups], np.zeros(int(self._tunes_noise))])
        if self._tunes_noise:
            self._init_noise(cast(Gaussian, likelihood))

    def _init_noise(self, likelihood: Gaussian) -> None:
        """Set the number of targets of all rows, and the sum of their squared residuals in units of the noise."""
        shape = getattr(self._problem.network.model, "output_shape", None) or (None, 1)
        positions, N = math.prod(shape[1:-1]), float(self._problem.num_data)
        self._targets = N * positions * len(self._params)
        log_scales = np.log(float(likelihood.floor) + np.exp(self._params)).sum()
        constant = N * positions * log_scales + 0.5 * self._targets * math.log(2 * math.pi)
        self._square = -2 * (self._log_likelihood + constant)

    def maximised(self) -> tuple[np.ndarray, float | None]:
        """Return the hyper-parameters that maximise evidence times hyperprior, and the log evidence there."""
        if not len(self._start):
            return self._start, self.value_and_grad(self._start)[0]
        bounds = [LOG_RANGE] * len(self._groups) + [NOISE_RANGE] * self._tunes_noise

        def loss(hyper: np.ndarray) -> tuple[float, np.ndarray]:
            value, grad = self.value_and_grad(hyper)
            log_scales, spread = hyper[: len(self._groups)], cast(LearnedPrior, self._problem.prior).settings.spread
            grad[: len(self._groups)] -= log_scales / spread**2
            return -(value - 0.5 * np.square(log_scales / spread).sum()), -grad

        start = np.clip(self._start, *np.transpose(bounds))
        hyper = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 100}).x
        return hyper, self.value_and_grad(hyper)[0]

    def value_and_grad(self, hyper: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the log evidence in nats and its gradient in the hyper-parameters."""
        std, factor, t = self._std_and_factor(hyper)
        log_det, share = self._curvature.log_det(1 / std**2, factor)
        deviation = self._deviation + np.pad(np.full(len(self._params), t), (self._num_weights, 0))
        square = np.square(deviation / std)
        log_likelihood, by_t = self._log_likelihood, np.zeros(0)
        W = self._num_weights
        if self._tunes_noise:
            log_likelihood += -0.5 * self._square * math.expm1(-2 * t) - self._targets * t
            of_prior = (deviation[W:] / std[W:] ** 2).sum()
            by_t = np.array([self._square * math.exp(-2 * t) - self._targets + (1 - share[:W]).sum() - of_prior])
        value = log_likelihood - 0.5 * square.sum() - np.log(std).sum() - 0.5 * log_det
        by_scale = self._group.T @ (square[:W] + share[:W] - 1)
        return value, np.concatenate([by_scale, by_t])

    def _std_and_factor(self, hyper: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the prior's standard deviations [P], the factor of the curvature's root [P], and t."""
        W, t = self._num_weights, float(hyper[-1]) if self._tunes_noise else 0.0
        std, factor = self._std.copy(), np.ones(len(self._std))
        if len(self._groups):
            std[:W] *= np.exp(self._group @ hyper[: len(self._groups)])
        factor[:W] = math.exp(-t)
        return std, factor, t

    def result(self, hyper: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return θ [D] of the same weights, and of its P entries precision, factor and derivative of the weights."""
        std, factor, t = self._std_and_factor(hyper)
        theta, W, first = self._theta.copy(), self._num_weights, self._offset
        unit = np.ones(len(std))
        if len(self._groups):
            unit[:W] = std[:W]
            theta[first : first + W] = (self._deviation / std)[:W]
            theta[first + len(std) + self._groups] = hyper[: len(self._groups)]
        if self._tunes_noise:
            floor = float(cast(Gaussian, self._problem.likelihood).floor)
            scale = (floor + np.exp(self._params)) * math.exp(t)
            theta[first + W : first + len(std)] = np.log(np.maximum(scale - floor, 1e-6 * scale))
        return theta, 1 / std**2, factor, unit
