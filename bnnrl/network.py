"""A Keras model as a pure function of one flat vector, for one vector or for many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from bnnrl.seeds import fold_in, host_seed, split

# Keras names most initialisers after their weight; these are the exceptions.
_INITIALIZER_OF = {
    "recurrent_kernel": "recurrent_initializer",
    "depthwise_kernel": "depthwise_initializer",
    "pointwise_kernel": "pointwise_initializer",
}


_MOST_UNROLLED = 16  # networks that are written side by side into a graph; prediction's draws are more


class Network:
    """The function (θ, x) -> outputs of a built Keras model.

    θ is the concatenation of the model's trainable weights, each flattened, in Keras's order. Where θ has a
    leading axis [S, D], the outputs have it too, and x is [S, B, ...]. A model of several inputs takes them as Keras
    does, in a list, tuple or dictionary.

    Layers run in inference mode unless told to train. Then batch normalisation uses the batch's own statistics, and
    layers that draw noise, such as Dropout, draw it, anew for each θ. A frozen layer (`trainable = False`) is a
    constant.

    Raises:
        ValueError: if the model is not built, has no trainable weights, or some that are not float32.
    """

    def __init__(self, model: keras.Model):
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                "Invalid Keras backend: expected 'tensorflow'. "
                f"Received: {keras.backend.backend()!r}. Set KERAS_BACKEND=tensorflow before importing keras."
            )
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
        odd = [v.path for v in model.trainable_variables if v.dtype != "float32"]
        if odd:
            raise ValueError(
                f"Invalid `model`: expected trainable weights of type float32. Received: others at {odd}. "
                "Build the model under keras.config.set_dtype_policy('float32')."
            )
        self.model = model
        self.paths = [v.path for v in model.trainable_variables]
        self.shapes = [tuple(v.shape) for v in model.trainable_variables]
        self.sizes = [int(np.prod(s)) for s in self.shapes]
        self.num_params = sum(self.sizes)
        self._dense_chain = _dense_chain(model)
        layers, constants = model._flatten_layers(), [id(v) for v in model.non_trainable_variables]
        # XLA compiles a mapped concatenation anew at every call, which takes longer than some networks side by side.
        self._concatenates = any(isinstance(layer, keras.layers.Concatenate) for layer in layers)
        # Where the running statistics of batch normalisation stand among the variables that are not trained, with the
        # share of the old ones that a call in training keeps; and where the seeds of the layers that draw noise stand.
        self._statistics: dict[int, float] = {}
        self._seeds: list[int] = []
        for layer in layers:
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable and not layer.renorm:
                for variable in (layer.moving_mean, layer.moving_variance):
                    self._statistics[constants.index(id(variable))] = float(layer.momentum)
            self._seeds += [constants.index(id(g.state)) for g in layer._seed_generators if id(g.state) in constants]

    @property
    def is_dense_chain(self) -> bool:
        """Whether it is a plain chain of Dense layers, of which stacked copies are batched matrix products."""
        return self._dense_chain is not None

    @property
    def has_statistics(self) -> bool:
        """Whether it normalises by a batch's statistics, which prediction needs from training data."""
        return bool(self._statistics)

    @property
    def draws_noise(self) -> bool:
        """Whether layers draw noise in training."""
        return bool(self._seeds)

    def flatten(self, weights: Sequence) -> tf.Tensor:
        """Concatenate weights, [..., *shape] each, to θ [..., D]."""
        lead = [len(w.shape) - len(s) for w, s in zip(weights, self.shapes, strict=True)]
        return tf.concat(
            [tf.reshape(w, [*w.shape[:n], size]) for w, n, size in zip(weights, lead, self.sizes, strict=True)],
            axis=-1,
        )

    def unflatten(self, theta: tf.Tensor) -> list[tf.Tensor]:
        """Cut θ [..., D] into the weights, [..., *shape] each."""
        lead = theta.shape[:-1]
        return [
            tf.reshape(part, [*lead, *shape])
            for part, shape in zip(tf.split(theta, self.sizes, axis=-1), self.shapes, strict=True)
        ]

    def init(self, seed: int, n: int) -> tf.Tensor:
        """Return `n` fresh draws of the network's own Keras initialisers, [n, D]."""
        draw = [_initializer(self.model, variable) for variable in self.model.trainable_variables]
        return tf.stack([self.flatten([f(host_seed(seed, i, j)) for j, f in enumerate(draw)]) for i in range(n)])

    def stack(self, theta: tf.Tensor) -> list[tf.Tensor]:
        """Return the weights of θ [..., D] in the form `forward` consumes.

        Do it once outside a loop that calls `forward` many times.
        """
        weights = self.unflatten(theta)
        if self._dense_chain is not None and theta.shape.rank > 1:
            kernels = [w for w, shape in zip(weights, self.shapes, strict=True) if len(shape) == 2]
            weights += [tf.linalg.matrix_transpose(kernel) for kernel in kernels]
        return weights

    def forward(
        self, weights: list[tf.Tensor], x, training: bool = False, seed=None, statistics: Sequence[tf.Tensor] = ()
    ):
        """Return outputs for weights with leading axes matching those of x, [S, B, ...], or none at all.

        Args:
            weights: from `stack`.
            x: inputs.
            training: whether layers run in training mode.
            seed: a seed pair for the layers that draw noise, which need one in training.
            statistics: from `statistics`, for batch normalisation in inference mode; the model's own if empty.

        Raises:
            ValueError: if x has not one batch for each of the S draws, or does not fit the network.
        """
        stacked = weights[0].shape.rank > len(self.shapes[0])
        if stacked and any(a.shape[0] != weights[0].shape[0] for a in tf.nest.flatten(x)):
            raise ValueError(
                f"Invalid `x`: expected shape [S, B, ...] with S = {weights[0].shape[0]}, the draws of theta. "
                f"Received: {[tuple(a.shape) for a in tf.nest.flatten(x)]}"
            )
        if self._dense_chain is not None:
            if len(x.shape) != 2 + stacked or x.shape[-1] != self.shapes[0][0]:
                raise ValueError(
                    f"Invalid `x`: expected shape {'[S, B, F]' if stacked else '[B, F]'} with F = {self.shapes[0][0]}, "
                    f"the network's inputs. Received: {x.shape}"
                )
            x = tf.cast(x, tf.float32)
            return (_stacked_dense if stacked else _dense)(self._dense_chain, weights, x)
        return self._map(weights, x, training, seed, statistics, stacked)[0]

    def statistics(self, theta: tf.Tensor, x) -> list[tf.Tensor]:
        """Return the batch normalisations' means and variances of the rows x under θ, [..., C] each.

        They are those of the rows as one batch, of every layer given those before it, as in training.
        """
        weights, stacked = self.unflatten(theta), theta.shape.rank > 1
        seed = tf.constant([0, 0]) if self._seeds else None
        widths = [int(self.model.non_trainable_variables[i].shape[0]) for i in self._statistics]
        zeros = [tf.zeros([*theta.shape[:-1], width]) for width in widths]
        after = self._map(weights, x, True, seed, zeros, stacked)[1]
        return [a / (1.0 - momentum) for a, momentum in zip(after, self._statistics.values(), strict=True)]

    def __call__(self, theta: tf.Tensor, x, training: bool = False, seed=None, statistics: Sequence[tf.Tensor] = ()):
        """Return outputs [B, ...] for θ [D] and x [B, ...], or [S, B, ...] for θ [S, D] and x [S, B, ...]."""
        return self.forward(self.stack(theta), x, training, seed, statistics)

    def _map(self, weights, x, training: bool, seed, statistics: Sequence[tf.Tensor], stacked: bool):
        """Return outputs, and statistics after the call."""
        seeds = [fold_in(seed, n) for n in range(len(self._seeds))] if seed is not None else []
        if not stacked:
            return self._stateless(weights, x, training, seeds, statistics)
        # One for each draw, or all would get the same masks; outside of the map, which would draw them one by one.
        seeds = [tf.stack(split(s, weights[0].shape[0])) for s in seeds]
        one = lambda args: self._stateless(list(args[0]), args[1], training, *args[2:])
        args = tuple(weights), x, tuple(seeds), tuple(statistics)
        if self._concatenates and weights[0].shape[0] <= _MOST_UNROLLED:
            each = [one(tf.nest.map_structure(lambda a: a[s], args)) for s in range(weights[0].shape[0])]  # noqa: B023
            return tf.nest.map_structure(lambda *parts: tf.stack(parts), *each)
        return tf.vectorized_map(one, args)

    def _stateless(self, weights: list[tf.Tensor], x, training: bool, seeds, statistics: Sequence[tf.Tensor]):
        constants = self.model.non_trainable_variables
        own = [constants[i] for i in self._statistics]
        given = [*zip(own, statistics, strict=False)]  # where none is given, the model's own stand
        given += zip((constants[i] for i in self._seeds), seeds, strict=False)
        given = [(variable, tf.cast(value, variable.dtype)) for variable, value in given]
        trained = zip(self.model.trainable_variables, weights, strict=False)  # transposes may follow the weights
        # The call, and not Keras's `stateless_call`: that hands `training` to models only that take it themselves.
        with keras.StatelessScope(state_mapping=[*trained, *given]):
            outputs = self.model(x, training=training)
            after = tuple(tf.identity(variable.value) for variable in own)
        # A mixed policy computes in 16 bits.
        return tf.nest.map_structure(lambda a: tf.cast(a, tf.float32), outputs), after


