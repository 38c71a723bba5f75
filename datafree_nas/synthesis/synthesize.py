"""The synthesis stage: rounds of work units, each of which can be resumed and becomes one shard.

Work unit (r, b) is batch b of round r. Its random key is made from the seed, r and b; its targets
are made from the shard of unit (r − 1, b). A shard that exists is not made again. If there are
several processes, each makes its own batches b in all rounds, so that none waits for another before
the end.
"""

import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from datafree_nas.data.augment import normalize
from datafree_nas.data.images import ImageSet
from datafree_nas.runtime import checkpoint, loop, mesh, mirror, processes, seeds
from datafree_nas.runtime.behind import Behind
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import (
    make_directory,
    read_json,
    read_jsonl,
    write_bytes,
    write_json,
    write_jsonl,
)
from datafree_nas.runtime.metrics import MetricsWriter
from datafree_nas.runtime.precision import DTYPES
from datafree_nas.runtime.repeat import repeat
from datafree_nas.runtime.values import (
    BATCH_SIZE,
    BETAS,
    COUNT,
    COUNT_OR_NONE,
    LEARNING_RATE,
    TEMPERATURE,
    WEIGHT,
    Values,
    boolean,
    integer,
    list_of,
    one_of,
    text,
)
from datafree_nas.runtime.workdir import GRID, ROUNDS, UNITS
from datafree_nas.synthesis import grid, labels, quality, store, synthesizer
from datafree_nas.synthesis.canvas import centre
from datafree_nas.synthesis.noise import NOISES
from datafree_nas.teachers import Teacher, apply_with_taps

# values of the fields of `config.synthesis`
FIELDS: dict[str, Values] = {
    "images": integer(1, 10**8),
    "held_out": integer(0, 10**8),
    "batch_size": BATCH_SIZE,
    "rounds": integer(1, 10**4),
    "margin": integer(0, 1024),
    "roll": integer(0, 1024),
    "resolutions": list_of(
        list_of(COUNT, (2,), "(pooling, iterations)"), range(1, 17), "one to 16 pairs"
    ),
    "noise": one_of(NOISES),
    "flip": boolean(),
    "dtype": one_of(DTYPES),
    "learning_rate": LEARNING_RATE,
    "warmup": COUNT_OR_NONE,
    "betas": BETAS,
    "cross_entropy": WEIGHT,
    "batch_norm": WEIGHT,
    "first_batch_norm": WEIGHT,
    "batch_norm_group": integer(0, 10**5),
    "tv_l1": WEIGHT,
    "tv_l2": WEIGHT,
    "l2": WEIGHT,
    "competition": WEIGHT,
    "competition_temperature": TEMPERATURE,
    "competitor": text(),
    "log_every": COUNT,
}


def synthesize(
    directory: Path,
    teacher: Teacher,
    variables: Any,
    config: Config,
    seed: int,
    competitor: tuple[Teacher, Any] | None = None,
    label: str = "synthesize",
) -> ImageSet:
    """Synthesizes what is missing, then writes the data set's metadata, numbers and picture.

    Args:
        directory: folder of the synthesis stage.
        teacher: teacher that is inverted.
        variables: weights and statistics of the teacher.
        config: settings of the synthesis, `config.synthesis`.
        seed: seed of the run.
        competitor: student of the adaptive term with its weights and statistics; needed if
            `config.competition` is not 0.
        label: text that progress lines begin with.

    Returns:
        The images of all rounds.

    Raises:
        UserError: the config does not fit the teacher or the devices.
        Interrupted: a signal came; finished units and the state of the current unit are saved.
    """
    batches = check(teacher, variables, config, competitor is not None)
    layout = layout_of(directory, config)
    mine = range(processes.index(), batches, processes.count())
    task = _Task(teacher, variables, config, seed, competitor, label)
    with _metrics(layout) as metrics, processes.alone():
        _make_units(layout, mine, task, metrics)
    processes.check_stop()  # waits for the others
    mirror.exchange(directory)
    processes.once(lambda: _finish_set(layout, teacher, variables, config))
    mirror.exchange(directory)
    return store.load(directory)


