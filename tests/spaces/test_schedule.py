"""What LiteRT makes of the ops of a network, and the memory of small networks, by hand."""

import numpy as np
import pytest

from datafree_nas import spaces
from datafree_nas.spaces.memory import Step
from datafree_nas.spaces.schedule import Recorder, zeros

IMAGE = 192  # elements of an image of 8x8x3; its transposed copy has as many
START = [Step((), IMAGE), Step((0,), IMAGE)]
END = [Step((2,), 256), Step((3,), 4), Step((4,), 5)]  # transposed copy, mean, logits


@pytest.fixture
def recorder():
    return Recorder((8, 8, 3))


def test_a_relu_is_part_of_the_convolution_before_it(recorder):
    x = recorder.conv(recorder.image, 4, 3)
    assert recorder.head(recorder.relu(x), 5) == [*START, Step((1,), 256), *END]


def test_a_relu_of_what_something_else_reads_is_an_op_and_is_computed_once(recorder):
    x = recorder.conv(recorder.image, 4, 3)
    one, other = (recorder.conv(recorder.relu(x), 4) for _ in range(2))
    steps = recorder.head(recorder.add(recorder.add(one, other), x), 5)
    relu, convs = Step((2,), 256), [Step((3,), 256)] * 2
    adds = [Step((4, 5), 256, True), Step((6, 2), 256, True)]
    assert steps[:-3] == [*START, Step((1,), 256), relu, *convs, *adds]


def test_an_op_with_a_relu_runs_where_the_relu_stood(recorder):
    x = recorder.conv(recorder.image, 4, 3)
    total = recorder.add(recorder.conv(x, 4), recorder.conv(x, 4))
    other = recorder.conv(x, 4)
    steps = recorder.head(recorder.add(other, recorder.relu(total)), 5)
    convs = [Step((1,), 256), *[Step((2,), 256)] * 3]
    assert steps[:-3] == [*START, *convs, Step((3, 4), 256, True), Step((5, 6), 256, True)]


def test_a_padded_copy_is_needed_for_stride_2_on_even_sides_alone(recorder):
    def sizes(x, **conv):
        recorder.conv(x, 2, **conv)
        return [op.size for op in recorder._ops[-2:]]

    even, odd = recorder.image, recorder.take(recorder.image, "part", (7, 7, 3))
    assert sizes(even, kernel=5, stride=2) == [12 * 12 * 3, 4 * 4 * 2]
    assert sizes(even, kernel=5, stride=2, dilation=2) == [16 * 16 * 3, 4 * 4 * 2]
    assert sizes(odd, kernel=3, stride=2) == [4 * 4 * 2, 4 * 4 * 2]
    assert sizes(even, kernel=3) == [4 * 4 * 2, 8 * 8 * 2]
    assert sizes(even, stride=2) == [8 * 8 * 2, 4 * 4 * 2]


def test_what_does_not_reach_the_logits_is_left_out(recorder):
    x = recorder.conv(recorder.image, 4, 3)
    recorder.conv(x, 100)
    assert recorder.head(x, 5) == [*START, Step((1,), 256), *END]


def test_zeros_are_added_for_nothing_but_a_convolution_of_them_is_computed(recorder):
    x, nothing = recorder.conv(recorder.image, 4, 3), zeros((8, 8, 4))
    assert recorder.add(x, nothing) == recorder.add(nothing, x) == x
    assert recorder.relu(nothing) == nothing
    steps = recorder.head(recorder.add(x, recorder.conv(nothing, 4)), 5)
    assert steps[3:5] == [Step((), 256), Step((2, 3), 256, True)]


def test_two_parts_of_one_shape_are_two_tensors(recorder):
    even, odd = (recorder.take(recorder.image, part, (8, 8, 1)) for part in ("even", "odd"))
    assert even != odd
    assert recorder.take(recorder.image, "odd", (8, 8, 1)) == odd


