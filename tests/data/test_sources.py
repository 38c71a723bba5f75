import io
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from datafree_nas.data import sources
from datafree_nas.runtime.errors import UserError

SIZE = (4, 6, 3)
RANDOM = np.random.default_rng(0)


def _images(count, size=SIZE):
    return RANDOM.integers(0, 256, (count, *size), dtype=np.uint8)


def _labels(count):
    return np.arange(count) % 3


# digits


def test_digits():
    train, test = (sources.load("digits", split, (8, 8, 1)) for split in ("train", "test"))
    assert (train.size, test.size) == (1297, 500)
    for part in (train, test):
        assert part.images.dtype == np.uint8
        assert part.images.min() == 0
        assert part.images.max() == 255
        assert set(part.labels) == set(range(10))
    np.testing.assert_array_equal(train.labels[:5], [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(train.images[0, 0, :, 0], [0, 0, 80, 207, 143, 16, 0, 0])


def test_take():
    digits = sources.load("digits", "test", (8, 8, 1))
    taken = digits.take(np.array([7, 3]))
    assert taken.size == 2
    np.testing.assert_array_equal(taken.images, digits.images[[7, 3]])
    np.testing.assert_array_equal(taken.labels, digits.labels[[7, 3]])
    assert taken.logits is None


# npz


def test_npz_with_splits(tmp_path):
    arrays = {"train_images": _images(7), "train_labels": _labels(7)}
    arrays |= {"test_images": _images(2), "test_labels": _labels(2)}
    np.savez(tmp_path / "a.npz", **arrays)
    for split in ("train", "test"):
        found = sources.load(f"npz:{tmp_path}/a.npz", split, SIZE)
        np.testing.assert_array_equal(found.images, arrays[f"{split}_images"])
        np.testing.assert_array_equal(found.labels, arrays[f"{split}_labels"])


def test_npz_without_splits_holds_out_every_fifth(tmp_path):
    images, labels = _images(11, (4, 6)), _labels(11)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    train, test = (
        sources.load(f"npz:{tmp_path}/a.npz", split, (4, 6, 1)) for split in ("train", "test")
    )
    np.testing.assert_array_equal(test.images[..., 0], images[[4, 9]])
    np.testing.assert_array_equal(test.labels, labels[[4, 9]])
    np.testing.assert_array_equal(train.images[..., 0], np.delete(images, [4, 9], axis=0))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": _images(3)}, r"has no array 'labels'; it has \['images'\]"),
        ({"train_images": _images(3)}, "has no array 'train_labels'"),
        ({"images": _images(3) / 255, "labels": _labels(3)}, "must be uint8"),
        ({"images": _images(3), "labels": _labels(4)}, "with 4 labels"),
        ({"images": _images(3)[0, 0], "labels": _labels(4)}, "must be uint8 .n h w c."),
        ({"images": _images(3), "labels": np.array([None] * 3)}, "not a readable .npz"),
    ],
)
def test_npz_that_does_not_fit(arrays, message, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=message):
        sources.load(f"npz:{tmp_path}/a.npz", "train", SIZE)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 torn"])
