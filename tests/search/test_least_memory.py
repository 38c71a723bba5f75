"""The limit on the memory: which networks keep it, and what is said if none does."""

import itertools

import numpy as np
import pytest

from datafree_nas import spaces
from datafree_nas.runtime.errors import UserError
from datafree_nas.search import evolution, least_memory, limits
from tests import tiny


@pytest.fixture
def config():
    config = tiny.get_config().search
    config.evolution.update(max_macs=0, population=4)
    return config


@pytest.fixture(scope="module")
def space():
    return spaces.create_space("nasbench201", image_size=(8, 8, 3), channels=4, cells=1)


def _all(space, stride=1):
    every = itertools.product(*map(range, space.choices))
    return list(map(np.array, itertools.islice(every, 0, None, stride)))


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("nasbench201", {"channels": 4, "cells": 1}),
        ("nasbench_macro", {"channels": 64}),
        ("shufflenet", {"channels": (8, 16, 32, 64, 64), "repeats": (2, 2, 2), "stem_stride": 1}),
    ],
)
def test_no_network_needs_less_than_what_is_found(name, settings):
    space = spaces.create_space(name, image_size=(16, 16, 3), **settings)
    memory = [space.peak_memory(a) for a in _all(space, stride=7) if space.connected(a)]
    assert len(set(memory)) > 3
    assert least_memory.find(space) <= min(memory)


def test_a_larger_limit_allows_what_a_smaller_one_does_and_more(space, config):
    networks = [a for a in _all(space, 397) if space.connected(a)]
    memory = np.array([space.peak_memory(a) for a in networks])
    before = np.zeros(len(networks), bool)
    for limit in np.unique(memory).tolist():
        config.evolution.max_memory = limit
        allowed = np.array([*map(limits.make_test(space, config), networks)])
        np.testing.assert_array_equal(allowed, memory <= limit)
        assert np.all(allowed[before])
        assert allowed.sum() > before.sum()
        before = allowed


def test_evolution_keeps_max_memory(space, config):
    config.evolution.max_memory = 1000
    limits.check(space, config)
    allowed, nobody = limits.make_test(space, config), np.zeros((0, 6), np.int32)
    generator = np.random.default_rng(0)
    born = evolution.propose(
        generator, nobody, np.zeros(0), space.choices, allowed, config.evolution
    )
    assert len(born) == 4
    assert max(map(space.peak_memory, born)) <= 1000


def test_a_limit_that_no_network_keeps(space, config):
    least = least_memory.find(space)
    config.evolution.max_memory = least - 1
    message = rf"max_memory={least - 1}: a search .* found none that takes less than {least}; raise"
    with pytest.raises(UserError, match=message):
        limits.check(space, config)
    config.evolution.max_memory = least
    limits.check(space, config)


def test_limits_that_no_random_network_keeps_together(space, config, monkeypatch):
    config.evolution.update(max_memory=10_000, max_params=4894, population=1)
    limits.check(space, config)
    monkeypatch.setattr(limits, "TRIES", 1)
    with pytest.raises(UserError, match=r"none of 1 random .* max_params=4894, max_memory=10000;"):
        limits.check(space, config)


def test_what_a_given_architecture_exceeds(space, config):
    config.evolution.max_memory = 975
    architecture = np.array([0, 0, 0, 1, 0, 0])
    found = limits.exceeded(space, architecture, None, config.evolution)
    assert found == "max_memory=975, it has 976"
