import functools
import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas import spaces
from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import read_jsonl
from datafree_nas.search import run as search
from datafree_nas.search import scoring
from datafree_nas.search.strategies import spos
from datafree_nas.search.strategy import SearchData
from datafree_nas.training import trainer
from datafree_nas.training.trainer import TrainData
from tests import tiny


@pytest.fixture
def config():
    return tiny.get_config().search


@pytest.fixture
def space():
    return spaces.create_space("nasbench201", image_size=(8, 8, 1), channels=4, cells=1)


@pytest.fixture
def images():
    key = jax.random.key(5)
    pixels = jax.random.randint(key, (96, 8, 8, 1), 0, 256).astype(jnp.uint8)
    return ImageSet(np.asarray(pixels), np.arange(96, dtype=np.int32) % 10)


def _bright(variables, x):
    """A teacher that looks at nothing but brightness."""
    level = jnp.mean(x, axis=(1, 2, 3))[:, None]
    return -jnp.square(level * variables - jnp.linspace(-2, 2, 10))


LABELLER = Labeller(_bright, jnp.float32(5), Preprocessing((0.3,), (0.4,)))


def _search(directory, space, images, config, seed=0):
    return search.search(directory, space, LABELLER, images, config, seed)


def test_pooled_images_are_labelled_whole(images, config):
    images = images._replace(logits=np.arange(960, dtype=np.float32).reshape(96, 10))
    config.train.labels = "stored"
    whole = search.split(images, LABELLER, config, seed=0)
    config.pool = 2
    pooled = search.split(images, LABELLER, config, seed=0)
    np.testing.assert_array_equal(pooled.held_out_logits, whole.held_out_logits)
    for small, large in ((pooled.train, whole.train), (pooled.held_out, whole.held_out)):
        assert small.images.shape == (len(large.images), 4, 4, 1)
        np.testing.assert_array_equal(small.logits, large.logits)
        mean = large.images[:, :2, 2:4].astype(float).mean((1, 2))
        np.testing.assert_allclose(small.images[:, 0, 1], mean, atol=0.5)


def test_a_teacher_cannot_label_pooled_images(images, config):
    config.pool = 2
    with pytest.raises(UserError, match="pool=2 makes images smaller than the teacher takes"):
        search.split(images, LABELLER, config, seed=0)
    config.update(pool=3)
    config.train.labels = "hard"
    with pytest.raises(UserError, match="pool=3 does not divide images of 8x8 pixels"):
        search.split(images, LABELLER, config, seed=0)


@pytest.mark.full
def test_search_writes_all_it_scored_and_the_best(tmp_path, space, images, config):
    found = _search(tmp_path, space, images, config)
    history = read_jsonl(tmp_path / "history.jsonl")
    assert len(history) == found["evaluated"] == 8
    assert len({row["architecture"] for row in history}) == 8, "each scored once"
    assert [row["generation"] for row in history] == [0] * 4 + [1] * 4
    assert all(row["macs"] <= 200_000 for row in history)
    assert found["score"] == max(row["score"] for row in history)
    assert json.loads((tmp_path / "architecture.json").read_text()) == found
    decoded = space.decode(found["architecture"])
    assert (found["macs"], found["params"]) == (space.macs(decoded), space.params(decoded))


@pytest.mark.full
def test_same_seed_same_history(tmp_path, space, images, config):
    _search(tmp_path / "a", space, images, config)
    _search(tmp_path / "b", space, images, config)
    _search(tmp_path / "c", space, images, config, seed=1)
    a, b, c = ((tmp_path / n / "history.jsonl").read_bytes() for n in "abc")
    assert a == b
    assert a != c


@pytest.mark.full
def test_fair_sampling_changes_the_weights_once_a_round(space, images, config):
    config.spos.sampling = "fair"
    half = images.take(np.arange(48))
    strategy = spos.build(space, LABELLER, config)
    part = trainer.data_of(half, jnp.float32(5), config.train)
    data = SearchData(part, part, jnp.zeros((48, 10)))
    state = strategy.init(jax.random.key(0))
    begun = jax.tree.map(np.array, state.train.params)
    step = strategy.phases[0].advance
    state, _ = step(state, data, 4)
    same = jax.tree.map(lambda a, b: bool(np.all(a == b)), begun, state.train.params)
    assert all(jax.tree.leaves(same)), "cells have five ops"
    state, _ = step(state, data, 1)
    kernels = [
        bool(np.all(a == b))
        for a, b in zip(jax.tree.leaves(begun), jax.tree.leaves(state.train.params), strict=True)
        if a.ndim == 4
    ]
    assert np.mean(kernels) < 0.3, "each op was used, but where only `none` follows it"


