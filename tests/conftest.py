"""Settings of all tests, and the small things that many of them use."""

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"  # read when jax is imported
# most programs here run for milliseconds: XLA's last optimizations would take longer than they save
os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=1 {os.environ.get('XLA_FLAGS', '')}"
# what one test has compiled the next one need not, nor a program that a test starts
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / ".pytest_cache" / "xla")

import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

# Checks every annotated shape and type; an int will do for a float, as it does for mypy.
install_import_hook(
    "datafree_nas", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

from datafree_nas import teachers  # noqa: E402  # after the hook, which changes the import

RandomVariables = Callable[..., Any]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist's, which reads these options
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Shares the tests out over the cores, unless `-n` says otherwise.

    The tests of a single file run in this process, because starting others takes longer. There are
    at most four processes, because each takes about a gigabyte.
    """
    files = {argument.split("::")[0] for argument in config.args}
    one_file = len(files) == 1 and Path(files.pop()).is_file()
    if one_file or hasattr(config, "workerinput") or not config.pluginmanager.has_plugin("xdist"):
        return
    if config.option.numprocesses is None:
        config.option.numprocesses = "logical"
        config.option.maxprocesses = config.option.maxprocesses or 4
        config.option.dist = "worksteal"  # keeps the tests of a file together while it can


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the file with the longest fixture first, as its tests stay in one process there."""
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")


@pytest.fixture(scope="module", autouse=True)
def _forget_programs() -> Iterator[None]:
    """Compiled programs of all modules together would take all memory there is."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def random_variables() -> RandomVariables:
    """`(model, *inputs, **settings) -> variables`, random ones, and BatchNorm's as well."""

    def make(model: Any, *inputs: Any, **settings: Any) -> Any:
        generator = np.random.default_rng(0)

        def leaf(path: Any, abstract: jax.ShapeDtypeStruct) -> jax.Array:
            shape, name = abstract.shape, path[-1].key
            if name in ("scale", "var"):
                value = generator.uniform(0.5, 1.5, shape)
            else:
                fan_in = np.prod(shape[:-1]) if name == "kernel" else 10
                value = generator.normal(0, np.sqrt(2 / fan_in), shape)
            return jax.numpy.asarray(value, abstract.dtype)

        init = functools.partial(model.init, **settings)
        abstract = jax.eval_shape(init, jax.random.key(0), *inputs)
        return jax.tree_util.tree_map_with_path(leaf, abstract)

    return make


@pytest.fixture(scope="session")
def tiny_teacher(random_variables: RandomVariables) -> tuple[teachers.Teacher, Any]:
    """A ResNet-8 for 8x8 grey images and 10 classes, with random variables."""
    teacher = teachers.create_teacher(
        "cifar_resnet8", 10, image_size=(8, 8, 1), mean=(0.3,), std=(0.4,)
    )
    image = jax.ShapeDtypeStruct((1, *teacher.image_size), np.float32)
    return teacher, random_variables(teacher.model, image)
