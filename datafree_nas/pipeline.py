"""The five stages in order, each from the artifacts of the stages before it to its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from configs import common
from datafree_nas import class_order, preflight, resolve, schema, spaces, stage, teachers
from datafree_nas.data import sources
from datafree_nas.data.images import Images, ImageSet, fitting
from datafree_nas.report import build, table
from datafree_nas.runtime import (
    checkpoint,
    compiled,
    lock,
    mesh,
    mirror,
    processes,
    records,
    seeds,
)
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import fingerprint, make_directory, write_json
from datafree_nas.search import architecture_file
from datafree_nas.search import run as search
from datafree_nas.spaces import Space
from datafree_nas.stage import Stage
from datafree_nas.students import rows
from datafree_nas.synthesis import store as synthetic_store
from datafree_nas.synthesis import synthesize
from datafree_nas.teachers import Teacher, port
from datafree_nas.teachers import store as teacher_store
from datafree_nas.training import fit
from datafree_nas.training.trainer import Preprocessing

# what to lower where the memory does not suffice
_MEMORY = {
    "teacher": "config.teacher.train.batch_size",
    "synthesize": "config.synthesis.batch_size or config.synthesis.margin",
    "search": "config.search.train.batch_size or the channels of config.search.space",
    "train": "config.student.train.batch_size, or config.data.memory_gb to stream the images",
    "report": "what else runs on this machine",
}


def run(config: ConfigDict, workdir: Path | str, stages: list[str], repair: bool = False) -> None:
    """Runs the stages that are not done yet, in order.

    Args:
        config: experiment, see `configs/common.py`.
        workdir: folder where every stage leaves its artifact.
        stages: names of the stages to run.
        repair: whether every shard of synthetic images is looked at first, and damaged and missing
            ones are made again.

    Raises:
        UserError: a mistake that the user can mend; what was finished stays.
        Interrupted: a signal came; the state is saved.
    """
    workdir = Path(workdir)
    checkpoint.check_place(workdir)
    if repair and "synthesize" not in stages:
        raise UserError("--repair needs the stage synthesize; add it to --stages")
    config = resolve.expanded(config)
    done = processes.as_first([name for name in stages if stage_of(name).is_done(workdir)])
    pending = [name for name in stages if name not in done or (repair and name == "synthesize")]
    images = preflight.check(config, workdir, pending)
    make_directory(workdir)
    compiled.keep(mirror.bucket())
    with lock.one_run(workdir):
        processes.once(partial(_check_artifacts, workdir))
        if images:
            processes.once(partial(_keep, images, workdir))
        if repair:
            _repair(config, workdir)
        for number, each in enumerate(stages, start=1):
            if each != "teacher" and images:
                with _within_memory("train"):  # which evaluates in the same way
                    _check_class_order(config, workdir, images)
                images = None
            _run_stage(stage_of(each), f"[{number}/{len(stages)}] {each}", config, workdir)


def _keep(images: dict[str, Any], workdir: Path) -> None:
    """Prints what is known of the natural images, and leaves it for the report."""
    print("\n".join(sources.lines(images)), flush=True)
    write_json(workdir / sources.FILE, images)


def _check_artifacts(workdir: Path) -> None:
    """Sees that what finished stages have left was not changed since."""
    for name in STAGES:
        if stage_of(name).is_done(workdir):
            stage.check_unchanged(stage_of(name), workdir)


def _repair(config: ConfigDict, workdir: Path) -> None:
    """Removes shards of synthetic images that are damaged, so that the stage makes them again."""
    this = stage_of("synthesize")
    directory = workdir / this.directory
    teacher = resolve.teacher(config, workdir)
    layout = synthesize.layout_of(directory, config.synthesis)
    removed: list[str] = []

    def remove() -> None:
        if not (directory / stage.CONFIG).exists():
            raise UserError(f"--repair: {workdir} has no synthetic images; leave --repair out")
        begin_stage(this.name, config, workdir)  # which refuses images of another config
        stage.reopen(this, workdir)
        removed.extend(synthetic_store.remove_damaged(layout, teacher))

    processes.once(remove)
    for name in processes.as_first(removed):  # of a bucket every process has a copy of its own
        (layout.directory / name).unlink(missing_ok=True)
        processes.say(f"--repair: {name} is made again")


def _check_class_order(config: ConfigDict, workdir: Path, images: dict[str, Any]) -> None:
    """Asks a teacher that was trained elsewhere about some of the images that it is tested on."""
    if not config.teacher.checkpoint or config.data.classes or "test" not in images["splits"]:
        return
    teacher, variables = teachers.load(workdir / "teacher", config.teacher.factory)
    test = _natural(config, teacher, "test", resolve.class_names(config, workdir))
    chosen = np.linspace(0, test.size - 1, min(test.size, class_order.IMAGES)).astype(int)
    some = test.take(chosen)
    logits = fit.logits_of(
        teachers.logits_fn(teacher),
        variables,
        np.asarray(some.images),
        Preprocessing(teacher.mean, teacher.std),
    )
    labels = np.asarray(some.labels)
    order = class_order.compare(labels, logits.argmax(-1), teacher.num_classes)
    names = sources.names_in_order(images, teacher.num_classes)
    class_order.check(order, names, config.data.source)


def _run_stage(this: Stage, title: str, config: ConfigDict, workdir: Path) -> None:
    directory = make_directory(workdir / this.directory)
    if _is_up_to_date(this, config, workdir):
        processes.say(f"{title}: done before")
    else:
        processes.say(title)
        processes.once(lambda: stage.reopen(this, workdir))  # its mark is not of what is made now
        noted = fingerprint(directory / stage.CONFIG) if processes.primary() else ""
        made_from = processes.as_first(noted)  # of a bucket the others have no copy yet
        with _within_memory(this.name), checkpoint.of_stage(directory, made_from):
            this.run(config, workdir)
        mirror.exchange(directory)
        processes.once(lambda: stage.finish(this, workdir))
    # only now: what was saved in between is all there is until the stage is marked as done
    processes.once(lambda: checkpoint.discard(directory / "working"))


def _is_up_to_date(this: Stage, config: ConfigDict, workdir: Path) -> bool:
    outdated = False

    def begin() -> None:
        nonlocal outdated
        outdated = begin_stage(this.name, config, workdir)

    processes.once(begin)
    return processes.as_first(this.is_done(workdir) and not outdated)


@contextmanager
def _within_memory(name: str) -> Iterator[None]:
    """Inside, running out of memory is an error of one line that says what to lower."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "MemoryError"
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in reason:
            raise
        raise UserError(
            f"out of memory in stage {name} ({reason[:200]}); lower {_MEMORY[name]}"
        ) from error


