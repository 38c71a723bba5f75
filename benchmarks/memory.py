r"""Memory that the steps of a config take on each device, from XLA, without running any.

    python -m benchmarks.memory --config=configs/imagenet_spos.py --devices=8 --json=FILE

Initializes the search and a student at full size, lowers and compiles their steps for so many
devices, and asks XLA. Weights, images and teacher are arguments; images are counted as if every
device held them all, as they are held. On a machine without that many devices the CPU's are split
into virtual ones: convolutions are then stated as on an accelerator, but fusions and layouts are
the CPU's.
"""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from benchmarks import results
from datafree_nas import pipeline, teachers
from datafree_nas.layers import initial
from datafree_nas.runtime import backend, mesh
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.flags import parse
from datafree_nas.search import run as search
from datafree_nas.search.strategy import SearchData
from datafree_nas.training import fit, trainer
from datafree_nas.training.recipe import optimizer
from datafree_nas.training.trainer import Preprocessing, TrainData

_CONFIG = config_flags.DEFINE_config_file("config", None, "an experiment, FILE.py[:arg]")
_DEVICES = flags.DEFINE_integer("devices", 1, "that share a batch", lower_bound=1)
_JSON = flags.DEFINE_string("json", "", "file to write; none: only the table")


def rows(config: ConfigDict) -> list[results.Row]:
    """One row for every program of the search and of a student, on all devices there are."""
    teacher = teachers.create(config.teacher.arch, config.teacher.num_classes)
    image = jax.ShapeDtypeStruct((1, *teacher.image_size), jnp.float32)
    variables = _on_all(jax.eval_shape(teacher.model.init, jax.random.key(0), image))
    space, teacher_fn = pipeline.space_of(config), pipeline.logits_fn(teacher)
    preprocess, key = Preprocessing(teacher.mean, teacher.std), jax.random.key(0)
    total = config.synthesis.images * config.synthesis.rounds
    count = round(total * config.search.held_out)

    recipe = config.search.train
    strategy = search.create(space.regularized(recipe), teacher_fn, preprocess, config.search)
    data = SearchData(
        _images(total - count, teacher, variables),
        _images(count, teacher, variables),
        _abstract(count, teacher.num_classes),
    )
    steps = {phase.name: phase for phase in strategy.phases if phase.unit == "steps"}
    found = _measured("search", steps["supernet"], _on_all(strategy.init(key)), data, recipe)

    recipe = config.student.train
    architecture = np.asarray(space.sample(key))
    model = space.regularized(recipe).network(architecture)
    state = trainer.init(
        key, initial.variables(model, key, image), optimizer(recipe), average=recipe.ema > 0
    )
    phase = fit.phases(model, teacher_fn, preprocess, recipe)[0]
    images = _images(total, teacher, variables)
    return found + _measured("student", phase, _on_all(state), images, recipe)


def _abstract(*shape: int, dtype: Any = jnp.float32) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=mesh.replicated())


def _on_all(tree: Any) -> Any:
    """The shapes of a tree, on every device."""
    return jax.tree.map(lambda leaf: _abstract(*leaf.shape, dtype=leaf.dtype), tree)


def _images(count: int, teacher: teachers.Teacher, variables: Any) -> TrainData:
    pixels = _abstract(count, *teacher.image_size, dtype=jnp.uint8)
    return TrainData(pixels, _abstract(count, dtype=jnp.int32), None, variables)


def _measured(name: str, phase: Any, state: Any, data: Any, recipe: Any) -> list[results.Row]:
    with backend.plain_convolutions():
        programs = phase.advance.lower(state, data)
    found = []
    for i, program in enumerate(programs):
        memory = program.compile().memory_analysis()
        new = memory.output_size_in_bytes - memory.alias_size_in_bytes
        total = memory.argument_size_in_bytes + memory.temp_size_in_bytes + new
        found.append(
            {
                "name": name if i == 0 else f"{name}, architecture",
                "images_a_device": recipe.batch_size // jax.device_count(),
                "arguments_GB": memory.argument_size_in_bytes / 1e9,
                "temporaries_GB": memory.temp_size_in_bytes / 1e9,
                "total_GB": total / 1e9,
            }
        )
    return found


def _run() -> None:
    path = results.destination(_JSON.value)
    if _DEVICES.value != jax.device_count():
        raise UserError(f"--devices={_DEVICES.value}, but JAX sees {jax.device_count()}")
    results.report(rows(_CONFIG.value), {"devices": _DEVICES.value}, path)


def main(_argv: list[str]) -> None:
    """Prints a row for every program."""
    # read when JAX first looks for devices; of no effect where there are accelerators
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={_DEVICES.value}"
    )
    exit_cleanly(_run)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