def _dense_chain(model: keras.Model) -> list[tuple[Callable, bool]] | None:
    """Return (activation, has bias) of each Dense layer when `model` is a plain chain of them on rows, else None.

    Such a chain becomes batched matrix products, several times faster than mapping over the model.
    """
    layers = [layer for layer in getattr(model, "layers", []) if not isinstance(layer, keras.layers.InputLayer)]
    if not isinstance(model, keras.Sequential):
        return None
    plain = all(
        type(layer) is keras.layers.Dense and layer.compute_dtype == "float32" and not layer._layers for layer in layers
    )
    # Of a layer that is frozen or used twice the weights are not there, or not there again.
    if not plain or len(model.trainable_variables) != sum(1 + layer.use_bias for layer in layers):
        return None
    if len(model.inputs[0].shape) != 2:  # [B, T, K]: the stacked products below would take B for S
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
        x = _product(x, next(remaining), next(transposes))
        x = activation(x + next(remaining)[:, tf.newaxis] if use_bias else x)
    return x


def _product(x: tf.Tensor, kernel: tf.Tensor, transpose: tf.Tensor) -> tf.Tensor:
    """Return x @ kernel, [S, B, out], whose gradient in x uses the kernel's transpose.

    Without it, XLA on CPU transposes the kernel in every backward step of a rollout, which costs more than the product.
    """

    @tf.custom_gradient
    def product(x, kernel):
        def grad(g):
            return tf.matmul(g, transpose), tf.matmul(x, g, transpose_a=True)

        return tf.matmul(x, kernel), grad

    return product(x, kernel)


