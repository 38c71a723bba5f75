"""What a run will take: memory, FLOPs, collectives, disk and hours, without running any of it.

Programs are lowered for shapes, compiled for the devices there are, and never called. Weights,
teacher and images are arguments; every device holds all images, or its share of a stream's part.
"""

import contextlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.backend import clear_backends
from ml_collections import ConfigDict
from rich import box
from rich.console import Console
from rich.table import Table

from datafree_nas import pipeline, teachers
from datafree_nas.data.images import fitting
from datafree_nas.report.text import quantity
from datafree_nas.runtime import costs, lowering, mesh, processes
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import make_directory, write_json
from datafree_nas.runtime.repeat import Repeated, repeat
from datafree_nas.search import given
from datafree_nas.search import run as search
from datafree_nas.search.strategy import SearchData
from datafree_nas.spaces import Space
from datafree_nas.synthesis import synthesize, synthesizer
from datafree_nas.teachers import Teacher, port
from datafree_nas.training import fit, stream, trainer
from datafree_nas.training.recipe import optimizer
from datafree_nas.training.trainer import Preprocessing, TrainData

Row = dict[str, Any]

_MEMORY = ("arguments", "temporaries", "total")
_WIDTH = 100  # of the table, where there is no terminal

# Bytes on disk beside pixels and logits, by which those of random images stay under the bound
_SHARD_BYTES = 2 << 16  # ArrayRecord writes blocks of 64 kB, and a last one
_IMAGE_BYTES = 700  # of PNG, of `tf.train.Example` with its names, of ArrayRecord


class _Program(NamedTuple):
    """One step, lowered.

    Attributes:
        name: of the row.
        batch: images, over all devices.
        devices: that share it.
        held: bytes of state and data on one device, whether the step reads them or not.
        lowered: for all devices.
    """

    name: str
    batch: int
    devices: int
    held: int
    lowered: jax.stages.Lowered


class _Inputs(NamedTuple):
    """What the programs of a config have in common; `variables` are the teacher's, as shapes."""

    config: ConfigDict
    teacher: Teacher
    variables: Any
    space: Space


def use_devices(count: int) -> None:
    """Makes JAX see so many devices: the machine's, or as many virtual ones of its CPU.

    Raises:
        UserError: the run has several processes, whose devices are what they are.
    """
    if jax.process_count() > 1:
        raise UserError("--plan_devices is for one process; leave it out where there are several")
    if jax.device_count() != count:
        clear_backends()
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", count)


def rows(config: ConfigDict) -> list[Row]:
    """One row for every program of a run, on all devices there are.

    Args:
        config: of an experiment. Data and checkpoint need not be there.

    Returns:
        For one device and one step: `images` of its part of the batch; `arguments_GB`,
        `temporaries_GB` and `total_GB`, by XLA, in 10^9 bytes; `GFLOP`; `collectives`, their
        count and MB by kind.

    Raises:
        UserError: the config does not fit the devices, or names nothing that there is.
    """
    teacher, space = pipeline.planned(config)
    inputs = _Inputs(config, teacher, port.shapes(teacher), space)
    programs = [] if config.teacher.checkpoint else _teacher_training(inputs)
    programs += _synthesis(inputs)
    with _for_batches(inputs, config.search.train):
        programs += _search(inputs)
    programs += _student(inputs)
    return [_row(program) for program in programs]


