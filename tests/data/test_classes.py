import pytest

from datafree_nas.data.classes import Classes, known, order
from datafree_nas.runtime.errors import UserError

NAMES = ("cat", "polar bear", "Straße", "emu")


def test_names_from_a_file(tmp_path):
    file = tmp_path / "names.txt"
    file.write_bytes("\ufeffcat\r\n polar bear\r\nStraße\r\nemu\r\n\r\n".encode())
    assert known(4, str(file)) == Classes(4, NAMES)
    assert known(4, str(file), ["a", "b", "c", "d"]) == Classes(4, NAMES), "the file comes first"
    assert known(4, "", NAMES) == Classes(4, NAMES)
    assert known(4) == Classes(4)


def test_names_from_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "names.txt").write_text("a\nb")
    assert known(2, "~/names.txt").names == ("a", "b")


def test_files_of_names_that_do_not_fit(tmp_path):
    file = tmp_path / "names.txt"
    with pytest.raises(UserError, match=r"names\.txt is not readable as text"):
        known(3, str(file))
    file.write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(UserError, match="is not readable as text"):
        known(3, str(file))
    file.write_text("a\nb\n")
    with pytest.raises(UserError, match="has 2 lines, 0 of them empty; the teacher has 3 classes"):
        known(3, str(file))
    file.write_text("a\n\nc\n")
    with pytest.raises(UserError, match="has 3 lines, 1 of them empty"):
        known(3, str(file))
    with pytest.raises(UserError, match="card names 2 classes of 3"):
        known(3, "", ["a", "b"])


def test_names_are_found_in_other_spellings():
    classes = Classes(4, NAMES)
    for name, place in {"cat": 0, "Cat": 0, "polar_bear": 1, "Polar Bear": 1, "STRASSE": 2}.items():
        assert classes.find(name) == place
    assert Classes(1, ("é",)).find("e\u0301") == 0, "as macOS writes it"
    assert classes.find("dog") is None


def test_two_classes_of_one_name():
    classes = Classes(4, ("crane", "emu", "crane", "Emu"))
    assert (classes.find("emu"), classes.find("Emu")) == (1, 3)
    for name in ("crane", "EMU"):
        with pytest.raises(UserError, match=rf"'{name}' is the name of classes \["):
            classes.find(name)


@pytest.mark.parametrize(
    ("folders", "classes", "expected"),
    [
        (["b", "c", "a"], Classes(3), {"a": 0, "b": 1, "c": 2}),
        (["b", "B", "a"], Classes(3), {"B": 0, "a": 1, "b": 2}),
        (["0", "1", "2"], Classes(3), {"0": 0, "1": 1, "2": 2}),
        (["0", "2"], Classes(3), {"0": 0, "2": 2}),
        (["00", "02", "10"], Classes(11), {"00": 0, "02": 2, "10": 10}),
        ([str(i) for i in range(12)], Classes(12), {str(i): i for i in range(12)}),
        ([str(i) for i in range(1, 11)], Classes(10), {str(i + 1): i for i in range(10)}),
        (["2019", "2021", "2020"], Classes(3), {"2019": 0, "2020": 1, "2021": 2}),
        (["emu", "polar_bear", "cat"], Classes(4, NAMES), {"emu": 3, "polar_bear": 1, "cat": 0}),
        (["0", "3"], Classes(4, NAMES), {"0": 0, "3": 3}),
        (["1", "2", "3"], Classes(3, ("3", "1", "2")), {"3": 0, "1": 1, "2": 2}),
        (["b", "a"], Classes(), {"a": 0, "b": 1}),
    ],
)
def test_class_folders(folders, classes, expected):
    assert order(folders, classes, "D").places == expected


@pytest.mark.parametrize(
    ("folders", "classes", "message"),
    [
        (["a", "b"], Classes(3), r"D has 2 class folders \(a, b\), the teacher has 3 classes"),
        (["a", "b", "c", "d"], Classes(3), "D has 4 class folders"),
        (["1", "2", "3", "5"], Classes(5), r"has 4 class folders \(1, 2, 3, 5\).*data\.classes"),
        (["0", "1", "3"], Classes(2), "D has 3 class folders"),
        (["1", "01", "0"], Classes(3), "D: 01, 1 are all class 1|D: 1, 01 are all class 1"),
        (["cat", "dog"], Classes(4, NAMES), "D: dog is no name of a class; known: .*data.classes"),
        (["cat", "emus"], Classes(4, NAMES), "D: emus is no name of a class; did you mean 'emu'?"),
        (["dog", "hen"], Classes(4, NAMES), "D: dog, hen are no names of classes"),
        (["cat", "0"], Classes(4, NAMES), "D: 0 is no name of a class"),
        (["cat", "Cat"], Classes(4, NAMES), "D: Cat, cat are all class 0"),
    ],
)
def test_class_folders_that_do_not_fit(folders, classes, message):
    with pytest.raises(UserError, match=message):
        order(folders, classes, "D")


def test_what_may_be_wrong_with_an_order_is_said():
    def warnings(folders, classes):
        return " ".join(order(folders, classes, "D").warnings)

    assert not warnings("abc", Classes(3))
    assert not warnings("012", Classes(3))
    assert "1 is class 0, 3 is class 2" in warnings("123", Classes(3))
    ten = [str(i) for i in range(1, 11)]
    assert "ImageFolder sorts them as text (1, 10, 2, 3" in warnings(ten, Classes(10))
    assert "ImageFolder" in warnings([str(i) for i in range(12)], Classes(12))
    assert "ImageFolder" not in warnings([f"{i:02}" for i in range(12)], Classes(12))
    assert "(c1, c10, c2, not c1, c2, c10)" in warnings(["c10", "c2", "c1"], Classes(3))
    assert order("abc", Classes(3), "D").how.startswith("alphabetical order")
    assert not order("abc", Classes(3), "D").certain
    assert order("012", Classes(3), "D").certain
