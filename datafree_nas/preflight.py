"""Checks all that can be known before the first stage: mistakes that would show after hours.

What is built here is what the stages build, for shapes instead of arrays; nothing is computed.
"""

from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from datafree_nas.data import sources
from datafree_nas.experiment import Experiment
from datafree_nas.stage import Stage


def check(
    experiment: Experiment, stages: Sequence[Stage], pending: Sequence[Stage]
) -> dict[str, Any] | None:
    """Checks an experiment as a whole, and opens the natural images that will be read.

    Args:
        experiment: run whose workdir need not exist.
        stages: all stages, in order.
        pending: stages that are going to be run.

    Returns:
        What `sources.inspect` says of the images; None if no stage reads any.

    Raises:
        UserError: the first mistake that is found.
    """
    check_fields(experiment.config, stages)
    if not pending:
        return None
    needed = {split for stage in pending for split in stage.reads(experiment.config)}
    images = None
    if needed:
        request = experiment.request(experiment.class_names())
        images = sources.inspect(request, [s for s in ("train", "test") if s in needed])
    for stage in stages:
        stage.check(experiment, images)
    return images


def check_fields(config: ConfigDict, stages: Sequence[Stage]) -> None:
    """Checks fields that belong together, without a look at the teacher.

    Args:
        config: complete config of an experiment.
        stages: all stages, in order.

    Raises:
        UserError: the first mistake that is found.
    """
    for stage in stages:
        stage.check_config(config)
