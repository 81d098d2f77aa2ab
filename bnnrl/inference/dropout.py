"""Monte Carlo dropout (Gal & Ghahramani 2016): rows of the kernels are dropped in training and in prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf

from bnnrl.checks import check_count, check_fields, check_fraction, optional
from bnnrl.inference.adam import AdamInside, AdamState
from bnnrl.inference.base import Info, starting_point
from bnnrl.inference.schedules import Schedule, check_rate, rate
from bnnrl.posterior import Dropout
from bnnrl.problem import Batch, Problem, num_rows, without_padding


@dataclass(frozen=True)
class MCDropout(AdamInside):
    """Monte Carlo dropout: minimise E_z[ −log p(data | z ∘ θ) ] / N − log p(θ) / N by Adam, z a random mask of θ.

        θ_k = z_k ∘ θ,  z_k = Bernoulli(1 − rate) / (1 − rate) for each row of each kernel     k = 1 … masks
        g = −∇_θ [ (N / B) Σ_k log p(batch_k | θ_k) + log p(θ) ] / N

    A row of a kernel holds the weights of one input of the layer, so that dropping a row drops that input: for a Dense
    network, this is `keras.layers.Dropout` before each layer. The rows of a convolution's kernel are input channels,
    and those of a recurrent kernel units of the state. Weights with fewer than two axes, such as biases, are never
    dropped. The batch is split into `masks` parts with one mask each: more masks make the gradient less noisy, and need
    memory for as many copies of θ. Layers other than Dense are slow with several copies of θ, and XLA cannot compile
    convolutions with them. The prior is the paper's L2 term, on θ without masks. A draw of the posterior is one mask,
    so that a rollout keeps the same function at all its steps.

    Source: Gal & Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016; Gal, McAllister & Rasmussen,
    "Improving PILCO with Bayesian Neural Network Dynamics Models", 2016.

    Args:
        learning_rate: α of Adam, a number or a Schedule.
        rate: the probability that a row is dropped, in [0, 1).
        input_rate: the probability that a row of the first kernel, an input of the network, is dropped.
        masks: number of masks per step, at most one for each row of the batch; if None, 4 for a chain of Dense layers
            and 1 for other networks.
        beta_2: β₂ of Adam, in [0, 1).

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    learning_rate: float | Schedule = 1e-3
    rate: float = 0.1
    input_rate: float = 0.0
    masks: int | None = None
    beta_2: float = 0.999

    tensor_fields: ClassVar = ("learning_rate",)
    members_are_independent: ClassVar[bool] = True

    def __post_init__(self):
        check_fields(self, learning_rate=check_rate, rate=check_fraction, input_rate=check_fraction)
        check_fields(self, masks=optional(check_count), beta_2=check_fraction)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> AdamState:
        """Return the state before the first step."""
        theta = starting_point(problem, seed, theta)
        self._dropout(problem, theta)
        return self._adam.start(theta)

    def step(self, problem: Problem, state: AdamState, batch: Batch, seed) -> tuple[AdamState, Info]:
        """Return the state after one Adam step along the gradient under random masks."""
        N = tf.cast(problem.num_data, tf.float32)
        theta, lead = state.theta, state.theta.shape[:-1]
        parts = _parts(batch, self.masks or (4 if problem.network.is_dense_chain else 1), len(lead))
        K = parts[2].shape[0]  # each part is [K, ..., B / K, ...]
        # XLA cannot compile every network for a stack of θ, even of one: a single mask is not stacked.
        stack = [-1] if K > 1 or len(lead) else []
        dropout = self._dropout(problem, theta)
        z = dropout.masks([K, *lead], seed)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(theta)
            masked = dropout.masked(theta, z, [K, *lead])  # [K, ..., D]
            flat = _map(lambda a: tf.reshape(a, [*stack, *a.shape[1 + len(lead) :]]), parts)
            log_likelihood = problem.log_likelihood(tf.reshape(masked, [*stack, theta.shape[-1]]), flat)
            log_likelihood = tf.reduce_sum(tf.reshape(log_likelihood, [K, *lead]), axis=0)
            log_likelihood *= N / tf.reduce_sum(num_rows(parts[2]), axis=0)
            log_joint = log_likelihood + problem.log_prior(theta)
        g = -tape.gradient(log_joint, theta) / N
        state = self._adam.update(state, g, rate(self.learning_rate, state.step))
        return state, Info.unadjusted(log_joint, tf.norm(g, axis=-1))

    def posterior(self, problem: Problem, state: AdamState) -> Dropout:
        """Return the distribution of θ under random masks."""
        return self._dropout(problem, state.theta)

    def _dropout(self, problem: Problem, theta: tf.Tensor) -> Dropout:
        shapes = tuple(problem.network.shapes)
        kernels = [i for i, shape in enumerate(shapes) if len(shape) >= 2]
        rates = {i: self.rate if i != kernels[0] else self.input_rate for i in kernels}
        if not any(rates.values()) and (self.rate or self.input_rate):
            raise ValueError(
                "Invalid network for MCDropout: expected a hidden layer, so that its inputs can be dropped. Received: "
                f"weights of shapes {list(shapes)} and input_rate={self.input_rate}. Set `input_rate`, or use Adam."
            )
        return Dropout(theta, shapes, tuple(rates.get(i, 0.0) for i in range(len(shapes))))


def _parts(batch: Batch, masks: int, axis: int) -> Batch:
    """Return the rows of a batch, on `axis`, split into K equal parts [K, ..., rows, ...]; rows of weight 0 fill up."""
    x, y = batch[:2]
    rows = y.shape[axis]
    if len(batch) == 3:
        weight = batch[2]
        x, y = _map(lambda a: without_padding(a, weight > 0), (x, y))  # a part may hold padding alone
    else:
        weight = tf.ones(y.shape[: axis + 1])
    length = -(-rows // min(masks, rows))
    K = -(-rows // length)

    def deal(a: tf.Tensor, fill: int) -> tf.Tensor:
        more = tf.repeat(tf.gather(a, [0], axis=axis), K * length - rows, axis=axis)
        a = tf.concat([a, tf.cast(fill, a.dtype) * more], axis=axis)
        a = tf.reshape(a, [*a.shape[:axis], length, K, *a.shape[axis + 1 :]])
        return tf.transpose(a, [axis + 1, *range(axis + 1), *range(axis + 2, a.shape.rank)])

    return (*_map(lambda a: deal(a, 1), (x, y)), deal(weight, 0))


_map: Any = tf.nest.map_structure
