"""The networks of the DARTS space: cells, the network around them, and the supernet.

In the supernet the cells have BatchNorm without affine parameters, and one more BatchNorm after
every pool, as in the release; the stems are affine in both. Modules have the names that they have
in the release.
"""

import itertools
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from datafree_nas.layers.depthwise import DepthwiseConv
from datafree_nas.spaces import ops
from datafree_nas.spaces.genotype import NODES

OPS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
STEM = 3  # times the channels of the first cell, for small images
EDGES = tuple((source, node + 2) for node in range(NODES) for source in range(node + 2))
SEPARABLE = {  # kernel, dilation, repetitions
    "sep_conv_3x3": (3, 1, 2),
    "sep_conv_5x5": (5, 1, 2),
    "dil_conv_3x3": (3, 2, 1),
    "dil_conv_5x5": (5, 2, 1),
}


class _Weightless(nn.Module):
    """`none`, the identity or a pooling op; in a supernet pooling is followed by BatchNorm."""

    op: str
    stride: int
    in_supernet: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Applies the op."""
        strided = (slice(None), slice(None, None, self.stride), slice(None, None, self.stride))
        if self.op == "none":
            return jnp.zeros_like(x[strided])
        if self.op == "skip_connect":
            return x
        if self.op == "max_pool_3x3":
            y = nn.max_pool(x, (3, 3), (self.stride, self.stride), ((1, 1), (1, 1)))
        else:
            y = ops.average_pool(x)[strided]
        return ops.Norm(True, affine=False, name="bn")(y, train) if self.in_supernet else y


class _Separable(nn.Module):
    """ReLU, depthwise convolution, pointwise convolution and BatchNorm, once or twice in a row."""

    op: str
    stride: int
    in_supernet: bool
    in_switch: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Applies the op."""
        kernel, dilation, repetitions = SEPARABLE[self.op]
        for i in range(repetitions):
            depthwise, pointwise, norm = (f"op.{4 * i + layer}" for layer in (1, 2, 3))
            stride = 1 if i else self.stride
            x = nn.relu(x)
            padding = dilation * (kernel // 2)
            in_switch = self.in_switch
            conv = DepthwiseConv(kernel, stride, padding, dilation, in_switch, name=depthwise)
            x = ops.Conv(x.shape[-1], 1, in_switch=in_switch, name=pointwise)(conv(x))
            x = ops.Norm(self.in_supernet, affine=not self.in_supernet, name=norm)(x, train)
        return x


class _FactorizedReduce(nn.Module):
    """Halves the size by two 1x1 convolutions; the second one starts one pixel down and right."""

    features: int
    in_supernet: bool
    in_switch: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Applies ReLU, both convolutions and BatchNorm."""

        def half(name: str) -> ops.Conv:
            return ops.Conv(self.features // 2, 1, 2, in_switch=self.in_switch, name=name)

        x = nn.relu(x)
        y = jnp.concatenate([half("conv_1")(x), half("conv_2")(x[:, 1:, 1:])], axis=-1)
        return ops.Norm(self.in_supernet, affine=not self.in_supernet, name="bn")(y, train)


class _ReluConv(nn.Module):
    """ReLU, 1x1 convolution and BatchNorm."""

    features: int
    in_supernet: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Applies the layers."""
        y = nn.Conv(self.features, (1, 1), use_bias=False, name="op.1")(nn.relu(x))
        return ops.Norm(self.in_supernet, affine=not self.in_supernet, name="op.2")(y, train)


def _op(
    op: str, in_switch: bool = False, *, stride: int, features: int, in_supernet: bool, **place: Any
) -> Any:
    """Builds the module of one edge, with `features` channels at both ends.

    Args:
        op: name of the op.
        in_switch: whether the module is inside control flow, see `ops.Conv`.
        stride: step in both directions, in pixels.
        features: input channels, and as many output channels.
        in_supernet: whether the module is part of a supernet.
        **place: name and parent of the module.
    """
    if op in SEPARABLE:
        return _Separable(op, stride, in_supernet, in_switch, **place)
    if op == "skip_connect" and stride == 2:
        return _FactorizedReduce(features, in_supernet, in_switch, **place)
    return _Weightless(op, stride, in_supernet, **place)


def _sum(terms: list[Array]) -> Array:
    """Adds up arrays, without a zero at the start."""
    return sum(terms[1:], terms[0])


class CellPlan(NamedTuple):
    """Settings of one cell of the network.

    Attributes:
        features: channels of every node.
        reduction: whether the cell halves the size.
        after_reduction: whether the first input has twice the size of the second one, because a
            reduction cell or the stem for ImageNet comes just before.
    """

    features: int
    reduction: bool
    after_reduction: bool


def cell_plans(channels: int, cells: int, imagenet: bool) -> list[CellPlan]:
    """Plans all cells; reduction cells at 1/3 and 2/3 of the depth double the channels."""
    plan: list[CellPlan] = []
    reduction = imagenet  # the stems' outputs differ in size
    for cell in range(cells):
        after_reduction, reduction = reduction, cell in (cells // 3, 2 * cells // 3)
        channels *= 2 if reduction else 1
        plan.append(CellPlan(channels, reduction, after_reduction))
    return plan


class _Cell(nn.Module):
    """One cell; its ops are named `edgeJ` in a supernet and `_ops.K` in a single network.

    Attributes:
        plan: settings of the cell.
        chosen: op index of each edge of the cell, or None for the supernet.
    """

    plan: CellPlan
    chosen: tuple[int, ...] | None

    @nn.compact
    def __call__(
        self,
        before_last: Array,
        last: Array,
        gates: ops.Gates | None,
        train: bool,
        drop_path: float | Array,
    ) -> Array:
        """Applies the cell to the outputs of the two cells before it."""
        features, reduction, after_reduction = self.plan
        shared: dict[str, Any] = {"features": features, "in_supernet": self.chosen is None}
        preprocess = _FactorizedReduce if after_reduction else _ReluConv
        nodes = [
            preprocess(**shared, name="preprocess0")(before_last, train),
            _ReluConv(**shared, name="preprocess1")(last, train),
        ]
        edges, kept = itertools.count(), itertools.count()
        for _ in range(NODES):
            arriving = []
            for source, (x, edge) in enumerate(zip(nodes, edges, strict=False)):
                stride = 2 if reduction and source < 2 else 1
                if self.chosen is None:
                    assert gates is not None
                    build = partial(_op, stride=stride, **shared)
                    position = len(EDGES) * reduction + edge
                    mixed = ops.Mixed(OPS, build, position, name=f"edge{edge}")
                    arriving.append(mixed(x, gates[edge], train))
                elif (op := OPS[self.chosen[edge]]) != "none":
                    y = _op(op, stride=stride, **shared, name=f"_ops.{next(kept)}")(x, train)
                    identity = op == "skip_connect" and stride == 1
                    arriving.append(y if identity else self._dropped(y, train, drop_path))
            nodes.append(_sum(arriving))
        return jnp.concatenate(nodes[2:], axis=-1)

    def _dropped(self, y: Array, train: bool, rate: float | Array) -> Array:
        """Sets `y` to 0 for some images and scales up the others, in train mode alone."""
        if not train or (not isinstance(rate, jax.Array) and rate == 0.0):
            return y
        keep = 1.0 - rate
        mask = jax.random.bernoulli(self.make_rng("drop_path"), keep, (len(y), 1, 1, 1))
        return y * mask / keep


class _AuxiliaryHead(nn.Module):
    """A second classifier on the output of the last reduction cell.

    For ImageNet the second BatchNorm is missing, as in the release, which gave the paper's results.
    """

    num_classes: int
    imagenet: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Computes the logits."""

        def conv(features: int, kernel: int, name: str) -> nn.Conv:
            return nn.Conv(features, (kernel, kernel), padding=0, use_bias=False, name=name)

        stride = auxiliary_stride(self.imagenet)
        x = nn.avg_pool(nn.relu(x), (5, 5), (stride, stride))
        x = ops.Norm(False, name="features.3")(conv(128, 1, "features.2")(x), train)
        x = conv(768, 2, "features.5")(nn.relu(x))
        if not self.imagenet:
            x = ops.Norm(False, name="features.6")(x, train)
        # the mean is over a single pixel at the published image sizes
        return nn.Dense(self.num_classes, name="classifier")(jnp.mean(nn.relu(x), axis=(1, 2)))


def auxiliary_stride(imagenet: bool) -> int:
    """Returns the stride of the pooling in the auxiliary head."""
    return 2 if imagenet else 3


class Network(nn.Module):
    """The supernet or a single network: stem, cells and head.

    Attributes:
        channels: channels of the nodes of the first cell.
        cells: number of cells.
        num_classes: width of the head.
        imagenet: whether the network has the stem for ImageNet, see `Darts`.
        auxiliary: whether the network has an auxiliary head.
        chosen: op index at every position, or None for the supernet.
    """

    channels: int
    cells: int
    num_classes: int
    imagenet: bool
    auxiliary: bool = False
    chosen: tuple[int, ...] | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        gates: ops.Gates | None = None,
        train: bool = False,
        drop_path: float | Float[Array, ""] = 0.0,
    ) -> Float[Array, "b k"]:
        """Computes logits.

        Args:
            x: normalized images.
            gates: gates of the supernet, see `Space.supernet`; None for a single network.
            train: whether BatchNorm uses the statistics of the batch. The logits of an auxiliary
                head are then put into the collection `auxiliary`, if it is mutable.
            drop_path: probability that an op other than the identity is left out for an image in
                train mode (Larsson et al. 2017). Unless it is 0.0, it needs the random stream
                `drop_path`.
        """
        before_last, last = self._imagenet_stem(x, train) if self.imagenet else self._stem(x, train)
        for i, plan in enumerate(cell_plans(self.channels, self.cells, self.imagenet)):
            edges = slice(len(EDGES), None) if plan.reduction else slice(len(EDGES))
            chosen = None if self.chosen is None else self.chosen[edges]
            cell = _Cell(plan, chosen, name=f"cells.{i}")
            of_cell = None if gates is None else gates[edges]
            before_last, last = last, cell(before_last, last, of_cell, train, drop_path)
            if self.auxiliary and i == 2 * self.cells // 3:
                self._auxiliary(last, train)
        return nn.Dense(self.num_classes, name="classifier")(jnp.mean(last, axis=(1, 2)))

    def _stem(self, x: Array, train: bool) -> tuple[Array, Array]:
        """Computes the two inputs of the first cell, which are equal."""
        x = self._conv_norm(x, STEM * self.channels, 1, "stem.0", "stem.1", train)
        return x, x

    def _imagenet_stem(self, x: Array, train: bool) -> tuple[Array, Array]:
        """Computes the two inputs of the first cell; the second one has half the size."""
        x = self._conv_norm(x, self.channels // 2, 2, "stem0.0", "stem0.1", train)
        first = self._conv_norm(nn.relu(x), self.channels, 2, "stem0.3", "stem0.4", train)
        second = self._conv_norm(nn.relu(first), self.channels, 2, "stem1.1", "stem1.2", train)
        return first, second

    def _conv_norm(
        self, x: Array, features: int, stride: int, conv: str, norm: str, train: bool
    ) -> Array:
        """Applies a 3x3 convolution and BatchNorm."""
        x = nn.Conv(features, (3, 3), stride, padding=1, use_bias=False, name=conv)(x)
        return ops.Norm(self.chosen is None, name=norm)(x, train)

    def _auxiliary(self, x: Array, train: bool) -> None:
        """Puts the logits of the auxiliary head into the collection `auxiliary`, in train mode."""
        if train or self.is_initializing():
            head = _AuxiliaryHead(self.num_classes, self.imagenet, name="auxiliary_head")
            logits = head(x, train)
            if not self.is_initializing():  # else they would be stored as variables
                self.sow("auxiliary", "logits", logits)
