"""Numbers of channels in scaled networks."""


def scaled(features: int, width: float) -> int:
    """Multiplies channels by a factor and rounds to a multiple of 8, at most a tenth below.

    The releases of MobileNet, EfficientNet and ProxylessNAS all round in this way.
    """
    rounded = max(8, int(features * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * features * width else rounded
