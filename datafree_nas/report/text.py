"""Numbers and settings as text for people."""

from collections.abc import Iterator, Mapping
from typing import Any

ABSENT = "—"
PREFIXES = ("", " k", " M", " G", " T", " P")


def quantity(count: int | None) -> str:
    """Formats a count with three digits and an SI prefix: `7.78 M`.

    Args:
        count: number that is not negative; `None` if it is not known.
    """
    if count is None or count < 1000:
        return ABSENT if count is None else str(count)
    mantissa, _, exponent = f"{count:.2e}".partition("e")  # rounds 999 999 up to 1.00 M
    thousands, digits = divmod(int(exponent), 3)
    return f"{float(mantissa) * 10**digits:.{2 - digits}f}{PREFIXES[thousands]}"


def size(count: int) -> str:
    """Formats the size of a file with an SI prefix: `32.1 kB`.

    Args:
        count: number of bytes.
    """
    return f"{quantity(count)}B" if count >= 1000 else f"{count} B"


def percent(share: float | None, decimals: int = 1) -> str:
    """Formats a share in per cent: `95.2 %`.

    Args:
        share: number in [0, 1]; `None` if it was not measured.
        decimals: number of digits after the point.
    """
    return ABSENT if share is None else f"{100 * share:.{decimals}f} %"


def percent_of(row: Mapping[str, Any], name: str, decimals: int = 2) -> str:
    """Formats a measured share of a row of the table, with its standard deviation if it has one.

    Args:
        row: row of the summary.
        name: field of the row.
        decimals: number of digits after the point.
    """
    spread = row["spread"][name]
    if row[name] is None or spread is None:
        return percent(row[name], decimals)
    return f"{100 * row[name]:.{decimals}f} ± {100 * spread:.{decimals}f} %"


def row_name(row: Mapping[str, Any]) -> str:
    """Returns the name of a row of the table: `random architecture, mean of 3`."""
    if row.get("pick"):
        return f"{row['name']} (the pick)"
    return f"{row['name']}, mean of {row['networks']}" if row["networks"] > 1 else row["name"]


def row_data(row: Mapping[str, Any]) -> str:
    """Returns the name of the training images of a row, and where their labels are from."""
    return f"{row['data']}, own labels" if row["labels"] == "hard" else row["data"]


def number(value: Any) -> str:
    """Formats a float with four digits; `None` is a dash, other values stay as they are."""
    if value is None:
        return ABSENT
    return f"{value:#.4g}".rstrip(".") if isinstance(value, float) else str(value)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Lists nested settings as `("a.b.c", value)`, in their order.

    Args:
        settings: value or nested settings of each name.
        prefix: text in front of every name.
    """
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", repr(value)
