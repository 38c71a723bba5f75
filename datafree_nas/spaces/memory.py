"""The memory that the activations of a network take, from the order of its ops.

A schedule is a list of ops as an inference runtime runs them, one after another, for one image.
While an op runs, its inputs and its output are in memory, and all that a later op reads. Weights do
not count, nor does what a kernel needs for itself.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Step(NamedTuple):
    """One op of a schedule; the first one is the image, which stays in memory, as in LiteRT.

    Attributes:
        inputs: numbers of the steps whose outputs the op reads.
        size: number of elements of its output.
        in_place: whether the output can overwrite an input of its size that nothing reads later.
    """

    inputs: tuple[int, ...]
    size: int
    in_place: bool = False


def profile(schedule: Sequence[Step]) -> list[int]:
    """Computes how many elements are in memory while each step runs.

    Args:
        schedule: steps in their order.
    """
    last = list(range(len(schedule)))  # number of the last step that needs the output of each
    for number, step in enumerate(schedule):
        for source in step.inputs:
            last[source] = number
    last[0] = len(schedule)
    found, kept = [], 0
    for number, step in enumerate(schedule):
        ending = [schedule[i].size for i in set(step.inputs) if last[i] == number]
        overwrites = step.in_place and step.size in ending
        found.append(kept if overwrites else kept + step.size)
        kept += step.size - sum(ending)
        if last[number] == number:
            kept -= step.size
    return found


def peak(schedule: Sequence[Step]) -> int:
    """Computes the largest number of elements that are in memory at once.

    Args:
        schedule: steps in their order.
    """
    return max(profile(schedule))
