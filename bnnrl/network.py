"""A Keras model as a pure function of one flat weight vector, or of a stack of such vectors."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from copy import copy
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from bnnrl.checks import check_instance
from bnnrl.keras_structure import structure_of_model
from bnnrl.seeds import fold_in, host_seed, split
from bnnrl.structure import NotShareable

# Keras names most initialisers after their weight; these are the exceptions.
_INITIALIZER_OF = {
    "recurrent_kernel": "recurrent_initializer",
    "depthwise_kernel": "depthwise_initializer",
    "pointwise_kernel": "pointwise_initializer",
}

# Layers that look values up in hash tables or make text of them, which XLA cannot compile.
_NEVER_BY_XLA = (
    keras.layers.IntegerLookup,
    keras.layers.StringLookup,
    keras.layers.TextVectorization,
    keras.layers.Hashing,
    keras.layers.HashedCrossing,
)

# Copies of the model to be written side by side into a graph: the members in training, not the samples in prediction.
_MAX_UNROLLED = 16


class Network:
    """The function (θ, x) -> outputs of a built Keras model.

    θ [D] holds the model's trainable weights, each flattened, in Keras's order. For a stack θ [S, D], inputs are
    [S, B, ...] and so are the outputs. A model of several inputs takes them in a list, tuple or dictionary, as in
    Keras. A frozen layer (`trainable = False`) is a constant.

    By default layers run in inference mode. In training mode batch normalisation uses the batch's own statistics, and
    layers that draw noise, such as Dropout, draw it independently for each θ.

    Args:
        model: a built Keras model.

    Attributes:
        model: the Keras model.
        paths: the Keras path of each trainable weight.
        shapes: the shape of each trainable weight.
        sizes: the number of entries of each trainable weight.
        num_params: D, their sum.
        may_mask: whether a layer may mask time steps.
        never_by_xla: whether a layer is of a kind that XLA cannot compile at all.

    Raises:
        ValueError: if the model is not built, has no trainable weights, or has some that are not float32.
    """

    def __init__(self, model: keras.Model):
        _check_model(model)
        self.model = model
        self.paths = [v.path for v in model.trainable_variables]
        self.shapes = [tuple(v.shape) for v in model.trainable_variables]
        self.sizes = [int(np.prod(s)) for s in self.shapes]
        self.num_params = sum(self.sizes)
        self._dense_chain = _dense_chain(model)
        layers, index = model._flatten_layers(), {id(v): i for i, v in enumerate(model.non_trainable_variables)}
        self.may_mask = any(_may_mask(layer) for layer in layers)
        self.never_by_xla = any(isinstance(layer, _NEVER_BY_XLA) for layer in layers)
        # XLA compiles a vectorised concatenation again at every call, which takes longer than a few unrolled calls.
        self._concatenates = any(isinstance(layer, keras.layers.Concatenate) for layer in layers)
        # Positions among the non-trainable variables: of the running statistics of batch normalisation, each with its
        # momentum, which is the share of the old value that a call in training mode keeps; and of the layers' seeds.
        self._momentum: dict[int, float] = {}
        self._seed_positions: list[int] = []
        for layer in layers:
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable and not layer.renorm:
                for variable in (layer.moving_mean, layer.moving_variance):
                    self._momentum[index[id(variable)]] = float(layer.momentum)
            self._seed_positions += [index[id(g.state)] for g in layer._seed_generators if id(g.state) in index]

    @property
    def is_dense_chain(self) -> bool:
        """Whether the model is a plain chain of Dense layers, for which a stack of θ takes batched matrix products."""
        return self._dense_chain is not None

    @property
    def dense_layers(self) -> list[tuple[Callable, bool]]:
        """(activation, use_bias) of each layer of a plain chain of Dense layers; empty for another model."""
        return self._dense_chain or []

    @property
    def has_statistics(self) -> bool:
        """Whether the model has batch normalisation, whose statistics for prediction come from training data."""
        return bool(self._momentum)

    @property
    def draws_noise(self) -> bool:
        """Whether the model has layers that draw noise in training mode."""
        return bool(self._seed_positions)

    @property
    def structure(self) -> Hashable:
        """The key of what shapes a compiled call of the network, which names of layers do not.

        Raises:
            NotShareable: if the function of θ and x depends on more than the configuration of Keras's own layers.
        """
        # With both, batch normalisation may run in inference mode with the model's own statistics.
        statistics_and_noise = bool(self._momentum and self._seed_positions)
        known = {*self._momentum, *self._seed_positions}
        if statistics_and_noise or len(known) < len(self.model.non_trainable_variables):
            raise NotShareable("The network has variables that are not passed to its compiled functions.")
        return tuple(self.shapes), structure_of_model(self.model)

    def flatten(self, weights: Sequence) -> tf.Tensor:
        """Concatenate weights, [..., *shape] each, to θ [..., D]."""
        lead = [len(w.shape) - len(s) for w, s in zip(weights, self.shapes, strict=True)]
        return tf.concat(
            [tf.reshape(w, [*w.shape[:n], size]) for w, n, size in zip(weights, lead, self.sizes, strict=True)],
            axis=-1,
        )

    def unflatten(self, theta: tf.Tensor) -> list[tf.Tensor]:
        """Split θ [..., D] into the weights, [..., *shape] each."""
        lead = theta.shape[:-1]
        return [
            tf.reshape(part, [*lead, *shape])
            for part, shape in zip(tf.split(theta, self.sizes, axis=-1), self.shapes, strict=True)
        ]

    def init(self, seed: int, n: int) -> tf.Tensor:
        """Return `n` draws of θ from the layers' own Keras initialisers, [n, D]."""
        draw = [_initializer(self.model, variable) for variable in self.model.trainable_variables]
        return tf.stack([self.flatten([f(host_seed(seed, i, j)) for j, f in enumerate(draw)]) for i in range(n)])

    def stack(self, theta: tf.Tensor) -> list[tf.Tensor]:
        """Return the weights of θ [..., D] in the form that `forward` takes.

        A loop that calls `forward` many times with one θ calls `stack` once, before the loop.
        """
        weights = self.unflatten(theta)
        if self._dense_chain is not None and theta.shape.rank > 1:
            kernels = [w for w, shape in zip(weights, self.shapes, strict=True) if len(shape) == 2]
            weights += [tf.linalg.matrix_transpose(kernel) for kernel in kernels]
        return weights

    def forward(
        self, weights: list[tf.Tensor], x, training: bool = False, seed=None, statistics: Sequence[tf.Tensor] = ()
    ):
        """Return the outputs, [B, ...] or [S, B, ...].

        Args:
            weights: from `stack`, of θ [D] or [S, D].
            x: inputs, [B, ...] or [S, B, ...].
            training: whether layers run in training mode.
            seed: a seed pair, required in training mode if layers draw noise.
            statistics: from `statistics`, for batch normalisation in inference mode; the model's own if empty.

        Raises:
            ValueError: if x does not have one batch for each of the S θ, or does not fit the network.
        """
        stacked = weights[0].shape.rank > len(self.shapes[0])
        if stacked and any(a.shape[0] != weights[0].shape[0] for a in tf.nest.flatten(x)):
            raise ValueError(
                f"Invalid `x`: expected shape [S, B, ...] with S = {weights[0].shape[0]}, as in theta [S, D]. "
                f"Received: {[tuple(a.shape) for a in tf.nest.flatten(x)]}"
            )
        if self._dense_chain is not None:
            if len(x.shape) != 2 + stacked or x.shape[-1] != self.shapes[0][0]:
                raise ValueError(
                    f"Invalid `x`: expected shape {'[S, B, F]' if stacked else '[B, F]'} with F = {self.shapes[0][0]}, "
                    f"the network's inputs. Received: {x.shape}"
                )
            x = tf.cast(x, tf.float32)
            return self._dense_outputs(weights, x, stacked)
        return self._call(weights, x, training, seed, statistics, stacked)[0]

    def output_mask(self, x, stacked: bool = False) -> tf.Tensor | None:
        """Return which time steps of the outputs count, 1 or 0, [B, T] or [S, B, T]; None if the network masks none.

        In a graph this does not compute the outputs.

        Args:
            x: inputs, [B, ...] or [S, B, ...].
            stacked: whether inputs are [S, B, ...].
        """
        if not self.may_mask:
            return None
        rows = tf.nest.map_structure(lambda a: tf.reshape(a, [-1, *a.shape[2:]]), x) if stacked else x
        with keras.StatelessScope():
            mask = getattr(tf.nest.flatten(self.model(rows, training=False))[0], "_keras_mask", None)
        if mask is None:
            return None
        lead = tf.nest.flatten(x)[0].shape[: 1 + stacked]
        return tf.reshape(tf.cast(mask, tf.float32), [*lead, *mask.shape[1:]])

    def _dense_outputs(self, weights: list[tf.Tensor], x: tf.Tensor, stacked: bool) -> tf.Tensor:
        """Return the outputs of a chain of Dense layers."""
        return (_stacked_dense if stacked else _dense)(self._dense_chain, weights, x)

    def statistics(self, theta: tf.Tensor, x) -> list[tf.Tensor]:
        """Return the mean and variance of each batch normalisation for the rows x under θ, [C] or [S, C] each.

        All rows are one batch, and each layer gets what the layers before it return in training mode.

        Args:
            theta: [D] or [S, D].
            x: inputs, [B, ...] or [S, B, ...].
        """
        weights, stacked = self.unflatten(theta), theta.shape.rank > 1
        seed = tf.constant([0, 0]) if self._seed_positions else None
        # From a running statistic of 0, one call in training mode leads to (1 - momentum) times the batch's statistic.
        widths = [int(self.model.non_trainable_variables[i].shape[0]) for i in self._momentum]
        zeros = [tf.zeros([*theta.shape[:-1], width]) for width in widths]
        after = self._call(weights, x, True, seed, zeros, stacked)[1]
        return [a / (1.0 - momentum) for a, momentum in zip(after, self._momentum.values(), strict=True)]

    def __call__(self, theta: tf.Tensor, x, training: bool = False, seed=None, statistics: Sequence[tf.Tensor] = ()):
        """Return outputs [B, ...] for θ [D] and x [B, ...], or [S, B, ...] for θ [S, D] and x [S, B, ...].

        The other arguments are those of `forward`.
        """
        return self.forward(self.stack(theta), x, training, seed, statistics)

    def _call(self, weights, x, training: bool, seed, statistics: Sequence[tf.Tensor], stacked: bool):
        """Return the outputs, and the running statistics of batch normalisation after the call."""
        seeds = [fold_in(seed, n) for n in range(len(self._seed_positions))] if seed is not None else []
        if not stacked:
            return self._stateless_call(weights, x, training, seeds, statistics)
        # One seed for each θ, or all would get the same noise. Split here, because the map would split them serially.
        seeds = [tf.stack(split(s, weights[0].shape[0])) for s in seeds]
        one = lambda args: self._stateless_call(list(args[0]), args[1], training, *args[2:])
        args = tuple(weights), x, tuple(seeds), tuple(statistics)
        if self._concatenates and weights[0].shape[0] <= _MAX_UNROLLED:
            each = [one(tf.nest.map_structure(lambda a: a[s], args)) for s in range(weights[0].shape[0])]  # noqa: B023
            return tf.nest.map_structure(lambda *parts: tf.stack(parts), *each)
        return self._map_draws(one, args)

    def _map_draws(self, one: Callable, args):
        """Return one(args) for each draw, the first axis of all arguments and results."""
        return tf.vectorized_map(one, args)

    def _stateless_call(self, weights: list[tf.Tensor], x, training: bool, seeds, statistics: Sequence[tf.Tensor]):
        """Return the same as `_call`, for one θ and a seed for each layer that draws noise."""
        variables = self.model.non_trainable_variables
        running = [variables[i] for i in self._momentum]
        values = [*zip(running, statistics, strict=False)]  # without `statistics` the model's own stay
        values += zip((variables[i] for i in self._seed_positions), seeds, strict=False)
        values = [(variable, tf.cast(value, variable.dtype)) for variable, value in values]
        trained = zip(self.model.trainable_variables, weights, strict=False)  # transposes may follow the weights
        # Keras's own `stateless_call` passes `training` only to models whose `call` has that argument.
        with keras.StatelessScope(state_mapping=[*trained, *values]):
            outputs = self.model(x, training=training)
            after = tuple(tf.identity(variable.value) for variable in running)
        # Layers of a mixed-precision policy return 16 bits.
        return tf.nest.map_structure(lambda a: tf.cast(a, tf.float32), outputs), after


