"""Layers of candidate ops, and the module that holds the candidates of a position."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import he_normal, zeros
from jaxtyping import Array, Float, Int

from datafree_nas.layers import convolution
from datafree_nas.layers.switch import switch
from datafree_nas.runtime import lowering


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Paths:
    """Gates that run `m` weighted ops at every position; `gates[position]` selects one position.

    Attributes:
        index: `[positions m]`, indices of the ops.
        weight: `[positions m]`, weights of the same ops.
    """

    index: Int[Array, "*positions m"]
    weight: Float[Array, "*positions m"]

    def __getitem__(self, position: int | slice) -> "Paths":
        """Returns the paths of one position, or of a range of positions."""
        return Paths(self.index[position], self.weight[position])


# gate of one position: the index of an op, a weight for each op, or a few weighted ops
Gate = Int[Array, ""] | Float[Array, "ops"] | Paths
# gates of all positions
Gates = Int[Array, "positions"] | Float[Array, "positions ops"] | Paths


class Mixed(nn.Module):
    """The candidates of one position, of which the gate runs one, or a weighted sum of several.

    Attributes:
        ops: names of the candidates.
        build: function `(op, in_switch, name=..., parent=...) -> module`; the module is called as
            `module(x, train)`.
        position: index of the position in the space; read by `candidates.collect`.
    """

    ops: tuple[str, ...]
    build: Callable[..., nn.Module]
    position: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], gate: Gate, train: bool) -> Array:
        """Runs the candidates that the gate chooses."""
        if self.is_initializing():
            return self._weighted([1.0] * len(self.ops), x, train)
        if isinstance(gate, Paths):
            chosen = zip(gate.index, gate.weight, strict=True)
            terms = (jnp.asarray(w, x.dtype) * self._chosen(i, x, train) for i, w in chosen)
            return sum(terms, jnp.zeros((), x.dtype))
        return self._weighted(gate, x, train) if gate.ndim else self._chosen(gate, x, train)

    def _weighted(self, weights: Any, x: Array, train: bool) -> Array:
        """Returns the weighted sum of the outputs of all candidates; extra weights are ignored."""
        candidates = [self.build(op, False, name=op) for op in self.ops]
        terms = (
            jnp.asarray(weights[i], x.dtype) * candidate(x, train)
            for i, candidate in enumerate(candidates)
        )
        return sum(terms, jnp.zeros((), x.dtype))

    def _chosen(self, index: Int[Array, ""], x: Array, train: bool) -> Array:
        """Runs one candidate and, in train mode, stores its new BatchNorm statistics."""
        params, stats = (self.variables.get(name, {}) for name in ("params", "batch_stats"))
        candidates = [self._candidate(op, train) for op in self.ops]
        y, stats = switch(index, candidates, params, stats, x)
        if train:
            for op, new in stats.items():
                self.put_variable("batch_stats", op, new)
        return y

    def _candidate(self, op: str, train: bool) -> Callable[[Any, Any, Array], tuple[Array, Any]]:
        """Builds a branch for `switch`.

        Returns:
            A function `(params, statistics, x) -> (y, statistics)`. Params and statistics are those
            of all candidates, because all branches of a switch need the same types.
        """
        module = self.build(op, True, parent=None)

        def run(params: Any, stats: Any, x: Array) -> tuple[Array, Any]:
            variables = {"params": params.get(op, {}), "batch_stats": stats.get(op, {})}
            y, new = module.apply(variables, x, train, mutable=["batch_stats"])
            own = {op: new["batch_stats"]} if op in stats else {}
            return y, jax.lax.stop_gradient({**stats, **own})

        return run


def searched(
    build: Callable[..., nn.Module],
    names: Sequence[str],
    position: int,
    architecture: Sequence[int] | None,
    gates: Gates | None,
    name: str,
) -> Callable[[Array, bool], Array]:
    """Makes one position: of a network the chosen op, of a supernet all candidates.

    Args:
        build: function `(op, in_switch, in_supernet=..., name=..., parent=...) -> module`.
        names: names of the candidates.
        position: number of the position.
        architecture: op index of every position of a network; None for the supernet.
        gates: gates of every position of the supernet; None for a network.
        name: name of the module.

    Returns:
        A function `(x, train) -> y`.
    """
    if architecture is not None:
        op = build(names[architecture[position]], False, in_supernet=False, name=name)
        return lambda x, train: op(x, train)
    assert gates is not None
    mixed = Mixed(tuple(names), partial(build, in_supernet=True), position, name=name)
    return lambda x, train: mixed(x, gates[position], train)


class Norm(nn.Module):
    """BatchNorm; in a supernet it keeps statistics of the last batch only, see `Space.supernet`.

    Attributes:
        in_supernet: whether the layer is part of a supernet, or else of a single network.
        affine: whether it has scale and bias.
        epsilon: constant added to the variance.
    """

    in_supernet: bool
    affine: bool = True
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Normalizes `x`; in train mode with the statistics of the batch."""
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.0 if self.in_supernet else 0.9,
            epsilon=self.epsilon,
            use_bias=self.affine,
            use_scale=self.affine,
            name="norm",
        )
        if lowering.sums_by_rows():
            return norm(x.reshape(-1, x.shape[-1])).reshape(x.shape)
        return norm(x)


class Conv(nn.Module):
    """A convolution with a square kernel, padded by half the kernel.

    Attributes:
        features: output channels.
        kernel: side of the kernel, an odd number.
        stride: step in both directions, in pixels.
        use_bias: whether a bias is added.
        in_switch: whether the layer is inside control flow, see `convolution.conv`.
    """

    features: int
    kernel: int
    stride: int = 1
    use_bias: bool = False
    in_switch: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j k"]:
        """Computes the convolution."""
        k = self.kernel
        kernel = self.param("kernel", he_normal(), (k, k, x.shape[-1], self.features))
        y = convolution.conv(x, kernel, self.stride, self.in_switch)
        return y + self.param("bias", zeros, (self.features,)) if self.use_bias else y


def average_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Averages over 3x3 windows with stride 1; padding does not count in the mean.

    The pixel counts of the windows are computed here: with `nn.avg_pool`, XLA would spend seconds
    of its compilation on counting ones over the whole batch.
    """
    rows, columns = (_neighbours(side) for side in x.shape[1:3])
    counts = np.outer(rows, columns)[None, :, :, None].astype(x.dtype)
    if lowering.sums_by_shifts():
        return _three(_three(x, 1), 2) / counts
    return nn.pool(x, 0.0, jax.lax.add, (3, 3), (1, 1), "SAME") / counts


def _three(x: Array, axis: int) -> Array:
    """Adds to every element its two neighbours along an axis; outside there are zeros."""
    size, padding = x.shape[axis], [(0, 0)] * x.ndim
    padding[axis] = (1, 1)
    padded = jnp.pad(x, padding)
    first, second, third = (
        jax.lax.slice_in_dim(padded, start, start + size, axis=axis) for start in range(3)
    )
    return first + second + third


def _neighbours(side: int) -> np.ndarray:
    """Counts, for every element of a line of `side` elements, itself and its neighbours."""
    place = np.arange(side)
    return np.minimum(place + 1, side - 1) - np.maximum(place - 1, 0) + 1
