"""Two runs of a search are one, also if the second is stopped and goes on; one program a step."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas import spaces
from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.runtime import loop
from datafree_nas.runtime.metrics import MetricsWriter
from datafree_nas.search import run as search
from tests import tiny

SPACE = spaces.create_space("nasbench201", image_size=(8, 8, 1), channels=4, cells=1)
FILES = ("history.jsonl", "metrics.jsonl", "architecture.json", "probabilities.json")


class _Crash(Exception):
    pass


def _bright(variables, x):
    level = jnp.mean(x, axis=(1, 2, 3))[:, None]
    return -jnp.square(level * variables - jnp.linspace(-2, 2, 10))


def _search(directory, strategy):
    config = tiny.get_config().search
    config.update(strategy=strategy, held_out=0.5)
    config.alphas.learning_rate = 0.1
    config.train.update(steps=8, log_every=2)
    config.proxyless.update(every=2, warmup=3)
    config.spos.sampling = "fair"
    pixels = jax.random.randint(jax.random.key(5), (64, 8, 8, 1), 0, 256).astype(jnp.uint8)
    images = ImageSet(np.asarray(pixels), np.arange(64, dtype=np.int32) % 10)
    labeller = Labeller(_bright, jnp.float32(5), Preprocessing((0.3,), (0.4,)))
    search.search(directory, SPACE, labeller, images, config, 0)


def _left(directory):
    return {name: (directory / name).read_bytes() for name in FILES if (directory / name).exists()}


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param("darts", marks=pytest.mark.slow),
        pytest.param("proxyless", marks=pytest.mark.slow),
        pytest.param("spos", marks=pytest.mark.full),
    ],
)
def test_stopped_and_resumed(strategy, tmp_path, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING), jax.log_compiles():
        _search(tmp_path / "whole", strategy)
    compiled = [m for m in caplog.messages if m.startswith("Compiling jit(step) ")]
    assert len(compiled) == 1, "every path is the same program"

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    write = MetricsWriter.write

    def crash(writer, step, values, **labels):
        if step >= 6:
            raise _Crash
        write(writer, step, values, **labels)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "write", crash)
        with pytest.raises(_Crash):
            _search(tmp_path / "parts", strategy)
    assert "history.jsonl" not in _left(tmp_path / "parts")
    _search(tmp_path / "parts", strategy)
    whole = _left(tmp_path / "whole")
    assert _left(tmp_path / "parts") == whole
    assert ("probabilities.json" in whole) == (strategy != "spos")
