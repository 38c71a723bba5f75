import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from datafree_nas.data import sources
from datafree_nas.data.classes import Classes
from datafree_nas.data.sources import Request
from datafree_nas.runtime.errors import UserError

SIZE = (4, 6, 3)
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (5, *SIZE), dtype=np.uint8)
LABELS = np.arange(5) % 3
THREE = Classes(3)
F = tfds.features
IMAGE = F.Image(shape=SIZE, encoding_format="png")
CLASS = F.ClassLabel(num_classes=3)


def _png(image):
    png = io.BytesIO()
    Image.fromarray(image).save(png, "png")
    png.seek(0)
    return png


def _write(directory, rows, split="train", **features):
    """A set whose name is that of the folder which the version is in."""
    directory.mkdir(parents=True)
    name = directory.parent.name
    info = tfds.core.DatasetInfo(
        builder=tfds.core.DatasetIdentity(
            name=name, version=directory.name, data_dir=str(directory), module_name=name
        ),
        features=F.FeaturesDict(features),
    )
    writer = tfds.core.SequentialWriter(info, 10, overwrite=False, file_format="array_record")
    writer.initialize_splits([split])
    for row in rows:
        writer.add_examples({split: [row]})
    writer.close_all()


def _write_small(
    root, image="image", label="label", kind=CLASS, labels=LABELS, split="train", **more
):
    rows = [
        {image: _png(pixels), label: value} | dict.fromkeys(more, 0)
        for pixels, value in zip(IMAGES, labels, strict=True)
    ]
    _write(root / "small" / "1.0.0", rows, split, **{image: IMAGE, label: kind}, **more)


def _request(root, name="small", classes=THREE, **fields):
    return Request(f"tfds:{name}", SIZE, classes, str(root), **fields)


def _refused(message, request, split="train"):
    with pytest.raises(UserError, match=message) as refused:
        sources.inspect(request, [split])
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match=message):
        sources.load(request, split)


def _check(request, split="train", labels=LABELS):
    found = sources.load(request, split)
    np.testing.assert_array_equal(found.images, IMAGES)
    np.testing.assert_array_equal(found.labels, labels)
    return sources.inspect(request, [split])


# where a set is


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    _write_small(root)
    return root


def test_a_set(small):
    found = _check(_request(small))
    assert found["splits"] == {"train": {"name": "train", "images": 5}}
    assert found["classes"] == {}
    assert found["warnings"] == []
    _refused(
        r"no split 'test', it has \['train'\]; set config.data.test_split", _request(small), "test"
    )


@pytest.mark.parametrize("place", ["small", "small/1.0.0", ""])
def test_the_folder_of_a_set_or_a_version_is_found_as_well(place, small):
    _check(_request(small / place))
    _check(_request(small / place, "small:1.0.0"))
    _refused(
        r"tfds:other is not in .*; set config\.data\.data_dir", _request(small / place, "other")
    )
    _refused("tfds:small:2.0.0 is not in", _request(small / place, "small:2.0.0"))


def test_the_home_directory(small, monkeypatch):
    monkeypatch.setenv("HOME", str(small.parent))
    _check(_request(f"~/{small.name}"))


def test_the_newest_version_counts(small, tmp_path):
    for version in ("2.0.0", "10.0.0"):
        shutil.copytree(small / "small" / "1.0.0", tmp_path / "small" / version)
    (tmp_path / "small" / "incomplete.ABC_11.0.0").mkdir()
    (tmp_path / "small" / "11.0.0").mkdir()
    assert "small/10.0.0" in _check(_request(tmp_path))["notes"][0]
    assert "small/2.0.0" in _check(_request(tmp_path, "small:2.*.*"))["notes"][0]


def test_configs(tmp_path):
    for config in ("noise", "blur"):
        rows = [{"image": _png(IMAGES[0]), "label": 1}]
        _write(tmp_path / "c" / config / "1.0.0", rows, image=IMAGE, label=CLASS)
        name = "c" if config == "noise" else "c/blur"
        assert sources.load(_request(tmp_path, name), "train").size == 1
    _refused(
        "tfds:c has several configs; choose from tfds:c/blur, tfds:c/noise", _request(tmp_path, "c")
    )


