"""Which files are taken for latency tables, and what they say."""

import numpy as np
import pytest

from datafree_nas import spaces
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import write_json
from datafree_nas.spaces import latency
from datafree_nas.spaces.nasbench201 import OPS

SPACE = spaces.create_space("nasbench201", image_size=(8, 8, 1), channels=4, cells=1)
ROW = [0.0, 0.5, 1.0, 3.0, 2.0]  # ms, of OPS


def _content(**changes):
    return {**latency.header(SPACE), "fixed": 2.0, "table": [ROW] * len(SPACE.choices), **changes}


def _write(path, **changes):
    write_json(path, _content(**changes))
    return path


@pytest.fixture
def table(tmp_path):
    return _write(tmp_path / "table.json")


def test_a_table_is_a_cost_in_milliseconds(table):
    architecture, expected = np.array([3, 2, 4, 1, 3, 2], np.int32), 2 + 3 + 1 + 2 + 0.5 + 3 + 1
    assert SPACE.latency(architecture, latency.load(table, SPACE)) == expected


def test_a_table_may_say_which_runtime_it_is_of(table, tmp_path):
    """Tables of older versions do not."""
    new = latency.load(_write(tmp_path / "new.json", runtime="litert", threads=1), SPACE)
    np.testing.assert_array_equal(new.table, latency.load(table, SPACE).table)


def test_macs_stay_integers():
    largest = np.full(6, OPS.index("nor_conv_3x3"), np.int32)
    assert type(SPACE.macs_cost.of(largest)) is int
    assert type(SPACE.macs(largest)) is type(SPACE.params(largest)) is int


def test_what_nobody_reads_takes_no_time(table):
    """Of three ops on the way to node 2, which leads nowhere, and one from it."""
    conv, none = OPS.index("nor_conv_3x3"), OPS.index("none")
    dead = np.array([conv, conv, conv, conv, none, none], np.int32)
    left = np.array([none, none, none, conv, none, none], np.int32)
    np.testing.assert_array_equal(SPACE.without_unused(dead), left)
    assert SPACE.latency(dead, latency.load(table, SPACE)) == 2 + 3
    assert SPACE.macs(dead) > SPACE.macs(left), "which the benchmark counts"
    full = np.full(6, conv, np.int32)
    np.testing.assert_array_equal(SPACE.without_unused(full), full)


SETTINGS = latency.header(SPACE)["settings"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "darts"}, "of another space: space is 'darts', not 'nasbench201'"),
        ({"settings": {**SETTINGS, "cells": 5}}, "another space: cells is 5, not 1"),
        (
            {"settings": {**SETTINGS, "image_size": (32, 32, 3)}},
            r"image_size is \[32, 32, 3\], not \[8, 8, 1\]",
        ),
        ({"settings": {**SETTINGS, "width": 1}}, "width is 1, not None"),
        ({"ops": OPS[:4]}, "ops is .* not .*avg_pool_3x3"),
        ({"unit": "s"}, "unit is 's', not 'ms'"),
        ({"table": [ROW] * 5}, "must have 6 rows of 5 numbers"),
        ({"table": [[0.0, 0.5, 1.0, 3.0, -2.0]] * 6}, "none of them negative"),
        ({"fixed": float("nan")}, "must have 6 rows"),
        ({"table": [ROW, ROW[:2]]}, "is no latency table"),
        ({"table": "x"}, "is no latency table"),
        ({"fixed": None}, "is no latency table"),
        ({"settings": 3}, "is no latency table"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_another_table_is_refused(changes, message, tmp_path):
    path = _write(tmp_path / "a.json", **changes)
    with pytest.raises(UserError, match=message) as error:
        latency.load(path, SPACE)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["[]", "{}", "7", "{"])
def test_other_json_is_refused(content, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=r"a\.json is no"):
        latency.load(tmp_path / "a.json", SPACE)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        latency.load(tmp_path / "a.json", SPACE)
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory"):
        latency.load(tmp_path, SPACE)
