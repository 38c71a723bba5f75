"""Latency in a search: as a cost of the loss, and as a limit of the evolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas import spaces
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import write_json
from datafree_nas.search import hardware, scoring
from datafree_nas.search.strategies import spos
from datafree_nas.search.strategy import SearchData
from datafree_nas.spaces import latency
from datafree_nas.training.trainer import TrainData, TrainState
from tests import tiny

SPACE = spaces.create_space("nasbench201", image_size=(8, 8, 1), channels=4, cells=1)
ROW = [0.0, 0.5, 1.0, 3.0, 2.0]  # ms, of its ops


def _write(path, fixed=2.0):
    write_json(path, {**latency.header(SPACE), "fixed": fixed, "table": [ROW] * SPACE.positions})
    return path


@pytest.fixture
def config(tmp_path):
    config = tiny.get_config().search
    config.latency_table = str(_write(tmp_path / "table.json"))
    return config


def test_the_hardware_term_takes_the_table(config):
    config.hardware.update(cost="latency", reference=8.0)
    cost = hardware.of(SPACE, config)
    uniform = jnp.full((6, 5), 0.2)
    np.testing.assert_allclose(hardware.expected(uniform, cost), 2 + 6 * 6.5 / 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": 100e6}, r"reference=1e\+08 is in ms; .* take 2 to 20"),
        ({"reference": 1.0}, "take 2 to 20"),
    ],
    ids=["default", "too fast"],
)
def test_a_reference_has_to_be_a_time_that_networks_take(changes, message, config):
    config.hardware.update(cost="latency", **changes)
    with pytest.raises(UserError, match=message):
        hardware.of(SPACE, config)


def test_logarithms_want_more_than_a_millisecond(config, tmp_path):
    config.latency_table = str(_write(tmp_path / "fast.json", fixed=0.5))
    config.hardware.update(cost="latency", reference=8.0)
    with pytest.raises(UserError, match=r"more than 1 ms; .* form=add#linear"):
        hardware.of(SPACE, config)
    config.hardware.form = "add#linear"
    assert hardware.of(SPACE, config).fixed == 0.5


def test_only_ops_that_a_position_has_are_the_fastest(tmp_path, config):
    """`zero`, for which the table has a 0 where there is none."""
    space = spaces.create_space("proxyless", width=0.1, cells=(1,) * 6)
    table = np.where(space.has, 1.0, 0.0).tolist()
    content = {**latency.header(space), "fixed": 0.0, "table": table}
    write_json(tmp_path / "proxyless.json", content)
    config.latency_table = str(tmp_path / "proxyless.json")
    config.hardware.update(cost="latency", reference=6.0)
    assert hardware.of(space, config) is not None


def test_a_table_is_asked_for(config):
    config.latency_table = ""
    assert hardware.latency(SPACE, config) is None
    config.evolution.max_latency = 3.0
    with pytest.raises(UserError, match=r"evolution\.max_latency needs config.search.latency_tab"):
        hardware.latency(SPACE, config)
    config.evolution.max_latency, config.hardware.cost = 0.0, "latency"
    with pytest.raises(UserError, match=r"hardware\.cost=latency needs config.search.latency_tab"):
        hardware.latency(SPACE, config)


def _generations(config, count):
    """The evolution of a supernet without weights, in which all are equally good."""
    train = TrainState(jax.random.key(0), jnp.zeros((), jnp.int32), {}, {}, ())
    scores, none = jnp.zeros(8), jnp.zeros((), jnp.int32)
    seen, born = jnp.zeros((8, len(SPACE.choices)), jnp.int32), jnp.zeros(8, jnp.int32)
    measured = dict.fromkeys(scoring.MEASURES, scores)
    state = spos.SposState(train, seen, measured, born, none, none, none)
    advance = spos._make_evolution(SPACE, lambda *_: dict.fromkeys(measured, 0.5), config, True)
    images = TrainData(jnp.zeros((1, 8, 8, 1), jnp.uint8), jnp.zeros(1, jnp.int32))
    data = SearchData(images, images, jnp.zeros((1, 10)))
    for _ in range(count):
        state, _ = advance(state, data, config.evolution.population)
    return state


def test_evolution_keeps_max_latency(config):
    config.evolution.update(max_macs=0, max_latency=7.0)
    state, cost = _generations(config, 2), hardware.latency(SPACE, config)
    found = [SPACE.latency(np.asarray(a), cost) for a in state.seen[: int(state.scored)]]
    assert len(found) == 8
    assert max(found) <= 7
    config.evolution.max_latency = 0.0
    without = [SPACE.latency(np.asarray(a), cost) for a in _generations(config, 2).seen]
    assert max(without) > 7


def test_evolution_names_the_limit_that_nothing_keeps(config):
    config.evolution.update(max_macs=0, max_latency=1.0)
    with pytest.raises(UserError, match="max_latency"):
        _generations(config, 1)
