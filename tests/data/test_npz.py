import io
import zipfile

import numpy as np
import pytest

from datafree_nas.data import npz_array, sources
from datafree_nas.data.classes import Classes
from datafree_nas.data.sources import Request
from datafree_nas.runtime.errors import UserError

SIZE = (4, 6, 3)
RANDOM = np.random.default_rng(0)
THREE = Classes(3)


def _images(count, size=SIZE):
    return RANDOM.integers(0, 256, (count, *size), dtype=np.uint8)


def _labels(count):
    return np.arange(count) % 3


def _save(tmp_path, size=SIZE, **arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    return Request(f"npz:{tmp_path}/a.npz", size, THREE)


@pytest.mark.parametrize(
    ("images", "labels", "train", "test"),
    [
        ("{}_images", "{}_labels", "train", "test"),
        ("x_{}", "y_{}", "train", "test"),
        ("X_{}", "Y_{}", "train", "val"),
        ("{}_x", "{}_y", "train", "valid"),
        ("{}_data", "{}_label", "training", "validation"),
        ("data.{}", "targets.{}", "TRAIN", "TEST"),
    ],
)
def test_usual_names_with_splits(images, labels, train, test, tmp_path):
    arrays = {images.format(train): _images(7), labels.format(train): _labels(7)}
    arrays |= {images.format(test): _images(4), labels.format(test): _labels(4)}
    request = _save(tmp_path, **arrays)
    for split, name in (("train", train), ("test", test)):
        found = sources.load(request, split)
        np.testing.assert_array_equal(found.images, arrays[images.format(name)])
        np.testing.assert_array_equal(found.labels, arrays[labels.format(name)])


def test_medmnist(tmp_path):
    """Three splits, labels of one column."""
    arrays = {f"{split}_images": _images(5) for split in ("train", "val", "test")}
    arrays |= {f"{split}_labels": _labels(5)[:, None] for split in ("train", "val", "test")}
    request = _save(tmp_path, **arrays)
    found = sources.load(request, "test")
    np.testing.assert_array_equal(found.images, arrays["test_images"])
    np.testing.assert_array_equal(found.labels, _labels(5))
    found = sources.load(request._replace(test_split="val"), "test")
    np.testing.assert_array_equal(found.images, arrays["val_images"])


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images", "labels"),
        ("x", "y"),
        ("X", "y"),
        ("data", "targets"),
        ("data", "labels"),
        ("image", "label"),
        ("arr_0", "arr_1"),
    ],
)
def test_usual_names_without_splits(images, labels, tmp_path):
    arrays = {images: _images(11), labels: _labels(11)}
    train, test = (sources.load(_save(tmp_path, **arrays), split) for split in ("train", "test"))
    np.testing.assert_array_equal(test.images, arrays[images][[4, 9]])
    np.testing.assert_array_equal(test.labels, arrays[labels][[4, 9]])
    np.testing.assert_array_equal(train.images, np.delete(arrays[images], [4, 9], axis=0))


def test_other_arrays_are_no_matter(tmp_path):
    arrays = {"images": _images(5), "labels": _labels(5), "fine_labels": _labels(5)}
    arrays |= {"names": np.array(["a", "b"]), "meta": np.array([{}], dtype=object)}
    assert sources.load(_save(tmp_path, **arrays), "test").size == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x / 255,
        lambda x: (x / 255).astype(np.float32),
        lambda x: x.astype(np.int64),
        lambda x: x.astype(np.float64),
        lambda x: np.moveaxis(x, -1, 1),
        lambda x: np.moveaxis(x, -1, 1) / 255,
    ],
)
def test_kinds_of_pixels(change, tmp_path):
    images = _images(5)
    request = _save(tmp_path, x_train=change(images), y_train=_labels(5))
    np.testing.assert_array_equal(sources.load(request, "train").images, images)


def test_grey_images(tmp_path):
    images, size = _images(5, (4, 6)), (4, 6, 1)
    for given in (images, images[..., None], images[:, None]):
        request = _save(tmp_path, size, x_train=given, y_train=_labels(5))
        np.testing.assert_array_equal(sources.load(request, "train").images, images[..., None])


def test_where_both_layouts_fit_channels_are_last(tmp_path):
    images, size = _images(5, (3, 3, 3)), (3, 3, 3)
    request = _save(tmp_path, size, x_train=images, y_train=_labels(5))
    np.testing.assert_array_equal(sources.load(request, "train").images, images)


