"""Peak memory of schedules that can be counted by hand."""

import pytest

from datafree_nas.spaces import memory
from datafree_nas.spaces.memory import Step

IMAGE = Step((), 10)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ([IMAGE], [10]),
        # a chain: the image stays, of the rest an op needs its input and its output
        ([IMAGE, Step((0,), 7), Step((1,), 5), Step((2,), 1)], [10, 17, 22, 16]),
        # a shortcut stays until it is added
        ([IMAGE, Step((0,), 7), Step((1,), 5), Step((1, 2), 7)], [10, 17, 22, 29]),
        ([IMAGE, Step((0,), 7), Step((1,), 5), Step((1, 2), 7, True)], [10, 17, 22, 22]),
        # nothing is overwritten that is read later, is of another size, or is the image
        ([IMAGE, Step((0,), 7), Step((1,), 7, True), Step((1, 2), 1)], [10, 17, 24, 25]),
        ([IMAGE, Step((0,), 7), Step((1,), 5, True)], [10, 17, 22]),
        ([IMAGE, Step((0,), 10, True)], [10, 20]),
        # one input twice
        ([IMAGE, Step((0,), 7), Step((1, 1), 7, True), Step((2,), 1)], [10, 17, 17, 18]),
        # an op of constants alone, and an output that nobody reads
        ([IMAGE, Step((), 4), Step((0,), 3), Step((1,), 2)], [10, 14, 17, 16]),
    ],
)
def test_profiles(schedule, expected):
    assert memory.profile(schedule) == expected
    assert memory.peak(schedule) == max(expected)
