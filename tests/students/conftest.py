"""Students of every space for 8x8 grey images, as small as the spaces go."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from datafree_nas import spaces
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.spaces.genotype import DARTS_V2
from datafree_nas.students.student import Student
from tests.tiers import full

SETTINGS = {
    "nasbench201": {"channels": 4, "cells": 1},
    "nasbench_macro": {"channels": 4},
    "shufflenet": {"channels": (4, 8, 16, 32), "repeats": (2, 1), "stem_stride": 1},
    "proxyless": {"width": 0.1, "stem_stride": 1, "cells": (2, 1, 1, 1, 1, 1)},
    "darts": {"network_channels": 4, "network_cells": 3},
}
ARCHITECTURES = {
    "nasbench201": "|avg_pool_3x3~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|nor_conv_3x3~2|",
    "nasbench_macro": "01202101",
    "shufflenet": "103",
    "proxyless": "06-1-2-3-4-5",
    "darts": DARTS_V2,
}


# neither this package nor Flax is there, however it is installed
ALONE = """
import sys
for name in ("datafree_nas", "flax"):
    sys.modules[name] = None
try:
    import datafree_nas
except ImportError:
    pass
else:
    raise AssertionError
"""


@pytest.fixture(params=["nasbench201", *full("nasbench_macro", "shufflenet", "proxyless", "darts")])
def any_student(request, random_variables):
    """One of each space."""
    return make_student(request.param, random_variables)


@pytest.fixture
def one_student(random_variables):
    """Of NAS-Bench-201, the quickest to compile."""
    return make_student("nasbench201", random_variables)


def make_student(name, random_variables):
    """Makes a student of a space, with random weights."""
    space = spaces.create_space(name, num_classes=7, image_size=(8, 8, 1), **SETTINGS[name])
    architecture = space.decode(ARCHITECTURES[name])
    image = jax.ShapeDtypeStruct((1, 8, 8, 1), np.float32)
    variables = random_variables(space.network(architecture), image)
    return Student(space, architecture, Preprocessing((0.3,), (0.4,)), variables)


@pytest.fixture
def images():
    """A few, `[b h w c]`."""
    return np.random.default_rng(1).integers(0, 256, (5, 8, 8, 1)).astype(np.uint8)


@pytest.fixture
def logits(images):
    """`student -> [b k]` of `images`, by the space's network."""

    def compute(student):
        network = student.space.network(student.architecture)
        x = student.preprocessing(jax.numpy.asarray(images))
        return np.asarray(jax.jit(network.apply)(student.variables, x))

    return compute


def snippets(page):
    """Returns the Python programs of a page of the docs."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.fixture
def example():
    """`page -> code`: the first program of a page of docs/students/."""
    folder = Path(__file__).parents[2] / "docs" / "students"
    return lambda page: snippets(folder / f"{page}.md")[0]
