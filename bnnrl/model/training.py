"""The epochs of `BayesianModel.fit`: steps of the inference method, Keras's callbacks and validation scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from bnnrl import inference
from bnnrl.checks import check_count
from bnnrl.inference.base import State
from bnnrl.model.device_data import Shards
from bnnrl.model.history import History
from bnnrl.posterior import Posterior
from bnnrl.problem import Problem

Scores = dict[str, float]

# Callbacks of Keras that cannot work here, and what to use in their place.
_REPLACED = {
    keras.callbacks.BackupAndRestore: "Save the model after epochs by `bnnrl.callbacks.Checkpoint`; a fit that was "
    "interrupted starts again, from `initial` if it is to continue from a saved posterior.",
    keras.callbacks.SwapEMAWeights: "Use method='swag', which averages the weights along the run.",
}


def check_epochs(epochs: int, method: inference.Method, shards: Shards) -> int:
    """Return `epochs` as an int.

    Raises:
        ValueError: if it is not an integer of at least 1, or leaves the method without a posterior.
    """
    epochs, least = check_count("epochs", epochs), method.min_steps
    if epochs * shards.steps < least:
        raise ValueError(
            f"Invalid `epochs`: expected at least {-(-least // shards.steps)}, as the method's burn-in and first draw "
            f"take {least} steps, {shards.steps} an epoch. Received: epochs={epochs}."
        )
    return epochs


def check_initial_epoch(initial_epoch: int) -> None:
    """Raise ValueError unless `initial_epoch` is 0."""
    if check_count("initial_epoch", initial_epoch, least=0):
        raise ValueError(
            "Invalid `initial_epoch`: expected 0, as every fit begins anew. Received: "
            f"initial_epoch={initial_epoch}. Pass `initial` to start from earlier values of θ, such as "
            "`initial=model.posterior.mean()`."
        )


def check_weights(method: inference.Method, weight: np.ndarray | None, masks: bool) -> None:
    """Raise ValueError if rows have weights or time steps are masked, and the method counts all rows and steps."""
    inner = inference.innermost(method)
    if isinstance(inner, inference.GaussNewton) and (weight is not None or masks):
        raise ValueError(
            "Invalid data for GaussNewton: expected rows of weight 1 without masked time steps, as the method's noise "
            f"scale counts every target. Received: {'weights' if weight is not None else 'masked time steps'}. Use "
            "'laplace' or 'ensemble'."
        )


def check_reporting(callbacks: Any, verbose: Any) -> None:
    """Raise ValueError unless `callbacks` are Keras callbacks or None, and `verbose` is 0, 1, 2 or "auto"."""
    listed = callbacks if isinstance(callbacks, list | tuple) else [] if callbacks is None else [callbacks]
    for callback in listed:
        if not isinstance(callback, keras.callbacks.Callback):
            raise ValueError(f"Invalid `callbacks`: expected Keras callbacks. Received: {callback!r} among them.")
        if isinstance(callback, tuple(_REPLACED)):
            remedy = next(text for cls, text in _REPLACED.items() if isinstance(callback, cls))
            raise ValueError(
                f"Invalid `callbacks`: expected none that needs the variables of a Keras model in training. Received: "
                f"{type(callback).__name__}. {remedy}"
            )
    check_verbose(verbose)


def check_verbose(verbose: Any) -> None:
    """Raise ValueError unless `verbose` is 0, 1, 2 or "auto"."""
    if not (isinstance(verbose, int) and verbose in (0, 1, 2)) and not (isinstance(verbose, str) and verbose == "auto"):
        raise ValueError(f"Invalid `verbose`: expected 0, 1, 2 or 'auto'. Received: verbose={verbose!r}.")


class Trainer:
    """One fit: takes an inference method's steps from a fresh initial state, an epoch at a time.

    Args:
        problem: the log joint of the training data.
        method: the inference method.
        driver: the compiled steps of `method`.
        seed: of the initial state, the order of the rows, and the method's own randomness.
        theta: θ to start from, [M, D], or [D] for all members and chains; None for a draw of the initialisers.

    Raises:
        ValueError: if `theta` does not have the shape of the method's θ, or is the same for all particles of SVGD.
    """

    def __init__(
        self,
        problem: Problem,
        method: inference.Method,
        driver: inference.Driver,
        seed: int,
        theta: tf.Tensor | None = None,
    ):
        self.driver = driver
        self._problem, self._method, self._seed = problem, method, seed
        self._steps_taken = 0
        self._infos_after_burn_in: list[inference.Info] = []
        self._posterior: Posterior | None = None
        self.state = method.init(problem, seed)
        if theta is not None:
            self.state = method.init(problem, seed, _for_all_members(theta, self.state.theta.shape, method))

    @property
    def state(self) -> State:
        """The method's state, which holds θ."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state, self._posterior = state, None

    @property
    def posterior(self) -> Posterior:
        """The posterior over θ in the present state."""
        if self._posterior is None:
            self._posterior = cast(Posterior, self._method.posterior(self._problem, self._state))
        return self._posterior

    @property
    def is_sampler(self) -> bool:
        """Whether the method has a posterior only after a number of steps, as samplers have."""
        return self._method.min_steps > 0

    @property
    def has_posterior(self) -> bool:
        """Whether the method has taken the steps of its burn-in and its first draw."""
        return self._steps_taken >= self._method.min_steps

    @property
    def info(self) -> inference.Info | None:
        """The mean Info of the epochs after the burn-in; None for a method that takes minibatches.

        The acceptance is NaN for a method without a Metropolis step.
        """
        if not self._infos_after_burn_in:
            return None
        parts = zip(*self._infos_after_burn_in, strict=True)
        info = inference.Info(*(np.mean([np.mean(epoch) for epoch in part]) for part in parts))
        inner = inference.innermost(self._method)
        rejects = not isinstance(inner, inference.Sampler) or inner.has_metropolis_step
        return info if rejects else info._replace(accept=np.nan)

    @property
    def prior_loss(self) -> float:
        """The prior's share of the loss in the present state, −log p(θ) / N in nats, averaged over members."""
        return float(-tf.reduce_mean(self._problem.log_prior(self.state.theta))) / self._problem.num_data

    def run_epoch(self, shards: Shards) -> float:
        """Take the next epoch's steps and return the loss, −log p(θ, data) / N in nats averaged over them.

        Args:
            shards: the training data.

        Raises:
            inference.Diverged: if a step is not finite; the state is then the last finite one.
        """
        try:
            info = self._take_steps(shards)
        except inference.Diverged as error:
            self.state = error.state
            raise
        burnt_in = self._steps_taken >= self._method.min_steps - 1
        if burnt_in and self._method.full_batch_only:
            self._infos_after_burn_in.append(info)
        self._steps_taken += shards.steps
        return float(-tf.reduce_mean(info.log_joint)) / shards.num_data

    def _take_steps(self, shards: Shards) -> inference.Info:
        """Take an epoch's steps and return their mean Info."""
        infos, weights, start = [], [], self._steps_taken
        for arrays, num_data, steps in shards:
            # The minibatches of a piece of a stream are an epoch of their own; N counts the rows of all pieces.
            piece = {"origin": start, "total": shards.num_data} if shards.streams else {}
            run = self.driver.run
            self.state, info = run(self.state, arrays, steps, self._seed, start=start, num_data=num_data, **piece)
            infos.append(info)
            weights.append(steps / shards.steps)
            start += steps
        if len(infos) == 1:
            return infos[0]
        parts = zip(*infos, strict=True)
        return inference.Info(*(sum(w * a for w, a in zip(weights, part, strict=True)) for part in parts))