def synthetic_set(config: ConfigDict, rate: float = 0) -> Row:
    """What synthesis makes, and how long that takes.

    Args:
        config: of an experiment.
        rate: image-iterations a second of the whole machine, 0 if not known.

    Returns:
        `work_units`, of which each is a shard, `images`, `image_iterations`, `GB_at_most` on disk
        (random images, which PNG cannot compress, with their logits), and `hours` at that rate.
    """
    teacher, block = pipeline.planned(config)[0], config.synthesis
    units = block.rounds * (block.images // block.batch_size)
    height, width, channels = teacher.image_size
    png = 1.001 * height * (width * channels + 1)  # a filter's number for each row
    image = png + 4 * teacher.num_classes + _IMAGE_BYTES
    work = units * block.batch_size * sum(iterations for _, iterations in block.resolutions)
    return {
        "work_units": units,
        "images": units * block.batch_size,
        "image_iterations": work,
        "GB_at_most": units * (block.batch_size * image + _SHARD_BYTES) / 1e9,
        "hours": work / rate / 3600 if rate else None,
    }


def _teacher_training(inputs: _Inputs) -> list[_Program]:
    teacher, recipe = inputs.teacher, inputs.config.teacher.train
    with _for_batches(inputs, recipe):
        return _training("teacher", teacher.model, _images(inputs, recipe, 1), inputs, recipe)


def _for_batches(inputs: _Inputs, recipe: Config) -> contextlib.AbstractContextManager[None]:
    return mesh.for_batches(recipe.batch_size, inputs.teacher.image_size)


def _synthesis(inputs: _Inputs) -> list[_Program]:
    """A process makes a work unit by itself, so these are programs of its own devices."""
    teacher, block = inputs.teacher, inputs.config.synthesis
    competitor = None
    if block.competition and block.competitor:
        competitor = teachers.load(Path(block.competitor), inputs.config.teacher.factory)
    synthesize.check(teacher, inputs.variables, block, competitor is not None)
    with processes.alone():
        mesh.check_divisible(block.batch_size, "config.synthesis.batch_size")
        state = _synthesis_state(teacher, block)
        weights = competitor[1] if competitor else None
        frozen = _on_all(synthesizer.Frozen(inputs.variables, weights))
        found = []
        for pool, iterations in block.resolutions:
            step = synthesizer.make_step(
                teacher,
                block,
                batch=block.batch_size,
                pool=pool,
                iterations=iterations,
                student=competitor[0].model if competitor else None,
            )
            name, repeated = f"synthesis 1/{pool}", repeat(step)
            found += _lowered(name, block.batch_size, repeated, state, frozen)
    return found


def _synthesis_state(teacher: Teacher, block: Config) -> Any:
    """As `synthesizer.init` gives it: what has a batch axis is split, the rest is everywhere."""
    targets = jax.ShapeDtypeStruct((block.batch_size,), jnp.int32)
    state = jax.eval_shape(
        lambda targets: synthesizer.init(jax.random.key(0), targets, teacher, block), targets
    )

    def placed(leaf: Any) -> Any:
        split = leaf.ndim and leaf.shape[0] == block.batch_size
        sharding = mesh.split_over_data() if split else mesh.replicated()
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(placed, state)


def _search(inputs: _Inputs) -> list[_Program]:
    config, teacher = inputs.config.search, inputs.teacher
    recipe, total = config.train, int(min(_count(inputs.config), _fitting(inputs)))
    strategy = search.create(
        inputs.space.regularized(recipe),
        teachers.logits_fn(teacher),
        Preprocessing(teacher.mean, teacher.std),
        config,
    )
    count = round(total * config.held_out)
    data = SearchData(
        _images(inputs, recipe, 1 if config.data == "real" else total - count, config.pool),
        _images(inputs, recipe, 1 if config.data == "real" else count, config.pool),
        _abstract(count, teacher.num_classes),
    )
    state = _on_all(strategy.init(jax.random.key(0)))
    return [
        program
        for phase in strategy.phases
        if isinstance(phase.advance, Repeated)
        for program in _lowered("search", recipe.batch_size, phase.advance, state, data)
    ]


def _student(inputs: _Inputs) -> list[_Program]:
    """Of the given architecture, or of a random one."""
    config, recipe = inputs.config.search, inputs.config.student.train
    if config.strategy == "given":
        architecture = given.architecture(inputs.space, config)
    else:
        architecture = np.asarray(inputs.space.sample(jax.random.key(0)))
    model = inputs.space.regularized(recipe).network(architecture)
    with _for_batches(inputs, recipe):
        images = _images(inputs, recipe, _count(inputs.config))
        return _training("student", model, images, inputs, recipe)


def _training(
    name: str, model: nn.Module, images: TrainData, inputs: _Inputs, recipe: Config
) -> list[_Program]:
    teacher, key = inputs.teacher, jax.random.key(0)
    image = jax.ShapeDtypeStruct((1, *teacher.image_size), jnp.float32)
    preprocess = Preprocessing(teacher.mean, teacher.std)
    phase: Any = fit.phases(model, teachers.logits_fn(teacher), preprocess, recipe)[0]
    with processes.alone():  # these shapes are nowhere yet
        state = jax.eval_shape(
            lambda v: trainer.init(key, v, optimizer(recipe), average=recipe.ema > 0),
            jax.eval_shape(model.init, key, image),
        )
    return _lowered(name, recipe.batch_size, phase.advance, _on_all(state), images)


def _count(config: ConfigDict) -> int:
    """Of synthetic images."""
    return config.synthesis.images * config.synthesis.rounds


def _images(inputs: _Inputs, recipe: Config, count: int, pool: int = 1) -> TrainData:
    """A set of so many images, pooled, of which a stream has a part there; of natural ones, which
    are not opened here, one stands for all.
    """
    teacher, place = inputs.teacher, mesh.replicated()
    height, width, channels = teacher.image_size
    shape: tuple[int, ...] = (count,)
    streamed = count > _fitting(inputs)
    if streamed:
        shape = stream.part_length(teacher.image_size, recipe), recipe.batch_size
        place = stream.sharding()

    def array(*inner: int, dtype: Any = jnp.float32) -> Any:
        return jax.ShapeDtypeStruct((*shape, *inner), dtype, sharding=place)

    return TrainData(
        array(height // pool, width // pool, channels, dtype=jnp.uint8),
        array(dtype=jnp.int32),
        array(teacher.num_classes) if recipe.labels == "stored" else None,
        _on_all(inputs.variables) if recipe.labels == "teacher" else None,
        _abstract(dtype=jnp.int32) if streamed else None,
    )


def _fitting(inputs: _Inputs) -> float:
    return fitting(inputs.teacher.image_size, inputs.config.data.memory_gb)


def _abstract(*shape: int, dtype: Any = jnp.float32) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=mesh.replicated())


def _on_all(tree: Any) -> Any:
    """The shapes of a tree, on every device."""
    return jax.tree.map(lambda leaf: _abstract(*leaf.shape, dtype=leaf.dtype), tree)


def _lowered(name: str, batch: int, repeated: Repeated, state: Any, data: Any) -> list[_Program]:
    held = sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves((state, data))
    )
    names = [name, f"{name}, alphas"]
    return [
        _Program(names[i], batch, len(mesh.devices()), held, lowered)
        for i, lowered in enumerate(repeated.lower(state, data))
    ]


