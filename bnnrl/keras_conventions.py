"""Parts of a Keras model that have another meaning here: output activations, regularisers and constraints."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import keras


class KerasModelWarning(UserWarning):
    """A part of a Keras model is left out of the Bayesian network."""


# Operations of a graph, such as that of `keras.activations.softmax(tensor)`, have their name as the name of the class.
_OPERATIONS = "keras.src.ops"


def without_output_activation(model: keras.Model, likelihood: Any) -> keras.Model:
    """Return the model without the activation at its end that the likelihood has itself; `model` if there is none.

    A Categorical or Bernoulli likelihood takes logits and a Poisson log rates, while Keras models often end with the
    probabilities or rates. The returned model shares all weights with `model`, which is not changed. An activation is
    found in the last layer, as the last layer, and at the end of nested models and of `TimeDistributed`.

    Args:
        model: a Keras model. Nothing is found in a subclass of keras.Model, whose layers have no known order.
        likelihood: the likelihood, whose attribute `inverse_links` names the activations.

    Warns:
        KerasModelWarning: if an activation is left out.
    """
    links = getattr(likelihood, "inverse_links", ())
    last: Any = _last_layer(model) if links and isinstance(model, keras.Model) and model.built else None
    name = None if last is None else _ends_with(last, links)
    if last is None or name is None:
        return model
    kind = type(likelihood).__name__
    warnings.warn(
        f"The Keras model {model.name!r} ends with {name}, in {last.name!r}, but a {kind} likelihood takes "
        f"{'log rates' if name == 'exponential' else 'logits'}. The Bayesian network is the same model without this "
        "activation, and the Keras model is not changed. Leave the activation out of the last layer to silence this "
        "warning.",
        KerasModelWarning,
        stacklevel=4,
    )
    return _without_end(model, links)


def warn_of_ignored(model: keras.Model) -> None:
    """Warn of regularisers and constraints, which belong to Keras's own training.

    Warns:
        KerasModelWarning: naming the weights and layers that have any, and what to use in their place.
    """
    trained = model.trainable_variables
    regularised = [v.path for v in trained if v.regularizer is not None]
    regularised += [layer.name for layer in model._flatten_layers() if layer.activity_regularizer is not None]
    constrained = [v.path for v in trained if v.constraint is not None]
    for kind, names, remedy in (
        ("regularisers", regularised, "The prior takes their place: `prior=tfd.Normal(0, 1)`, or 'learned'."),
        ("constraints", constrained, "Constrain what depends on the weights, such as by a softplus in a layer."),
    ):
        if names:
            warnings.warn(
                f"The {kind} of {', '.join(names)} in the Keras model {model.name!r} are not used. {remedy}",
                KerasModelWarning,
                stacklevel=3,
            )


def warn_of_spectral_normalization(model: keras.Model) -> None:
    """Warn before a training of `keras.layers.SpectralNormalization`, which divides its kernel in Keras's own alone.

    Warns:
        KerasModelWarning: naming the layers, and the layer to use in their place.
    """
    names = [layer.name for layer in model._flatten_layers() if isinstance(layer, keras.layers.SpectralNormalization)]
    if names:
        warnings.warn(
            f"SpectralNormalization has no effect in the training of a BayesianModel: {', '.join(names)} in the Keras "
            f"model {model.name!r} would divide the kernel by assignment, in Keras's own training. Use "
            "bnnrl.layers.SpectralDense, or bnnrl.laplace after a training by Keras.",
            KerasModelWarning,
            stacklevel=3,
        )


@contextmanager
def already_told() -> Iterator[None]:
    """Silence KerasModelWarning where a model is made again from one whose user was warned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KerasModelWarning)
        yield


def _last_layer(model: keras.Model) -> Any:
    """Return the layer or operation that computes the single output of a graph of layers, or None."""
    known = type(model).__module__.startswith("keras.") and len(getattr(model, "outputs", None) or []) == 1
    if not known:
        return None
    if isinstance(model, keras.Sequential):
        return model.layers[-1]
    tensor: Any = model.output
    return tensor._keras_history[0] if keras.backend.is_keras_tensor(tensor) else None


def _ends_with(layer: Any, links: tuple[str, ...]) -> str | None:
    """Return which of the activations `links` a layer ends with; None for another."""
    if isinstance(layer, keras.Model):
        last = _last_layer(layer)
        return None if last is None else _ends_with(last, links)
    if isinstance(layer, keras.layers.TimeDistributed):
        return _ends_with(layer.layer, links)
    name = type(layer).__name__.lower() if _is_activation(layer) else _name(getattr(layer, "activation", None))
    return name if name in links else None


def _name(activation: Any) -> str:
    return getattr(activation, "__name__", type(activation).__name__.lower())


def _is_activation(layer: Any) -> bool:
    """Return whether a layer or an operation is nothing but an activation that is named like its class."""
    return isinstance(layer, keras.layers.Softmax) or type(layer).__module__.startswith(_OPERATIONS)


def _without_end(model: keras.Model, links: tuple[str, ...]) -> keras.Model:
    """Return a model of the same layers without the activation at its end."""
    layer = _last_layer(model)
    other = None if _is_activation(layer) or type(layer) is keras.layers.Activation else _linear_copy(layer, links)
    if isinstance(model, keras.Sequential):
        source = model.inputs[0]
        start = keras.Input(batch_shape=source.shape, dtype=source.dtype, name=source.name)
        return keras.Sequential([start, *model.layers[:-1], *([] if other is None else [other])], name=model.name)
    _, index, _ = cast(Any, model.output)._keras_history
    before = layer._inbound_nodes[index].input_tensors[0]
    return keras.Model(model.input, before if other is None else other(before), name=model.name)


def _linear_copy(layer: Any, links: tuple[str, ...]) -> Any:
    """Return a layer with the weights of `layer`, the same variables, and without the activation at its end.

    Keras cannot build a layer around given variables, so that the object is copied, without its place in a graph.
    """
    if isinstance(layer, keras.Model):
        return _without_end(layer, links)
    copy = object.__new__(type(layer))
    copy.__dict__.update(vars(layer), _inbound_nodes=[], _outbound_nodes=[])
    if isinstance(layer, keras.layers.TimeDistributed):
        inner = _linear_copy(layer.layer, links)
        copy.__dict__.update(layer=inner, _layers=[inner if own is layer.layer else own for own in layer._layers])
    else:
        copy.__dict__["activation"] = keras.activations.linear
    return copy
