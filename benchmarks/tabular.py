"""Reads tabular NAS benchmarks: files with the true accuracy of every architecture of a space.

- `nasbench201`: NAS-Bench-201's cells on CIFAR-10 after 200 epochs, JSON
  `{cell: {"test_acc_200": ...}}`, as milkmilk511/LAPT publishes it.
- `nasbench_macro`: the networks of NAS-Bench-Macro, JSON `{network: {"mean_acc": ...}}`, the file
  `nas-bench-macro_cifar10.json` of xiusu/NAS-Bench-Macro.

Settings are not tuned on the architectures that results are reported for: architectures are sorted
by their encoding, those at even positions are for choosing settings, those at odd positions for
reported figures.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import read_json

FIELDS = {"nasbench201": "test_acc_200", "nasbench_macro": "mean_acc"}
HALVES = ("report", "tune")


class Table(NamedTuple):
    """Architectures of a space with their true accuracies.

    Attributes:
        names: encoded architectures, sorted.
        accuracy: true accuracy of each on the test images, `[n]`, in per cent.
    """

    names: list[str]
    accuracy: np.ndarray

    def half(self, which: str) -> "Table":
        """Returns the architectures for `report` or for `tune`."""
        part = slice(HALVES.index(which) == 0, None, 2)
        return Table(self.names[part], self.accuracy[part])

    def found(self, name: str) -> dict[str, Any]:
        """Looks up an architecture.

        Args:
            name: encoded architecture of the table.

        Returns:
            `architecture`; its true `accuracy` in per cent; `regret`, what it lacks to the best of
            the table; `percentile`, per cent of the table with a lower accuracy.
        """
        accuracy = float(self.accuracy[self.names.index(name)])
        return {
            "architecture": name,
            "accuracy": accuracy,
            "regret": float(self.accuracy.max()) - accuracy,
            "percentile": 100 * float(np.mean(self.accuracy < accuracy)),
        }

    def drawn(self, count: int, seed: int) -> "Table":
        """Draws `count` architectures at random, in order; all if `count` is 0 or too large.

        With the same seed, a smaller draw is part of a larger one, so that scores of different
        counts can be combined.
        """
        if not 0 < count < len(self.names):
            return self
        index = np.sort(np.random.default_rng(seed).permutation(len(self.names))[:count])
        return Table([self.names[i] for i in index], self.accuracy[index])


def load(space: str, path: Path) -> Table:
    """Reads a table.

    Args:
        space: a name of `FIELDS`.
        path: path of the file.

    Raises:
        UserError: there is no such file, or it is not that space's table.
    """
    content, field = read_json(path), FIELDS[space]
    try:
        found = {name: float(row[field]) for name, row in content.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{path} is no table of {space}: every entry needs {field!r}") from None
    names = sorted(found)
    return Table(names, np.array([found[name] for name in names]))