def _may_mask(layer: keras.layers.Layer) -> bool:
    """Return whether a layer can make a mask of time steps: Masking, Embedding, or a layer of the user's own."""
    own = not type(layer).__module__.startswith("keras.") and type(layer).compute_mask is not keras.Layer.compute_mask
    return own or isinstance(layer, keras.layers.Masking) or bool(getattr(layer, "mask_zero", False))


def map_one_by_one(function: Callable, args):
    """Return function(args) for each entry of the first axis of all arguments, one after the other in a loop."""
    first = function(tf.nest.map_structure(lambda a: a[0], args))  # for its shapes: the graph drops it
    like = tf.nest.map_structure(lambda a: tf.TensorSpec(a.shape, a.dtype), first)
    return tf.map_fn(function, args, fn_output_signature=like)


def check_activation(name: str, value: Any) -> str | Callable:
    """Return `value`, or raise ValueError unless it is a function or the name of a Keras activation."""
    try:
        known = callable(value) or (isinstance(value, str) and callable(keras.activations.get(value)))
    except ValueError:
        known = False
    if not known:
        raise ValueError(
            f"Invalid `{name}`: expected a Keras activation, such as 'swish' or 'tanh'. Received: {name}={value!r}."
        )
    return value


def last_layer(
    network: Network, weights: Sequence[tf.Tensor], x, offset: int, statistics: Sequence[tf.Tensor] = ()
) -> tuple[tf.Tensor, list[tuple[Callable, bool]], list[tf.Tensor]]:
    """Return the inputs [..., B, F] of the last Dense layer, its (activation, use_bias) in a list, and its weights.

    Args:
        network: a chain of Dense layers, or a network with a `last_dense`.
        weights: from `Network.unflatten`, of θ [D] or [S, D].
        x: inputs, [B, ...] or [S, B, ...].
        offset: the number of weights before those of the last layer.
        statistics: as in `Network.forward`.
    """
    if network.is_dense_chain:
        layers, x, remaining = network.dense_layers, tf.cast(x, tf.float32), iter(weights)
        for activation, use_bias in layers[:-1]:
            x = tf.matmul(x, next(remaining))
            x = activation(x + next(remaining)[..., tf.newaxis, :] if use_bias else x)
        return x, layers[-1:], list(remaining)
    layer, before = cast(Any, last_dense(network, offset))
    stacked = weights[0].shape.rank > len(network.shapes[0])
    x = before._call(weights, x, False, None, statistics, stacked)[0]
    return x, [(layer.activation, layer.use_bias)], list(weights[-1 - layer.use_bias :])