def layout_of(directory: Path, config: Config) -> store.Layout:
    """Returns the paths of the shards of a set, one for each batch of each round.

    Args:
        directory: folder of the synthesis stage.
        config: settings of the synthesis, `config.synthesis`.
    """
    return store.Layout(directory, config.rounds * (config.images // config.batch_size))


@contextmanager
def _metrics(layout: store.Layout) -> Iterator[MetricsWriter | None]:
    """Opens `metrics.jsonl` in the first process, which appends a row for each of its own units.

    `_gather_metrics` adds the units of other processes at the end.
    """
    if not processes.primary():
        yield None
        return
    with closing(MetricsWriter(layout.root, resume_at=layout.shards)) as writer:
        yield writer


class _Task(NamedTuple):
    """The arguments of `synthesize`, without the folder."""

    teacher: Teacher
    variables: Any
    config: Config
    seed: int
    competitor: tuple[Teacher, Any] | None
    label: str


def _make_units(
    layout: store.Layout, mine: range, task: _Task, metrics: MetricsWriter | None
) -> None:
    """Makes the missing units of the batches `mine`."""
    teacher, config = task.teacher, task.config
    mesh.check_divisible(config.batch_size, "config.synthesis.batch_size")
    batches = config.images // config.batch_size
    first_labels = labels.balanced(
        seeds.numpy_generator(seeds.key_for(task.seed, "labels")),
        config.images,
        teacher.num_classes,
    ).reshape(batches, config.batch_size)
    with Behind() as behind:
        unit = _UnitMaker(layout.root, task, metrics, behind)
        for round_, batch in itertools.product(range(config.rounds), mine):
            path = layout.shard(round_ * batches + batch)
            if not path.exists():
                made_for, targets = first_labels[batch], first_labels[batch]
                if round_:
                    behind.wait()  # with one batch, the shard read next may still be being written
                    before = store.read_shard(layout.shard((round_ - 1) * batches + batch), teacher)
                    assert before.logits is not None
                    targets = labels.recalibrated(made_for, np.asarray(before.logits))
                unit.make(path, round_, batch, made_for, targets)
            processes.check_stop()


def _finish_set(layout: store.Layout, teacher: Teacher, variables: Any, config: Config) -> None:
    """Makes a data set of the shards of all units, and writes its measurements and its picture."""
    store.write_metadata(layout, teacher, [config.batch_size] * layout.shards)
    store.write_checksums(layout)
    _gather_metrics(layout.root)
    with processes.alone():
        _describe(layout.root, store.load(layout.root), teacher, variables)


def _gather_metrics(directory: Path) -> None:
    """Writes `metrics.jsonl` again, with a row for each unit of each process."""
    units = [read_json(file) for file in (directory / UNITS).glob("*.json")]
    units.sort(key=lambda unit: (unit["round"], unit["batch"]))
    rows = [
        {"step": step, "round": unit["round"], "batch": unit["batch"], **_last(unit["curves"])}
        for step, unit in enumerate(units, start=1)
    ]
    write_jsonl(directory / "metrics.jsonl", rows)


def _last(curves: list[dict[str, Any]]) -> dict[str, float]:
    """Returns the terms of the loss at the end of a unit."""
    return {name: value for name, value in curves[-1].items() if name not in ("step", "phase")}


def check(teacher: Teacher, variables: Any, config: Config, has_competitor: bool = False) -> int:
    """Checks that the config fits the teacher.

    Args:
        teacher: teacher that is to be inverted.
        variables: weights and statistics of the teacher, or their shapes.
        config: settings of the synthesis, `config.synthesis`.
        has_competitor: true if there is a student for the adaptive term.

    Returns:
        The number of batches of a round.

    Raises:
        UserError: the config does not fit the teacher.
    """
    if config.images % config.batch_size or not config.images:
        raise UserError(
            f"config.synthesis.images={config.images} is not a multiple of "
            f"config.synthesis.batch_size={config.batch_size}"
        )
    if config.batch_norm_group and config.batch_size % config.batch_norm_group:
        raise UserError(
            f"config.synthesis.batch_size={config.batch_size} is not a multiple of "
            f"config.synthesis.batch_norm_group={config.batch_norm_group}"
        )
    if config.margin and config.roll:
        raise UserError(
            f"config.synthesis.margin={config.margin} and roll={config.roll}: a canvas is moved "
            "below a window or rolled, not both; set one of them to 0"
        )
    sides = (*teacher.image_size[:2], config.margin)
    for pool, _ in config.resolutions:
        if any(side % pool for side in sides):
            raise UserError(
                f"config.synthesis.resolutions pools by {pool}, which does not divide image size "
                f"and margin {sides}"
            )
    if config.competition and not has_competitor:
        raise UserError(
            "config.synthesis.competition needs config.synthesis.competitor=DIR, a ported model"
        )
    numbers = [_batch_norms(teacher, variables, pool) for pool, _ in config.resolutions]
    if config.batch_norm and not all(numbers):
        raise UserError(
            f"the teacher {teacher.arch} has no BatchNorm layers, whose statistics synthesis "
            "matches; choose a teacher with BatchNorm (or set config.synthesis.batch_norm=0)"
        )
    return config.images // config.batch_size


def _batch_norms(teacher: Teacher, variables: Any, pool: int) -> int:
    """Counts the BatchNorm layers that images see, without computing anything.

    Raises:
        UserError: the network does not run on images whose sides are divided by `pool`.
    """
    height, width, channels = teacher.image_size
    size = (height // pool, width // pool, channels)
    image = jax.ShapeDtypeStruct((1, *size), jnp.float32)
    try:
        return len(jax.eval_shape(partial(apply_with_taps, teacher.model), variables, image)[1])
    except (TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise UserError(
            f"the teacher {teacher.arch} does not run on images of {size}, which "
            f"config.synthesis.resolutions asks for ({reason}); set it to the full size alone, "
            "e.g. ((1,2000),)"
        ) from None


class _UnitMaker:
    """Makes work units with what they share: compiled steps, and variables on the devices."""

    def __init__(
        self,
        directory: Path,
        task: _Task,
        metrics: MetricsWriter | None,
        behind: Behind,
    ):
        teacher, variables, config = task.teacher, task.variables, task.config
        self._directory, self._task, self._metrics, self._behind = directory, task, metrics, behind
        student = task.competitor if config.competition else None
        self._frozen = mesh.put(
            synthesizer.Frozen(variables, student[1] if student else None), mesh.replicated()
        )
        self._phases = [
            loop.Phase(
                name=f"resolution 1/{pool}",
                iterations=iterations,
                advance=repeat(
                    synthesizer.make_synthesis_step(
                        teacher,
                        config,
                        batch=config.batch_size,
                        pool=pool,
                        iterations=iterations,
                        student=student[0].model if student else None,
                    )
                ),
                every=config.log_every,
                enter=synthesizer.restart,
                unit="iterations",
            )
            for pool, iterations in config.resolutions
        ]
        self._finish = jax.jit(partial(_finish, teacher, config.margin))

    def make(
        self, path: Path, round_: int, batch: int, made_for: np.ndarray, targets: np.ndarray
    ) -> None:
        """Synthesizes one unit. Its files are written in a thread while the next unit begins."""
        task = self._task
        name = f"round-{round_:02d}-batch-{batch:03d}"
        key = seeds.key_for(task.seed, "synthesize", round_, batch)
        state = synthesizer.create_synthesis_state(
            key, jnp.asarray(targets), task.teacher, task.config
        )
        working = self._directory / "working" / name
        state = loop.run_phases(
            self._phases,
            state,
            self._frozen,
            label=f"{task.label} round {round_}, batch {batch}",
            directory=working,
            writer=lambda start: MetricsWriter(working / "log", start, events=False),
        )
        images, logits = jax.device_get(self._finish(self._frozen.teacher, state.params["pixels"]))
        rounds = np.full(len(images), round_, np.int32)
        made = ImageSet(images, made_for, logits, rounds)
        self._behind.do(self._write, path, working, round_, batch, made)

    def _write(self, path: Path, working: Path, round_: int, batch: int, made: ImageSet) -> None:
        """Writes curves and metrics of a unit, then its shard, which marks the unit as finished."""
        curves = read_jsonl(working / "log" / "metrics.jsonl")
        self._record(working.name, round_, batch, curves)
        store.write_shard(path, made, batch, self._task.teacher)
        checkpoint.discard(working)

    def _record(self, name: str, round_: int, batch: int, curves: list[dict[str, Any]]) -> None:
        units = make_directory(self._directory / UNITS)
        write_json(units / f"{name}.json", {"round": round_, "batch": batch, "curves": curves})
        if self._metrics:
            config = self._task.config
            index = round_ * (config.images // config.batch_size) + batch
            self._metrics.write(index + 1, _last(curves), round=round_, batch=batch)


def _finish(
    teacher: Teacher, margin: int, variables: Any, pixels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the images as they are stored, and the teacher's logits on these rounded images."""
    pixels = centre(pixels, margin) * jnp.array(teacher.std) + jnp.array(teacher.mean)
    images = jnp.clip(jnp.round(pixels * 255), 0, 255).astype(jnp.uint8)
    x = normalize(images, teacher.mean, teacher.std)
    return images, teacher.model.apply(variables, x, train=False)


def _describe(directory: Path, images: ImageSet, teacher: Teacher, variables: Any) -> None:
    assert images.rounds is not None
    rows: list[dict[str, float]] = []
    for round_ in np.unique(images.rounds):
        of_round = images.take(np.flatnonzero(images.rounds == round_))
        rows.append({"round": int(round_), **quality.measure(of_round, teacher, variables)})
    write_json(directory / ROUNDS, rows)
    write_bytes(directory / GRID, grid.draw(images))
