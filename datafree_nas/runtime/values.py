"""The values that a field of a config or a file may have: described in words, and tested."""

import math
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from datafree_nas.runtime.errors import did_you_mean


@dataclass(frozen=True)
class Values:
    """The values that a field may have.

    Attributes:
        words: noun phrase for messages and for docs/configs.md, e.g. `an integer from 1 to 1000`.
        holds: whether a value is one of them; takes a value of any type.
        hint: end of the error line about a value that is none of them; takes that value.
        required: whether the field has to be there.
    """

    words: str
    holds: Callable[[Any], bool]
    hint: Callable[[Any], str] = lambda value: ""
    required: bool = True

    def or_empty(self, meaning: str) -> "Values":
        """Allows the empty list or text besides the same values, with a meaning of its own."""
        return Values(
            f"{self.words}; or empty: {meaning}",
            lambda value: value in ("", (), []) or self.holds(value),
            self.hint,
        )

    def or_none(self) -> "Values":
        """Allows None besides the same values."""
        return replace(
            self,
            words=f"{self.words}, or null",
            holds=lambda value: value is None or self.holds(value),
        )

    def or_absent(self) -> "Values":
        """Allows the field to be absent, because an older version did not write it."""
        return replace(self, required=False)


def integer(least: int, most: int) -> Values:
    """Allows the whole numbers of a range, both ends included."""
    return Values(f"an integer from {_short(least)} to {_short(most)}", _integers(least, most))


def zero_or_integer(least: int, most: int) -> Values:
    """Allows 0, with a meaning of its own, and the whole numbers of a range."""
    within = _integers(least, most)
    return Values(
        f"0, or an integer from {_short(least)} to {_short(most)}",
        lambda value: _is_integer(value) and (value == 0 or within(value)),
    )


def number(least: float, most: float, *, above: bool = False, below: bool = False) -> Values:
    """Allows the finite numbers of a range.

    Args:
        least: smallest allowed value.
        most: largest allowed value.
        above: whether the smallest value itself is excluded.
        below: whether the largest value itself is excluded.
    """
    start = f"above {_short(least)}" if above else f"from {_short(least)}"
    end = f"below {_short(most)}" if below else f"to {_short(most)}"
    joined = f"{start} and {end}" if below and above else f"{start} {end}"

    def holds(value: Any) -> bool:
        inside = _is_number(value) and least <= value <= most
        return inside and not (above and value == least) and not (below and value == most)

    return Values(f"a number {joined}", holds)


def boolean() -> Values:
    """Allows True and False."""
    return Values("True or False", lambda value: isinstance(value, bool))


def text() -> Values:
    """Allows any text, also an empty one."""
    return Values("text", lambda value: isinstance(value, str))


def name() -> Values:
    """Allows text that is not empty."""
    return Values("text that is not empty", lambda value: isinstance(value, str) and bool(value))


def one_of(known: Iterable[str]) -> Values:
    """Allows the names of a list."""
    names = tuple(known)
    return Values(
        " or ".join(f"'{each}'" for each in names),
        lambda value: isinstance(value, str) and value in names,
        lambda value: did_you_mean(str(value), names),
    )


def some_of(known: Iterable[str]) -> Values:
    """Allows lists of different names, in any order; also an empty list."""
    names = tuple(known)

    def unknown(value: Any) -> str:
        wrong = [each for each in value if each not in names] if _is_list(value) else []
        return f"; no {wrong[0]!r}{did_you_mean(str(wrong[0]), names)}" if wrong else ""

    def holds(value: Any) -> bool:
        if not _is_list(value) or not all(isinstance(each, str) for each in value):
            return False
        return set(value) <= set(names) and len(set(value)) == len(value)

    return Values(f"a list of different names out of {', '.join(names)}", holds, unknown)


def list_of(each: Values, lengths: Container[int], what: str) -> Values:
    """Allows lists whose entries are all of one kind.

    Args:
        each: allowed values of an entry.
        lengths: numbers of entries that a list may have.
        what: noun phrase for messages, e.g. `(least, greatest) share of the area`.
    """

    def holds(value: Any) -> bool:
        return _is_list(value) and len(value) in lengths and all(map(each.holds, value))

    return Values(f"{what}, each {each.words}", holds)


def mapping_of(each: Values) -> Values:
    """Allows objects of JSON with any names, whose values are all of one kind."""
    return Values(
        f"an object whose values are each {each.words}",
        lambda value: isinstance(value, dict) and all(map(each.holds, value.values())),
    )


def anything() -> Values:
    """Allows values of every kind."""
    return Values("anything", lambda value: True)


def object_of(fields: Mapping[str, Values], others: Values | None = None) -> Values:
    """Allows objects of JSON with certain fields.

    Args:
        fields: allowed values of each field, by its name.
        others: allowed values of fields with other names. Default: anything.
    """
    rest = others or anything()

    def holds(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and all(name in value or not kind.required for name, kind in fields.items())
            and all(fields.get(name, rest).holds(inner) for name, inner in value.items())
        )

    return Values(f"an object with {', '.join(fields)}", holds)


def _is_list(value: Any) -> bool:
    return isinstance(value, tuple | list)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _integers(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: _is_integer(value) and least <= value <= most


def _short(value: float) -> str:
    """Writes a number as people do: 100000000 as 1e8."""
    power = round(math.log10(value)) if value >= 1e5 else 0
    return f"1e{power}" if power and value == 10**power else f"{value}"


# Values that fields of several blocks of a config have. The upper ends are generous: beyond them no
# run of this program would end, or fit any machine.
COUNT = integer(1, 10**7)  # steps or iterations
COUNT_OR_NONE = integer(0, 10**7)
BATCH_SIZE = integer(1, 10**5)
WEIGHT = number(0, 1e6)  # of a term of a loss
SHARE = number(0, 1)
SHARE_BELOW_1 = number(0, 1, below=True)
LEARNING_RATE = number(0, 1e3, above=True)
TEMPERATURE = number(0, 1e3, above=True)
BETAS = list_of(SHARE_BELOW_1, (2,), "two numbers")  # of Adam