def last_kernel(network: Network) -> int:
    """Return the index of the last weight of at least two axes, or 0 if there is none."""
    return max((i for i, shape in enumerate(network.shapes) if len(shape) >= 2), default=0)


def is_linear_in(network: Network, offset: int) -> bool:
    """Return whether the weights from `offset` on are those of a Dense layer without activation that gives the outputs.

    Args:
        network: the network.
        offset: the number of entries of θ before the last kernel.
    """
    if network.is_dense_chain:
        return network.dense_layers[-1][0] is keras.activations.linear
    found = last_dense(network, offset)
    return found is not None and found[0].activation is keras.activations.linear


def last_dense(network: Network, offset: int) -> tuple[keras.layers.Dense, Network] | None:
    """Return the Dense layer that computes the outputs, and the network of its inputs, [B, F].

    None if the model is not known as a graph of layers, or the weights from `offset` on are not those of such a layer.
    """
    model = getattr(network.model, "_functional", None) or network.model
    if not isinstance(model, keras.models.Model) or len(getattr(model, "outputs", None) or []) != 1:
        return None
    layer, index, _ = model.outputs[0]._keras_history
    if type(layer) is not keras.layers.Dense or not layer.trainable or layer.compute_dtype != "float32":
        return None
    own = [layer.kernel, *([layer.bias] if layer.use_bias else [])]
    trained = network.model.trainable_variables
    inputs = layer._inbound_nodes[index].input_tensors[0]
    is_last = [id(v) for v in trained[-len(own) :]] == [id(v) for v in own]
    if not is_last or sum(network.sizes[: -len(own)]) != offset or len(inputs.shape) != 2:
        return None
    before = copy(network)
    before.model = keras.Model(model.inputs, inputs)
    same = lambda a, b: [id(v) for v in a] == [id(v) for v in b]
    if not same(before.model.trainable_variables, trained[: -len(own)]) or not same(
        before.model.non_trainable_variables, network.model.non_trainable_variables
    ):
        return None
    return layer, before


