"""The five stages, what each reads, and what makes it done.

A stage's folder holds `config.json` (the fields it depends on, written first) and `done.json`
(written last). A done stage is skipped; a folder begun with other fields is an error.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict

from datafree_nas import spaces, teachers
from datafree_nas.data import sources
from datafree_nas.data.images import Images, ImageSet, fitting
from datafree_nas.report import build, table
from datafree_nas.runtime import backend, checkpoint, lock, mesh, mirror, processes, seeds
from datafree_nas.runtime.errors import UserError, did_you_mean
from datafree_nas.runtime.files import make_directory, read_json, write_json
from datafree_nas.runtime.precision import DTYPES, network_in
from datafree_nas.search import architecture_file, darts, hardware, proxyless, sampling, scoring
from datafree_nas.search import run as search
from datafree_nas.spaces import Space
from datafree_nas.spaces.space import REGULARIZERS
from datafree_nas.students import rows
from datafree_nas.synthesis import store as synthetic_store
from datafree_nas.synthesis import synthesize
from datafree_nas.teachers import Teacher, port
from datafree_nas.teachers import store as teacher_store
from datafree_nas.training import fit
from datafree_nas.training.recipe import SCHEDULES
from datafree_nas.training.trainer import LogitsFn, Preprocessing

STAGES = ["teacher", "synthesize", "search", "train", "report"]
DIRECTORIES = {
    "teacher": "teacher",
    "synthesize": "synthetic",
    "search": "search",
    "train": "student",
    "report": "report",
}
# the config blocks that a stage adds to those of the stages before it
_BLOCKS = {
    "teacher": ["name", "seed", "teacher"],
    "synthesize": ["synthesis"],
    "search": ["search"],
    "train": ["student", "data"],
    "report": [],
}

# what a recipe has and only students make use of
_UNUSED = [
    *(("teacher", name) for name in REGULARIZERS),
    *(("search", name) for name in ("auxiliary", "drop_path", "ema", "calibration_batches")),
]


def run(config: ConfigDict, workdir: Path, stages: list[str]) -> None:
    """Runs the stages that are not done yet, in order.

    Args:
        config: as `configs/common.py` describes it.
        workdir: where every stage leaves its artifact.
        stages: which ones.

    Raises:
        UserError: something the user can mend; what was finished stays.
        Interrupted: a signal came; the state is saved.
    """
    _check(config)
    make_directory(workdir)
    backend.keep_compiled(workdir)
    with lock.one_run(workdir):
        for number, stage in enumerate(stages, start=1):
            _run_stage(stage, f"[{number}/{len(stages)}] {stage}", config, workdir)


def _check(config: ConfigDict) -> None:
    """Mistakes that would otherwise show only after hours."""
    _check_fields(config)
    needs_data = {
        "the student row 'real'": "real" in config.student.rows,
        "config.search.data='real'": config.search.data == "real",
        "training a teacher (config.teacher.checkpoint is empty)": not config.teacher.checkpoint,
    }
    for what, needed in needs_data.items():
        if needed and not config.data.source:
            raise UserError(f"{what} needs real images; set config.data.source")


def _check_fields(config: ConfigDict) -> None:
    _check_teacher(config)
    labels = ("teacher", "stored", "hard")
    _check_choice("search.data", config.search.data, ("synthetic", "real"))
    _check_choice("search.score", config.search.score, scoring.MEASURES)
    _check_choice("search.train.labels", config.search.train.labels, labels)
    _check_choice("student.train.labels", config.student.train.labels, labels)
    _check_choice("search.spos.sampling", config.search.spos.sampling, sampling.SAMPLINGS)
    _check_choice("search.darts.order", config.search.darts.order, darts.ORDERS)
    _check_choice(
        "search.proxyless.gradient", config.search.proxyless.gradient, proxyless.GRADIENTS
    )
    _check_choice("search.hardware.cost", config.search.hardware.cost, hardware.COSTS)
    _check_choice("search.hardware.form", config.search.hardware.form, hardware.FORMS)
    hardware.check_table(config.search)
    for field in ("teacher", "search", "student"):
        _check_choice(f"{field}.train.schedule", config[field].train.schedule, SCHEDULES)
        _check_choice(f"{field}.train.dtype", config[field].train.dtype, DTYPES)
    for field in ("search", "student"):
        spaces.find(config.search.space.name).check(config[field].train, f"{field}.train")
    for field, name in _UNUSED:
        if config[field].train[name]:
            raise UserError(f"config.{field}.train.{name} is for students alone; set it to 0")
    for name in config.student.rows:
        _check_choice("student.rows", name, rows.ROWS)


def _check_teacher(config: ConfigDict) -> None:
    block, settings = config.teacher, _settings(config)
    if _arch(config) != "auto":
        teachers.create(_arch(config), block.num_classes, **settings)
    elif not block.checkpoint:
        raise UserError("config.teacher.arch=auto needs config.teacher.checkpoint, to look at")


def _arch(config: ConfigDict) -> str:
    """The architecture's name, or the place of the user's own; `auto` for what a file holds."""
    return config.teacher.factory or config.teacher.arch


def _check_choice(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"config.{field}: no {value!r}{did_you_mean(value, known)}")


def _run_stage(stage: str, title: str, config: ConfigDict, workdir: Path) -> None:
    directory = make_directory(workdir / DIRECTORIES[stage])
    processes.once(lambda: _check_same_config(stage, directory, config))
    if processes.as_first((directory / "done.json").exists()):
        processes.say(f"{title}: done before")
        return
    processes.say(title)
    bodies: dict[str, Callable[[ConfigDict, Path], None]] = {
        "teacher": _teacher,
        "synthesize": _synthesize,
        "search": _search,
        "train": _train,
        "report": _report,
    }
    bodies[stage](config, workdir)
    mirror.exchange(directory)
    processes.once(lambda: write_json(directory / "done.json", {"stage": stage}))


def _relevant(stage: str, config: ConfigDict) -> dict[str, Any]:
    """The fields that a stage's artifact depends on, flattened: `{"synthesis.rounds": 2, ...}`."""
    names: list[str] = []
    for each in STAGES[: STAGES.index(stage) + 1]:
        names += _BLOCKS[each]
    if not config.teacher.checkpoint or (stage == "search" and config.search.data == "real"):
        names.append("data")
    fields = flatten({name: config[name] for name in names})
    if fields.get("search.latency_table"):
        fields["search.latency_table"] = _fingerprint(Path(config.search.latency_table))
    return fields