def test_npz_that_is_none(content, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npz is not a readable \.npz file"):
        sources.load(f"npz:{tmp_path}/a.npz", "train", SIZE)
    with pytest.raises(UserError, match=r"b\.npz is not a readable \.npz file"):
        sources.load(f"npz:{tmp_path}/b.npz", "train", SIZE)


# folder


def _write(file, image):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(file)


def test_folder_with_splits(tmp_path):
    images = {"train": _images(4), "test": _images(2)}
    for split, all_of_it in images.items():
        for i, image in enumerate(all_of_it):
            _write(tmp_path / split / f"class{i % 2}" / f"{i}.png", image)
    train = sources.load(f"folder:{tmp_path}", "train", SIZE)
    np.testing.assert_array_equal(train.labels, [0, 0, 1, 1])
    np.testing.assert_array_equal(train.images, images["train"][[0, 2, 1, 3]])
    test = sources.load(f"folder:{tmp_path}", "test", SIZE)
    np.testing.assert_array_equal(test.images, images["test"])


def test_folder_without_splits_holds_out_every_fifth(tmp_path):
    images = _images(10)
    for i, image in enumerate(images):
        _write(tmp_path / "ab"[i // 6] / f"{i}.png", image)
    train, test = (sources.load(f"folder:{tmp_path}", split, SIZE) for split in ("train", "test"))
    np.testing.assert_array_equal(test.images, images[[4, 9]])
    np.testing.assert_array_equal(test.labels, [0, 1])
    np.testing.assert_array_equal(train.images, np.delete(images, [4, 9], axis=0))


def test_images_in_a_folder_are_resized_and_converted(tmp_path):
    _write(tmp_path / "a" / "0.png", np.full((9, 5, 3), (10, 20, 30), np.uint8))
    _write(tmp_path / "a" / "1.png", np.full((4, 6), 7, np.uint8))
    colour = sources.load(f"folder:{tmp_path}", "train", SIZE)
    assert (colour.images[0] == [10, 20, 30]).all()
    assert (colour.images[1] == 7).all()
    grey = sources.load(f"folder:{tmp_path}", "train", (2, 2, 1))
    assert grey.images.shape == (2, 2, 2, 1)
    assert (grey.images[0] == 18).all()  # luma of (10, 20, 30)


def test_an_unreadable_image_is_named(tmp_path):
    _write(tmp_path / "a" / "0.png", _images(1)[0])
    whole = (tmp_path / "a" / "0.png").read_bytes()
    for name, content in {"text": b"hello", "torn": whole[:-40], "empty": b""}.items():
        bad = tmp_path / "b" / f"{name}.png"
        bad.parent.mkdir(exist_ok=True)
        bad.write_bytes(content)
        with pytest.raises(UserError, match=rf"b/{name}\.png is no readable image"):
            sources.load(f"folder:{tmp_path}", "train", SIZE)
        bad.unlink()


def test_folders_with_nothing_in_them(tmp_path):
    with pytest.raises(UserError, match=r"no folder at .*missing"):
        sources.load(f"folder:{tmp_path}/missing", "train", SIZE)
    with pytest.raises(UserError, match="holds no images; expected one folder a class"):
        sources.load(f"folder:{tmp_path}", "train", SIZE)
    (tmp_path / "class").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        sources.load(f"folder:{tmp_path}", "train", SIZE)


# tfds


def _write_tfds(directory, images, labels, shape=SIZE):
    directory.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=shape, encoding_format="png"),
            "label": tfds.features.ClassLabel(num_classes=3),
        }
    )
    info = tfds.core.DatasetInfo(
        builder=tfds.core.DatasetIdentity(
            name="small", version="1.0.0", data_dir=str(directory), module_name="small"
        ),
        features=features,
    )
    writer = tfds.core.SequentialWriter(info, 10, overwrite=False, file_format="array_record")
    writer.initialize_splits(["train"])
    for image, label in zip(images, labels, strict=True):
        png = io.BytesIO()
        Image.fromarray(image).save(png, "png")
        png.seek(0)
        writer.add_examples({"train": [{"image": png, "label": int(label)}]})
    writer.close_all()


def test_tfds(tmp_path):
    images, labels = _images(5), _labels(5)
    _write_tfds(tmp_path / "small" / "1.0.0", images, labels)
    found = sources.load("tfds:small", "train", SIZE, str(tmp_path))
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.labels, labels)
    with pytest.raises(UserError, match=r"tfds:small, split 'test', is not in .*data_dir"):
        sources.load("tfds:small", "test", SIZE, str(tmp_path))
    with pytest.raises(UserError, match="tfds:other, split 'train', is not in"):
        sources.load("tfds:other", "train", SIZE, str(tmp_path))


def test_tfds_of_many_sizes_is_seen_as_imagenet_is(tmp_path):
    """The middle 224 of 256 pixels of the shorter side, at the teacher's size."""
    wide = np.zeros((256, 400, 3), np.uint8)
    wide[16:-16, 72 + 16 : -72 - 16] = 200  # what is seen of it
    tall = np.full((90, 40, 3), 30, np.uint8)
    _write_tfds(tmp_path / "small" / "1.0.0", [wide, tall], [0, 1], (None, None, 3))
    found = sources.load("tfds:small", "train", (56, 56, 3), str(tmp_path))
    assert found.images.shape == (2, 56, 56, 3)
    assert (found.images[0] > 150).all(), "smoothed at most at its edge"
    assert (found.images[0, 2:-2, 2:-2] == 200).all()
    assert (found.images[1] == 30).all()


@pytest.mark.skipif(
    "DATAFREE_NAS_DATA" not in os.environ, reason="DATAFREE_NAS_DATA names no folder of real data"
)
def test_real_cifar10():
    place = str(Path(os.environ["DATAFREE_NAS_DATA"]) / "tfds")
    test = sources.load("tfds:cifar10_lite", "test", (32, 32, 3), place)
    assert test.size == 1017
    assert set(test.labels) == set(range(10))


# any


def test_an_unknown_source():
    with pytest.raises(UserError, match=r"config\.data\.source='fodler:x' is unknown; did you"):
        sources.load("fodler:x", "train", SIZE)
    with pytest.raises(UserError, match="did you mean 'folder'"):
        sources.load("fodler:x", "train", SIZE)


def test_images_of_another_size(tmp_path):
    expected = r"digits has images of \(8, 8, 1\), the teacher wants \(4, 6, 3\)"
    with pytest.raises(UserError, match=expected):
        sources.load("digits", "train", SIZE)
    np.savez(tmp_path / "a.npz", images=_images(5), labels=_labels(5))
    with pytest.raises(UserError, match=r"images of \(4, 6, 3\), the teacher wants \(8, 8, 3\)"):
        sources.load(f"npz:{tmp_path}/a.npz", "train", (8, 8, 3))
