"""Variational Bayesian last layers (Harrison et al. 2024): a distribution over the last layer, a point for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import tensorflow as tf

from bnnrl.checks import check_choice, check_count, check_fields, check_flag, check_fraction, check_positive
from bnnrl.inference.adam import AdamInside, AdamState
from bnnrl.inference.base import Info, starting_point
from bnnrl.inference.curvature import Rows
from bnnrl.inference.gradients import side_by_side
from bnnrl.inference.last_layer import Diagonal, Full, LastLayer
from bnnrl.inference.schedules import Schedule, check_rate, rate
from bnnrl.likelihoods import Gaussian, Likelihood
from bnnrl.network import is_linear_in, last_layer
from bnnrl.posterior import Linearised, LowRank, MeanField, Point, Product
from bnnrl.problem import Batch, Problem, align_targets, num_rows
from bnnrl.seeds import fast_normal, fold_in

_MAX_ENTRIES = 4000  # of the posterior's factor; a float32 matrix of 4000 × 4000 takes 64 MB


class VBLLState(NamedTuple):
    """State of a variational last layer: Adam's state of μ and of ρ."""

    mu: AdamState  # [..., D]
    rho: AdamState  # [..., O, F, F], or [..., O, F] with a diagonal covariance

    @property
    def theta(self) -> tf.Tensor:
        """μ [..., D]."""
        return self.mu.theta


