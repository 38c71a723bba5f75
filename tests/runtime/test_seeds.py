import jax
import numpy as np

from datafree_nas.runtime.seeds import key_for, numpy_generator


def _data(*path):
    return tuple(jax.random.key_data(key_for(*path)).tolist())


def test_keys_are_the_same_for_ever():
    assert _data(0) == (0, 0)
    assert _data(0, "teacher") == (1381669686, 1443336698)
    assert _data(3, "synthesize", 1, 2) == (4265374857, 972626493)
    assert numpy_generator(key_for(0, "search")).integers(1_000_000) == 607557


def test_every_use_has_a_key_of_its_own():
    paths = [(seed, name, i, j) for seed in (0, 1) for name in "ab" for i in (0, 1) for j in (0, 1)]
    paths += [(0,), (1,), (0, "a"), (0, "b"), (0, "a", 0)]
    assert len({_data(*path) for path in paths}) == len(paths)


def test_numpy_generators_follow_their_key():
    draws = [numpy_generator(key_for(seed)).random(3) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.allclose(draws[0], draws[2])
