"""Layers that candidate operations are made of."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import he_normal, zeros
from jaxtyping import Array, Float


class Conv(nn.Module):
    """A same-size square convolution, in one of two lowerings with the same weights.

    Attributes:
        features: output channels.
        kernel: side, odd.
        use_bias: whether a bias is added.
        as_matmul: state it as one matrix product of shifted inputs, which control flow on a CPU
            does not slow down; see `backend.matmul_convolutions_in_switch`.
    """

    features: int
    kernel: int
    use_bias: bool = False
    as_matmul: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        k = self.kernel
        shape = (k, k, x.shape[-1], self.features)
        kernel = self.param("kernel", he_normal(), shape)
        if self.as_matmul:
            y = _shifted(x, k) @ kernel.reshape(-1, self.features)
        else:
            y = nn.Conv(self.features, (k, k), padding=k // 2, use_bias=False, parent=None).apply(
                {"params": {"kernel": kernel}}, x
            )
        return y + self.param("bias", zeros, (self.features,)) if self.use_bias else y


def _shifted(x: Float[Array, "b h w c"], kernel: int) -> Float[Array, "b h w kkc"]:
    if kernel == 1:
        return x
    height, width, pad = x.shape[1], x.shape[2], kernel // 2
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = [
        padded[:, i : i + height, j : j + width] for i in range(kernel) for j in range(kernel)
    ]
    return jnp.concatenate(windows, axis=-1)


def average_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """3x3, stride 1; the padding is not counted.

    The counts are few and known: `nn.avg_pool` would have XLA count ones over the whole batch while
    it compiles, for seconds.
    """
    rows, columns = (_neighbours(side) for side in x.shape[1:3])
    counts = np.outer(rows, columns)[None, :, :, None].astype(np.float32)
    return nn.pool(x, 0.0, jax.lax.add, (3, 3), (1, 1), "SAME") / counts


def _neighbours(side: int) -> np.ndarray:
    """For every place on a line of that length, how many of it and its neighbours there are."""
    place = np.arange(side)
    return np.minimum(place + 1, side - 1) - np.maximum(place - 1, 0) + 1