def test_labels_are_checked(tmp_path):
    request = _save(tmp_path, x_train=_images(6), y_train=_labels(6) + 1)
    with pytest.raises(UserError, match=r"a\.npz: y_train: labels go from 1 to 3.*subtract 1"):
        sources.load(request, "train")
    request = _save(tmp_path, x_train=_images(6), y_train=np.array(["a", "b", "c"])[_labels(6)])
    with pytest.raises(UserError, match=r"labels \(a, b, c\) are names"):
        sources.load(request, "train")
    request = request._replace(classes=Classes(3, ("c", "b", "a")))
    np.testing.assert_array_equal(sources.load(request, "train").labels, 2 - _labels(6))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": _images(3)}, r"one of labels.*it has images uint8 \[3, 4, 6, 3\]$"),
        ({"train_images": _images(3)}, "split 'train'.*it has train_images uint8"),
        ({"x_test": _images(3), "y_test": _labels(3)}, "split 'train'.*it has x_test"),
        ({"labels": _labels(3)}, r"it has labels int64 \[3\]$"),
        ({"x": _images(3), "data": _images(3), "y": _labels(3)}, "one array of images.*x uint8"),
        (
            {"names": np.array(["a"]), "o": np.array([None])},
            r"it has names <U1 \[1\], o object \[1\]",
        ),
        ({}, "it has nothing"),
        ({"images": _images(3) / 127.5 - 1, "labels": _labels(3)}, "float64 pixels from -"),
        ({"images": _images(3), "labels": _labels(4)}, r"shape \(4,\) for 3 images"),
        ({"images": _images(3)[0, 0], "labels": _labels(4)}, r"shape \(6, 3\); images must be"),
        ({"images": _images(3)[:0], "labels": _labels(0)}, r"\(0, 4, 6, 3\); pixels must be"),
        ({"images": _images(3), "labels": np.array([None] * 3)}, "it holds pickled Python objects"),
        (
            {"images": _images(3)[:, :3], "labels": _labels(3)},
            r"images of \(3, 6, 3\), the teacher",
        ),
    ],
)
def test_arrays_that_do_not_fit(arrays, message, tmp_path):
    with pytest.raises(UserError, match=message) as refused:
        sources.load(_save(tmp_path, **arrays), "train")
    assert "allow_pickle" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_files_that_are_no_npz(tmp_path):
    np.savez_compressed(tmp_path / "whole.npz", images=_images(50), labels=_labels(50))
    whole = bytearray((tmp_path / "whole.npz").read_bytes())
    flipped = whole.copy()
    flipped[3000] ^= 255
    np.save(tmp_path / "single", _images(2))
    single = (tmp_path / "single.npy").read_bytes()
    contents = [b"", b"no zip", b"PK\x03\x04 torn", whole[:-30], flipped, single, b"\x80\x04."]
    for content in contents:
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.npz is not a readable \.npz file"):
            sources.load(Request(f"npz:{tmp_path}/a.npz", SIZE), "train")
    for place in ("missing.npz", ""):
        with pytest.raises(UserError, match="there is no such file"):
            sources.load(Request(f"npz:{tmp_path}/{place}", SIZE), "train")


def _claiming(shape):
    """What is in the file of an array that says to have that shape."""
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + bytes(100)


def test_more_than_the_file_or_the_memory_holds(tmp_path, monkeypatch):
    _save(tmp_path, labels=_labels(5))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.writestr("images.npy", _claiming((1 << 40, 4, 6, 3)))
    request = Request(f"npz:{tmp_path}/a.npz", SIZE, THREE)
    with pytest.raises(
        UserError, match=r"images uint8 .* is larger than what it holds; numpy\.sav"
    ):
        sources.load(request, "train")
    request = _save(tmp_path, images=_images(5), labels=_labels(5))
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   0 kB\n")
    monkeypatch.setattr(npz_array, "_MEMORY", tmp_path / "meminfo")
    with pytest.raises(UserError, match=r"images takes 0\.0 GB of memory, 0\.0 GB of it are free"):
        sources.load(request, "train")
    monkeypatch.setattr(npz_array, "_MEMORY", tmp_path / "none")
    assert sources.load(request, "test").size == 1


def test_many_arrays_in_a_line(tmp_path):
    with pytest.raises(UserError, match=r"it has a0 int64 \[\], .*, a19 int64 \[\], \.\.\.$"):
        sources.load(_save(tmp_path, **{f"a{i}": 0 for i in range(30)}), "train")


def test_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    _save(tmp_path, images=_images(5), labels=_labels(5))
    assert sources.load(Request("npz:~/a.npz", SIZE), "test").size == 1
