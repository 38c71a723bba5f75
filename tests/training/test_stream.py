"""Training sets that are streamed: what comes when, in how many processes, and after a stop."""

import itertools
import math

import jax
import numpy as np
import pytest

from configs import common
from datafree_nas import teachers
from datafree_nas.data.images import Example, ImageSet, Records, held
from datafree_nas.data.labeller import Labeller
from datafree_nas.runtime import interrupt, processes
from datafree_nas.runtime.errors import Interrupted, UserError
from datafree_nas.runtime.files import read_jsonl
from datafree_nas.synthesis import store
from datafree_nas.training import fit, stream
from tests.training.test_fit import IMAGES, LABELLER, Net

SIZE, BATCH = 30, 6


def _recipe(**changes):
    settings = {"steps": 12, "batch_size": BATCH, "crop_padding": 0, "flip": False, "log_every": 4}
    return common.recipe(**{"labels": "hard", "learning_rate": 0.05, **settings, **changes})


def _records(read=lambda i: Example(np.full((2, 2, 1), i, np.uint8), i % 3)):
    return Records(SIZE, (2, 2, 1), read)


def _batches(count, key=0, records=None):
    """`[count b]`, which images are in the first batches of this process."""
    view = stream.View(records or _records(), _recipe(), jax.random.key(key))
    found = [part["images"][0, :, 0, 0, 0] for part in itertools.islice(view.parts(0, 1), count)]
    return np.array(found)


def test_an_epoch_has_every_image_once_in_an_order_of_its_own():
    first, second = _batches(2 * SIZE // BATCH).reshape(2, SIZE)
    assert sorted(first) == sorted(second) == list(range(SIZE))
    assert list(first) != list(second)
    assert list(first) != list(range(SIZE))


def test_the_seed_decides():
    assert np.array_equal(_batches(3), _batches(3))
    assert not np.array_equal(_batches(3), _batches(3, key=1))


def test_processes_decode_their_shares_of_the_same_batches(monkeypatch):
    whole = _batches(4)
    monkeypatch.setattr(processes, "count", lambda: 3)
    shares = []
    for index in range(3):
        monkeypatch.setattr(processes, "index", lambda index=index: index)
        shares.append(_batches(4))
    assert np.array_equal(np.concatenate(shares, axis=1), whole)
    assert [share.shape for share in shares] == [(4, BATCH // 3)] * 3


def test_a_part_holds_the_batches_of_its_steps():
    view = stream.View(_records(), _recipe(), jax.random.key(0))
    part = next(view.parts(2, 3))["images"][..., 0, 0, 0]
    assert np.array_equal(part, _batches(9)[6:9])


def _fit(directory, images, **changes):
    recipe, key = _recipe(**changes), jax.random.key(0)
    return fit.fit(Net(), images, LABELLER, recipe, key, label="test", directory=directory)


def _streamed(read=None):
    whole = [Example(image, int(label)) for image, label in zip(IMAGES[0], IMAGES[1], strict=True)]
    return Records(IMAGES.size, IMAGES.image_size, read or whole.__getitem__)


@pytest.mark.full
def test_a_stopped_run_goes_on_with_the_same_batches(tmp_path):
    """Stopped between two parts and in the middle of one; the last phase begins in the middle."""
    settings = {"steps": 13, "calibration_batches": 3}
    whole = _fit(tmp_path / "whole", _streamed(), **settings)
    assert not np.allclose(jax.tree.leaves(whole)[0], 0)
    for reads in (4 * BATCH + 1, 9 * BATCH):
        directory, seen = tmp_path / str(reads), itertools.count()

        def read(index, seen=seen, reads=reads):
            if next(seen) == reads:
                interrupt.request(15)
            return _streamed().read(index)

        with pytest.raises(Interrupted), interrupt.deferred_signals():
            _fit(directory, _streamed(read), **settings)
        resumed = _fit(directory, _streamed(), **settings)
        jax.tree.map(np.testing.assert_array_equal, whole, resumed)
        steps = [row["step"] for row in read_jsonl(directory / "metrics.jsonl")]
        assert steps == [4, 8, 12, 13, 16]


def test_the_share_of_time_that_steps_wait_is_written(tmp_path):
    _fit(tmp_path, _streamed())
    waiting = [row["waiting"] for row in read_jsonl(tmp_path / "metrics.jsonl")]
    assert len(waiting) == 3
    assert all(0 <= share <= 1 for share in waiting)


def test_accuracy_of_a_set_that_is_not_in_memory(monkeypatch):
    monkeypatch.setattr(fit, "EVALUATION_PART", 7)

    def brightness(_variables, x):
        return jax.numpy.stack([-x.mean(axis=(1, 2, 3)), x.mean(axis=(1, 2, 3))], axis=1)

    found = [
        fit.accuracy(Labeller(brightness, {}, LABELLER.preprocessing), images)
        for images in (IMAGES, _streamed())
    ]
    assert found[0] == found[1] > 0.9


def test_what_is_small_enough_is_held():
    assert isinstance(held(_streamed(), 1e-6), ImageSet)
    assert isinstance(held(_streamed(), math.inf), ImageSet)
    found = held(_streamed(), IMAGES.images.nbytes / 1e9)
    assert np.array_equal(found.images, IMAGES.images)
    assert np.array_equal(found.labels, IMAGES.labels)
    assert isinstance(held(_streamed(), 0.9 * IMAGES.images.nbytes / 1e9), Records)


@pytest.fixture
def synthetic(tmp_path):
    """Two shards of four images."""
    layout = store.Layout(tmp_path / "synthetic", 2)
    teacher = teachers.create_teacher(
        "cifar_resnet8", image_size=(4, 4, 1), mean=(0.5,), std=(0.5,)
    )
    generator = np.random.default_rng(0)
    for number in range(2):
        images = ImageSet(
            generator.integers(0, 256, (4, 4, 4, 1)).astype(np.uint8),
            np.arange(4, dtype=np.int32),
            generator.normal(size=(4, 10)).astype(np.float32),
            np.full(4, number, np.int32),
        )
        store.write_shard(layout.shard(number), images, 0, teacher)
    store.write_metadata(layout, teacher, [4, 4])
    return layout


def test_synthetic_records_are_those_of_the_whole_set(synthetic):
    records, whole = store.open_records(synthetic.root), store.load(synthetic.root)
    assert (records.size, records.image_size) == (8, (4, 4, 1))
    for found, wanted in zip(records.take(np.arange(8)), whole, strict=True):
        assert np.array_equal(found, wanted)
    assert isinstance(store.load_up_to(synthetic.root, 0), Records)
    assert isinstance(store.load_up_to(synthetic.root, 1), ImageSet)


def test_a_damaged_record_names_its_shard(synthetic, tmp_path):
    shard = synthetic.shard(1)
    content = bytearray(shard.read_bytes())
    content[120:160] = bytes(40)
    shard.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"00001-of-00002 is damaged .*; add --repair"):
        _fit(tmp_path / "fit", store.open_records(synthetic.root), batch_size=4)


def test_stored_labels_are_streamed_and_missed(synthetic, tmp_path):
    records = store.open_records(synthetic.root)
    recipe = _recipe(labels="stored", batch_size=8)
    feed = stream.feed(records, None, recipe, jax.random.key(0))
    part, waited = feed.at(0)
    feed.close()
    assert part.logits.shape == (4, 8, 10)
    assert waited > 0
    with pytest.raises(UserError, match="labels='stored' needs images that carry"):
        _fit(tmp_path, _streamed(), labels="stored")