def _check_model(model: keras.Model) -> None:
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Invalid Keras backend: expected 'tensorflow'. "
            f"Received: {keras.backend.backend()!r}. Set KERAS_BACKEND=tensorflow before importing keras."
        )
    check_instance("model", model, keras.Model, "a built Keras model")
    if not model.built:
        raise ValueError(
            f"Invalid `model`: expected a built Keras model. Received: {model.name!r}, which has no weights yet. "
            "Give it an Input layer, or call it once on an example."
        )
    if not model.trainable_variables:
        raise ValueError(
            "Invalid `model`: expected at least one trainable weight. "
            f"Received: {model.name!r} with none. Set `trainable = True` on the layers to be inferred."
        )
    other = [v.path for v in model.trainable_variables if v.dtype != "float32"]
    if other:
        raise ValueError(
            f"Invalid `model`: expected trainable weights of type float32. Received: others at {other}. "
            "Build the model under keras.config.set_dtype_policy('float32')."
        )


def _dense_chain(model: keras.Model) -> list[tuple[Callable, bool]] | None:
    """Return (activation, use_bias) of each layer if `model` is a plain chain of Dense layers on rows, else None.

    A stack of such chains becomes batched matrix products, several times faster than mapping over the model.
    """
    layers = [layer for layer in getattr(model, "layers", []) if not isinstance(layer, keras.layers.InputLayer)]
    if not isinstance(model, keras.Sequential):
        return None
    plain = all(
        type(layer) is keras.layers.Dense and layer.compute_dtype == "float32" and not layer._layers for layer in layers
    )
    # The counts differ if a layer is frozen, whose weights are not trainable, or used twice, whose weights come once.
    if not plain or len(model.trainable_variables) != sum(1 + layer.use_bias for layer in layers):
        return None
    if len(model.inputs[0].shape) != 2:  # of [B, T, F], the products below would take B for S
        return None
    return [(layer.activation, layer.use_bias) for layer in layers]


