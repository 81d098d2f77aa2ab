"""Gauss-Newton Bayesian learning: Laplace's approximation of a linearised network, prior and noise by evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import tensorflow as tf

from bnnrl.checks import available_bytes, check_count, check_fields, check_flag, check_positive
from bnnrl.inference.base import Info, Method, starting_point
from bnnrl.inference.gradients import require_normal_prior
from bnnrl.inference.linear_model import LinearModel, WeightPrior
from bnnrl.learned_prior import LOG_RANGE
from bnnrl.likelihoods import Gaussian
from bnnrl.posterior import Linearised, LowRank, Point
from bnnrl.priors import NormalPrior
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import normal

_MAX_WEIGHTS = 4000  # a float64 matrix of 4000 × 4000 takes 128 MB
_COPIES = 4  # float64 arrays of the Jacobian's size that a step holds at a time
_FIRST_NOISE = 0.1
_WARM_UP = 3  # steps before the evidence is climbed: its gradient means nothing far from a minimum
_LARGEST_DAMPING = 10.0  # after a step that was taken: a changing prior needs weights that follow


class GaussNewtonState(NamedTuple):
    """State of Gauss-Newton learning, with W weights and K hyper-parameters: log-scales of the noise and the prior."""

    theta: tf.Tensor  # [..., D]
    anchor: tf.Tensor  # [..., W] the prior mean of each weight, in prior standard deviations
    damping: tf.Tensor  # [...] μ
    step: tf.Tensor  # [] int32
    mean_grad: tf.Tensor  # [..., K] running mean of the evidence's gradient
    mean_square: tf.Tensor  # [..., K] running mean of its square
    loc: tf.Tensor  # [..., W] posterior mean of the weights; θ's own before it is known
    factor: tf.Tensor  # [..., W, W] F, with Fᵀ F the posterior covariance of the weights; 0 before it is known


@dataclass(frozen=True)
class GaussNewton(Method):
    """Laplace's approximation of the linearised network, its prior and noise chosen by evidence during the training.

    Each of `steps` steps, with residuals r, the Jacobian J of the outputs in the weights u in units of their prior
    standard deviations, and the noise variances S:

        weights     u ← u + (Jᵀ S⁻¹ J + (1 + μ) I)⁻¹ (Jᵀ S⁻¹ r − (u − a)), if that lowers the loss; Levenberg's damping
                    μ is divided by 4 then, and multiplied by 4 otherwise
        evidence    log N(r + J (u − a); 0, J Jᵀ + S) plus the log hyperprior, of which the log-scales of the noise and
                    of a learned prior climb the gradient, through J too, at normalised steps of `rate`

    The log-scales stay as they are in the first 3 and in the last sixth of the steps. The posterior is the exact one of
    the linear model at the end, and predictions are linearised, see `bnnrl.linearised`. Whichever is smaller is
    factorised, a matrix of all targets or one of all weights, in float64.

    With `prior="learned"` this comes close to a Gaussian process with a length-scale for each input, at the cost of a
    network. For an ensemble of it, `anchored=True` draws the prior mean a of the hidden layers' weights at random,
    another one for each member, so that members differ where there are no data.

    Source: Foresee & Hagan, "Gauss-Newton Approximation to Bayesian Learning", ICNN 1997; MacKay, "Bayesian
    Interpolation", Neural Computation 1992; Immer et al., "Scalable Marginal Likelihood Estimation for Model Selection
    in Deep Learning", ICML 2021; for anchors Pearce et al., "Uncertainty in Neural Networks: Approximately Bayesian
    Ensembling", AISTATS 2020.

    Args:
        steps: the number of steps; one more computes the posterior.
        rate: step size of the log-scales; it falls to a twentieth by a cosine.
        anchored: whether the prior means of the hidden layers' weights are drawn at random.

    Raises:
        ValueError: for a hyper-parameter out of its range; in `init` if the likelihood is not a Gaussian with a learned
            or fixed scale, the prior is not normal, the network has more than 4000 weights, or it has layers of batch
            normalisation.
    """

    steps: int = 150
    rate: float = 0.15
    anchored: bool = False

    tensor_fields: ClassVar = ("steps", "rate")
    full_batch_only: ClassVar[bool] = True
    linearised: ClassVar[bool] = True
    default_prior: ClassVar[str] = "learned"
    uses_xla: ClassVar[bool] = False
    members_are_independent: ClassVar[bool] = True

    def __post_init__(self):
        check_fields(self, steps=check_count, rate=check_positive, anchored=check_flag)

    @property
    def min_steps(self) -> int:
        """The steps of the optimisation, and one for the posterior."""
        return self.steps + 1

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> GaussNewtonState:
        """Return the state before the first step; the scale of a learned noise starts at 0.1."""
        start = starting_point(problem, seed, theta)
        _check_problem(problem, self)
        *lead, D = start.shape
        _check_memory(problem, math.prod(lead))
        W = problem.network.num_params
        anchor = tf.zeros([*lead, W])
        weights, of_likelihood, log_scales = problem.parts(start)
        if self.anchored:
            hidden = tf.constant(_is_hidden(problem), tf.float32)
            anchor = hidden * normal([*lead, W], seed)
            drawn = _weight_prior(problem, anchor).weights(anchor)
            weights = (1.0 - hidden) * weights + hidden * drawn
        # Small noise leaves the first steps to the weights.
        noise = tf.fill(of_likelihood.shape, math.log(_FIRST_NOISE))
        start = tf.concat([weights, noise, log_scales], axis=-1)
        K = D - W
        return GaussNewtonState(
            start,
            anchor,
            tf.ones(lead),
            tf.constant(0),
            tf.zeros([*lead, K]),
            tf.zeros([*lead, K]),
            start[..., :W],
            tf.zeros([*lead, W, W]),
        )

    def step(self, problem: Problem, state: GaussNewtonState, batch: Batch, seed) -> tuple[GaussNewtonState, Info]:
        """Return the state after a step of weights and log-scales, or with the posterior once these are done."""
        log_joint, prior = problem.log_joint(state.theta, batch), _weight_prior(problem, state.anchor)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            hyper = state.theta[..., problem.network.num_params :]
            tape.watch(hyper)
            model = LinearModel.at(problem, state.theta, hyper, batch, prior)
            products = model.products()
        state, norm = tf.cond(
            state.step < self.steps,
            lambda: self._optimise(problem, state, batch, prior, model, products, tape, hyper),
            lambda: self._finish(state, prior, model),
        )
        return state._replace(step=state.step + 1), Info.unadjusted(log_joint, norm)

    def posterior(self, problem: Problem, state: GaussNewtonState) -> Linearised | Point:
        """Return the posterior of the linearised network; the point θ before it is known."""
        if int(state.step) <= self.steps:
            return Point(state.theta)
        D, W = problem.num_params, problem.network.num_params
        loc = tf.concat([state.loc, state.theta[W:]], axis=0)
        factor = tf.pad(state.factor, [[0, 0], [0, D - W]])
        return Linearised(state.theta, LowRank(loc, tf.zeros([D]), factor))

    def _optimise(self, problem: Problem, state: GaussNewtonState, batch: Batch, prior, model, products, tape, hyper):
        """Return the state after a Gauss-Newton step and a step up the evidence, and the gradient's norm by N."""
        u, damping, norm = self._update_weights(problem, state, batch, prior, model, products)
        climbs = (state.step >= _WARM_UP) & (state.step < self.steps - self.steps // 6)
        climb = lambda: _evidence_grad(problem, state, model, products, tape, hyper)
        grad = tf.cond(climbs, climb, lambda: tf.zeros_like(hyper))
        first = tf.where(climbs, 0.8 * state.mean_grad + 0.2 * grad, state.mean_grad)
        second = tf.where(climbs, 0.95 * state.mean_square + 0.05 * tf.square(grad), state.mean_square)
        new = tf.clip_by_value(hyper + self._hyper_step(state.step, first, second), *LOG_RANGE)
        theta = tf.concat([prior.weights(u), tf.where(climbs, new, hyper)], axis=-1)
        loc = theta[..., : u.shape[-1]]
        return state._replace(theta=theta, damping=damping, mean_grad=first, mean_square=second, loc=loc), norm

    def _hyper_step(self, step: tf.Tensor, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        """Return the change of the log-scales: a step of Adam whose size falls by a cosine to a twentieth."""
        n = tf.cast(tf.maximum(step - _WARM_UP + 1, 1), tf.float32)
        end = tf.cast(self.steps - self.steps // 6 - _WARM_UP, tf.float32)
        decay = 0.05 + 0.475 * (1.0 + tf.cos(math.pi * tf.clip_by_value(n / tf.maximum(end, 1.0), 0.0, 1.0)))
        mean, square = first / (1.0 - 0.8**n), second / (1.0 - 0.95**n)
        return self.rate * decay * mean / (tf.sqrt(square) + 1e-3)

    def _update_weights(self, problem: Problem, state: GaussNewtonState, batch: Batch, prior, model, products):
        """Return u after a damped Gauss-Newton step, if that lowers the loss, the new damping, and the gradient's norm.

        The norm is that of the loss's gradient in u, divided by N.
        """
        change, grad = model.newton_step(products, state.damping)
        moved, rest = model.u + change, state.theta[..., change.shape[-1] :]
        outputs = problem.apply(tf.concat([prior.weights(moved), rest], axis=-1), batch[0])
        better = model.loss(outputs, moved) < model.loss(model.outputs, model.u)  # False if a loss is not a number
        damping = tf.where(better, tf.minimum(state.damping / 4.0, _LARGEST_DAMPING), state.damping * 4.0)
        norm = tf.norm(grad, axis=-1) / tf.cast(problem.num_data, tf.float32)
        return tf.where(better[..., tf.newaxis], moved, model.u), tf.clip_by_value(damping, 1e-9, 1e9), norm

    def _finish(self, state: GaussNewtonState, prior: WeightPrior, model: LinearModel):
        """Return the state with the posterior of the linear model."""
        u, factor = model.posterior()
        return state._replace(loc=prior.weights(u), factor=factor * prior.std), tf.zeros_like(state.damping)


def _evidence_grad(problem: Problem, state: GaussNewtonState, model: LinearModel, products, tape, hyper) -> tf.Tensor:
    """Return the gradient of log evidence plus log hyperprior in the log-scales, [..., K]; 0 where it is not finite."""
    grad = model.evidence_grad(products, tape, hyper)
    with tf.GradientTape(watch_accessed_variables=False) as prior_tape:
        prior_tape.watch(hyper)
        log_prior = problem.log_prior(tf.concat([state.theta[..., : problem.network.num_params], hyper], axis=-1))
    grad += prior_tape.gradient(log_prior, hyper)
    return tf.where(tf.math.is_finite(grad), grad, 0.0)


def _weight_prior(problem: Problem, anchor: tf.Tensor) -> WeightPrior:
    """Return the normal prior of θ's weights."""
    prior, W = cast(NormalPrior, problem.normal_prior), problem.network.num_params  # `init` has checked it
    of_each = lambda a: tf.broadcast_to(a, [problem.num_params])[:W]
    return WeightPrior(of_each(prior.mean), tf.math.rsqrt(of_each(prior.precision)), anchor)


def _is_hidden(problem: Problem) -> list[bool]:
    """Return of each weight whether it lies before the last kernel."""
    network = problem.network
    last = max((i for i, shape in enumerate(network.shapes) if len(shape) >= 2), default=0)
    return [i < last for i, size in enumerate(network.sizes) for _ in range(size)]


def _check_memory(problem: Problem, members: int) -> None:
    """Raise ValueError if the Jacobians of all rows, and what is computed from them, do not fit into memory."""
    N, T, W = problem.num_data, problem.num_outputs, problem.network.num_params
    needed, available = members * _COPIES * 8 * int(N) * T * W, available_bytes()
    if available is not None and needed > available:
        raise ValueError(
            f"Invalid data for GaussNewton: expected rows whose Jacobian fits into the available "
            f"{available / 2**30:.1f} GiB. Received: {int(N)} rows of {T} targets for {W} weights and {members} "
            f"members, which take {needed / 2**30:.1f} GiB. Use Laplace, which takes minibatches."
        )


def _check_problem(problem: Problem, method: Any) -> None:
    """Raise ValueError unless the method covers the problem's likelihood, prior and network."""
    name, likelihood, network = type(method).__name__, problem.likelihood, problem.network
    if not isinstance(likelihood, Gaussian) or likelihood._is("heteroscedastic"):
        raise ValueError(
            f"Invalid `likelihood` for {name}: expected a Gaussian with a learned or fixed scale. "
            f"Received: {likelihood!r}. Use Laplace, which takes others too."
        )
    require_normal_prior(problem, method)
    if network.has_statistics:
        raise ValueError(
            f"Invalid network for {name}: expected one without batch normalisation, whose outputs depend on θ and the "
            "row alone. Received: one with such layers. Use another method, such as Ensemble."
        )
    if network.num_params > _MAX_WEIGHTS:
        gigabytes = 8 * network.num_params**2 / 2**30
        raise ValueError(
            f"Invalid network for {name}: expected at most {_MAX_WEIGHTS} weights, as their covariance matrix is "
            f"computed. Received: {network.num_params} weights, {gigabytes:.1f} GiB. Take a smaller network, or "
            "Laplace with another structure."
        )
