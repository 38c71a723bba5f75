"""Numbers and settings as people read them."""

from collections.abc import Iterator, Mapping
from typing import Any

ABSENT = "—"
PREFIXES = ("", " k", " M", " G", " T", " P")


def quantity(count: int | None) -> str:
    """A count with three digits and an SI prefix: `7.78 M`.

    Args:
        count: not negative; `None` for one that is not known.
    """
    if count is None or count < 1000:
        return ABSENT if count is None else str(count)
    mantissa, _, exponent = f"{count:.2e}".partition("e")  # rounds 999 999 up to 1.00 M
    thousands, digits = divmod(int(exponent), 3)
    return f"{float(mantissa) * 10**digits:.{2 - digits}f}{PREFIXES[thousands]}"


def percent(share: float | None, decimals: int = 1) -> str:
    """A share in per cent: `95.2 %`.

    Args:
        share: in [0, 1]; `None` for one that was not measured.
        decimals: after the point.
    """
    return ABSENT if share is None else f"{100 * share:.{decimals}f} %"


def number(value: Any) -> str:
    """A measured value with four digits; anything that is no float as it is."""
    if value is None:
        return ABSENT
    return f"{value:#.4g}".rstrip(".") if isinstance(value, float) else str(value)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as `("a.b.c", value)`, in their order.

    Args:
        settings: names to values or to more settings.
        prefix: what every name begins with.
    """
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", repr(value)