@dataclass(frozen=True)
class VBLL(AdamInside):
    """Variational Bayesian last layer: the evidence lower bound over q of the last layer, a MAP estimate of the rest.

        loss = { E_q[ −log p(data | θ) − log p(θ) ] − H(q) } / N
        q(w_o) = N(μ_o, L_o L_oᵀ) for the weights w_o [F] of each output o of the last layer, its bias included
        all other entries of θ are points
        (μ, ρ) by Adam along the gradient of the loss; L_o has the lower triangle of ρ_o, and exp of its diagonal

    The last layer is the last kernel and its bias. The prior and the entropy H count once for the whole data set,
    whatever the batch size.

    If the last layer is Dense without activation, an output of a row has the distribution N(f(x; μ), φᵀ L Lᵀ φ), where
    φ are the layer's inputs and 1. Under a Gaussian likelihood whose scale is a number or learned, the expectation is
    exact, as below; that of any other likelihood is averaged over draws of the outputs, independent for each row.

        E_q[log p(y | x, θ)] = log N(y; f(x; μ), σ²) − φᵀ L Lᵀ φ / (2 σ²)

    For any other last layer, and for networks with batch normalisation or layers such as Dropout, it is averaged over
    draws of the last layer's weights. The expectation of a normal prior is exact, and that of any other prior is
    averaged over such draws. For a linear model with normal noise, q converges to the posterior.

    Under a learned prior (`bnnrl.priors.Learned`), q is that of u, and the scales are point estimates.

    Source: Harrison, Willes & Snoek, "Variational Bayesian Last Layers", ICLR 2024. The paper gives the noise a prior
    of its own, and weighs the divergence by a number.

    Args:
        learning_rate: α of Adam, a number or a Schedule.
        covariance: "full" for L_o as above, or "diagonal", with which ρ_o [F] has the logarithms of the standard
            deviations.
        std_init: the standard deviation of each weight at the start. From that of the prior, the hidden layers are
            learned for an uncertain last layer, and overfit less than from a small one, with which μ fits first.
        draws: S, the number of draws per step, where an expectation is not exact.
        beta_2: β₂ of Adam, in [0, 1).
        linearised: whether draws share the hidden layers in predictions of a last Dense layer without activation, by
            the network's expansion, which is the network itself there. Rollouts take half the time without.

    Raises:
        ValueError: for a hyper-parameter out of its range; in `init` if the last layer has more than 4000 weights and
            full covariances.
    """

    learning_rate: float | Schedule = 1e-3
    covariance: str = "full"
    std_init: float = 1.0
    draws: int = 1
    beta_2: float = 0.999
    linearised: bool = True

    tensor_fields: ClassVar = ("learning_rate",)
    members_are_independent: ClassVar[bool] = True

    def __post_init__(self):
        check_choice("covariance", self.covariance, ("full", "diagonal"))
        check_fields(self, learning_rate=check_rate, beta_2=check_fraction, std_init=check_positive)
        check_fields(self, draws=check_count, linearised=check_flag)

    @property
    def _family(self) -> type[Full] | type[Diagonal]:
        return Full if self.covariance == "full" else Diagonal

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> VBLLState:
        """Return the state before the first step, with μ at θ and the last layer's deviations at `std_init`."""
        start, layer = starting_point(problem, seed, theta), LastLayer.of(problem.network)
        if self.covariance == "full" and layer.size > _MAX_ENTRIES:
            raise ValueError(
                f"Invalid `covariance`: expected 'diagonal' for a last layer of more than {_MAX_ENTRIES} weights. "
                f"Received: 'full', with {layer.size} weights, {layer.rows} for each of {layer.columns} outputs."
            )
        q = self._family.start(start.shape[:-1], layer, self.std_init)
        return VBLLState(self._adam.start(start), self._adam.start(q.rho))

    def step(self, problem: Problem, state: VBLLState, batch: Batch, seed) -> tuple[VBLLState, Info]:
        """Return the state after one Adam step of μ and ρ."""
        mu, rho, N = state.mu.theta, state.rho.theta, tf.cast(problem.num_data, tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch((mu, rho))
            q = self._family(rho)
            log_joint = self._expected_log_joint(problem, mu, q, batch, seed)
            loss = -(log_joint + q.log_det) / N
        # A member's loss depends on its own θ alone, so the gradient of the sum holds each member's gradient.
        grad_mu, grad_rho = tape.gradient(loss, (mu, rho))
        alpha = rate(self.learning_rate, state.mu.step)
        mu = self._adam.update(state.mu, grad_mu, alpha)
        rho = self._adam.update(state.rho, grad_rho, alpha)
        return VBLLState(mu, rho), Info.unadjusted(log_joint, tf.norm(grad_mu, axis=-1))

    def posterior(self, problem: Problem, state: VBLLState) -> Linearised | Product | LowRank | MeanField:
        """Return q, with all entries of θ that are points fixed."""
        layer, loc = LastLayer.of(problem.network), state.theta
        own = self._family(state.rho.theta).normal(layer, loc[layer.offset :])
        q = Product((Point(loc[: layer.offset]), own)) if layer.offset else own
        return Linearised(loc, q) if self.linearised and is_linear_in(problem.network, layer.offset) else q

    def _expected_log_joint(self, problem: Problem, mu: tf.Tensor, q: Full | Diagonal, batch: Batch, seed) -> tf.Tensor:
        """Return E_q[log p(θ) + log p(data | θ)] in nats, [...]."""
        prior, layer = problem.normal_prior, LastLayer.of(problem.network)
        theta = self._draw(layer, mu, q, fold_in(seed, 0))  # for a normal prior and linear outputs not in the graph
        mean = lambda a: tf.reduce_mean(tf.reshape(a, theta.shape[:-1]), axis=0)
        if prior is None:
            log_prior = mean(problem.log_prior(side_by_side(theta, batch)[0]))
        else:
            precision = tf.broadcast_to(prior.precision, [problem.num_params])
            spread = tf.reduce_sum(layer.matrix(precision) * tf.linalg.matrix_transpose(q.variances), axis=[-2, -1])
            log_prior = problem.log_prior(mu) - 0.5 * spread
        if _is_linear(problem, layer):
            return log_prior + self._log_likelihood_by_outputs(problem, layer, mu, q, batch, fold_in(seed, 1))
        return log_prior + mean(problem.scaled_log_likelihood(*side_by_side(theta, batch)))

    def _draw(self, layer: LastLayer, mu: tf.Tensor, q: Full | Diagonal, seed) -> tf.Tensor:
        """Return draws of θ, [S, ..., D]."""
        epsilon = fast_normal([self.draws, *mu.shape[:-1], layer.size], seed)
        epsilon = tf.reshape(epsilon, [*epsilon.shape[:-1], layer.columns, layer.rows])
        return mu + layer.padded(layer.entries(q.deviations(epsilon)), mu.shape[-1])

    def _log_likelihood_by_outputs(
        self, problem: Problem, layer: LastLayer, mu: tf.Tensor, q: Full | Diagonal, batch: Batch, seed
    ) -> tf.Tensor:
        """Return (N / B) E_q[log p(batch | θ)] by the normal distribution of each row's outputs, [...]."""
        rows, (weights, params), network = Rows.of(mu, batch), problem.split(mu), problem.network
        x = last_layer(network, network.unflatten(weights), rows.x, layer.offset)[0]
        x = tf.concat([x, tf.ones_like(x[..., :1])], axis=-1) if layer.use_bias else x
        mean = tf.matmul(x, layer.matrix(weights))  # [..., B, O]
        variance = q.variance_along(x, layer.matrix(problem.weight_scales(mu)))
        if _is_quadratic(problem.likelihood):
            distribution = problem.likelihood(mean, params)
            log_prob = distribution.log_prob(align_targets(distribution, rows.y))
            log_prob -= 0.5 * tf.reduce_sum(variance / distribution.variance(), axis=-1)
        else:
            log_prob = self._mean_log_prob(problem, mean, variance, params, rows.y, seed)
        N = tf.cast(problem.num_data, tf.float32)
        return N * tf.reduce_sum(rows.weight * log_prob, axis=-1) / num_rows(rows.weight)

    def _mean_log_prob(self, problem: Problem, mean, variance, params, y, seed) -> tf.Tensor:
        """Return log p(y | outputs), averaged over draws of the outputs, [..., B]."""
        S, (*lead, B, O) = self.draws, mean.shape
        epsilon = tf.reshape(fast_normal([S, *lead, B * O], seed), [S, *lead, B, O])
        outputs = mean + tf.sqrt(tf.maximum(variance, 1e-12)) * epsilon  # the root has no derivative at 0
        side = lambda a: tf.reshape(tf.broadcast_to(a, [S, *a.shape]), [-1, *a.shape[len(lead) :]])
        distribution = problem.likelihood(tf.reshape(outputs, [-1, B, O]), side(params))
        log_prob = distribution.log_prob(align_targets(distribution, side(y)))  # [S M, B, ...]
        log_prob = tf.reduce_sum(log_prob, axis=list(range(2, log_prob.shape.rank)))
        return tf.reduce_mean(tf.reshape(log_prob, [S, *lead, B]), axis=0)


def _is_linear(problem: Problem, layer: LastLayer) -> bool:
    """Return whether the outputs of a row are linear in the last layer, and depend on no other row and no noise."""
    network = problem.network
    return is_linear_in(network, layer.offset) and not (network.has_statistics or network.draws_noise)


def _is_quadratic(likelihood: Likelihood) -> bool:
    """Return whether log p(y | outputs) is a quadratic function of the outputs."""
    return isinstance(likelihood, Gaussian) and not likelihood._is("heteroscedastic")
