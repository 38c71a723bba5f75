import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from datafree_nas.data import sources
from datafree_nas.data.classes import Classes
from datafree_nas.data.sources import Request
from datafree_nas.runtime.errors import UserError

SIZE = (4, 6, 3)
DIGITS = Request("digits", (8, 8, 1), Classes(10))


def _images(count):
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE), dtype=np.uint8)


# digits


def test_digits():
    train, test = (sources.load(DIGITS, split) for split in ("train", "test"))
    assert (train.size, test.size) == (1297, 500)
    for part in (train, test):
        assert part.images.dtype == np.uint8
        assert part.images.min() == 0
        assert part.images.max() == 255
        assert set(part.labels) == set(range(10))
    np.testing.assert_array_equal(train.labels[:5], [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(train.images[0, 0, :, 0], [0, 0, 80, 207, 143, 16, 0, 0])


def test_digits_for_another_teacher_or_split():
    for count in (9, 12):
        with pytest.raises(UserError, match=f"digits has 10 classes, the teacher {count}"):
            sources.load(DIGITS._replace(classes=Classes(count)), "test")
    with pytest.raises(UserError, match="digits has no split 'dev'"):
        sources.load(DIGITS._replace(test_split="dev"), "test")
    assert sources.load(DIGITS._replace(test_split="val"), "test").size == 500


def test_take():
    digits = sources.load(DIGITS, "test")
    taken = digits.take(np.array([7, 3]))
    assert taken.size == 2
    np.testing.assert_array_equal(taken.images, digits.images[[7, 3]])
    np.testing.assert_array_equal(taken.labels, digits.labels[[7, 3]])
    assert taken.logits is None


# any


def test_what_a_config_asks(tmp_path):
    (tmp_path / "names").write_text("b\na")
    fields = {"source": "folder:x", "data_dir": "y", "train_split": "seen", "test_split": "unseen"}
    data = ConfigDict(fields | {"classes": ""})
    expected = Request("folder:x", SIZE, Classes(2), "y", "seen", "unseen")
    assert sources.request_of(data, SIZE, 2) == expected
    assert sources.request_of(data, SIZE, 2, ["c", "d"]).classes.names == ("c", "d")
    data.classes = str(tmp_path / "names")
    assert sources.request_of(data, SIZE, 2, ["c", "d"]).classes.names == ("b", "a")


def test_an_unknown_source():
    with pytest.raises(UserError, match=r"config\.data\.source='fodler:x' is unknown; did you"):
        sources.load(Request("fodler:x", SIZE), "train")
    with pytest.raises(UserError, match="did you mean 'folder'"):
        sources.load(Request("fodler:x", SIZE), "train")
    for source in ("folder", "npz:", "tfds:", "digits:x"):
        with pytest.raises(UserError, match="must be digits, tfds:NAME, folder:DIR or npz:FILE"):
            sources.load(Request(source, SIZE), "train")


def test_images_of_another_size(tmp_path):
    expected = r"digits has images of \(8, 8, 1\), the teacher wants \(4, 6, 3\)"
    with pytest.raises(UserError, match=expected):
        sources.load(DIGITS._replace(size=SIZE), "train")
    np.savez(tmp_path / "a.npz", images=_images(5), labels=np.arange(5))
    with pytest.raises(UserError, match=r"images of \(4, 6, 3\), the teacher wants \(8, 8, 3\)"):
        sources.load(Request(f"npz:{tmp_path}/a.npz", (8, 8, 3)), "train")


def test_inspection_is_json_and_lines():
    found = sources.inspect(DIGITS)
    assert json.loads(json.dumps(found)) == found
    assert found == {
        "source": "digits",
        "splits": {
            "train": {"name": "train", "images": 1297},
            "test": {"name": "test", "images": 500},
        },
        "classes": {},
        "classes_by": "labels are class indices",
        "skipped": {},
        "notes": [],
        "warnings": [],
    }
    assert sources.lines(found) == [
        "data: digits: train 1297 images (train), test 500 images (test)"
    ]


def test_only_the_splits_that_are_needed_are_opened(tmp_path):
    np.savez(tmp_path / "a.npz", x_test=_images(4), y_test=np.arange(4))
    request = Request(f"npz:{tmp_path}/a.npz", SIZE, Classes(4))
    assert sources.inspect(request, ["test"])["splits"] == {"test": {"name": "test", "images": 4}}
    with pytest.raises(UserError, match="split 'train'"):
        sources.inspect(request)


def test_inspection_decodes_one_image_of_a_split(tmp_path):
    for i, image in enumerate(_images(3)):
        for split in ("train", "test"):
            (tmp_path / split / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / split / "ab"[i % 2] / f"{i}.png")
    (tmp_path / "test" / "b" / "1.png").write_bytes(b"torn")
    (tmp_path / "test" / "b" / ".hidden").write_bytes(b"")
    request = Request(f"folder:{tmp_path}", SIZE, Classes(2))
    found = sources.inspect(request)
    assert sources.lines(found) == [
        f"data: folder:{tmp_path}: train 3 images (train), test 3 images (test)",
        "classes: a=0, b=1 (by alphabetical order, as in torchvision's ImageFolder; if the teacher "
        "has another, name the classes in the teacher's order, one a line, in a file for "
        "config.data.classes)",
        "skipped: 1 hidden",
    ]
    with pytest.raises(UserError, match=r"b/1\.png is no readable image"):
        sources.load(request, "test")
    (tmp_path / "test" / "a" / "0.png").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"a/0\.png is no readable image"):
        sources.inspect(request)


def test_dark_images_and_absent_classes_are_warned_of(tmp_path):
    dark = np.minimum(_images(10), 16)  # scikit-learn's digits go from 0 to 16
    np.savez(tmp_path / "a.npz", images=dark, labels=np.arange(10) % 2)
    found = sources.inspect(Request(f"npz:{tmp_path}/a.npz", SIZE, Classes(30)))["warnings"]
    assert any("the brightest pixel of any train image is 16 of 255" in each for each in found)
    assert any("no train image of 28 classes: 2, 3, 4" in each for each in found)
    (tmp_path / "a").mkdir()
    twelve_bits = np.full((4, 6), 4095, np.uint16)
    for i in range(5):
        Image.fromarray(twelve_bits).save(tmp_path / "a" / f"{i}.png")
    found = sources.inspect(Request(f"folder:{tmp_path}", SIZE, Classes(1)))
    assert any(
        "brightest pixel of the first test image is 16 of 255" in w for w in found["warnings"]
    )
    assert any("65535 is taken for white" in note for note in found["notes"])
