"""The five stages in order, each from the artifacts of the stages before it to its own."""

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from datafree_nas import artifact, class_order, preflight, schema
from datafree_nas.data import sources
from datafree_nas.experiment import REMOVED, Experiment, defaults, resolve
from datafree_nas.report import stage as report
from datafree_nas.runtime import checkpoint, compiled, lock, memory, mirror, processes
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import fingerprint, make_directory, write_json
from datafree_nas.runtime.workdir import Workdir
from datafree_nas.search import stage as search
from datafree_nas.stage import Stage
from datafree_nas.students import stage as train
from datafree_nas.synthesis import stage as synthesize
from datafree_nas.teachers import stage as teacher

STAGES = (teacher.STAGE, synthesize.STAGE, search.STAGE, train.STAGE, report.STAGE)
NAMES = [each.name for each in STAGES]
_ADDED = {field for stage in STAGES for field in stage.added}


def run(config: ConfigDict, workdir: Path | str, names: list[str], repair: bool = False) -> None:
    """Runs the stages that are not done yet, in order.

    Args:
        config: experiment, see `configs/common.py`.
        workdir: folder where every stage leaves its artifact.
        names: names of the stages to run.
        repair: whether every shard of synthetic images is looked at first, and damaged and missing
            ones are made again.

    Raises:
        UserError: a mistake that the user can fix; what was finished stays.
        Interrupted: a signal came; the state is saved.
    """
    checkpoint.check_place(Path(workdir))
    experiment, root = resolve(config, workdir), Path(workdir)
    chosen = [stage for stage in STAGES if stage.name in names]
    done = processes.from_first([stage.name for stage in chosen if _is_done(stage, experiment)])
    repaired = _repaired(chosen) if repair else []
    pending = [stage for stage in chosen if stage.name not in done or stage in repaired]
    images = preflight.check(experiment, STAGES, pending)
    make_directory(root)
    compiled.keep(mirror.bucket())
    with lock.one_run(root):
        processes.once(partial(_check_artifacts, root))
        if images:
            processes.once(partial(_keep, images, experiment.workdir))
        for stage in repaired:
            _repair(stage, experiment)
        for number, stage in enumerate(chosen, start=1):
            if stage.name != teacher.STAGE.name and images:
                with _enough_memory(train.STAGE):  # which evaluates in the same way
                    class_order.check_images(experiment, images)
                images = None
            _run_stage(stage, f"[{number}/{len(chosen)}] {stage.name}", experiment)


def _keep(images: dict[str, Any], workdir: Workdir) -> None:
    """Prints what is known of the natural images, and leaves it for the report."""
    print("\n".join(sources.lines(images)), flush=True)
    write_json(workdir.images, images)


def _check_artifacts(root: Path) -> None:
    """Checks that what finished stages have left was not changed since."""
    for stage in STAGES:
        if stage.is_done(root):
            artifact.check_unchanged(stage, root)


def _repaired(chosen: list[Stage]) -> list[Stage]:
    """Returns the stages whose artifact can be repaired in part, which have to be chosen."""
    known = [stage for stage in STAGES if stage.repair]
    for stage in known:
        if stage not in chosen:
            raise UserError(f"--repair needs the stage {stage.name}; add it to --stages")
    return known


def _repair(stage: Stage, experiment: Experiment) -> None:
    """Removes the damaged parts of an artifact, so that its stage makes them again."""
    directory, removed = experiment.workdir.root / stage.directory, list[str]()

    def remove() -> None:
        if not (directory / artifact.CONFIG).exists():
            raise UserError(
                f"--repair: {experiment.workdir.root} has no synthetic images; leave --repair out"
            )
        begin_stage(stage, experiment)  # which refuses an artifact of another config
        artifact.reopen(stage, experiment.workdir.root)
        assert stage.repair
        removed.extend(stage.repair(experiment))

    processes.once(remove)
    for name in processes.from_first(removed):  # of a bucket every process has a copy of its own
        (directory / name).unlink(missing_ok=True)
        processes.say(f"--repair: {name} is made again")


def _run_stage(stage: Stage, title: str, experiment: Experiment) -> None:
    root = experiment.workdir.root
    directory = make_directory(root / stage.directory)
    if _is_up_to_date(stage, experiment):
        processes.say(f"{title}: done before")
    else:
        processes.say(title)
        processes.once(lambda: artifact.reopen(stage, root))  # its mark is not of what is made now
        noted = fingerprint(directory / artifact.CONFIG) if processes.primary() else ""
        made_from = processes.from_first(noted)  # of a bucket the others have no copy yet
        with _enough_memory(stage), checkpoint.of_stage(directory, made_from):
            stage.run(experiment)
        mirror.exchange(directory)
        processes.once(lambda: artifact.finish(stage, root))
    # only now: what was saved in between is all there is until the stage is marked as done
    processes.once(lambda: checkpoint.discard(directory / "working"))


def _is_up_to_date(stage: Stage, experiment: Experiment) -> bool:
    outdated = False

    def begin() -> None:
        nonlocal outdated
        outdated = begin_stage(stage, experiment)

    processes.once(begin)
    return processes.from_first(_is_done(stage, experiment) and not outdated)


def _is_done(stage: Stage, experiment: Experiment) -> bool:
    """Returns whether the artifact of a stage is finished and has all that the config asks for."""
    return stage.is_done(experiment.workdir.root) and stage.is_complete(experiment)


def _enough_memory(stage: Stage) -> AbstractContextManager[None]:
    return memory.enough(f"stage {stage.name}", stage.lower_for_memory)


def begin_stage(stage: Stage, experiment: Experiment) -> bool:
    """Notes what a stage's artifact is made from, see `artifact.record`."""
    unnoted = schema.flatten(defaults(experiment.config))
    made, root = made_from(stage, experiment), experiment.workdir.root
    return artifact.record(stage, root, made, unnoted, _ADDED, REMOVED)


def made_from(stage: Stage, experiment: Experiment) -> dict[str, Any]:
    """Finds what a stage's artifact depends on.

    Args:
        stage: one of the stages.
        experiment: run whose artifact it is.

    Returns:
        Fields of the config by dotted path, and fingerprints of the files that they name and of
        the artifacts of earlier stages, and of what else the stage reads in the workdir.
    """
    config, root = experiment.config, experiment.workdir.root
    earlier = STAGES[: STAGES.index(stage)]
    blocks = [block for each in (*earlier, stage) for block in each.blocks]
    if teacher.STAGE.reads(config) or (stage is search.STAGE and stage.reads(config)):
        blocks.append("data")
    fields = schema.flatten({block: config[block] for block in blocks})
    fields = {name: value for name, value in fields.items() if name not in _ADDED}
    inputs = {each.name: each.fingerprint(root) for each in earlier}
    inputs |= stage.fingerprints_beside(root)
    return artifact.made_from(fields, experiment.files(), inputs)
