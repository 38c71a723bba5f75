"""The teacher's classes, and the class that each name in a source stands for."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from datafree_nas.runtime.errors import UserError, did_you_mean

ADVICE = "name the classes in the teacher's order, one a line, in a file for config.data.classes"


class Classes(NamedTuple):
    """The teacher's classes, as far as they are known.

    Attributes:
        number: number of classes, k; 0 if it is unknown, and then it is not checked.
        names: names of the k classes in the order of the teacher's outputs; empty if unknown.
    """

    number: int = 0
    names: tuple[str, ...] = ()

    def find(self, name: str) -> int | None:
        """Returns the class that a name stands for, or None if the name is unknown.

        Upper and lower case count as equal, and so do `_` and a space, and the composed and the
        decomposed form of a Unicode character.

        Raises:
            UserError: two classes have this name.
        """
        found = _places(self.names).get(_normal(name), ())
        exact = [place for place in found if self.names[place] == name]
        if len(exact or found) > 1:
            raise UserError(f"{name!r} is the name of classes {exact or list(found)}; {ADVICE}")
        return next(iter(exact or found), None)


def known(count: int, file: str = "", names: Sequence[str] = ()) -> Classes:
    """Collects what is known about the teacher's classes.

    Args:
        count: number of classes of the teacher, k.
        file: value of `config.data.classes`, a text file with one name per line; empty if there is
            none.
        names: class names from the teacher's card; may be empty. The file takes precedence.

    Raises:
        UserError: the file cannot be read, or the number of names is not k.
    """
    if file:
        return Classes(count, read_names(file, count, "config.data.classes"))
    if len(names) not in (0, count):
        raise UserError(f"the teacher's card names {len(names)} classes of {count}; {ADVICE}")
    return Classes(count, tuple(names))


def read_names(file: str, count: int, option: str) -> tuple[str, ...]:
    """Reads class names from a text file, one per line.

    Args:
        file: path of the text file.
        count: number of names that the file must have.
        option: config field or flag that gives the path, for messages.

    Raises:
        UserError: the file cannot be read, has the wrong number of lines, or has an empty line.
    """
    try:
        text = Path(file).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError, RuntimeError) as error:
        raise UserError(f"{option}={file} is not readable as text: {error}") from None
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if len(lines) != count or not all(lines):
        raise UserError(
            f"{option}={file} has {len(lines)} lines, {lines.count('')} of them empty; "
            f"the teacher has {count} classes, so {count} names are needed, one a line"
        )
    return tuple(lines)


class Order(NamedTuple):
    """The class that each name stands for.

    Attributes:
        places: class index by name.
        how: reason for these indices, to be shown to the user.
        certain: whether the names themselves say which classes they are.
        warnings: possible mistakes in these indices, one text each.
    """

    places: dict[str, int]
    how: str
    certain: bool = True
    warnings: tuple[str, ...] = ()


def order(folders: Iterable[str], classes: Classes, where: str) -> Order:
    """Finds the class of every class folder.

    Args:
        folders: names of the class folders of all splits.
        classes: the teacher's classes, as far as they are known.
        where: place of the folders, for errors.

    Raises:
        UserError: it is unclear which class is which, or the number of folders is wrong.
    """
    names = sorted(folders)
    if classes.names and (found := _by_name(names, classes, where)):
        return found
    if all(is_number(name) for name in names):
        return _by_number(names, classes, where)
    _check_count(names, classes, where)
    warnings: tuple[str, ...] = ()
    if names != (natural := sorted(names, key=_natural)):
        warnings = (
            "class folders are in alphabetical order, which is not that of the numbers in their "
            f"names ({_listed(names)}, not {_listed(natural)}); if the teacher has another, "
            f"{ADVICE}",
        )
    how = (
        f"alphabetical order, as in torchvision's ImageFolder; if the teacher has another, {ADVICE}"
    )
    return Order({name: i for i, name in enumerate(names)}, how, False, warnings)


def is_number(name: str) -> bool:
    """Returns whether a name is a whole number without a sign."""
    return name.isascii() and name.isdecimal()


def _by_name(names: list[str], classes: Classes, where: str) -> Order | None:
    """Looks up the folders among the class names; None if all are numbers and none is a name."""
    index = {name: classes.find(name) for name in names}
    unknown = [name for name in names if index[name] is None]
    if len(unknown) == len(names) and all(is_number(name) for name in names):
        return None
    if unknown:
        raise UserError(
            f"{where}: {_listed(unknown)} "
            f"{'is no name of a class' if len(unknown) == 1 else 'are no names of classes'}"
            f"{did_you_mean(unknown[0], classes.names[:20])}; rename the folders, or {ADVICE}"
        )
    found = {name: place for name, place in index.items() if place is not None}
    _check_distinct(found, where)
    return Order(found, "the names of the teacher's classes")


def _by_number(names: list[str], classes: Classes, where: str) -> Order:
    numbers = {name: int(name) for name in sorted(names, key=int)}
    _check_distinct(numbers, where)
    in_range = not classes.number or max(numbers.values(), default=0) < classes.number
    if 0 in numbers.values() and in_range:
        return Order(numbers, "the numbers that are their names", True, _as_text(numbers))
    _check_count(names, classes, where)
    shifted = {name: place for place, name in enumerate(numbers)}
    first, *_, last = [*shifted, *shifted]
    warning = (
        f"class folders are numbered {first} to {last} and were taken in the order of the numbers: "
        f"{first} is class 0, {last} is class {shifted[last]}; if the teacher has another order, "
        + ADVICE
    )
    how = "the order of the numbers that are their names"
    return Order(shifted, how, False, (warning, *_as_text(shifted)))


def _as_text(numbers: dict[str, int]) -> tuple[str, ...]:
    """Returns a warning if torchvision's ImageFolder would give another order."""
    if sorted(numbers) == list(numbers):
        return ()
    return (
        f"numeric class folders are in the order of their numbers ({_listed(numbers)}); "
        f"torchvision's ImageFolder sorts them as text ({_listed(sorted(numbers))}): if the "
        f"teacher was trained that way, {ADVICE}",
    )


def _check_distinct(index: dict[str, int], where: str) -> None:
    by_class = defaultdict(list)
    for name, place in index.items():
        by_class[place].append(name)
    for place, names in by_class.items():
        if len(names) > 1:
            raise UserError(
                f"{where}: {_listed(names)} are all class {place}; merge or rename them"
            )


def _check_count(names: list[str], classes: Classes, where: str) -> None:
    if classes.number and len(names) != classes.number:
        raise UserError(
            f"{where} has {len(names)} class folders ({_listed(names)}), the teacher has "
            f"{classes.number} classes; remove folders that are no classes, or, if some classes "
            f"have no folder, {ADVICE}"
        )


def _listed(names: Iterable[str], most: int = 12) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f", ... {len(names) - most} more" * (len(names) > most))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Returns a sort key that puts `class2` before `class10`."""
    parts: list[str] = [""]
    for character in name:
        digit = is_number(character)
        if parts[-1] and is_number(parts[-1][-1]) != digit:
            parts.append("")
        parts[-1] += character
    return [(not is_number(p), int(p) if is_number(p) else 0, p) for p in parts]


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().replace("_", " ").strip()


@lru_cache(maxsize=8)
def _places(names: tuple[str, ...]) -> dict[str, list[int]]:
    places = defaultdict(list)
    for place, name in enumerate(names):
        places[_normal(name)].append(place)
    return dict(places)