def _for_all_members(theta: tf.Tensor, shape: tf.TensorShape, method: inference.Method) -> tf.Tensor:
    """Return θ in the shape of the method's θ, [D] or [M, D]; one θ [D] is repeated."""
    if theta.shape[-1:] != shape[-1:] or (theta.shape.rank != 1 and theta.shape != shape):
        raise ValueError(f"Invalid `initial`: expected shape {shape} or {shape[-1:]}. Received: shape {theta.shape}.")
    if theta.shape != shape and isinstance(inference.innermost(method), inference.SVGD):
        raise ValueError(
            f"Invalid `initial`: expected a θ for each particle of SVGD, {shape}, as equal particles never part. "
            f"Received: shape {theta.shape}."
        )
    return tf.broadcast_to(theta, shape)


class TrainingLoop:
    """Runs a trainer's epochs with Keras callbacks.

    Args:
        model: the BayesianModel, which callbacks find as their `model`, and whose `stop_training` they may set.
        trainer: the fit.
        shards: the training data.
        validate: returns the validation scores; None without validation data.
    """

    def __init__(self, model: Any, trainer: Trainer, shards: Shards, validate: Callable[[], Scores] | None):
        self._model, self._trainer, self._shards, self._validate = model, trainer, shards, validate

    def run(self, epochs: int, callbacks, verbose: int | str) -> keras.callbacks.History:
        """Run at most `epochs` epochs and return their logs; see `BayesianModel.fit`."""
        history = History()
        listed = keras.callbacks.CallbackList(
            [*keras.tree.flatten(callbacks or []), history],
            add_progbar=verbose != 0,
            model=self._model,
            verbose=1 if verbose == "auto" else verbose,
            epochs=epochs,
            steps=self._shards.steps,
        )
        self._model.stop_training, self._model.optimizer.iterations = False, 0
        logs: Scores = {}
        listed.on_train_begin()
        for epoch in range(epochs):
            logs = self._run_epoch(epoch, listed)
            if self._model.stop_training:
                break
        listed.on_train_end(logs)
        return history

    def _run_epoch(self, epoch: int, callbacks: keras.callbacks.CallbackList) -> Scores:
        """Run one epoch, of which callbacks see the last batch alone, and return its logs."""
        steps = self._shards.steps
        callbacks.on_epoch_begin(epoch)
        callbacks.on_train_batch_begin(steps - 1)
        logs = {"loss": self._trainer.run_epoch(self._shards)}
        self._model.optimizer.iterations = (epoch + 1) * steps
        callbacks.on_train_batch_end(steps - 1, logs)
        logs = {**logs, **self._validation_logs()}
        awaits_score = self._validate is not None and "val_loss" not in logs
        with _without_early_stopping_warning() if awaits_score else nullcontext():
            callbacks.on_epoch_end(epoch, logs)
        return logs

    def _validation_logs(self) -> Scores:
        if self._validate is None or not self._trainer.has_posterior:
            return {}
        scores = self._validate()
        return {"val_loss": scores["nll"], **{f"val_{name}": value for name, value in scores.items()}}


@contextmanager
def _without_early_stopping_warning() -> Iterator[None]:
    """Silence EarlyStopping's warning that the monitored score is missing: a sampler has none before its first draw."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Early stopping conditioned on metric")
        yield