def test_a_set_that_is_not_prepared(tmp_path):
    _refused(
        r"tfds:cifar10 is not in .*or prepare it: python -c 'import tensorflow_datasets as tfds; "
        rf'tfds.builder\("cifar10", data_dir="{tmp_path}", file_format="array_record"\)'
        r"\.download_and_prepare\(\)' \(this step alone needs TensorFlow",
        _request(tmp_path, "cifar10"),
        "test",
    )
    _refused("tfds:cifar1 is not in .*did you mean 'cifar10'", _request(tmp_path, "cifar1"))
    _refused("tfds:qqqqqqqq is not in .*; it has nothing", _request(tmp_path / "no", "qqqqqqqq"))
    for name in ("a b", "huggingface:mnist", "../small", "small/"):
        _refused("write tfds:NAME, tfds:NAME/CONFIG", _request(tmp_path, name))


def test_the_command_that_prepares_a_set_is_right(tmp_path):
    """As far as it comes without a network and TensorFlow."""
    builder = tfds.builder("cifar10", data_dir=str(tmp_path), file_format="array_record")
    assert builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD
    assert Path(builder.data_dir).parent == tmp_path / "cifar10"
    assert callable(builder.download_and_prepare)


def test_a_set_prepared_for_tensorflow(small, tmp_path):
    at = tmp_path / "small" / "1.0.0"
    shutil.copytree(small / "small" / "1.0.0", at)
    info = json.loads((at / "dataset_info.json").read_text())
    (at / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    _refused("prepared as tfrecord, which TensorFlow alone reads; prepare", _request(tmp_path))


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json", "shard"])
def test_a_damaged_set(file, small, tmp_path):
    at = tmp_path / "small" / "1.0.0"
    shutil.copytree(small / "small" / "1.0.0", at)
    file = "small-train.array_record-00000-of-00001" if file == "shard" else file
    file = next(at.glob("*array_record*")) if "record" in file else at / file
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    _refused("tfds:small", _request(tmp_path))
    if "record" not in file.name:
        return
    file.unlink()
    _refused("tfds:small, split 'train'", _request(tmp_path))


# splits


def test_validation_stands_for_test(tmp_path):
    _write_small(tmp_path, split="validation")
    assert _check(_request(tmp_path), "test")["splits"]["test"]["name"] == "validation"


def test_a_part_of_a_split(small):
    found = sources.load(_request(small, train_split="train[:2]"), "train")
    np.testing.assert_array_equal(found.images, IMAGES[:2])
    _refused("split 'train", _request(small, train_split="train[:x]"))


# features


def test_an_image_of_another_name(tmp_path):
    _write_small(tmp_path, image="img")
    assert "images are 'img', labels are 'label'" in _check(_request(tmp_path))["notes"][0]


def test_a_label_of_another_name(tmp_path):
    _write_small(tmp_path, label="label_1", id=F.Scalar(np.int64))
    assert "labels are 'label_1'" in _check(_request(tmp_path))["notes"][0]


def test_a_whole_number_of_another_name(tmp_path):
    _write_small(tmp_path, label="digit", kind=F.Scalar(np.int64), image_id=F.Scalar(np.int64))
    _check(_request(tmp_path))


def test_an_id_is_no_label(tmp_path):
    _write_small(tmp_path, label="image_id", kind=F.Scalar(np.int64))
    _refused("no feature that must be one class.*image_id", _request(tmp_path))


def test_of_several_labels_that_with_the_teachers_number_of_classes_counts(tmp_path):
    coarse = F.ClassLabel(num_classes=2)
    _write_small(tmp_path, label="fine", coarse=coarse)
    _check(_request(tmp_path))
    _refused(
        "no feature that must be one class.*coarse.*fine", _request(tmp_path, classes=Classes(4))
    )


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        (F.Text(), [str(label) for label in LABELS]),
        (F.Tensor(shape=(1,), dtype=np.int64), LABELS[:, None]),
        (F.Tensor(shape=(3,), dtype=np.float32), np.eye(3, dtype=np.float32)[LABELS]),
        (F.Scalar(np.float32), LABELS.astype(np.float32)),
    ],
)
def test_labels_of_other_kinds(kind, labels, tmp_path):
    _write_small(tmp_path, kind=kind, labels=labels)
    _check(_request(tmp_path))


