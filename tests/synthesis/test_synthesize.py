import dataclasses
import json
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from datafree_nas import teachers
from datafree_nas.data.augment import normalize
from datafree_nas.runtime import interrupt
from datafree_nas.runtime.errors import Interrupted, UserError
from datafree_nas.runtime.files import read_jsonl
from datafree_nas.runtime.metrics import MetricsWriter
from datafree_nas.synthesis import store, synthesize
from tests import tiny
from tests.tiers import full


@pytest.fixture
def config():
    return tiny.get_config().synthesis


@pytest.fixture
def run(tmp_path, tiny_teacher, config):
    def go(name="synthetic", **changes):
        config.update(changes)
        return synthesize.synthesize(tmp_path / name, *tiny_teacher, config, seed=0)

    return go


def _shards(directory):
    return {p.name: p.read_bytes() for p in sorted((directory / "1.0.0").glob("*array_record*"))}


def test_the_data_set_is_standard_and_complete(run, tmp_path, tiny_teacher):
    images = run()
    teacher, variables = tiny_teacher
    assert images.images.shape == (128, 8, 8, 1)
    assert sorted(set(images.rounds)) == [0, 1]
    counts = np.bincount(images.labels[images.rounds == 0])
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(
        images.labels[images.rounds == 0], images.labels[images.rounds == 1]
    )
    x = normalize(jnp.asarray(images.images), teacher.mean, teacher.std)
    seen = teacher.model.apply(variables, x, train=False)
    np.testing.assert_allclose(images.logits, seen, atol=1e-4)
    source = tfds.data_source("synthetic", split="train", data_dir=tmp_path)
    assert len(source) == 128
    assert set(source[0]) == {"image", "label", "logits", "round", "batch"}
    builder = tfds.builder_from_directory(tmp_path / "synthetic" / "1.0.0")
    assert builder.info.splits["train"].num_examples == 128
    assert "tensorflow" not in sys.modules
    rows = json.loads((tmp_path / "synthetic" / "rounds.json").read_text())
    assert [row["round"] for row in rows] == [0, 1]
    assert Image.open(tmp_path / "synthetic" / "grid.png").size[0] > 100


def test_same_seed_same_bytes_and_only_missing_shards_are_made(run, tmp_path):
    run("one")
    run("two", rounds=1)
    one, two = tmp_path / "one", tmp_path / "two"
    halves = {name.replace("-of-00004", "-of-00002"): c for name, c in _shards(one).items()}
    assert {name: halves[name] for name in _shards(two)} == _shards(two)
    before = _shards(one)
    victim = next(one.glob("1.0.0/*00001-of*"))
    untouched = next(one.glob("1.0.0/*00000-of*"))
    stamp = untouched.stat().st_mtime_ns
    victim.unlink()
    run("one", rounds=2)
    assert _shards(one) == before
    assert untouched.stat().st_mtime_ns == stamp


@pytest.mark.full
def test_interrupted_inside_a_unit_goes_on_to_the_same_bytes(run, tmp_path, monkeypatch):
    run("whole")
    asked = iter([0] * 4 + [15] + [0] * 1000)
    monkeypatch.setattr(interrupt, "received", lambda: next(asked))
    with pytest.raises(Interrupted):
        run("stopped")
    assert any((tmp_path / "stopped" / "working").iterdir()), "its state is kept"
    run("stopped")
    assert _shards(tmp_path / "stopped") == _shards(tmp_path / "whole")


def test_metrics_of_units_are_appended(run, tmp_path, monkeypatch):
    """Each unit cost as much as all before it, and TensorBoard lost units of the same second."""
    opened, open_metrics = [], MetricsWriter.__init__

    def count(writer, directory, *arguments, **settings):
        opened.append(directory)
        open_metrics(writer, directory, *arguments, **settings)

    monkeypatch.setattr(MetricsWriter, "__init__", count)
    run()
    assert opened.count(tmp_path / "synthetic") == 1
    rows = read_jsonl(tmp_path / "synthetic" / "metrics.jsonl")
    place = [(row["step"], row["round"], row["batch"]) for row in rows]
    assert place == [(1, 0, 0), (2, 0, 1), (3, 1, 0), (4, 1, 1)]
    (events,) = (tmp_path / "synthetic" / "tensorboard").iterdir()
    assert events.read_bytes().count(b"cross_entropy") == 4


