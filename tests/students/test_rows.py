import numpy as np

from datafree_nas import spaces
from datafree_nas.students import rows


def test_a_rival_is_connected_similar_and_another():
    space = spaces.create_space("nasbench201")
    found = space.decode(
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|avg_pool_3x3~0|nor_conv_3x3~1|skip_connect~2|"
    )
    rivals = [rows.random_rival(space, found, seed) for seed in range(5)]
    for rival in rivals:
        assert space.connected(rival)
        assert not np.array_equal(rival, found)
        assert abs(space.macs(rival) / space.macs(found) - 1) <= 0.1
    assert len({space.encode(rival) for rival in rivals}) > 1
    np.testing.assert_array_equal(rivals[0], rows.random_rival(space, found, 0))


def test_where_nothing_is_similar_the_nearest_is_taken():
    space = spaces.create_space("nasbench201", channels=16, cells=1)
    largest = np.full(6, 3)
    rival = rows.random_rival(space, largest, 0)
    assert space.macs(rival) < space.macs(largest)
    assert space.connected(rival)