def _fingerprint(file: Path) -> str:
    """Of its content: a file that was edited is another one, one that was moved is not."""
    return f"sha256 {hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`, with tuples as lists, as JSON gives them back."""
    if isinstance(tree, dict | ConfigDict):
        flat: dict[str, Any] = {}
        for name in tree:
            flat.update(flatten(tree[name], f"{prefix}.{name}" if prefix else name))
        return flat
    return {prefix: _as_json(tree)}


def _as_json(value: Any) -> Any:
    return [_as_json(v) for v in value] if isinstance(value, list | tuple) else value


def _check_same_config(stage: str, directory: Path, config: ConfigDict) -> None:
    file, wanted = directory / "config.json", _relevant(stage, config)
    made = [path for path in directory.iterdir() if not path.name.startswith(".")]  # being written
    if not made or made == [file]:
        write_json(file, wanted)
    if not file.exists():
        raise UserError(
            f"{directory} holds files but no config.json that says what made them; choose another "
            f"--workdir, or remove {directory}"
        )
    made_with = read_json(file)
    different = sorted(
        name for name in made_with.keys() | wanted.keys() if made_with.get(name) != wanted.get(name)
    )
    if different:
        listed = ", ".join(
            f"{name} was {made_with.get(name)!r}, is {wanted.get(name)!r}" for name in different
        )
        raise UserError(
            f"{directory} was made by another config: {listed}; choose another --workdir, or "
            f"remove {directory} and those of the later stages"
        )


def _settings(config: ConfigDict) -> dict[str, Any]:
    """What the config says of the teacher, where it differs from the published."""
    block = config.teacher
    if bool(block.mean) != bool(block.std):
        raise UserError("set both config.teacher.mean and config.teacher.std, or neither")
    for name in ("image_size", "mean", "std"):
        if not all(isinstance(value, int | float) for value in block[name]):
            raise UserError(f"config.teacher.{name}={block[name]!r} must be numbers")
    settings = {"image_size": tuple(block.image_size)} if block.image_size else {}
    if block.mean:
        settings |= {"mean": tuple(block.mean), "std": tuple(block.std)}
    return settings


def _teacher(config: ConfigDict, workdir: Path) -> None:
    directory, block = workdir / "teacher", config.teacher
    if block.checkpoint:
        teacher, variables, source = _given(config)
    else:
        teacher = teachers.create(_arch(config), block.num_classes, **_settings(config))
        variables = _train_teacher(teacher, config, directory)
        source = {"trained_on": config.data.source}
    processes.once(lambda: _save_teacher(directory, teacher, variables, source))


def _save_teacher(
    directory: Path, teacher: Teacher, variables: Any, source: dict[str, Any]
) -> None:
    with processes.alone():
        card = teachers.save(directory, teacher, mesh.replicated_here(variables), source)
    for check in card["checks"]:
        if not check["passed"]:
            processes.say(f"warning: {check['name']}: {check['message']}")
    checkpoint.discard(directory / "working")


def _given(config: ConfigDict) -> tuple[Teacher, Any, dict[str, Any]]:
    """The teacher that the config's checkpoint holds, with its variables and where it is from."""
    block, arch, place = config.teacher, _arch(config), Path(config.teacher.checkpoint)
    if not place.is_dir():
        return port.port(arch, place, block.num_classes, block.prefix, **_settings(config))
    teacher, variables = teachers.load(place)
    if arch not in ("auto", teacher.arch):
        raise UserError(f"{place} holds a {teacher.arch}, config.teacher.arch is {arch}")
    return teacher, variables, read_json(place / teacher_store.FILE)["source"]


