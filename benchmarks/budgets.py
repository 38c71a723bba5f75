"""Looks up what a search has found below limits on the MACs, in a table of true accuracies."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import results, tabular
from datafree_nas.runtime.errors import UserError
from datafree_nas.spaces.space import Space


def look_up(
    history: Sequence[dict[str, Any]], limits: Sequence[float], table: tabular.Table, space: Space
) -> list[results.Row]:
    """Looks up the architecture with the best score below each limit.

    Args:
        history: rows of `history.jsonl`, with `architecture` and `score`.
        limits: most MACs of a network of the table's size.
        table: true accuracies of all architectures of the space.
        space: search space in the size of the table's networks.

    Returns:
        A row for each limit with the fields of `Table.found`, among the architectures that keep
        the limit; `macs` of the one found; and `largest`, the mean true accuracy of those that
        have the most MACs.

    Raises:
        UserError: no architecture that was scored keeps a limit.
    """
    macs = np.array([space.macs(space.decode(name)) for name in table.names])
    cost = dict(zip(table.names, macs, strict=True))
    scored = [row for row in history if row["score"] is not None]
    rows = []
    for limit in limits:
        within = [row for row in scored if cost[row["architecture"]] <= limit]
        if not within:
            raise UserError(f"no architecture that was scored has at most {limit:g} MACs")
        best = max(within, key=lambda row: row["score"])["architecture"]
        below = macs <= limit
        kept = tabular.Table([n for n in table.names if cost[n] <= limit], table.accuracy[below])
        largest = float(np.mean(table.accuracy[macs == macs[below].max()]))
        found = {**kept.found(best), "macs": int(cost[best]), "largest": largest}
        rows.append({"name": f"at most {limit / 1e6:g} M MACs", **found})
    return rows
