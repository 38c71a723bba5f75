"""The colour of every op, the same in all drawings of a page."""

from collections.abc import Iterable

NONE = "none"  # the op that passes nothing on
FAINT = "#9ca3af"
COLOURS = ("#2563eb", "#c2410c", "#15803d", "#7c3aed", "#0e7490", "#be185d", "#475569", "#78350f")


def of_ops(names: Iterable[str]) -> dict[str, str]:
    """A colour for each op by the order of their names; `none` is faint.

    Args:
        names: of all ops on the page; one may occur more than once.
    """
    ops = sorted(set(names) - {NONE})
    return {op: COLOURS[i % len(COLOURS)] for i, op in enumerate(ops)} | {NONE: FAINT}