def _train_teacher(teacher: Teacher, config: ConfigDict, directory: Path) -> Any:
    return fit.fit(
        teacher.model,
        _natural(config, teacher, "train"),
        Preprocessing(teacher.mean, teacher.std),
        config.teacher.train,
        seeds.key_for(config.seed, "teacher"),
        label="train teacher",
        directory=directory,
    )


def logits_fn(teacher: Teacher) -> LogitsFn:
    """The teacher as whoever gives labels."""

    def logits(variables: Any, x: Array) -> Array:
        return teacher.model.apply(network_in(x.dtype, variables), x, train=False)

    return logits


def _natural(config: ConfigDict, teacher: Teacher, split: str) -> Images:
    data: Any = config.data
    name = data[f"{split}_split"]
    return sources.load_up_to(data.source, name, teacher.image_size, data.data_dir, data.memory_gb)


def _synthetic(config: ConfigDict, workdir: Path) -> Images:
    return synthetic_store.load_up_to(workdir / DIRECTORIES["synthesize"], config.data.memory_gb)


def _synthesize(config: ConfigDict, workdir: Path) -> None:
    teacher, variables = teachers.load(workdir / "teacher")
    hardware.of(space_for(config, teacher), config.search)  # a wrong table shows before the work
    competitor = None
    if config.synthesis.competition and config.synthesis.competitor:
        competitor = teachers.load(Path(config.synthesis.competitor))
    directory = workdir / DIRECTORIES["synthesize"]
    synthesize.run(directory, teacher, variables, config.synthesis, config.seed, competitor)


def space_of(config: ConfigDict) -> Space:
    """The space that a config searches, before anything has been run.

    Raises:
        UserError: the config names no teacher or no space that there is.
    """
    _check_teacher(config)
    if config.teacher.checkpoint:
        return space_for(config, _given(config)[0])
    block = config.teacher
    return space_for(config, teachers.create(_arch(config), block.num_classes, **_settings(config)))


def named(config: ConfigDict) -> tuple[Teacher, Space]:
    """The teacher and the space of a config; a checkpoint is opened only where `arch` is `auto`.

    Raises:
        UserError: a field has a value that does not exist, or there is no telling the teacher.
    """
    _check_fields(config)
    block = config.teacher
    if _arch(config) != "auto":
        teacher = teachers.create(_arch(config), block.num_classes, **_settings(config))
    elif Path(block.checkpoint).exists():
        teacher = _given(config)[0]
    else:
        raise UserError(
            f"config.teacher.arch=auto needs to look at {block.checkpoint}, which does not exist; "
            "name the architecture in config.teacher.arch"
        )
    return teacher, space_for(config, teacher)


def space_for(config: ConfigDict, teacher: Teacher) -> Space:
    """The space that a config searches, for images and classes of a teacher."""
    settings = dict(config.search.space)
    name = settings.pop("name")
    return spaces.create(
        name, num_classes=teacher.num_classes, image_size=teacher.image_size, **settings
    )


def _search(config: ConfigDict, workdir: Path) -> None:
    teacher, variables = teachers.load(workdir / "teacher")
    if config.search.data == "real":
        images = _natural(config, teacher, "train")
    else:
        images = _synthetic(config, workdir)
    found = search.run(
        workdir / "search",
        space_for(config, teacher),
        (logits_fn(teacher), variables),
        Preprocessing(teacher.mean, teacher.std),
        _at_hand(images, config),
        config.search,
        config.seed,
    )
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
    teacher, variables = teachers.load(workdir / "teacher")
    space = space_for(config, teacher)
    card = read_json(workdir / "teacher" / teacher_store.FILE)
    inputs = rows.Inputs(
        space=space,
        architecture=architecture_file.of_run(workdir / DIRECTORIES["search"], space),
        teacher=(logits_fn(teacher), variables),
        preprocess=Preprocessing(teacher.mean, teacher.std),
        synthetic=_synthetic(config, workdir),
        real=lambda: _natural(config, teacher, "train"),
        test=_natural(config, teacher, "test") if config.data.source else None,
    )
    teacher_row = {"macs": card["macs"], "params": card["params"]}
    rows.run(workdir / DIRECTORIES["train"], inputs, teacher_row, config.student, config.seed)


def _report(config: ConfigDict, workdir: Path) -> None:
    processes.once(lambda: build.build(workdir, config.to_dict()))


def show_result(workdir: Path, place: str) -> None:
    """Prints the table of students, and where the report is, once there is one.

    Args:
        workdir: of the run.
        place: of it, as the user knows it.
    """
    if processes.primary() and (workdir / "report" / "report.html").exists():
        table.print_table(read_json(workdir / "report" / "summary.json")["rows"])
        print(f"report: {place.rstrip('/')}/report/report.html", flush=True)