@pytest.mark.parametrize("damage", ["truncated", *full("a bit flipped", "gone")])
def test_a_damaged_shard_is_named_and_only_it_is_made_again(run, tmp_path, tiny_teacher, damage):
    run()
    whole = _shards(tmp_path / "synthetic")
    shard = tmp_path / "synthetic" / "1.0.0" / list(whole)[1]
    content = bytearray(whole[shard.name])
    content[len(content) // 2] ^= 4
    shard.write_bytes(bytes(content) if damage == "a bit flipped" else content[:2000])
    if damage == "gone":
        shard.unlink()
    with pytest.raises(UserError, match=r"00001-of-00004 is damaged .*; add --repair to the same"):
        store.load(tmp_path / "synthetic")
    layout = store.Layout(tmp_path / "synthetic", 4)
    assert store.remove_damaged(layout, tiny_teacher[0]) == [shard.name]
    run()
    assert _shards(tmp_path / "synthetic") == whole


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": 65}, "images=65 is not a multiple of"),
        ({"batch_norm_group": 5}, "batch_norm_group=5"),
        ({"resolutions": ((3, 5),)}, "pools by 3"),
        ({"competition": 0.5}, "competitor"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(run, changes, says):
    with pytest.raises(UserError, match=says):
        run(**changes)


def test_a_loss_that_is_not_finite_names_the_work_unit(run):
    where = r"round 0, batch 0.*resolution 1/2.*iteration \d:.*loss="
    with pytest.raises(UserError, match=where):
        run(learning_rate=float("nan"))


@pytest.mark.slow
def test_one_and_two_devices_make_the_same(tmp_path):
    """A sharded step takes BatchNorm statistics over the whole batch, whatever the devices."""
    code = """
import jax, jax.numpy as jnp, numpy as np
from datafree_nas import teachers
from datafree_nas.runtime.repeat import repeat
from datafree_nas.synthesis import synthesizer
from tests import tiny
config = tiny.get_config().synthesis
grey = {"image_size": (8, 8, 1), "mean": (0.3,), "std": (0.4,)}
teacher = teachers.create_teacher("cifar_resnet8", 10, **grey)
variables = teacher.model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
state = synthesizer.create_synthesis_state(jax.random.key(1), jnp.arange(8), teacher, config)
step = synthesizer.make_synthesis_step(teacher, config, batch=8, pool=1, iterations=20)
advance, losses = repeat(step), []
for _ in range(20):
    state, metrics = advance(state, synthesizer.Frozen(variables), 1)
    losses.append(float(metrics["loss"]))
print(jax.device_count(), *losses)
"""
    curves = {}
    for devices in (1, 2):
        flags = f"--xla_force_host_platform_device_count={devices}"
        env = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin"}
        env |= {"NPROC": "1"} if devices == 1 else {}  # see tests/processes.py
        out = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        count, *losses = out.stdout.split()
        assert int(count) == devices
        curves[devices] = np.array(losses, float)
    np.testing.assert_allclose(curves[1], curves[2], rtol=1e-4)


@pytest.mark.full
def test_no_thread_exchanges_the_import_that_others_need(tmp_path):
    """TFDS's lazy imports are over in a fresh interpreter when its first shard is written."""
    code = """
import pathlib, sys, threading
import jax, jax.numpy as jnp
from datafree_nas import teachers
from datafree_nas.synthesis import synthesize
from tests import tiny
called = set()
threading.setprofile(lambda frame, *_: called.add(frame.f_code.co_name))
config = tiny.get_config().synthesis
config.update(images=config.batch_size, rounds=1)
grey = {"image_size": (8, 8, 1), "mean": (0.3,), "std": (0.4,)}
teacher = teachers.create_teacher("cifar_resnet8", 10, **grey)
variables = teacher.model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
synthesize.synthesize(pathlib.Path(sys.argv[1]), teacher, variables, config, seed=0)
print("write_shard" in called, "lazy_imports" in called)
"""
    command = [sys.executable, "-c", code, tmp_path / "synthetic"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_a_teacher_without_batch_norm_is_refused(tmp_path, config):
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return nn.Dense(10)(jnp.mean(x, axis=(1, 2)))

    like = teachers.create_teacher(
        "cifar_resnet8", 10, image_size=(8, 8, 1), mean=(0.3,), std=(0.4,)
    )
    teacher = dataclasses.replace(like, model=Plain())
    variables = teacher.model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    with pytest.raises(UserError, match="no BatchNorm layers"):
        synthesize.synthesize(tmp_path / "s", teacher, variables, config, seed=0)
