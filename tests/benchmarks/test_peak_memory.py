"""Predicted peak memory against LiteRT, and what is said without it."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks import peak_memory
from datafree_nas import spaces
from datafree_nas.spaces import memory
from tests import forks
from tests.spaces.test_schedule import TINY, WAITING

UNUSED_NODE = "|none~0|+|skip_connect~0|none~1|+|skip_connect~0|nor_conv_3x3~1|avg_pool_3x3~2|"


@pytest.mark.tflite
@pytest.mark.parametrize("name", TINY)
def test_the_ops_are_those_of_litert(name):
    space = spaces.create_space(name, image_size=(16, 16, 3), **TINY[name])
    drawn = np.random.default_rng(0).integers(np.asarray(space.choices))
    row = peak_memory.measure(space, np.asarray(drawn, np.int32))
    assert row["predicted"] == row["live"] <= row["arena"] <= row["optimized"]
    assert row["ratio"] > 0.7, "the planner leaves gaps, but not more than that"


@pytest.mark.tflite
@pytest.mark.parametrize("cell", [UNUSED_NODE, WAITING])
def test_every_op_of_a_cell_has_the_memory_around_it_that_litert_has(cell, tmp_path):
    from ai_edge_litert.interpreter import OpResolverType

    space = spaces.create_space("nasbench201", image_size=(16, 16, 3), **TINY["nasbench201"])
    peak_memory.convert(space, space.decode(cell), tmp_path / "network.tflite")
    steps, _ = peak_memory.run(tmp_path / "network.tflite", OpResolverType.BUILTIN_REF)
    expected = memory.profile(space.schedule(space.decode(cell)))
    found = memory.profile(steps)
    assert found[: len(expected) - 4] == expected[:-4], "all but BatchNorm before the head"
    assert max(found) == max(expected)


@pytest.mark.full
def test_without_litert_it_says_what_to_install():
    command = [sys.executable, "-m", "tests.without", "litert_torch", "benchmarks.peak_memory"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr.splitlines() == [
        "error: this measures LiteRT; install it: pip install -e '.[tflite]'"
    ]


def test_an_unknown_space():
    process = forks.run("benchmarks.peak_memory", "--space=nasbench")
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert "nasbench" in line
