import numpy as np
import pytest

from datafree_nas.data.classes import Classes
from datafree_nas.data.labels import check, without_images
from datafree_nas.runtime.errors import UserError

NAMES = ("cat", "dog", "owl", "emu")
FOUR, NAMED = Classes(4), Classes(4, NAMES)
RIGHT = [0, 3, 1, 2, 0]


def _one_hot(dtype):
    return np.eye(4)[RIGHT].astype(dtype)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array(RIGHT, np.int64), FOUR),
        (np.array(RIGHT, np.uint8), FOUR),
        (np.array(RIGHT, np.float32), FOUR),
        (np.array(RIGHT)[:, None], FOUR),
        (np.array(RIGHT)[None], FOUR),
        (np.array(RIGHT, float)[:, None, None], FOUR),
        (_one_hot(int), FOUR),
        (_one_hot(bool), FOUR),
        (_one_hot(np.float32), FOUR),
        (np.array(["0", "3", "1", "2", "0"]), FOUR),
        (np.array(["0", "03", "1.0", " 2", "+0"]), FOUR),
        (np.array([b"0", b"3", b"1", b"2", b"0"]), FOUR),
        (np.array(["0", "3", "1", "2", "0"]), NAMED),
        (np.array(NAMES)[RIGHT], NAMED),
        (np.array(["Cat", "emu", "DOG", "owl", "cat"])[:, None], NAMED),
        (np.char.encode(np.array(NAMES)[RIGHT]), NAMED),
        (np.array(RIGHT), NAMED),
        (np.array(["3", "0", "2", "1", "3"]), Classes(4, ("3", "2", "1", "0"))),
        (np.array(RIGHT), Classes()),
    ],
)
def test_labels_that_are_understood(labels, classes):
    found = check(labels, 5, classes, "a")
    assert found.indices.dtype == np.int32
    np.testing.assert_array_equal(found.indices, RIGHT)


def test_what_was_not_plain_is_said():
    assert check(np.array(RIGHT), 5, FOUR, "a").notes == ()
    assert "one-hot rows" in check(_one_hot(int), 5, FOUR, "a").notes[0]
    assert "read as numbers" in check(np.array(["1"]), 1, FOUR, "a").notes[0]
    assert "class names" in check(np.array(["owl"]), 1, NAMED, "a").notes[0]


def test_one_image():
    assert check(np.array([2]), 1, FOUR, "a").indices.tolist() == [2]
    assert check(np.array([[2]]), 1, FOUR, "a").indices.tolist() == [2]
    assert check(np.array([[0, 0, 1, 0]]), 1, FOUR, "a").indices.tolist() == [2]


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([1, 2, 3, 4, 1], FOUR, "go from 1 to 4, the teacher's 4 classes are 0 to 3: subtract 1"),
        ([0, 1, 2, 3, 4], FOUR, "go from 0 to 4, the teacher's 4 classes are 0 to 3$"),
        ([1, 2, 3, 4, 9], FOUR, "go from 1 to 9, the teacher's 4 classes are 0 to 3$"),
        (["1", "2", "3", "4", "1"], FOUR, "from 1 to 4.*subtract 1"),
        ([-1, -1, -1, -1, -1], FOUR, "from -1 to -1.*without a label"),
        ([-2, 0, 1, 2, 3], FOUR, "from -2 to 3; they must begin at 0$"),
        ([0, 1, 2**40, 3, 1], Classes(), "0 to 2147483647"),
        ([0, 1, 2, 0.5, 1], FOUR, r"label 3 is 0\.5; labels must be whole numbers"),
        ([0, 1, 2, np.nan, 1], FOUR, "label 3 is nan"),
        ([0, 1, 2, np.inf, 1], FOUR, "label 3 is inf"),
        ([0, 1, 2, 3], FOUR, r"shape \(4,\) for 5 images"),
        (np.zeros((5, 4)), FOUR, r"shape \(5, 4\) are no one-hot rows"),
        (np.ones((5, 4)), FOUR, "are no one-hot rows"),
        (np.full((5, 4), 0.25), FOUR, "are no one-hot rows"),
        (np.eye(4)[RIGHT] * 2 - 1, FOUR, "are no one-hot rows"),
        (np.array([["cat", "dog"]] * 5), NAMED, "are no one-hot rows"),
        (np.eye(6)[RIGHT], FOUR, "one-hot labels of 6 classes, the teacher has 4"),
        (np.zeros((5, 2, 2), int), FOUR, r"shape \(5, 2, 2\) for 5 images"),
        (
            ["cat", "dog", "owl", "emu", "cat"],
            FOUR,
            r"\(cat, dog, emu, owl\) are names, not.*data\.cl",
        ),
        (["cat", "dog", "yak", "emu", "cat"], NAMED, r"\(yak\) are not among the class names"),
        (["0", "1", "2", "3", "3"], Classes(4, ("1", "2", "3", "4")), r"\(0\) are not among"),
        (np.array([None] * 5), FOUR, "labels are object"),
        (np.array([1j] * 5), FOUR, "labels are complex128"),
    ],
)
def test_labels_that_are_refused(labels, classes, message):
    with pytest.raises(UserError, match=f"^a: .*{message}"):
        check(np.asarray(labels), 5, classes, "a")


def test_no_labels():
    with pytest.raises(UserError, match="a: there are no images"):
        check(np.zeros(0, int), 0, FOUR, "a")


def test_classes_without_images():
    assert without_images(np.array([0, 2, 2]), FOUR) == [1, 3]
    assert without_images(np.array(RIGHT), FOUR) == []
    assert without_images(np.array([5]), Classes()) == []