@pytest.mark.full
def test_score_by_kl_prefers_the_smallest(tmp_path, space, images, config):
    config.score = "kl"
    found = _search(tmp_path, space, images, config)
    history = read_jsonl(tmp_path / "history.jsonl")
    assert found["kl"] == min(row["kl"] for row in history)


def test_correlation_sees_neither_scale_nor_a_shift_of_an_image():
    theirs = np.random.default_rng(0).normal(size=(20, 10))
    ours = 0.1 * theirs + 3 * np.arange(20)[:, None]
    assert scoring._correlation(jnp.array(ours), jnp.array(theirs)) == pytest.approx(1, abs=1e-4)
    assert scoring._correlation(jnp.zeros((20, 10)), jnp.array(theirs)) == 0


def test_an_unknown_strategy_gets_a_hint(tmp_path, space, images, config):
    config.strategy = "sops"
    with pytest.raises(UserError, match="did you mean 'spos'"):
        _search(tmp_path, space, images, config)


@pytest.mark.full
def test_recalibration_is_the_true_average_and_scoring_compiles_once(space, images, config, caplog):
    config.train.batch_size, config.calibration_batches = 32, 3
    supernet = space.supernet()
    gates = jnp.array([3, 1, 2, 4, 3, 2])
    variables = supernet.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), gates)
    params, batch_stats = variables["params"], variables["batch_stats"]
    pixels, labels = jnp.asarray(images.images), jnp.asarray(images.labels)
    logits = _bright(jnp.float32(5), LABELLER.preprocessing(pixels[:32]))
    data = SearchData(TrainData(pixels, labels), TrainData(pixels[:32], labels[:32]), logits)

    @jax.jit
    def of_batch(x):
        return supernet.apply(variables, x, gates, train=True, mutable=["batch_stats"])[1]

    each = [
        of_batch(LABELLER.preprocessing(pixels[32 * i : 32 * (i + 1)]))["batch_stats"]
        for i in range(3)
    ]
    averaged = jax.tree.map(lambda *leaves: sum(leaves) / 3, *each)
    in_use = averaged["stage0_cell0_edge0"]["nor_conv_3x3"]["bn"]["norm"]["mean"]
    assert np.any(np.asarray(in_use) != 0), "statistics of a chosen candidate are recorded"
    recalibrated = {"params": params, "batch_stats": averaged}
    by_hand = jax.jit(functools.partial(supernet.apply, train=False))(
        recalibrated, LABELLER.preprocessing(pixels[:32]), gates
    )
    theirs, ours = (jax.nn.log_softmax(z / config.train.temperature) for z in (logits, by_hand))
    score = scoring.make_scorer(supernet, LABELLER.preprocessing, config)
    found = score(params, batch_stats, data, gates)
    expected = jnp.mean(jnp.sum(jnp.exp(theirs) * (theirs - ours), -1))
    np.testing.assert_allclose(found["kl"], expected, rtol=1e-4)
    agreement = jnp.mean(jnp.argmax(by_hand, -1) == jnp.argmax(logits, -1))
    np.testing.assert_allclose(found["agreement"], agreement)
    centred = [np.ravel(z - jnp.mean(z, -1, keepdims=True)) for z in (by_hand, logits)]
    np.testing.assert_allclose(found["correlation"], np.corrcoef(*centred)[0, 1], rtol=1e-4)
    with caplog.at_level(logging.WARNING), jax.log_compiles():
        for seed in range(100):
            score(params, batch_stats, data, space.sample(jax.random.key(seed)))
    compiled = [m for m in caplog.messages if "Compiling" in m]
    assert not [m for m in compiled if "statistics" in m or "compare" in m], compiled
