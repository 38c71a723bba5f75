"""Costs that are read from traced modules, against the closed forms of the spaces."""

from dataclasses import dataclass

import numpy as np
import pytest

from datafree_nas import spaces
from datafree_nas.runtime.errors import UserError
from datafree_nas.spaces.nasbench201 import NasBench201
from datafree_nas.spaces.traced_costs import traced_costs
from tests.tiers import full

SMALL = {
    "nasbench201": {"channels": 4, "cells": 1},
    "nasbench_macro": {"channels": 4},
    "shufflenet": {"channels": (4, 8, 16, 32), "repeats": (1, 2)},
    "proxyless": {"width": 0.1, "cells": (1, 2, 1, 1, 1, 1)},
    "darts": {"channels": 4, "cells": 3, "network_channels": 4, "network_cells": 3},
}


@pytest.mark.parametrize(
    "name", ["nasbench201", *full("nasbench_macro", "shufflenet", "proxyless", "darts")]
)
def test_they_are_those_of_the_closed_forms(name):
    space = spaces.create_space(name, num_classes=7, image_size=(16, 16, 1), **SMALL[name])
    for traced, closed in zip(
        traced_costs(space), (space.macs_cost, space.params_cost), strict=True
    ):
        assert traced.fixed == closed.fixed
        np.testing.assert_array_equal(traced.table, closed.table)


@dataclass(frozen=True)
class _NoSum(NasBench201):
    """A space whose networks of different architectures have stems of different sizes."""

    def network(self, architecture):
        return super().network(architecture).clone(channels=4 + 2 * int(architecture[0]))


def test_costs_that_are_no_sums():
    with pytest.raises(UserError, match="are not sums over positions; define macs_cost"):
        traced_costs(_NoSum(image_size=(8, 8, 1), channels=4, cells=1))
