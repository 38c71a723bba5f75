"""What a config and a workdir stand for: a teacher, a search space, and images."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from configs import common
from datafree_nas import schema, spaces, teachers
from datafree_nas.data import sources
from datafree_nas.data.images import Images
from datafree_nas.data.labeller import Labeller
from datafree_nas.runtime.workdir import Workdir
from datafree_nas.search import registry as strategies
from datafree_nas.search.strategies import given
from datafree_nas.spaces import Space
from datafree_nas.stage import DONE
from datafree_nas.teachers import Teacher, configured, port
from datafree_nas.teachers import store as teacher_store

_PATHS = (
    "teacher.checkpoint",
    "synthesis.competitor",
    "search.latency_table",
    "data.data_dir",
    "data.classes",
)


# fields of earlier versions, with the values with which these did what is always done now
REMOVED = {"synthesis.label_temperature": 1.0, "synthesis.label_entropy": 0.0}


@dataclass(frozen=True)
class Experiment:
    """One run: a config, whose fields are complete, and the folder of its artifacts.

    Attributes:
        config: all fields, see `configs/common.py`; from `complete`.
        workdir: folder of the run; need not exist.
        planned: whether nothing is going to be run, so that the checkpoint need not be there.
    """

    config: ConfigDict
    workdir: Workdir
    planned: bool = False

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher without its weights; the workdir's, if it has one already."""
        block = self.config.teacher
        if (self.workdir.teacher / DONE).exists() and not self.planned:
            return teacher_store.describe(self.workdir.teacher, block.factory)
        return configured.find_planned(block) if self.planned else configured.find(block)

    @cached_property
    def space(self) -> Space:
        """The search space, for the images and classes of the teacher."""
        return spaces.create_space(
            **self.config.search.space,
            num_classes=self.teacher.num_classes,
            image_size=self.teacher.image_size,
        )

    def load_teacher(self) -> tuple[Teacher, Any]:
        """Reads the teacher of the workdir, with its variables."""
        return teachers.load(self.workdir.teacher, self.config.teacher.factory)

    def labeller(self) -> Labeller:
        """Reads the teacher of the workdir, ready to label images."""
        return teachers.labeller(*self.load_teacher())

    @cached_property
    def labeller_shapes(self) -> Labeller:
        """The teacher as a labeller, with shapes in place of its variables."""
        return teachers.labeller(self.teacher, port.shapes(self.teacher))

    def class_names(self) -> list[str]:
        """Reads the names of the teacher's classes from its card; none if nobody has named them."""
        given_folder = Path(self.config.teacher.checkpoint or self.workdir.root)
        for folder in (self.workdir.teacher, given_folder):
            if (folder / teacher_store.FILE).exists():
                return teacher_store.read_card(folder).get("class_names") or []
        return []

    def request(self, names: list[str]) -> sources.Request:
        """Puts together what is asked of the source of natural images.

        Args:
            names: names of the teacher's classes, or none.

        Raises:
            UserError: the file of class names does not fit the teacher.
        """
        teacher = self.teacher
        return sources.request_of(self.config.data, teacher.image_size, teacher.num_classes, names)

    def natural(self, split: str, names: list[str] | None = None) -> Images:
        """Loads a split of the natural images.

        Args:
            split: `train` or `test`.
            names: names of the teacher's classes; None for those of its card.
        """
        request = self.request(self.class_names() if names is None else names)
        return sources.load_up_to(request, split, self.config.data.memory_gb)

    def files(self) -> dict[str, Path | None]:
        """Finds the files and folders that the config names and whose content matters.

        Returns:
            The path by the field's dotted path; None where a field names nothing. The card of a
            ported folder stands for all of it, since it holds the checksum of the weights.
        """
        config = self.config
        source = sources.place(config.data.source, config.data.data_dir)
        return {
            "teacher.checkpoint": _card_or_file(config.teacher.checkpoint),
            "synthesis.competitor": _card_or_file(config.synthesis.competitor),
            "search.architecture": given.file(config.search),
            "search.latency_table": _path(config.search.latency_table),
            "data.source": source,
            "data.data_dir": source,
            "data.classes": _path(config.data.classes),
        }


def resolve(config: ConfigDict, workdir: Path | str = "", *, planned: bool = False) -> Experiment:
    """Finds what a config stands for.

    Args:
        config: experiment as its file and the command line give it.
        workdir: folder of the run; need not exist.
        planned: whether nothing is going to be run, so that the checkpoint need not be there.

    Raises:
        UserError: a field of the config is missing, unknown, or has a value that it may not have.
    """
    schema.check(config)
    return Experiment(complete(config), Workdir(Path(workdir)), planned)


def complete(config: ConfigDict) -> ConfigDict:
    """Completes a config: defaults of its space and strategy, its objective, and paths with `~`.

    Args:
        config: experiment as its file and the command line give it, which stays as it is.
    """
    whole = config.copy_and_resolve_references()
    for field in _PATHS:
        block, name = field.split(".")
        whole[block][name] = os.path.expanduser(whole[block][name])
    search = whole.search
    if search.objective is None:
        search.objective = "pareto" if whole.student.count > 1 else "score"
    settings = dict(search.space)
    name = settings.pop("name")
    builder = strategies.find(search.strategy)
    with search.unlocked():
        search.space = ConfigDict({"name": name, **spaces.with_defaults(name, settings)})
        if builder.defaults:
            given_fields = dict(search.get(builder.name, {}))
            search[builder.name] = ConfigDict({**builder.defaults, **given_fields})
    return whole


def defaults(config: ConfigDict) -> ConfigDict:
    """Returns the value that every field has where an older version did not write it down.

    Args:
        config: experiment, whose space and strategy count.
    """
    default = common.get_config()
    default.synthesis.held_out = config.synthesis.held_out  # which are added to a finished set
    for recipe in (default.search.train, default.student.train):
        recipe.distillation = "cross_entropy"
    default.search.strategy = config.search.strategy
    default.search.space = ConfigDict({"name": config.search.space.name})
    return complete(default)


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _card_or_file(text: str) -> Path | None:
    card = Path(text) / teacher_store.FILE
    return card if text and card.exists() else _path(text)
