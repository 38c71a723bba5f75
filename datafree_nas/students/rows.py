"""The rows of the result table: which networks are trained on which images, with which labels."""

from collections.abc import Iterable
from typing import NamedTuple

from ml_collections import ConfigDict

from datafree_nas.runtime.values import Values, integer, some_of


class Row(NamedTuple):
    """A kind of network, trained on a kind of images.

    Attributes:
        title: name of the network for people.
        network: kind of architecture: `found` by the search; `other_size`, others of its Pareto
            front; `random`, several of similar cost; `largest` that keeps the limits of the search;
            or `found_on_real`, by the same search on real images.
        data: `synthetic`, `real` or `noise`.
        recipe: training block of `config.student`.
    """

    title: str
    network: str
    data: str
    recipe: str = "train"


ROWS = {
    "synthetic": Row("student", "found", "synthetic"),
    "noise": Row("student", "found", "noise"),
    "random": Row("random architecture", "random", "synthetic"),
    "largest": Row("largest architecture", "largest", "synthetic"),
    "real": Row("student", "found", "real", "real_train"),
    "random_real": Row("random architecture", "random", "real", "real_train"),
    "real_search": Row("searched on real images", "found_on_real", "real", "real_train"),
    "family": Row("another size", "other_size", "synthetic"),
}
FAMILY = "family"  # the row that config.student.count adds, beside "synthetic"
RECIPES = ("train", "real_train")
# fields of `config.student` that add rows to a finished stage instead of changing it
ADDED = ("student.rows", "student.random_networks", "student.count")
# values of the fields of `config.student`, without its training blocks
FIELDS: dict[str, Values] = {
    "rows": some_of(name for name in ROWS if name != FAMILY).or_none(),
    "random_networks": integer(1, 1000),
    "count": integer(1, 1000),
}


def chosen(config: ConfigDict) -> tuple[str, ...]:
    """Returns the names of the rows of a config; where it names none, those that can be trained.

    Args:
        config: experiment; `student.rows` and `data.source` are read.
    """
    if config.student.rows is not None:
        return tuple(config.student.rows)
    without_data = ("synthetic", "noise", "random")
    return (*without_data, "real") if config.data.source else without_data


def place(name: str) -> int:
    """Returns the place of a row in the table, from 1; the family has that of the result."""
    return 1 + list(ROWS).index("synthetic" if name == FAMILY else name)


def folders(config: ConfigDict, family: Iterable[str] = ()) -> dict[str, str]:
    """Lists the networks of the chosen rows.

    Args:
        config: experiment; `student` and `data.source` are read.
        family: folders of the row `family`.

    Returns:
        Name of the row by the name of the network's folder, in the order of `ROWS`, but the family
        after the result. A row of random architectures has several networks.
    """
    found: dict[str, str] = {}
    for name in sorted(chosen(config), key=list(ROWS).index):
        if ROWS[name].network == "random":
            count = config.student.random_networks
            found |= {f"{name}_{number}": name for number in range(1, count + 1)}
        else:
            found[name] = name
        if name == "synthetic":
            found |= dict.fromkeys(family, FAMILY)
    return found
