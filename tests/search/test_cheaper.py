"""Architectures that cost less and less, derived from the probabilities of ops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas import spaces
from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.runtime.files import read_jsonl, write_json
from datafree_nas.search import alphas
from datafree_nas.search import run as search
from datafree_nas.spaces import latency
from tests import tiny

SPACES = {
    "nasbench201": spaces.create_space("nasbench201", channels=4, cells=1),
    "proxyless": spaces.create_space("proxyless"),
    "darts": spaces.create_space("darts", network_channels=4, network_cells=3),
}


def _alphas(space, seed=0):
    return 2 * jax.random.normal(jax.random.key(seed), space.has.shape)


@pytest.mark.parametrize("name", ["nasbench201", "proxyless"])
@pytest.mark.parametrize("cost", ["macs_cost", "params_cost"])
def test_the_cost_falls_as_its_weight_rises(name, cost):
    space = SPACES[name]
    table = getattr(space, cost)
    found = alphas.derive_cheaper(_alphas(space), space, table)
    spent = [table.of(np.asarray(space.gates(each))) for each in found]
    assert len(spent) >= 2
    assert all(more > less for more, less in itertools.pairwise(spent))
    first = table.of(np.asarray(space.gates(alphas.derive_architecture(_alphas(space), space))))
    assert first > spent[0], "the derived one is not among them"


@pytest.mark.parametrize("name", SPACES)
def test_they_are_different_connected_and_reach_the_cheapest(name):
    space = SPACES[name]
    found = alphas.derive_cheaper(_alphas(space), space, space.macs_cost)
    assert len({space.encode(each) for each in found}) == len(found) <= 50
    assert all(space.connected(each) for each in found)
    derived = space.macs(alphas.derive_architecture(_alphas(space), space))
    assert min(map(space.macs, found)) < 0.9 * derived


def test_where_cost_and_probability_agree_there_is_nothing_cheaper():
    space = SPACES["proxyless"]
    certain = jnp.asarray(-space.macs_cost.table / space.macs_cost.table.max(), jnp.float32)
    assert alphas.derive_cheaper(certain, space, space.macs_cost) == []


def test_all_changes_of_a_position_are_found():
    """Two ops are the best ones at some weight, the third one never is."""
    space = spaces.create_space("shufflenet", channels=(4, 8, 16), repeats=(1,), stem_stride=1)
    table = np.array([[4.0, 3.0, 1.0, 9.0]])
    logs = jnp.log(jnp.array([[0.5, 0.1, 0.3, 0.1]]))
    cost = space.macs_cost._replace(table=table)
    assert [each.tolist() for each in alphas.derive_cheaper(logs, space, cost)] == [[2]]


def _bright(variables, x):
    """Computes logits by brightness alone."""
    level = jnp.mean(x, axis=(1, 2, 3))[:, None]
    return -jnp.square(level * variables - jnp.linspace(-2, 2, 10))


@pytest.mark.full
@pytest.mark.parametrize(
    ("strategy", "cost"), [("darts", "params"), ("proxyless", "latency"), ("darts", "memory")]
)
def test_a_search_scores_the_cheaper_ones_and_takes_the_best(strategy, cost, tmp_path):
    config = tiny.get_config().search
    config.update(strategy=strategy, objective="pareto", front_cost=cost, held_out=0.5)
    config.train.update(steps=4, batch_size=8, log_every=2)
    config.evolution.max_macs = 0
    settings = {"channels": (4, 8, 16, 32), "repeats": (2, 1), "stem_stride": 1}
    space = spaces.create_space("shufflenet", num_classes=10, image_size=(8, 8, 1), **settings)
    table = np.linspace(0, 1, space.has.size).reshape(space.has.shape).tolist()
    write_json(tmp_path / "table.json", {**latency.header(space), "fixed": 1.0, "table": table})
    config.latency_table = str(tmp_path / "table.json")
    pixels = jax.random.randint(jax.random.key(5), (32, 8, 8, 1), 0, 256).astype(jnp.uint8)
    images = ImageSet(np.asarray(pixels), np.arange(32, dtype=np.int32) % 10)
    labeller = Labeller(_bright, jnp.float32(5), Preprocessing((0.3,), (0.4,)))
    found = search.search(tmp_path, space, labeller, images, config, 0)
    history = read_jsonl(tmp_path / "history.jsonl")
    assert found["evaluated"] == len(history) > 3
    assert found["score"] == max(row["score"] for row in history)
    column = {"latency": "latency_ms"}.get(cost, cost)
    assert found["front_cost"] == column
    assert found["front"][0][column] == min(row[column] for row in history)
    assert found["front"][-1] == {name: found[name] for name in found["front"][-1]}