CELL = "|{}~0|+|skip_connect~0|none~1|+|skip_connect~0|{}~1|{}~2|"
WAITING = (
    "|skip_connect~0|+|nor_conv_1x1~0|nor_conv_1x1~1|"
    "+|nor_conv_3x3~0|avg_pool_3x3~1|nor_conv_3x3~2|"
)
TINY = {
    "nasbench201": {"channels": 4, "cells": 1},
    "nasbench_macro": {"channels": 4},
    "shufflenet": {"channels": (4, 8, 16), "repeats": (2,), "stem_stride": 1},
    "proxyless": {"stem_stride": 1, "cells": (1,) * 6},
    "darts": {"network_channels": 2, "network_cells": 1},
}
POOLS = "|".join(["max_pool_3x3~0 max_pool_3x3~1"] * 4)
BY_HAND = [
    # identity cells: the residual block holds its shortcut of 4x4x8, ReLU of 8x8x4, padded copy
    ("nasbench201", CELL.format("none", "none", "none"), IMAGE + 128 + 256 + 400),
    # a cell holds its input, the average, its ReLU, and the convolution of that; the other average
    # of the input is the same one
    (
        "nasbench201",
        CELL.format("avg_pool_3x3", "nor_conv_3x3", "avg_pool_3x3"),
        IMAGE + 4 * 256,
    ),
    # node 2 is added up where its ReLU stood, so its two terms are there with the input, the
    # input's ReLU and the first term of node 3
    ("nasbench201", WAITING, IMAGE + 5 * 256),
    # identities: at the end 1280 channels of one pixel, and their transposed copy
    ("nasbench_macro", "00000000", IMAGE + 1280 + 1280),
    # a first block of 24 channels at 8x8, padded by 2 before its depthwise convolution
    ("nasbench_macro", "20000000", IMAGE + 24 * (64 + 144)),
    # the first block: stem of 8x8x4; its padded copy and 4x4x4 after it, in either branch
    ("shufflenet", "00", IMAGE + 256 + 400 + 64),
    ("shufflenet", "20", IMAGE + 256 + 784 + 64),
    # a first reduction cell: both inputs of 8x8x4, and the padded copy of one
    ("darts", f"normal: {POOLS}; reduce: {POOLS}", IMAGE + 256 + 256 + 400),
]


@pytest.mark.parametrize(("name", "architecture", "expected"), BY_HAND)
def test_small_networks(name, architecture, expected):
    space = spaces.create_space(name, image_size=(8, 8, 3), num_classes=5, **TINY[name])
    assert space.peak_memory(space.decode(architecture)) == expected


def test_a_small_network_of_proxyless():
    space = spaces.create_space("proxyless", image_size=(16, 16, 3), **TINY["proxyless"])
    image = 16 * 16 * 3
    small, large = (space.peak_memory(np.array([op, 0, 0, 0, 0, 0])) for op in (0, 5))
    assert small == image + 16 * 3 * (16**2 + 18**2), "the first searched block, padded by 1"
    assert large == image + 16 * 6 * (16**2 + 22**2)


@pytest.mark.parametrize("name", TINY)
def test_schedules_and_memory_of_random_networks(name):
    """An op reads what came before it; the image and the largest op are a lower bound."""
    space = spaces.create_space(name, image_size=(16, 16, 3), **TINY[name])
    generator = np.random.default_rng(0)
    for _ in range(10):
        drawn = np.asarray(generator.integers(np.asarray(space.choices)))
        steps = space.schedule(drawn)
        assert all(source < i for i, step in enumerate(steps) for source in step.inputs)
        read = {source for step in steps for source in step.inputs}
        assert read >= set(range(1, len(steps) - 1)), "all but the logits is read"
        least = max(step.size + sum(steps[i].size for i in set(step.inputs)) for step in steps)
        assert least <= space.peak_memory(drawn) < sum(step.size for step in steps)