def _dense(chain, weights: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    remaining = iter(weights)
    for activation, use_bias in chain:
        x = tf.matmul(x, next(remaining))
        x = activation(x + next(remaining) if use_bias else x)
    return x


def _stacked_dense(chain, weights: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    remaining, transposes = iter(weights), iter(weights[-len(chain) :])
    for activation, use_bias in chain:
        x = matmul(x, next(remaining), next(transposes))
        x = activation(x + next(remaining)[:, tf.newaxis] if use_bias else x)
    return x


def matmul(x: tf.Tensor, kernel: tf.Tensor, transpose: tf.Tensor) -> tf.Tensor:
    """Return x @ kernel, [S, B, out], whose gradient in x uses the given transpose of the kernel.

    By default XLA on CPU transposes the kernel in every backward step of a rollout, which costs more than the product.
    """

    @tf.custom_gradient
    def product(x, kernel):
        def grad(g):
            return tf.matmul(g, transpose), tf.matmul(x, g, transpose_a=True)

        return tf.matmul(x, kernel), grad

    return product(x, kernel)


def _initializer(model: keras.Model, variable) -> Callable[[int], tf.Tensor]:
    """Return the function from a seed to a draw for `variable`, from the initialiser of the layer that owns it."""
    layer = next(
        layer
        for layer in model._flatten_layers()
        if any(variable is own for own in [*layer._trainable_variables, *layer._non_trainable_variables])
    )
    initializer = getattr(layer, _INITIALIZER_OF.get(variable.name, f"{variable.name}_initializer"), None)
    if not isinstance(initializer, keras.initializers.Initializer):
        return lambda seed: _permuted(variable, seed)
    config = initializer.get_config()

    def draw(seed: int) -> tf.Tensor:
        seeded = type(initializer).from_config({**config, "seed": seed}) if "seed" in config else initializer
        value = tf.convert_to_tensor(seeded(variable.shape, dtype=variable.dtype))
        if getattr(layer, "unit_forget_bias", False) and variable.name == "bias":
            i, f, c, o = tf.split(value, 4)
            value = tf.concat([i, tf.ones_like(f), c, o], axis=0)  # as keras.layers.LSTMCell builds it
        return value

    return draw


def _permuted(variable, seed: int) -> tf.Tensor:
    """Return the entries of `variable` in random order.

    The initialiser of a user's own layer is not known. The entries of its draw are exchangeable, so a permutation of
    them is a draw too; constants stay as they are.
    """
    values = np.random.default_rng(seed).permutation(np.asarray(variable).ravel())
    return tf.constant(values.reshape(variable.shape))
