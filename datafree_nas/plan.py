"""What a run will take: memory, FLOPs, collectives, disk and hours, without running any of it.

Programs are lowered for shapes, compiled for the devices there are, and never called. Weights,
teacher and images are arguments; every device holds all images, or its share of a stream's part.
"""

import contextlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jax.extend.backend import clear_backends
from ml_collections import ConfigDict
from rich import box
from rich.console import Console
from rich.table import Table

from datafree_nas import preflight
from datafree_nas.experiment import Experiment, resolve
from datafree_nas.pipeline import STAGES
from datafree_nas.report.text import quantity
from datafree_nas.runtime import backend, costs, lowering, processes
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import make_directory, write_json
from datafree_nas.runtime.programs import Program

JsonObject = dict[str, Any]

_MEMORY = ("arguments", "temporaries", "total")
_WIDTH = 100  # of the table, where there is no terminal

# of XLA:CPU: machine code that is not optimized has the same memory, and is compiled sooner
_QUICKLY: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}
# Bytes on disk beside pixels and logits, by which those of random images stay under the bound
_SHARD_BYTES = 2 << 16  # ArrayRecord writes blocks of 64 kB, and a last one
_IMAGE_BYTES = 700  # of PNG, of `tf.train.Example` with its names, of ArrayRecord


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


def experiment_of(config: ConfigDict) -> Experiment:
    """Finds what a config stands for, whose data and checkpoint need not be there.

    Args:
        config: experiment, see `configs/common.py`.

    Raises:
        UserError: the config has a mistake, or names nothing that there is.
    """
    found = resolve(config, planned=True)
    preflight.check_fields(found.config, STAGES)
    return found


def rows(experiment: Experiment) -> list[JsonObject]:
    """Compiles every program of a run, on all devices there are.

    Args:
        experiment: run that is planned.

    Returns:
        One row for each program, for one device and one step: `images` of its part of the batch;
        `arguments_GB`, `temporaries_GB` and `total_GB`, by XLA, in 10^9 bytes; `GFLOP`;
        `collectives`, their count and MB by kind.

    Raises:
        UserError: the config does not fit the devices.
    """
    for stage in STAGES:
        stage.check(experiment, None)
    programs = [program for stage in STAGES for program in stage.programs(experiment)]
    found = []
    for number, program in enumerate(programs, start=1):
        processes.say(f"compiling {program.name} ({number} of {len(programs)}); nothing is run")
        found.append(_row(program))
    return found


def synthetic_set(experiment: Experiment, rate: float = 0) -> JsonObject:
    """Computes how much synthesis makes, and how long that takes.

    Args:
        experiment: run that is planned.
        rate: image-iterations a second of the whole machine, 0 if not known.

    Returns:
        `work_units`, of which each is a shard, `images`, `image_iterations`, `GB_at_most` on disk
        (random images, which PNG cannot compress, with their logits), and `hours` at that rate.
    """
    teacher, block = experiment.teacher, experiment.config.synthesis
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


def _row(program: Program) -> JsonObject:
    """Compiles a program and reads its memory and cost.

    FLOPs are those of the program before compilation, in equal parts for all devices: compiled for
    a GPU, most of them are in calls of libraries, which XLA does not count. The body of a scan
    counts once, and of a switch the costliest branch.
    """
    options = _QUICKLY if backend.on_cpu() else None
    compiled = program.lowered.compile(options)
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
        config: experiment, see `configs/common.py`.
        devices: number of devices to plan for, None for those there are.
        rate: image-iterations a second of the whole machine, 0 if not known.
        file: path for the same as JSON, empty for none.

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
    experiment = experiment_of(config)
    images = synthetic_set(experiment, rate)
    with lowering.plain() if devices else contextlib.nullcontext():
        found = rows(experiment)
    kind = jax.devices()[0].device_kind
    machine = {"devices": jax.device_count(), "kind": kind, "processes": processes.count()}
    if processes.primary():
        _print(found, images, machine, config)
    if path:
        plan = {"config": config.name, **machine, "synthetic_set": images, "rows": found}
        processes.once(lambda: write_json(path, plan))


def _print(
    found: Sequence[JsonObject], images: JsonObject, machine: JsonObject, config: ConfigDict
) -> None:
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


def _cells(row: JsonObject) -> list[str]:
    memory = [_bytes(row[f"{part}_GB"]) for part in _MEMORY]
    traffic = row["collectives"]
    kinds = [f"{each['count']} {kind}" for kind, each in traffic.items()]
    moved = [_bytes(each["MB"] / 1e3) for each in traffic.values()]
    flops = quantity(round(1e9 * row["GFLOP"]))
    lists = ["\n".join(kinds) or "none", "\n".join(moved)]
    return [row["name"], str(row["images"]), *memory, flops, *lists]


def _bytes(giga: float) -> str:
    """Writes a size as people read it, such as `1.21 GB`, of 10^9 bytes."""
    return f"{quantity(round(1e9 * giga))}B"


def _lines(images: JsonObject, config: ConfigDict) -> list[str]:
    """Returns the lines below the table."""
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