def _initializer(model: keras.Model, variable) -> Callable[[int], tf.Tensor]:
    """Return the function from a seed to a fresh draw for `variable`, by the initialiser of the layer that owns it."""
    layer = next(
        layer
        for layer in model._flatten_layers()
        if any(variable is own for own in [*layer._trainable_variables, *layer._non_trainable_variables])
    )
    initializer = getattr(layer, _INITIALIZER_OF.get(variable.name, f"{variable.name}_initializer"), None)
    if not isinstance(initializer, keras.initializers.Initializer):
        return lambda seed: _shuffled(variable, seed)
    config = initializer.get_config()

    def draw(seed: int) -> tf.Tensor:
        seeded = type(initializer).from_config({**config, "seed": seed}) if "seed" in config else initializer
        value = tf.convert_to_tensor(seeded(variable.shape, dtype=variable.dtype))
        if getattr(layer, "unit_forget_bias", False) and variable.name == "bias":
            i, f, c, o = tf.split(value, 4)
            value = tf.concat([i, tf.ones_like(f), c, o], axis=0)  # as keras.layers.LSTMCell builds it
        return value

    return draw


def _shuffled(variable, seed: int) -> tf.Tensor:
    """Return the entries of `variable` in another order.

    A layer of the user's own keeps its initialiser to itself. Its entries are exchangeable draws of it, so their
    shuffle is another one; a constant stays what it is.
    """
    values = np.random.default_rng(seed).permutation(np.asarray(variable).ravel())
    return tf.constant(values.reshape(variable.shape))
