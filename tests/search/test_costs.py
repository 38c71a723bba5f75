"""The cost that a search weighs against the score."""

import numpy as np
import pytest

from configs import common
from datafree_nas import spaces
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import write_json
from datafree_nas.search import costs
from datafree_nas.spaces import latency
from tests.students.conftest import SETTINGS


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("cost", costs.COSTS)
def test_each_cost_of_each_space_is_known_before_the_search(name, cost, tmp_path):
    space = spaces.create_space(name, num_classes=7, image_size=(8, 8, 1), **SETTINGS[name])
    config = common.get_config().search
    config.front_cost, config.latency_table = cost, str(tmp_path / "table.json")
    table = np.full(space.has.shape, 0.5).tolist()
    write_json(tmp_path / "table.json", {**latency.header(space), "fixed": 1.0, "table": table})
    costs.check(space, config)
    drawn = np.random.default_rng(0).integers(space.choices)
    expected = {
        "macs": space.macs(drawn),
        "params": space.params(drawn),
        "memory": space.peak_memory(drawn),
        "latency": space.latency(drawn, latency.load(tmp_path / "table.json", space)),
    }
    assert costs.function(space, config)(drawn) == expected[cost]
    assert costs.table(space, config).table.shape == space.has.shape


def test_a_latency_without_a_table():
    space = spaces.create_space("nasbench201", num_classes=7, image_size=(8, 8, 1))
    config = common.get_config().search
    config.front_cost = "latency"
    with pytest.raises(UserError, match=r"front_cost=latency needs config\.search\.latency_table"):
        costs.check(space, config)
