"""The strategy `given`: nothing is searched, the config names the architecture."""

import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from datafree_nas.data.labeller import Labeller
from datafree_nas.runtime import mesh
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.search import architecture_file, hardware, limits, scoring
from datafree_nas.search.strategy import Strategy, StrategyBuilder
from datafree_nas.spaces.space import Architecture, Space

_LONGEST_PATH = 4096  # characters


def build(space: Space, labeller: Labeller, config: Config) -> Strategy:
    """Builds the strategy, which trains and scores nothing.

    Args:
        space: search space of the architecture.
        labeller: teacher, which is not asked.
        config: block `config.search`; `architecture` is read.

    Raises:
        UserError: the config has no architecture, or one that cannot be used.
    """
    given = architecture(space, config)

    def init(key: Array) -> Array:
        return mesh.put(jnp.asarray(given), mesh.replicated())

    unknown: dict[str, Any] = dict.fromkeys((*scoring.MEASURES, "score"))
    return Strategy(
        init,
        phases=[],
        derive=np.asarray,
        history=lambda state: [{**scoring.costs(space, given), **unknown}],
    )


def check(space: Space, config: Config) -> None:
    """Checks that there is an architecture if the strategy is `given`, and none otherwise.

    Args:
        space: search space of the run.
        config: block `config.search`.

    Raises:
        UserError: the architecture is missing or cannot be used; or there is one, and another
            strategy would not look at it.
    """
    if config.strategy == "given":
        architecture(space, config)
    elif config.architecture:
        raise UserError(
            f"config.search.architecture is for config.search.strategy='given', the strategy is "
            f"{config.strategy!r}; set one of the two"
        )


def file(config: Config) -> Path | None:
    """Returns the file that `config.search.architecture` names; None if it is an architecture."""
    text = config.architecture.strip()
    # a line of a log can have a slash, in its date
    named = text.endswith(".json") or ("/" in text and "(" not in text)
    possible = text.isprintable() and len(text) <= _LONGEST_PATH
    return Path(os.path.expanduser(text)) if named and possible else None


def architecture(space: Space, config: Config) -> Architecture:
    """Reads the architecture that `config.search.architecture` stands for.

    Args:
        space: search space of the architecture.
        config: block `config.search`; `architecture` is text that `Space.decode` reads, or the
            path of another run's `architecture.json`.

    Raises:
        UserError: there is none, it is of another space, its output does not depend on the image,
            or it does not keep the limits of `config.evolution`.
    """
    if not config.architecture:
        raise UserError(
            "config.search.strategy='given' needs config.search.architecture, e.g. "
            f"{space.example!r}, or the path of an architecture.json"
        )
    try:
        path = file(config)
        given = architecture_file.load(path, space) if path else space.decode(config.architecture)
    except UserError as error:
        raise UserError(f"config.search.architecture: {error}") from None
    written = space.encode(given)
    if not space.connected(given):
        raise UserError(f"config.search.architecture: nothing of an image passes through {written}")
    broken = limits.exceeded(space, given, hardware.latency(space, config), config.evolution)
    if broken:
        raise UserError(
            f"config.search.architecture: {written} does not keep config.search.evolution."
            f"{broken}; raise the limit, or set it to 0"
        )
    return given


STRATEGY = StrategyBuilder("given", build)
