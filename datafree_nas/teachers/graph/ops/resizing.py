"""Resizing of images."""

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from datafree_nas.teachers.graph.ops.table import op
from datafree_nas.teachers.graph.ops.windows import mixed
from datafree_nas.teachers.graph.tensor import Tensor

_Kernel = Callable[[np.ndarray], np.ndarray]  # weights at distances
_Matrix = Callable[[int, int, float, bool], np.ndarray]  # of side, target, scale, align_corners


@op("upsample_nearest1d", "upsample_nearest2d")
def upsample_nearest(
    x: Tensor,
    output_size: Sequence[int] | None = None,
    scale_factors: Sequence[float] | None = None,
    scales_h: float | None = None,
    scales_w: float | None = None,
    scales: float | None = None,
) -> Tensor:
    """Resizes by taking the pixel that lies before; with one axis, the factor is `scales`."""
    factors = (scales,) if x.ndim == 3 else (scales_h, scales_w)
    for dim, (target, scale) in enumerate(
        _resized(x, output_size, scale_factors, *factors), start=2
    ):
        # in float32, as PyTorch rounds: other numbers fall into other pixels
        places = np.floor(np.arange(target, dtype=np.float32) * np.float32(scale)).astype(int)
        x = x.with_array(jnp.take(x.array, np.minimum(places, x.shape[dim] - 1), x.axis(dim)))
    return x


def _resized(
    x: Tensor,
    sizes: Sequence[int] | None,
    factors: Sequence[float] | None,
    *scales: float | None,
) -> list[tuple[int, float]]:
    """Returns the new side of each axis, and how many old pixels a new one is wide."""
    given = tuple(factors) if factors else scales[-(x.ndim - 2) :]
    steps = []
    for side, factor, index in zip(x.shape[2:], given, range(x.ndim - 2), strict=True):
        target = sizes[index] if sizes is not None else math.floor(side * float(factor or 1))
        steps.append((target, 1 / factor if factor else side / target))
    return steps


def _interpolation(matrix: _Matrix) -> Callable[..., Tensor]:
    """Makes the operation that multiplies each axis of an image by a matrix."""

    def resize(
        x: Tensor,
        output_size: Sequence[int] | None,
        align_corners: bool,
        scale_factors: Sequence[float] | None = None,
        scales_h: float | None = None,
        scales_w: float | None = None,
    ) -> Tensor:
        steps = _resized(x, output_size, scale_factors, scales_h, scales_w)
        for dim, (target, scale) in enumerate(steps, start=2):
            side = x.shape[dim]
            if align_corners:
                scale = (side - 1) / (target - 1) if target > 1 else 0.0
            x = mixed(x, dim, matrix(side, target, scale, align_corners))
        return x

    return resize


def _linear(distance: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(distance), 0)


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Computes the kernel of Keys (1981) with the parameter a."""
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _linear_matrix(side: int, target: int, scale: float, align_corners: bool) -> np.ndarray:
    return _near(side, np.maximum(_centres(target, scale, align_corners), 0), _linear)


def _cubic_matrix(side: int, target: int, scale: float, align_corners: bool) -> np.ndarray:
    centres = _centres(target, scale, align_corners)
    return _near(side, centres, lambda distance: _cubic(distance, -0.75))


def _wide_linear_matrix(side: int, target: int, scale: float, _align_corners: bool) -> np.ndarray:
    return _wide(side, target, scale, 1, _linear)


def _wide_cubic_matrix(side: int, target: int, scale: float, _align_corners: bool) -> np.ndarray:
    return _wide(side, target, scale, 2, lambda distance: _cubic(distance, -0.5))


def _centres(target: int, scale: float, align_corners: bool) -> np.ndarray:
    """Returns where the new pixels lie among the old ones, whose centres are at 0, 1, 2."""
    return np.arange(target) * scale if align_corners else (np.arange(target) + 0.5) * scale - 0.5


def _near(side: int, centres: np.ndarray, kernel: _Kernel) -> np.ndarray:
    """Returns the matrix `[target, side]` that mixes up to four pixels; those at borders repeat."""
    weights = np.zeros((len(centres), side))
    for offset in range(-1, 3):
        places = np.floor(centres).astype(int) + offset
        share = kernel(centres - places)
        np.add.at(weights, (np.arange(len(centres)), np.clip(places, 0, side - 1)), share)
    return weights


def _wide(side: int, target: int, scale: float, reach: int, kernel: _Kernel) -> np.ndarray:
    """Returns the matrix `[target, side]` of a kernel that widens with the size of a new pixel.

    Pillow resizes so, too: no old pixel is skipped when an image shrinks ("antialiasing").

    Args:
        side: number of old pixels.
        target: number of new pixels.
        scale: width of a new pixel, in old pixels.
        reach: half the width of the kernel.
        kernel: function of the distance.
    """
    width = max(scale, 1)
    centres = (np.arange(target) + 0.5)[:, None] * scale  # the middle of the first pixel is at 0.5
    first = np.maximum(np.floor(centres - reach * width + 0.5), 0)
    last = np.minimum(np.floor(centres + reach * width + 0.5), side)
    places = np.arange(side)[None]
    weights = kernel((places - centres + 0.5) / width) * ((places >= first) & (places < last))
    return weights / weights.sum(1, keepdims=True)


op("upsample_bilinear2d")(_interpolation(_linear_matrix))
op("upsample_bicubic2d")(_interpolation(_cubic_matrix))
op("_upsample_bilinear2d_aa")(_interpolation(_wide_linear_matrix))
op("_upsample_bicubic2d_aa")(_interpolation(_wide_cubic_matrix))
