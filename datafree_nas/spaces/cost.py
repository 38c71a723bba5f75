"""What networks of a space cost."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Real


class Cost(NamedTuple):
    """The cost of networks, as a sum over the positions of their supernet.

    Attributes:
        fixed: cost of all that is not searched.
        table: cost of every op at every position; 0 where the position does not have the op.
    """

    fixed: float
    table: Real[np.ndarray, "positions ops"]

    def of(self, gates: Int[np.ndarray, "positions"]) -> float:
        """Returns the cost of one path; an integer, and exact, if all costs are."""
        return self.fixed + np.sum(self.table[np.arange(len(gates)), gates]).item()

    def bounds(self, has: Bool[np.ndarray, "positions ops"]) -> tuple[float, float]:
        """Returns costs that no network is below or above, whatever op each position takes.

        Args:
            has: mask of the ops that each position has, see `Space.has`.
        """
        least = np.min(np.where(has, self.table, np.inf), axis=1)
        most = np.max(np.where(has, self.table, -np.inf), axis=1)
        return self.fixed + float(np.sum(least)), self.fixed + float(np.sum(most))