def _row(program: _Program) -> Row:
    """FLOPs are those of the program as it is stated, in equal parts: compiled for a GPU, most of
    them are in calls of libraries, which XLA does not count. A scan's body counts once, and of a
    switch the costliest branch.
    """
    compiled = program.lowered.compile()
    memory, stated = compiled.memory_analysis(), program.lowered.cost_analysis()
    assert memory is not None
    # XLA leaves out what a step does not read, such as the held-out images of SPOS
    arguments = max(memory.argument_size_in_bytes, program.held)
    new = memory.output_size_in_bytes - memory.alias_size_in_bytes
    sizes = arguments, memory.temp_size_in_bytes, arguments + memory.temp_size_in_bytes + new
    traffic = costs.collectives(compiled.as_text() or "")
    return {
        "name": program.name,
        "images": program.batch // program.devices,
        **{f"{part}_GB": size / 1e9 for part, size in zip(_MEMORY, sizes, strict=True)},
        "GFLOP": (stated or {}).get("flops", math.nan) / program.devices / 1e9,
        "collectives": {
            kind: {"count": each.ops, "MB": each.bytes / 1e6} for kind, each in traffic.items()
        },
    }


def show(config: ConfigDict, devices: int | None, rate: float, file: str) -> None:
    """Prints the plan of a config.

    Args:
        config: of an experiment.
        devices: to plan for, None for those there are.
        rate: image-iterations a second of the whole machine, 0 if not known.
        file: for the same as JSON, empty for none.

    Raises:
        UserError: the config does not fit the devices, or the file cannot be written.
    """
    path = Path(file) if file else None
    if path:
        if path.is_dir():
            raise UserError(f"--plan_json={file} is a directory; name a file")
        make_directory(path.parent)
    if devices:
        use_devices(devices)
    images = synthetic_set(config, rate)
    processes.say("Compiling; nothing is run ...")
    with lowering.plain() if devices else contextlib.nullcontext():
        found = rows(config)
    kind = jax.devices()[0].device_kind
    machine = {"devices": jax.device_count(), "kind": kind, "processes": processes.count()}
    if processes.primary():
        _print(found, images, machine, config)
    if path:
        plan = {"config": config.name, **machine, "synthetic_set": images, "rows": found}
        processes.once(lambda: write_json(path, plan))


def _print(found: Sequence[Row], images: Row, machine: Row, config: ConfigDict) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    count, kind, several = machine.values()
    console.print(
        f"{config.name} on {count} x {kind}, {several} process{'es' * (several > 1)}; "
        "for one device and one step:",
        soft_wrap=True,
    )
    table = Table("program", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for title in ("images", *_MEMORY, "FLOPs", "collectives", "bytes"):
        table.add_column(title, justify="right")
    for row in found:
        table.add_row(*_cells(row))
    console.print(table)
    for line in _lines(images, config):
        console.print(line, soft_wrap=True)


def _cells(row: Row) -> list[str]:
    memory = [_bytes(row[f"{part}_GB"]) for part in _MEMORY]
    traffic = row["collectives"]
    kinds = [f"{each['count']} {kind}" for kind, each in traffic.items()]
    moved = [_bytes(each["MB"] / 1e3) for each in traffic.values()]
    flops = quantity(round(1e9 * row["GFLOP"]))
    lists = ["\n".join(kinds) or "none", "\n".join(moved)]
    return [row["name"], str(row["images"]), *memory, flops, *lists]


def _bytes(giga: float) -> str:
    """`1.21 GB`, of 10^9 bytes."""
    return f"{quantity(round(1e9 * giga))}B"


def _lines(images: Row, config: ConfigDict) -> list[str]:
    """What is said below the table."""
    lines = [
        f"synthetic set: {images['work_units']} work units, a shard each; {images['images']} "
        f"images, at most {_bytes(images['GB_at_most'])} on disk",
        f"synthesis: {images['image_iterations']} image-iterations; --plan_rate=N, so many a "
        "second on the whole machine, gives hours; python -m benchmarks.synthesis measures it",
    ]
    if images["hours"] is not None:
        lines[1] = (
            f"synthesis: {images['image_iterations']} image-iterations, "
            f"{images['hours']:.3g} hours at the given rate"
        )
    if not config.teacher.checkpoint or config.search.data == "real":
        lines.append(
            "natural images are not opened, and come on top of the arguments where they are read"
        )
    return lines
