import numpy as np
import pytest

from datafree_nas.runtime.errors import UserError
from datafree_nas.search import evolution
from tests import tiny


@pytest.fixture
def config():
    config = tiny.get_config().search.evolution
    config.update(population=10, parents=2, mutations=4, crossovers=4, mutation_probability=0.3)
    return config


def _propose(config, seen, scores, allowed=lambda a: True, seed=0):
    generator, choices = np.random.default_rng(seed), (5,) * seen.shape[1]
    return evolution.propose(generator, seen, scores, choices, allowed, config)


NOBODY = np.zeros((0, 6), np.int32)


def test_first_generation_is_random_distinct_and_allowed(config):
    born = _propose(config, NOBODY, np.zeros(0), lambda a: a[0] == 3)
    assert born.shape == (10, 6)
    assert np.all(born[:, 0] == 3)
    assert len({tuple(a) for a in born}) == 10


def test_children_are_new_and_come_from_the_best(config):
    seen = np.array([[0] * 6, [1] * 6, [4] * 6], np.int32)
    config.mutation_probability = 0.2
    born = _propose(config, seen, np.array([0.9, 0.8, 0.1]))
    crossed = born[4:8]
    assert np.all(np.isin(crossed, [0, 1])), "of the two best"
    assert not {tuple(a) for a in born} & {tuple(a) for a in seen}
    mutants = born[:4]
    kept = np.maximum((mutants == 0).sum(1), (mutants == 1).sum(1))
    assert np.all(kept >= 3)


def test_parents_can_be_the_best_in_score_and_cost(config):
    seen = np.array([[0] * 6, [1] * 6, [4] * 6], np.int32)
    generator, scores = np.random.default_rng(0), np.array([0.9, 0.8, 0.1])
    costs = np.array([5.0, 6.0, 1.0])  # the second one is dominated by the first
    born = evolution.propose(generator, seen, scores, (5,) * 6, lambda a: True, config, costs=costs)
    assert np.all(np.isin(born[4:8], [0, 4])), "of the two that are not dominated"


def test_there_are_never_more_than_the_population(config):
    config.update(population=3, mutations=4, crossovers=4)
    assert len(_propose(config, np.array([[0] * 6, [1] * 6], np.int32), np.zeros(2))) == 3


def test_a_space_that_runs_out_gives_fewer(config):
    config.population = 30
    born = _propose(config, np.zeros((0, 2), np.int32), np.zeros(0))
    assert len(born) == 25


def test_nothing_allowed_is_an_error(config):
    with pytest.raises(UserError, match="max_macs"):
        _propose(config, NOBODY, np.zeros(0), lambda a: False)


def test_a_generator_decides_everything(config):
    one = _propose(config, NOBODY, np.zeros(0), seed=3)
    np.testing.assert_array_equal(one, _propose(config, NOBODY, np.zeros(0), seed=3))
    assert not np.array_equal(one, _propose(config, NOBODY, np.zeros(0), seed=4))
