import jax
import numpy as np
import pytest

from datafree_nas import spaces
from datafree_nas.runtime.errors import UserError
from datafree_nas.search import sampling
from tests import tiny

SHUFFLENET = spaces.create_space("shufflenet")
MACRO = spaces.create_space("nasbench_macro")


def _config(**changes):
    config = tiny.get_config().search.spos
    config.update(changes)
    return config


def _draw(space, config, count):
    sample = sampling.make_path_sampler(space, config)
    many = jax.jit(jax.vmap(lambda step: sample(jax.random.key(0), step)))
    return np.asarray(many(np.arange(count)))


def test_uniform():
    drawn = _draw(MACRO, _config(sampling="uniform"), 3000)
    for choice in drawn.T:
        np.testing.assert_allclose(np.bincount(choice, minlength=3), 1000, atol=130)


def test_binned_is_uniform_over_bins_of_macs():
    """The release's seven bins, of which the outer ones hold 1 and 2 % of all architectures."""
    drawn = _draw(SHUFFLENET, _config(sampling="binned", bins=(290e6, 360e6, 7)), 1400)
    macs = np.array([SHUFFLENET.macs(each) for each in drawn])
    shares = np.histogram(macs, bins=np.linspace(290e6, 360e6, 8))[0] / len(drawn)
    np.testing.assert_allclose(shares, 1 / 7, atol=0.05)
    assert np.mean((macs < 290e6) | (macs > 360e6)) < 0.02, "after 500 tries, any architecture"


def test_within_a_bin_all_options_occur():
    drawn = _draw(SHUFFLENET, _config(sampling="binned", bins=(320e6, 330e6, 1)), 400)
    assert all(len(np.unique(choice)) == 4 for choice in drawn.T)


def test_fair_takes_every_option_once_a_round():
    config = _config(sampling="fair")
    assert sampling.round_length(MACRO, config) == 3
    rounds = _draw(MACRO, config, 30).reshape(10, 3, 8)
    assert np.all(np.sort(rounds, axis=1) == np.arange(3)[:, None])
    assert len(np.unique(rounds[:, 0], axis=0)) == 10, "no two rounds begin alike"


def test_fair_repeats_options_of_a_choice_with_fewer():
    space = spaces.create_space("proxyless")
    drawn = _draw(space, _config(sampling="fair"), 70).reshape(10, 7, 21)
    for position, options in enumerate(space.choices):
        for each in drawn[:, :, position]:
            assert set(each) == set(range(options))


@pytest.mark.parametrize("bins", [(), (2, 1, 3), (1, 2, 0)])
def test_bins_that_are_none(bins):
    with pytest.raises(UserError, match=r"spos\.bins"):
        sampling.make_path_sampler(MACRO, _config(sampling="binned", bins=bins))


def test_bins_of_a_wider_space():
    narrow = spaces.create_space("nasbench_macro", channels=16)
    with pytest.raises(UserError, match=r"hold no architecture of nasbench_macro, whose MACs are"):
        sampling.make_path_sampler(narrow, _config(sampling="binned", bins=(55e6, 107e6, 5)))
