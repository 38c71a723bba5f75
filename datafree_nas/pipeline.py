"""The five stages in order, each from the artifacts of the stages before it to its own."""

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from datafree_nas import class_order, experiment, preflight, schema, stage
from datafree_nas.data import sources
from datafree_nas.experiment import Experiment
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
    this, chosen = experiment.resolve(config, workdir), [s for s in STAGES if s.name in names]
    root = this.workdir.root
    done = processes.from_first([each.name for each in chosen if each.is_done(root)])
    repaired = _repaired(chosen) if repair else []
    pending = [each for each in chosen if each.name not in done or each in repaired]
    images = preflight.check(this, STAGES, pending)
    make_directory(root)
    compiled.keep(mirror.bucket())
    with lock.one_run(root):
        processes.once(partial(_check_artifacts, root))
        if images:
            processes.once(partial(_keep, images, this.workdir))
        for each in repaired:
            _repair(each, this)
        for number, each in enumerate(chosen, start=1):
            if each.name != teacher.STAGE.name and images:
                with _enough_memory(train.STAGE):  # which evaluates in the same way
                    class_order.check_images(this, images)
                images = None
            _run_stage(each, f"[{number}/{len(chosen)}] {each.name}", this)


def _keep(images: dict[str, Any], workdir: Workdir) -> None:
    """Prints what is known of the natural images, and leaves it for the report."""
    print("\n".join(sources.lines(images)), flush=True)
    write_json(workdir.images, images)


def _check_artifacts(root: Path) -> None:
    """Checks that what finished stages have left was not changed since."""
    for each in STAGES:
        if each.is_done(root):
            stage.check_unchanged(each, root)


def _repaired(chosen: list[Stage]) -> list[Stage]:
    """Returns the stages whose artifact can be repaired in part, which have to be chosen."""
    known = [each for each in STAGES if each.repair]
    for each in known:
        if each not in chosen:
            raise UserError(f"--repair needs the stage {each.name}; add it to --stages")
    return known


def _repair(this: Stage, run: Experiment) -> None:
    """Removes the damaged parts of an artifact, so that its stage makes them again."""
    directory, removed = run.workdir.root / this.directory, list[str]()

    def remove() -> None:
        if not (directory / stage.CONFIG).exists():
            raise UserError(
                f"--repair: {run.workdir.root} has no synthetic images; leave --repair out"
            )
        begin_stage(this, run)  # which refuses an artifact of another config
        stage.reopen(this, run.workdir.root)
        assert this.repair
        removed.extend(this.repair(run))

    processes.once(remove)
    for name in processes.from_first(removed):  # of a bucket every process has a copy of its own
        (directory / name).unlink(missing_ok=True)
        processes.say(f"--repair: {name} is made again")


def _run_stage(this: Stage, title: str, run: Experiment) -> None:
    root = run.workdir.root
    directory = make_directory(root / this.directory)
    if _is_up_to_date(this, run):
        processes.say(f"{title}: done before")
    else:
        processes.say(title)
        processes.once(lambda: stage.reopen(this, root))  # its mark is not of what is made now
        noted = fingerprint(directory / stage.CONFIG) if processes.primary() else ""
        made_from = processes.from_first(noted)  # of a bucket the others have no copy yet
        with _enough_memory(this), checkpoint.of_stage(directory, made_from):
            this.run(run)
        mirror.exchange(directory)
        processes.once(lambda: stage.finish(this, root))
    # only now: what was saved in between is all there is until the stage is marked as done
    processes.once(lambda: checkpoint.discard(directory / "working"))


def _is_up_to_date(this: Stage, run: Experiment) -> bool:
    outdated = False

    def begin() -> None:
        nonlocal outdated
        outdated = begin_stage(this, run)

    processes.once(begin)
    return processes.from_first(this.is_done(run.workdir.root) and not outdated)


def _enough_memory(this: Stage) -> AbstractContextManager[None]:
    return memory.enough(f"stage {this.name}", this.lower_for_memory)


def begin_stage(this: Stage, run: Experiment) -> bool:
    """Notes what a stage's artifact is made from, see `stage.record`."""
    defaults = schema.flatten(experiment.defaults(run.config))
    return stage.record(this, run.workdir.root, made_from(this, run), defaults)


def made_from(this: Stage, run: Experiment) -> dict[str, Any]:
    """Finds what a stage's artifact depends on.

    Args:
        this: one of the stages.
        run: experiment whose artifact it is.

    Returns:
        Fields of the config by dotted path, and fingerprints of the files that they name and of
        the artifacts of earlier stages.
    """
    config, root = run.config, run.workdir.root
    earlier = STAGES[: STAGES.index(this)]
    blocks = [block for each in (*earlier, this) for block in each.blocks]
    if teacher.STAGE.reads(config) or (this is search.STAGE and this.reads(config)):
        blocks.append("data")
    fields = schema.flatten({block: config[block] for block in blocks})
    inputs = {each.name: each.fingerprint(root) for each in earlier}
    return stage.made_from(fields, run.files(), inputs)
