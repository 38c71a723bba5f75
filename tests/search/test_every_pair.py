"""Every strategy runs on every space; pairs that take longest to compile are slow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas import spaces
from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.runtime.files import read_jsonl, write_json
from datafree_nas.search import run as search
from datafree_nas.spaces import latency
from tests import tiny

SPACES = {
    "nasbench201": {"channels": 4, "cells": 1},
    "nasbench_macro": {"channels": 4},
    "shufflenet": {"channels": (4, 8, 16, 32), "repeats": (2, 1), "stem_stride": 1},
    "proxyless": {"width": 0.1, "stem_stride": 1, "cells": (2, 1, 1, 1, 1, 1)},
    "darts": {"channels": 4, "cells": 3, "network_channels": 4, "network_cells": 3},
}
STRATEGIES = ("spos", "random", "darts", "proxyless")
IN_FULL_RUNS = {("random", "nasbench_macro")}
PAIRS = [
    pytest.param(
        strategy,
        space,
        marks=pytest.mark.full if (strategy, space) in IN_FULL_RUNS else pytest.mark.slow,
    )
    for strategy in STRATEGIES
    for space in SPACES
]


def _bright(variables, x):
    """A teacher that looks at nothing but brightness."""
    level = jnp.mean(x, axis=(1, 2, 3))[:, None]
    return -jnp.square(level * variables - jnp.linspace(-2, 2, 10))


@pytest.mark.parametrize(("strategy", "name"), PAIRS)
def test_search(strategy, name, tmp_path):
    config = tiny.get_config().search
    config.update(strategy=strategy, held_out=0.5, calibration_batches=1)
    config.train.update(steps=4, batch_size=8, log_every=2)
    config.evolution.update(population=2, generations=2, max_macs=0)
    config.proxyless.update(every=2, warmup=1)
    space = spaces.create_space(name, num_classes=10, image_size=(8, 8, 1), **SPACES[name])
    pixels = jax.random.randint(jax.random.key(5), (32, 8, 8, 1), 0, 256).astype(jnp.uint8)
    images = ImageSet(np.asarray(pixels), np.arange(32, dtype=np.int32) % 10)
    table = {"fixed": 1.0, "table": np.ones(space.has.shape).tolist()}
    write_json(tmp_path / "table.json", {**latency.header(space), **table})
    config.latency_table = str(tmp_path / "table.json")
    labeller = Labeller(_bright, jnp.float32(5), Preprocessing((0.3,), (0.4,)))
    found = search.search(tmp_path, space, labeller, images, config, 0)
    architecture = space.decode(found["architecture"])
    assert found["macs"] == space.macs(architecture)
    assert np.isfinite(found["score"])
    history = read_jsonl(tmp_path / "history.jsonl")
    assert len(history) == (4 if strategy in ("spos", "random") else 1)
    assert found["strategy"] == strategy
    assert {row["latency_ms"] for row in [found, *history]} == {1 + space.positions}