def begin_stage(name: str, config: ConfigDict, workdir: Path) -> bool:
    """Notes what a stage's artifact is made from, see `stage.record`."""
    of_space = spaces.defaults(config.search.space.name)
    defaults = schema.flatten(common.get_config()) | {
        f"search.space.{field}": value for field, value in of_space.items()
    }
    return stage.record(stage_of(name), workdir, made_from(name, config, workdir), defaults)


def made_from(name: str, config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Finds what a stage's artifact depends on.

    Args:
        name: of the stage.
        config: experiment, see `configs/common.py`.
        workdir: folder of the run.

    Returns:
        Fields of the config by dotted path, with the fingerprints of the files that they name and
        of the artifacts of earlier stages.
    """
    earlier = STAGES[: STAGES.index(name)]
    blocks = [block for each in [*earlier, name] for block in _BY_NAME[each].blocks]
    if not config.teacher.checkpoint or (name == "search" and config.search.data == "real"):
        blocks.append("data")
    fields = schema.flatten({block: config[block] for block in blocks})
    inputs = {each: _BY_NAME[each].fingerprint(workdir) for each in earlier}
    return stage.made_from(fields, resolve.files(config), inputs)


def _teacher(config: ConfigDict, workdir: Path) -> None:
    directory = workdir / "teacher"
    if config.teacher.checkpoint:
        teacher, variables, source = _given(config)
    else:
        teacher = resolve.described(config)
        variables = _train_teacher(teacher, config, directory)
        source = {"trained_on": config.data.source}
    names = _class_names(config, workdir, teacher)
    processes.once(lambda: _save_teacher(directory, teacher, variables, source, names))


def _class_names(config: ConfigDict, workdir: Path, teacher: Teacher) -> list[str]:
    """Those of the ported folder, or of the images that the teacher was trained on."""
    images = workdir / sources.FILE
    if config.teacher.checkpoint or not images.exists():
        return resolve.class_names(config, workdir)
    inspected = records.read(images, records.IMAGES, f"remove {images}")
    return sources.names_in_order(inspected, teacher.num_classes)


def _save_teacher(
    directory: Path, teacher: Teacher, variables: Any, source: dict[str, str], names: list[str]
) -> None:
    with processes.alone():
        here = mesh.replicated_here(variables)
        card = teachers.save(directory, teacher, here, source, names or None)
    processes.say(
        f"teacher: {teacher.arch}, {teacher.num_classes} classes, images of {teacher.image_size}, "
        f"mean {teacher.mean}, std {teacher.std}"
    )
    for name in ("head", "ignored"):
        if name in source:
            processes.say(f"teacher's {name}: {source[name]}")
    for check in card["checks"]:
        if not check["passed"]:
            processes.say(f"warning: {check['name']}: {check['message']}")


def _given(config: ConfigDict) -> tuple[Teacher, Any, dict[str, str]]:
    """The teacher that the config's checkpoint holds, with its variables and where it is from."""
    block, place = config.teacher, Path(config.teacher.checkpoint)
    if not place.is_dir():
        name, settings = resolve.architecture(config), resolve.settings(config)
        return port.port(name, place, block.num_classes, block.prefix, **settings)
    teacher, variables = teachers.load(place, block.factory)
    resolve.say_what_is_not_used(config, teacher)
    return teacher, variables, teacher_store.read_card(place).get("source", {})


def _train_teacher(teacher: Teacher, config: ConfigDict, directory: Path) -> Any:
    return fit.fit(
        teacher.model,
        _natural(config, teacher, "train", []),
        Preprocessing(teacher.mean, teacher.std),
        config.teacher.train,
        seeds.key_for(config.seed, "teacher"),
        label="train teacher",
        directory=directory,
    )


def _natural(config: ConfigDict, teacher: Teacher, split: str, names: list[str]) -> Images:
    request = resolve.request(config, teacher, names)
    return sources.load_up_to(request, split, config.data.memory_gb)


def _synthetic(config: ConfigDict, workdir: Path) -> Images:
    return synthetic_store.load_up_to(workdir / "synthetic", config.data.memory_gb)


def _synthesize(config: ConfigDict, workdir: Path) -> None:
    teacher, variables = teachers.load(workdir / "teacher", config.teacher.factory)
    competitor = None
    if config.synthesis.competition and config.synthesis.competitor:
        competitor = teachers.load(Path(config.synthesis.competitor), config.teacher.factory)
    directory = workdir / "synthetic"
    synthesize.run(directory, teacher, variables, config.synthesis, config.seed, competitor)


def _search(config: ConfigDict, workdir: Path) -> None:
    teacher, variables = teachers.load(workdir / "teacher", config.teacher.factory)
    if config.search.data == "real":
        images = _natural(config, teacher, "train", resolve.class_names(config, workdir))
    else:
        images = _synthetic(config, workdir)
    found = search.run(
        workdir / "search",
        resolve.space(config, teacher),
        (teachers.logits_fn(teacher), variables),
        Preprocessing(teacher.mean, teacher.std),
        _at_hand(images, config),
        config.search,
        config.seed,
    )
    if config.search.strategy == "given":
        processes.say(f"given {found['architecture']}")
    else:
        processes.say(f"found {found['architecture']}  ({found['evaluated']} scored)")


def _at_hand(images: Images, config: ConfigDict) -> ImageSet:
    """What a search, which looks at its images again and again, keeps on the devices."""
    if isinstance(images, ImageSet):
        return images
    count = int(fitting(images.image_size, config.data.memory_gb))
    processes.say(f"searching on {count} random ones of {images.size} images (data.memory_gb)")
    generator = seeds.numpy_generator(seeds.key_for(config.seed, "search images"))
    return images.take(np.sort(generator.choice(images.size, count, replace=False)))


def _train(config: ConfigDict, workdir: Path) -> None:
    teacher, variables = teachers.load(workdir / "teacher", config.teacher.factory)
    space = resolve.space(config, teacher)
    card = teacher_store.read_card(workdir / "teacher")
    names = resolve.class_names(config, workdir)
    inputs = rows.Inputs(
        space=space,
        architecture=architecture_file.of_run(workdir / "search", space),
        teacher=(teachers.logits_fn(teacher), variables),
        preprocess=Preprocessing(teacher.mean, teacher.std),
        synthetic=_synthetic(config, workdir),
        real=lambda: _natural(config, teacher, "train", names),
        test=_natural(config, teacher, "test", names) if config.data.source else None,
    )
    teacher_row = {"macs": card["macs"], "params": card["params"]}
    rows.run(workdir / "student", inputs, teacher_row, config.student, config.seed)


def _report(config: ConfigDict, workdir: Path) -> None:
    if stage_of("search").is_done(workdir):  # else there is no architecture, or half of a search
        space = resolve.space(config, resolve.teacher(config, workdir))
        architecture_file.of_run(workdir / "search", space)
    processes.once(lambda: build.build(workdir, config.to_dict()))


_BY_NAME = {
    each.name: each
    for each in (
        Stage("teacher", "teacher", ("name", "seed", "teacher"), _teacher, (teacher_store.FILE,)),
        Stage(
            "synthesize",
            "synthetic",
            ("synthesis",),
            _synthesize,
            (synthetic_store.CHECKSUMS,),
        ),
        Stage("search", "search", ("search",), _search, ("architecture.json",)),
        Stage("train", "student", ("student", "data"), _train, (f"*/{rows.RESULT}",)),
        Stage("report", "report", (), _report, ("summary.json",), rebuilt=True),
    )
}
STAGES = list(_BY_NAME)
DIRECTORIES = {name: each.directory for name, each in _BY_NAME.items()}


def stage_of(name: str) -> Stage:
    """Returns the stage of a name out of `STAGES`."""
    return _BY_NAME[name]


def planned(config: ConfigDict) -> tuple[Teacher, Space]:
    """Finds the teacher and the space of a config; a checkpoint need not be there.

    Raises:
        UserError: a field has a value that does not exist, or there is no telling the teacher.
    """
    config = resolve.expanded(config)
    preflight.check_fields(config)
    teacher = resolve.planned_teacher(config)
    return teacher, resolve.space(config, teacher)


def show_result(workdir: Path, place: str) -> None:
    """Prints the table of students, and where the report is, once there is one.

    Args:
        workdir: folder of the run on this machine.
        place: name of that folder as the user knows it.
    """
    if processes.primary() and (workdir / "report" / "report.html").exists():
        summary = records.read(workdir / "report" / "summary.json", records.SUMMARY)
        table.print_table(summary["rows"])
        print(f"report: {place.rstrip('/')}/report/report.html", flush=True)
