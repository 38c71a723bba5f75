import numpy as np
import pytest
from PIL import Image

from datafree_nas.data import sources
from datafree_nas.data.classes import Classes
from datafree_nas.data.sources import Request
from datafree_nas.runtime.errors import UserError

SIZE = (4, 6, 3)
ANY = Classes()
RANDOM = np.random.default_rng(0)


def _images(count):
    return RANDOM.integers(0, 256, (count, *SIZE), dtype=np.uint8)


def _write(file, image):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(file)


def _write_all(root, classes, count=2):
    """As many images for every class; returns them in the order of the classes."""
    images = _images(count * len(classes))
    for i, image in enumerate(images):
        _write(root / classes[i // count] / f"{i:03}.png", image)
    return images


def _request(place, classes=ANY, **fields):
    return Request(f"folder:{place}", SIZE, classes, **fields)


def _load(place, split="train", classes=ANY, **fields):
    return sources.load(_request(place, classes, **fields), split)


def _refused(message, place, split="train", classes=ANY, **fields):
    with pytest.raises(UserError, match=message):
        _load(place, split, classes, **fields)


# splits


def test_with_splits(tmp_path):
    images = {split: _write_all(tmp_path / split, "ab") for split in ("train", "test")}
    for split, expected in images.items():
        found = _load(tmp_path, split)
        np.testing.assert_array_equal(found.images, expected)
        np.testing.assert_array_equal(found.labels, [0, 0, 1, 1])


def test_without_splits_every_fifth_is_held_out(tmp_path):
    images = _write_all(tmp_path, "ab", 5)
    train, test = (_load(tmp_path, split) for split in ("train", "test"))
    np.testing.assert_array_equal(test.images, images[[4, 9]])
    np.testing.assert_array_equal(test.labels, [0, 1])
    np.testing.assert_array_equal(train.images, np.delete(images, [4, 9], axis=0))


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val", "testing"])
def test_other_names_of_test(name, tmp_path):
    _write_all(tmp_path / "training", "ab")
    images = _write_all(tmp_path / name, "ab")
    np.testing.assert_array_equal(_load(tmp_path, "test").images, images)
    found = sources.inspect(_request(tmp_path, Classes(2)))
    assert found["splits"] == {
        "train": {"name": "training", "images": 4},
        "test": {"name": name, "images": 4},
    }


def test_test_comes_before_validation(tmp_path):
    for name in ("train", "val"):
        _write_all(tmp_path / name, "ab")
    images = _write_all(tmp_path / "test", "ab", 3)
    np.testing.assert_array_equal(_load(tmp_path, "test").images, images)
    assert _load(tmp_path, "test", test_split="validation").size == 4


def test_splits_of_other_names(tmp_path):
    seen, unseen = _write_all(tmp_path / "seen", "ab"), _write_all(tmp_path / "unseen", "ab")
    names = {"train_split": "seen", "test_split": "unseen"}
    np.testing.assert_array_equal(_load(tmp_path, "train", **names).images, seen)
    np.testing.assert_array_equal(_load(tmp_path, "test", **names).images, unseen)
    _refused("'dev', nor any other: every fifth", tmp_path, "test", test_split="dev")


def test_a_split_that_is_not_there(tmp_path):
    images = _write_all(tmp_path / "test", "ab")
    np.testing.assert_array_equal(_load(tmp_path, "test").images, images)
    _refused("has no folder 'train'.*it has test; set config.data.train_split", tmp_path)


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    _write_all(tmp_path, ["bus", "car", "train"], 5)
    assert _load(tmp_path, "train", Classes(3)).size == 12


def test_folders_beside_the_splits_are_no_matter(tmp_path):
    for name in ("train", "test", "devkit/data"):
        _write_all(tmp_path / name, "ab")
    assert _load(tmp_path, "test", Classes(2)).size == 4


# classes


def test_a_class_without_a_test_image_shifts_nothing(tmp_path):
    _write_all(tmp_path / "train", "abc")
    _write_all(tmp_path / "test", "ac")
    np.testing.assert_array_equal(_load(tmp_path, "test", Classes(3)).labels, [0, 0, 2, 2])
    found = sources.inspect(_request(tmp_path, Classes(3)))
    assert found["classes"] == {"a": 0, "b": 1, "c": 2}
    assert found["warnings"] == [f"folder:{tmp_path} has no test image of 1 classes: 1"]


def test_an_empty_class_folder_is_a_class(tmp_path):
    _write_all(tmp_path / "train", "02")
    for split in ("train", "test"):
        (tmp_path / split / "1").mkdir(parents=True)
    _write_all(tmp_path / "test", "02")
    np.testing.assert_array_equal(_load(tmp_path, "test", Classes(3)).labels, [0, 0, 2, 2])


def test_splits_whose_folders_differ(tmp_path):
    _write_all(tmp_path / "train", ["ant", "bee", "cow"])
    images = _write_all(tmp_path / "test", ["ant", "bee", "cows"])
    _refused("cows in one split, cow in the other", tmp_path, "test", Classes(4))
    names = Classes(4, ("cow", "cows", "bee", "ant"))
    found = _load(tmp_path, "test", names)
    np.testing.assert_array_equal(found.labels, [1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(found.images, images[[4, 5, 2, 3, 0, 1]])


def test_the_number_of_classes(tmp_path):
    images = _write_all(tmp_path, ["a", "b", "c"], 5)
    for count in (2, 4):
        _refused(
            rf"has 3 class folders \(a, b, c\).*{count} classes", tmp_path, "train", Classes(count)
        )
    found = _load(tmp_path, "test", Classes(4, ("c", "b", "d", "a")))
    assert found.labels.tolist() == [0, 1, 3]
    np.testing.assert_array_equal(found.images, images[[14, 9, 4]])


def test_numeric_names_sort_as_numbers(tmp_path):
    _write_all(tmp_path, [str(i) for i in range(1, 12)], 5)
    np.testing.assert_array_equal(_load(tmp_path, "test", Classes(11)).labels, range(11))
    warnings = sources.inspect(_request(tmp_path, Classes(11)))["warnings"]
    assert any("1 is class 0, 11 is class 10" in each for each in warnings)


# what is read, and what is not


def test_hidden_names_and_other_files_are_skipped_and_counted(tmp_path):
    images = {split: _write_all(tmp_path / split, "ab") for split in ("train", "test")}
    for hidden in (".ipynb_checkpoints", "__MACOSX"):
        _write(tmp_path / "test" / hidden / "x.png", _images(1)[0])
        (tmp_path / hidden).mkdir()
    _write(tmp_path / "test" / "a" / ".ipynb_checkpoints" / "000.png", _images(1)[0])
    for name in (
        "a/.DS_Store",
        "a/._000.png",
        "b/Thumbs.db",
        "b/notes.TXT",
        "labels.csv",
        "a/README",
    ):
        (tmp_path / "test" / name).write_bytes(b"\0\0\0\1Bud1")
    (tmp_path / "test" / "b" / "gone.png").symlink_to("nowhere.png")
    _write(tmp_path / "test" / "cover.png", _images(1)[0])
    np.testing.assert_array_equal(_load(tmp_path, "test", Classes(2)).images, images["test"])
    assert sources.inspect(_request(tmp_path, Classes(2)))["skipped"] == {
        "hidden": 5,
        "files .db": 1,
        "files .txt": 1,
        "files .csv": 1,
        "files without a suffix": 1,
        "broken links": 1,
        "images outside of class folders": 1,
    }


def test_folders_below_a_class_are_read(tmp_path):
    images = _images(3)
    for name, image in zip(("a/x.png", "a/deep/er/x.png", "b/deep/x.png"), images, strict=True):
        for split in ("train", "test"):
            _write(tmp_path / split / name, image)
    found = _load(tmp_path, "train", Classes(2))
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.labels, [0, 0, 1])


def test_links_to_folders(tmp_path):
    images = _write_all(tmp_path / "elsewhere", "xy")
    for split in ("train", "test"):
        (tmp_path / "D" / split).mkdir(parents=True)
        for here, there in (("a", "x"), ("b", "y")):
            (tmp_path / "D" / split / here).symlink_to(tmp_path / "elsewhere" / there)
    np.testing.assert_array_equal(_load(tmp_path / "D", "test").images, images)
    (tmp_path / "elsewhere" / "x" / "loop").symlink_to(tmp_path / "elsewhere" / "x")
    _refused("loop is a link to a folder that it is in", tmp_path / "D")


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "jpg", "bmp", "Tiff", "webp", "gif"])
def test_kinds_of_images(suffix, tmp_path):
    for name in "ab":
        _write(tmp_path / "train" / name / f"ünï cödé.{suffix}", np.full(SIZE, 200, np.uint8))
    found = _load(tmp_path, "train", Classes(2))
    assert found.labels.tolist() == [0, 1]
    assert np.abs(found.images.astype(int) - 200).max() <= 2


def test_an_unreadable_image_is_named(tmp_path):
    _write(tmp_path / "a" / "0.png", _images(1)[0])
    whole = (tmp_path / "a" / "0.png").read_bytes()
    for name, content in {"text": b"hello", "torn": whole[:-40], "empty": b""}.items():
        bad = tmp_path / "b" / f"{name}.png"
        bad.parent.mkdir(exist_ok=True)
        bad.write_bytes(content)
        _refused(rf"b/{name}\.png is no readable image", tmp_path)
        bad.unlink()


def test_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    _write_all(tmp_path / "x" / "train", "ab")
    assert _load("~/x").size == 4


def test_folders_with_nothing_in_them(tmp_path):
    _refused("missing does not exist; folder:DIR needs", tmp_path / "missing")
    _refused("holds no images; expected one folder for each class", tmp_path)
    (tmp_path / "class").mkdir()
    _refused("holds no images", tmp_path)
    (tmp_path / "class" / "a.npy").write_bytes(b"")
    _refused(r"holds no images \(skipped: 1 files \.npy\)", tmp_path)


def test_images_that_are_in_no_class_folder(tmp_path):
    for i, image in enumerate(_images(3)):
        _write(tmp_path / "flat" / f"{i}.png", image)
        _write(tmp_path / "split" / "train" / f"{i}.png", image)
    for place in ("flat", "split"):
        _refused("holds 3 images and no folders; put the images of each class", tmp_path / place)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "images.zip").write_bytes(b"")
    _refused(r"images\.zip is a file, not a folder: unpack it", tmp_path / "images.zip")


def test_a_teacher_of_four_channels(tmp_path):
    _write_all(tmp_path, "ab")
    with pytest.raises(UserError, match="the teacher has 4 channels"):
        sources.load(Request(f"folder:{tmp_path}", (4, 6, 4)), "train")
