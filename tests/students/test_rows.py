import functools
import itertools

import numpy as np
import pytest

from configs import common
from datafree_nas import spaces
from datafree_nas.runtime.errors import UserError
from datafree_nas.students import rivals, rows, stage


def test_a_rival_is_connected_similar_and_another():
    space = spaces.create_space("nasbench201")
    found = space.decode(
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|avg_pool_3x3~0|nor_conv_3x3~1|skip_connect~2|"
    )
    drawn = rivals.random_rivals(space, found, 5, seed=0)
    for rival in drawn:
        assert space.connected(rival)
        assert not np.array_equal(rival, found)
        assert abs(space.macs(rival) / space.macs(found) - 1) <= 0.1
    assert len({space.encode(rival) for rival in drawn}) == 5
    np.testing.assert_array_equal(drawn[:2], rivals.random_rivals(space, found, 2, seed=0))
    assert not np.array_equal(drawn[0], rivals.random_rivals(space, found, 1, seed=1)[0])


def test_where_nothing_is_similar_the_nearest_is_taken():
    space = spaces.create_space("nasbench201", channels=16, cells=1)
    largest = np.full(6, 3)
    (rival,) = rivals.random_rivals(space, largest, 1, seed=0)
    assert space.macs(rival) < space.macs(largest)
    assert space.connected(rival)


SMALL = spaces.create_space("nasbench201", channels=4, cells=1)


@functools.cache
def _all_macs():
    return [SMALL.macs(np.array(a)) for a in itertools.product(*map(range, SMALL.choices))]


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 1.0])
def test_the_largest_network_keeps_the_limit(share):
    space = SMALL
    most = share * space.macs(np.full(6, 3))

    def allowed(architecture):
        return space.connected(architecture) and space.macs(architecture) <= most

    small = np.array([1, 1, 1, 1, 1, 1])
    found = rivals.largest(space, small, allowed, seed=0)
    assert space.connected(found)
    assert 0.95 * max(m for m in _all_macs() if m <= most) <= space.macs(found) <= most


def test_where_the_limits_leave_little_the_found_one_is_the_start():
    space = spaces.create_space("proxyless")
    small = np.zeros(21, np.int32)
    most = space.macs(small) + 1
    found = rivals.largest(space, small, lambda a: space.macs(a) <= most, seed=0)
    np.testing.assert_array_equal(found, small)


def test_rows_that_can_be_trained():
    config = common.get_config()
    assert rows.chosen(config) == ("synthetic", "noise", "random")
    config.data.source = "digits"
    assert rows.chosen(config) == ("synthetic", "noise", "random", "real")
    config.student.update(rows=("random_real", "synthetic"), random_networks=2)
    assert rows.folders(config) == {
        "synthetic": "synthetic",
        "random_real_1": "random_real",
        "random_real_2": "random_real",
    }


def test_a_family_follows_the_result():
    config = common.get_config()
    config.student.update(rows=("noise", "synthetic"), count=3)
    assert list(rows.folders(config, ("family_1", "family_4"))) == [
        *("synthetic", "family_1", "family_4", "noise")
    ]
    assert rows.place("family") == rows.place("synthetic") == 1
    assert not rows.FIELDS["rows"].holds(("family",)), "config.student.count adds it"


def test_a_family_needs_a_search_and_the_result():
    config = common.get_config()
    config.student.count = 3
    stage._check_family(config)
    config.student.rows = ("noise",)
    with pytest.raises(UserError, match=r"add it to config\.student\.rows"):
        stage._check_family(config)
    config.search.strategy = "given"
    with pytest.raises(UserError, match=r"student\.count=3 needs a search, but config"):
        stage._check_family(config)
    config.student.count = 1
    stage._check_family(config)


def test_more_students_than_the_space_has():
    space = spaces.create_space("shufflenet", channels=(4, 8, 16), repeats=(1,), stem_stride=1)
    config = common.get_config()
    config.student.update(count=5, rows=("synthetic",))
    with pytest.raises(UserError, match="count=5, but shufflenet has only 4 architectures"):
        stage._check_enough(space, config)
    config.student.count = 4
    stage._check_enough(space, config)
    config.search.evolution.max_params = space.params(np.array([0]))
    stage._check_enough(space, config)  # a family has sizes above the limits too


def test_more_students_than_different_costs():
    space = spaces.create_space("nasbench201", channels=4, cells=1, image_size=(8, 8, 1))
    config = common.get_config()
    config.student.update(count=29, rows=("synthetic",))
    with pytest.raises(UserError, match="have only 28 different costs") as error:
        stage._check_enough(space, config)
    assert "(config.search.front_cost='macs'); lower it" in str(error.value)


def test_more_random_networks_than_the_space_has():
    space = spaces.create_space("shufflenet", channels=(4, 8, 16), repeats=(1,), stem_stride=1)
    config = common.get_config()
    stage._check_enough(space, config)
    config.student.random_networks = 4
    with pytest.raises(UserError, match="random_networks=4, but shufflenet has only 3 other"):
        stage._check_enough(space, config)
    config.student.rows = ("synthetic",)
    stage._check_enough(space, config)
