"""Linen layers with PyTorch's paddings, and BatchNorm as teachers use it."""

import flax.linen as nn
from jaxtyping import Array, Float


def conv(
    features: int, kernel: int, stride: int = 1, *, name: str, groups: int = 1, bias: bool = False
) -> nn.Conv:
    """Builds a square convolution, padded by half its kernel on every side."""
    return nn.Conv(
        features,
        (kernel, kernel),
        stride,
        padding=kernel // 2,
        feature_group_count=groups,
        use_bias=bias,
        name=name,
    )


def batch_norm(train: bool, name: str, epsilon: float = 1e-5) -> nn.BatchNorm:
    """Builds a BatchNorm layer, which uses its running statistics except in training."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=epsilon, name=name)


def max_pool(
    x: Float[Array, "b h w c"], window: int, stride: int, padding: int = 0
) -> Float[Array, "b i j c"]:
    """Takes the maximum of every window; padding never is the maximum."""
    return nn.max_pool(x, (window, window), (stride, stride), ((padding, padding),) * 2)
