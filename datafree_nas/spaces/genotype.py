"""Genotypes of DARTS cells, as quark0/darts and later methods print them."""

import re
from collections.abc import Sequence
from typing import Any

from datafree_nas.runtime.errors import did_you_mean
from datafree_nas.spaces import notation

KINDS = ("normal", "reduce")
NODES = 4
FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
_CONCATENATED = list(range(2, 2 + NODES))  # nodes whose outputs are concatenated

# genotypes that the release publishes, found by first-order and by second-order search
DARTS_V1 = (
    "normal: sep_conv_3x3~0 sep_conv_3x3~1|skip_connect~0 sep_conv_3x3~1"
    "|skip_connect~0 sep_conv_3x3~1|sep_conv_3x3~0 skip_connect~2; "
    "reduce: max_pool_3x3~0 max_pool_3x3~1|max_pool_3x3~0 skip_connect~2"
    "|max_pool_3x3~0 skip_connect~2|avg_pool_3x3~0 skip_connect~2"
)
DARTS_V2 = (
    "normal: sep_conv_3x3~0 sep_conv_3x3~1|sep_conv_3x3~0 sep_conv_3x3~1"
    "|skip_connect~0 sep_conv_3x3~1|skip_connect~0 dil_conv_3x3~2; "
    "reduce: max_pool_3x3~0 max_pool_3x3~1|max_pool_3x3~1 skip_connect~2"
    "|max_pool_3x3~0 skip_connect~2|max_pool_3x3~1 skip_connect~2"
)
_PUBLISHED = {"DARTS_V1": DARTS_V1, "DARTS_V2": DARTS_V2}

Edges = list[tuple[int, int]]  # edges into one node: (input, index of the op), sorted by input


def read(spelling: Any, ops: Sequence[str]) -> list[Edges]:
    """Reads a genotype.

    Args:
        spelling: genotype that `notation.bare` returned: `Genotype(normal=[...], ...)` with any
            text before it, a dictionary with the same fields, the text that `Darts.encode` writes,
            or the name of a published genotype.
        ops: names of the ops that an edge can have.

    Returns:
        The two edges of every node; the nodes of the normal cell come first.

    Raises:
        ValueError: `spelling` is no genotype of this space.
    """
    cells = _cells(spelling)
    for field in cells:
        if field not in FIELDS:
            hint = did_you_mean(str(field), FIELDS)
            raise ValueError(f"there is no part {notation.shown(field)}{hint}")
    for kind in KINDS:
        if kind not in cells:
            raise ValueError(f"the {kind} cell is missing")
        joined = cells.get(f"{kind}_concat", _CONCATENATED)
        if joined != _CONCATENATED:
            raise ValueError(f"{kind}_concat must be {_CONCATENATED}: all nodes are joined")
    return [edges for kind in KINDS for edges in _nodes(kind, cells[kind], ops)]


def _cells(spelling: Any) -> dict[Any, Any]:
    """Returns the fields of a genotype by name."""
    if isinstance(spelling, str):
        text = _PUBLISHED.get(spelling, spelling)
        if "~" in text:
            return _own(text)
        found = re.search(r"\bGenotype\s*\(", text)
        spelling = notation.literal(text[found.start() :] if found else text, Genotype=FIELDS)
    if not isinstance(spelling, dict):
        raise ValueError("it is no Genotype(normal=[...], reduce=[...])")
    return spelling


def _own(text: str) -> dict[str, Any]:
    """Splits a text that `Darts.encode` wrote into nodes and edges, by cell."""
    parts = [part.partition(":") for part in text.split(";")]
    cells = {kind.strip(): [node.split() for node in nodes.split("|")] for kind, _, nodes in parts}
    if len(cells) < len(parts):
        raise ValueError("it has one cell twice")
    return cells


def _nodes(kind: str, cell: Any, ops: Sequence[str]) -> list[Edges]:
    """Reads the edges of every node of a cell, given node by node or all in one list."""
    if not isinstance(cell, list | tuple):
        raise ValueError(f"the {kind} cell is no list")
    nodes = list(zip(cell[::2], cell[1::2], strict=False)) if len(cell) == 2 * NODES else cell
    if len(nodes) != NODES:
        raise ValueError(
            f"the {kind} cell has {len(cell)} elements; it needs 2 edges for each of {NODES} nodes"
        )
    return [_edges(kind, number, node, ops) for number, node in enumerate(nodes)]


def _edges(kind: str, number: int, node: Any, ops: Sequence[str]) -> Edges:
    """Reads and checks the two edges of one node."""
    if not isinstance(node, list | tuple):
        raise ValueError(f"{notation.shown(node)} in the {kind} cell is no pair of edges")
    edges = sorted(notation.edge(end, ops) for end in node)
    sources = [source for source, _ in edges]
    possible = range(number + 2)
    if len(set(sources)) != 2 or len(sources) != 2 or not set(sources) <= set(possible):
        raise ValueError(
            f"node {number} of the {kind} cell has inputs {notation.shown(sources)}; it needs two "
            f"different ones of {[*possible]}"
        )
    return edges
