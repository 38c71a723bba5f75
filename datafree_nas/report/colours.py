"""Colours of ops, the same in all drawings of a page."""

from collections.abc import Iterable

NONE = "none"  # the op that passes nothing on
FAINT = "#9ca3af"
COLOURS = ("#2563eb", "#c2410c", "#15803d", "#7c3aed", "#0e7490", "#be185d", "#475569", "#78350f")


def of_ops(names: Iterable[str]) -> dict[str, str]:
    """Returns a colour for each op, in alphabetical order of the ops; `none` is grey.

    Args:
        names: names of all ops on the page; repeated names are allowed.
    """
    ops = sorted(set(names) - {NONE})
    return {op: COLOURS[i % len(COLOURS)] for i, op in enumerate(ops)} | {NONE: FAINT}
