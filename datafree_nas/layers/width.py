"""Widths of scaled networks."""


def scaled(features: int, width: float) -> int:
    """Channels times a factor: a multiple of 8, and no more than a tenth below what was asked for.

    The rounding of MobileNet's releases, which EfficientNet's and ProxylessNAS's share.
    """
    rounded = max(8, int(features * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * features * width else rounded
