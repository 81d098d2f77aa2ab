"""Laplace's approximation of a Keras model that is trained already."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from bnnrl import data as data_module
from bnnrl import priors
from bnnrl.inference import Laplace
from bnnrl.inference.laplace import MAX_ENTRIES
from bnnrl.likelihoods import Gaussian
from bnnrl.model.bayesian_model import BayesianModel
from bnnrl.model.device_data import Shards
from bnnrl.problem import Problem, align_targets

_ROWS = 256  # of a batch, whose Jacobian is in memory


def laplace(
    keras_model: keras.Model,
    data,
    likelihood,
    structure: str = "last_layer",
    prior: priors.PriorLike = "learned",
    samples: int = 64,
) -> BayesianModel:
    """Return a fitted BayesianModel around a trained Keras model, by Laplace's approximation and without retraining.

    The weights of the Keras model are the mean of the posterior, so that its mean function is the Keras model. The
    curvature is the generalised Gauss-Newton matrix over all rows, see `bnnrl.inference.Laplace`. With a learned prior,
    the prior's scales and a Gaussian's learned noise are those of the largest evidence. Batch normalisation uses the
    statistics of the Keras model. `posterior.log_evidence` of the result is the log evidence in nats,
    None for "samples".

    Args:
        keras_model: a trained Keras model. For classes, its outputs are logits or end with softmax or sigmoid.
        data: the training data as the Keras model took them: a pair (x, y), a finite tf.data.Dataset of pairs, or the
            result of `bnnrl.data.load`, whose scalers become the model's.
        likelihood: a name, an object of `bnnrl.likelihoods`, or a callable `outputs -> tfd.Distribution`.
        structure: "last_layer", "kronecker", "diagonal", "full", "function" or "samples", as in
            `bnnrl.inference.Laplace`. "full" becomes "function", the same posterior, for more than 4000 weights and at
            most 4000 rows times outputs. "samples" approximates "full" where both are more.
        prior: "learned", an object `bnnrl.priors.Learned`, or normal distributions, whose scales are then fixed.
        samples: the number of samples of the structure "samples".

    Returns:
        The model, which predicts, evaluates and is saved as after `fit`. `fit` trains it anew.

    Raises:
        ValueError: if the Keras model returns probabilities in another way, or an argument is not as above.
        bnnrl.inference.Diverged: if an entry of the curvature is not finite.
    """
    method = Laplace(structure=structure, samples=samples)
    model = BayesianModel(keras_model, likelihood, prior, method)
    if isinstance(data, data_module.Data):
        model._adapter.set_scalers(data.x_scaler, data.y_scaler)
        model.columns = data.columns
        data = data.train
    shards = model._adapter.shards(data, None, _ROWS)
    many = model._problem.num_params > MAX_ENTRIES >= shards.num_data * model._problem.num_outputs
    if structure == "full" and many:
        method = model.method = Laplace(structure="function")
    problem = model._problem.with_num_data(shards.num_data).with_own_statistics()
    network = problem.network
    weights = network.flatten([tf.convert_to_tensor(v) for v in keras_model.trainable_variables])
    theta = problem.join(weights, problem.likelihood.init(problem.num_outputs))
    if problem.split(theta)[1].shape[0]:
        theta = problem.join(weights, _log_scales(problem, theta, shards))
    state = method.at(problem, theta, shards.batches(_ROWS))
    model.become(method.posterior(problem, state))
    return model


def _log_scales(problem: Problem, theta: tf.Tensor, shards: Shards) -> tf.Tensor:
    """Return the log-scales [L] of the most likely noise of a Gaussian, from the residuals of all rows.

    Raises:
        ValueError: for another likelihood with parameters of its own.
    """
    likelihood, total, count = problem.likelihood, 0.0, 0
    if not isinstance(likelihood, Gaussian):
        raise ValueError(
            "Invalid `likelihood`: expected one without parameters of its own, or a Gaussian, whose noise is found "
            f"from the residuals. Received: {likelihood!r}."
        )
    for x, y, weight in shards.batches(_ROWS):
        distribution = problem.distribution(theta, x)
        square = np.square(align_targets(distribution, y) - distribution.mean())
        mask = problem.network.output_mask(x)
        real = np.asarray(weight) > 0
        real = real if mask is None else real[:, np.newaxis] & (np.asarray(mask) > 0)
        square = square[real]
        total, count = total + square.reshape([-1, square.shape[-1]]).sum(axis=0), count + square[..., 0].size
    scale = np.sqrt(np.asarray(total) / count)
    return tf.constant(np.log(np.maximum(scale - likelihood.floor, 1e-6 + 1e-3 * scale)), tf.float32)