@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        (F.Sequence(CLASS), [[1, 2]] * 5, r"no feature that must be one class.*label: Sequence"),
        (
            F.Text(),
            ["cat", "dog", "owl", "cat", "dog"],
            r"\(cat.* are names, not.*data\.classes",
        ),
        (F.Scalar(np.int64), LABELS + 1, "from 1 to 3.*subtract 1|from 3 to 3.*subtract 1"),
        (F.Scalar(np.float32), np.float32(LABELS) + 0.5, r"label 0 is 0\.5"),
        (F.ClassLabel(num_classes=4), LABELS, "'label' has 4 classes, the teacher has 3"),
        (F.ClassLabel(num_classes=2), LABELS % 2, "'label' has 2 classes, the teacher has 3"),
        (CLASS, [-1] * 5, "from -1 to -1.*without a label"),
    ],
)
def test_labels_that_are_refused(kind, labels, message, tmp_path):
    _write_small(tmp_path, kind=kind, labels=labels)
    _refused(message, _request(tmp_path))


def test_no_image_or_two(tmp_path):
    _write(tmp_path / "small" / "1.0.0", [{"label": 1}], label=CLASS)
    _refused("no feature that must be an image: label: ClassLabel", _request(tmp_path))
    row = {"left": _png(IMAGES[0]), "right": _png(IMAGES[0]), "label": 1}
    _write(tmp_path / "two" / "1.0.0", [row], left=IMAGE, right=IMAGE, label=CLASS)
    _refused("no feature that must be an image:.*left.*right", _request(tmp_path, "two"))


def test_class_names(tmp_path):
    _write_small(tmp_path, kind=F.ClassLabel(names=["cat", "dog", "owl"]))
    assert _check(_request(tmp_path))["classes"] == {"cat": 0, "dog": 1, "owl": 2}
    names = Classes(4, ("emu", "Owl", "Dog", "Cat"))
    _check(_request(tmp_path, classes=names), labels=3 - LABELS)
    other = Classes(3, ("feline", "canine", "bird"))
    assert (
        "classes were taken by number" in _check(_request(tmp_path, classes=other))["warnings"][0]
    )
    _refused(
        "class 0 of 'label' is class 1", _request(tmp_path, classes=Classes(3, ("a", "cat", "b")))
    )


# images


def test_of_many_sizes_it_is_seen_as_imagenet_is(tmp_path):
    """The middle 224 of 256 pixels of the shorter side, at the teacher's size."""
    wide = np.zeros((256, 400, 3), np.uint8)
    wide[16:-16, 72 + 16 : -72 - 16] = 200  # what is seen of it
    tall = np.full((90, 40, 3), 30, np.uint8)
    rows = [{"image": _png(wide), "label": 0}, {"image": _png(tall), "label": 1}]
    image = F.Image(shape=(None, None, 3), encoding_format="png")
    _write(tmp_path / "small" / "1.0.0", rows, image=image, label=CLASS)
    found = sources.load(_request(tmp_path)._replace(size=(56, 56, 3)), "train")
    assert found.images.shape == (2, 56, 56, 3)
    assert (found.images[0] > 150).all(), "smoothed at most at its edge"
    assert (found.images[0, 2:-2, 2:-2] == 200).all()
    assert (found.images[1] == 30).all()


def test_an_image_of_200_megapixels(tmp_path):
    large = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(large, "png")
    large.seek(0)
    image = F.Image(shape=(None, None, 1), encoding_format="png")
    _write(tmp_path / "small" / "1.0.0", [{"image": large, "label": 0}], image=image, label=CLASS)
    with pytest.raises(UserError, match="image 0 has more than 178 megapixels; resize or remove"):
        sources.load(_request(tmp_path)._replace(size=(4, 4, 1)), "train")


def test_of_many_sizes_in_grey(tmp_path):
    rows = [{"image": _png(np.full((9, 5), 30, np.uint8)), "label": 0}]
    image = F.Image(shape=(None, None, 1), encoding_format="png")
    _write(tmp_path / "small" / "1.0.0", rows, image=image, label=CLASS)
    found = sources.load(_request(tmp_path)._replace(size=(4, 4, 1)), "train")
    assert (found.images == np.full((1, 4, 4, 1), 30)).all()


@pytest.mark.skipif(
    "DATAFREE_NAS_DATA" not in os.environ, reason="DATAFREE_NAS_DATA names no folder of real data"
)
def test_real_cifar10():
    place = str(Path(os.environ["DATAFREE_NAS_DATA"]) / "tfds")
    request = Request("tfds:cifar10_lite", (32, 32, 3), Classes(10), place)
    test = sources.load(request, "test")
    assert test.size == 1017
    assert set(test.labels) == set(range(10))
    found = sources.inspect(request)
    assert found["splits"]["train"]["images"] == 5085
    assert found["classes"]["truck"] == 9
    assert found["warnings"] == []
