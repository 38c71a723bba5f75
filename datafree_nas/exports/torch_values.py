"""Values of a JAX program while it is written as a PyTorch module.

A value is a NumPy array where it does not depend on the images. Else it is a `Tensor`, or an op
that is not written yet, because what comes next may be computed in advance: a convolution followed
by BatchNorm becomes a convolution with other weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor of the PyTorch module, whose axes may lie in another order than JAX's.

    PyTorch's convolutions want channels second, JAX's are here called with channels last. A tensor
    keeps the order in which it lies, so that no transposition is needed between layers.

    Attributes:
        proxy: `torch.fx.Proxy` of the tensor.
        axes: JAX's axis of each axis of the tensor.
    """

    proxy: Any
    axes: Axes

    def arranged(self, axes: Axes) -> Any:
        """Returns the proxy with its axes in the given order of JAX's axes."""
        if axes == self.axes:
            return self.proxy
        return self.proxy.permute([self.axes.index(axis) for axis in axes])

    def plain(self) -> Any:
        """Returns the proxy with its axes in JAX's order."""
        return self.arranged(tuple(range(len(self.axes))))

    def written(self) -> "Tensor":
        """Returns this tensor."""
        return self


def remaining(x: Tensor, removed: Sequence[int]) -> Axes:
    """Returns the axes of a tensor after some of JAX's axes were removed.

    Args:
        x: tensor before that.
        removed: JAX's axes that are removed.
    """
    kept = [axis for axis in x.axes if axis not in removed]
    return tuple(axis - sum(r < axis for r in removed) for axis in kept)


@dataclass(frozen=True)
class Layer:
    """A convolution or a dense layer whose weights may still change.

    Attributes:
        write: function `(weight, bias) -> proxy` that writes the layer.
        weight: weights, with the output features as the first axis.
        bias: bias of each output feature.
        axes: JAX's axis of each axis of the output.
        features: JAX's axis of the output features.
    """

    write: Callable[[np.ndarray, np.ndarray], Any]
    weight: np.ndarray
    bias: np.ndarray
    axes: Axes
    features: int

    def written(self) -> Tensor:
        """Writes the layer."""
        return Tensor(self.write(self.weight, self.bias), self.axes)

    def folded(self, op: str, other: np.ndarray, first: bool) -> "Layer | None":
        """Returns the layer after an op with a constant, or None if that is no such layer.

        Args:
            op: JAX's name of an op of two arguments.
            other: constant argument.
            first: whether the layer is the first argument.
        """
        per_feature = self._per_feature(other)
        if per_feature is None:
            return None
        if op == "add":
            return replace(self, bias=self.bias + per_feature)
        if op == "sub" and first:
            return replace(self, bias=self.bias - per_feature)
        if op == "mul" or (op == "div" and first):
            factor = per_feature if op == "mul" else 1 / per_feature
            shape = (-1, *[1] * (self.weight.ndim - 1))
            weight = self.weight * np.broadcast_to(factor, self.bias.shape).reshape(shape)
            return replace(self, weight=weight, bias=self.bias * factor)
        return None

    def _per_feature(self, constant: np.ndarray) -> np.ndarray | None:
        """Returns a constant as one number, or one for each feature; None if it is neither."""
        if constant.size == 1:
            return constant.reshape(())
        sizes = [size for axis, size in enumerate(constant.shape) if axis != self.features]
        fits = constant.ndim == len(self.axes) and set(sizes) == {1}
        return constant.reshape(-1) if fits else None


@dataclass(frozen=True)
class Sum:
    """A sum over windows or axes, which becomes a mean if it is divided by their sizes.

    Attributes:
        write: function `(divisor) -> proxy`; the divisor is `window`, the number of elements of a
            window with padding; `inside`, without padding; or `one`.
        window: number of elements of a window with its padding.
        inside: number of elements of each window without padding, in JAX's order of axes, size 1
            where an axis does not matter.
        axes: JAX's axis of each axis of the output.
    """

    write: Callable[[str], Any]
    window: int
    inside: np.ndarray
    axes: Axes

    def written(self) -> Tensor:
        """Writes the sum."""
        return Tensor(self.write("one"), self.axes)

    def folded(self, op: str, other: np.ndarray, first: bool) -> Tensor | None:
        """Returns the mean if the op divides by the size of the windows, else None."""
        if op == "mul":
            op, other, first = "div", 1 / other, True
        if op != "div" or not first:
            return None
        if other.size == 1 and np.isclose(other.item(), self.window):
            return Tensor(self.write("window"), self.axes)
        if other.shape == self.inside.shape and np.array_equal(other, self.inside):
            return Tensor(self.write("inside"), self.axes)
        return None


@dataclass(frozen=True)
class Affine:
    """A tensor times a constant plus a constant, which may still change.

    Attributes:
        write: function `(scale, shift) -> proxy`; both have JAX's order of axes.
        scale: factor of each element, of a shape that can be broadcast.
        shift: constant that is added after that.
        axes: JAX's axis of each axis of the tensor.
    """

    write: Callable[[np.ndarray, np.ndarray], Any]
    scale: np.ndarray
    shift: np.ndarray
    axes: Axes

    def written(self) -> Tensor:
        """Writes the product and the sum."""
        return Tensor(self.write(self.scale, self.shift), self.axes)

    def folded(self, op: str, other: np.ndarray, first: bool) -> "Affine | None":
        """Returns the affine map after an op with a constant; None if the constant is divided."""
        match op, first:
            case "add", _:
                scale, shift = self.scale, self.shift + other
            case "sub", True:
                scale, shift = self.scale, self.shift - other
            case "sub", False:
                scale, shift = -self.scale, other - self.shift
            case "mul", _:
                scale, shift = self.scale * other, self.shift * other
            case "div", True:
                scale, shift = self.scale / other, self.shift / other
            case _:
                return None
        return replace(self, scale=np.asarray(scale), shift=np.asarray(shift))


Value = np.ndarray | Tensor | Layer | Sum | Affine
Unwritten = Layer | Sum | Affine
