"""A graph as rows that fit the page: one for each cell, several for a long chain."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

ACROSS = 5  # most edges of a chain in one row
Edge = Sequence[Any]  # start, end, op; a list, because it comes from JSON


@dataclass(frozen=True)
class GraphRow:
    """A part of a graph that is drawn from left to right.

    Attributes:
        title: title of the cell; empty if it has none.
        nodes: names of the nodes in topological order.
        edges: start, end and op of each edge; indices into `nodes`.
    """

    title: str
    nodes: Sequence[str]
    edges: Sequence[Edge]


def rows(nodes: Sequence[str], edges: Sequence[Edge]) -> list[GraphRow]:
    """Splits a graph into rows.

    Args:
        nodes: names of the nodes in topological order. If the names of all nodes of a cell have the
            same first line, it becomes the title of the cell.
        edges: start, end and op of each edge; indices into `nodes`.

    Returns:
        The connected components from top to bottom. A chain that is too long for the page becomes
        several rows; each begins with the last node of the row before.
    """
    return [
        row
        for members in _components(len(nodes), edges)
        for row in _wrap(_component(members, nodes, edges))
    ]


def _components(count: int, edges: Sequence[Edge]) -> list[list[int]]:
    """Returns the nodes of each connected component, in the order of the nodes."""
    component = list(range(count))  # component of each node: the index of its first node
    for start, end, _ in edges:
        first, other = sorted((component[start], component[end]))
        component = [first if c == other else c for c in component]
    return [[i for i in range(count) if component[i] == c] for c in sorted(set(component))]


def _component(members: Sequence[int], nodes: Sequence[str], edges: Sequence[Edge]) -> GraphRow:
    names, index = [nodes[i] for i in members], {node: i for i, node in enumerate(members)}
    inside = [[index[a], index[b], op] for a, b, op in edges if a in index]
    titles = {name.partition("\n")[0] for name in names}
    if len(titles) > 1 or not all("\n" in name for name in names):
        return GraphRow("", names, inside)
    return GraphRow(titles.pop(), [name.partition("\n")[2] for name in names], inside)


def _wrap(row: GraphRow) -> Iterator[GraphRow]:
    if len(row.edges) <= ACROSS or any(end - start != 1 for start, end, _ in row.edges):
        yield row
        return
    by_start = sorted(row.edges, key=lambda edge: edge[0])
    for first in range(0, len(by_start), ACROSS):
        edges = [[a - first, b - first, op] for a, b, op in by_start[first : first + ACROSS]]
        title = row.title if first == 0 else ""
        yield GraphRow(title, row.nodes[first : first + len(edges) + 1], edges)
