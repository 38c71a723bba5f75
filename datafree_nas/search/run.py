"""Runs a search: images in, one architecture and all that was scored out."""

from pathlib import Path
from typing import Any

import numpy as np

from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.runtime import loop, mesh, processes, seeds
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import write_json, write_jsonl
from datafree_nas.runtime.metrics import MetricsWriter
from datafree_nas.runtime.values import Values, integer, number, one_of, text
from datafree_nas.runtime.workdir import HISTORY, PROBABILITIES
from datafree_nas.search import (
    architecture_file,
    costs,
    evolution,
    front,
    hardware,
    limits,
    registry,
    scoring,
)
from datafree_nas.search.alphas import FIELDS as ALPHAS
from datafree_nas.search.strategy import SearchData, Strategy
from datafree_nas.spaces.space import Architecture, Space
from datafree_nas.training import trainer
from datafree_nas.training.fit import logits_of

OBJECTIVES = ("score", "pareto")


def fields() -> dict[str, Values]:
    """Returns the values of the fields of `config.search`, without those of the space.

    The blocks of the strategies of this package are among them.
    """
    blocks = {
        "alphas": ALPHAS,
        "hardware": hardware.FIELDS,
        "evolution": evolution.FIELDS,
        **{each.name: each.fields for each in registry.built_in()},
    }
    return {
        "strategy": registry.values(),
        "architecture": text(),
        "data": one_of(("synthetic", "real")),
        "pool": integer(1, 1024),
        "held_out": number(0, 1, above=True, below=True),
        "latency_table": text(),
        "objective": one_of(OBJECTIVES).or_none(),
        "front_cost": one_of(costs.COSTS),
        **scoring.FIELDS,
        **{
            f"{block}.{name}": values for block, of in blocks.items() for name, values in of.items()
        },
    }


def search(
    directory: Path,
    space: Space,
    labeller: Labeller,
    images: ImageSet,
    config: Config,
    seed: int,
) -> dict[str, Any]:
    """Searches, and writes `history.jsonl`, `probabilities.json` and, last, `architecture.json`.

    The architecture is the one that the strategy derives. Where several sizes are wanted
    (`config.objective`), it is the one of the Pareto front with the best score within the limits.

    Args:
        directory: folder of the stage; `working` in it keeps the state between processes, until the
            caller removes it.
        space: search space.
        labeller: teacher of the run.
        images: images to search on; a share `config.held_out` is kept apart for scoring.
        config: block `config.search`.
        seed: seed of the run.

    Returns:
        The content of `architecture.json`.

    Raises:
        UserError: the config does not fit.
        Interrupted: a signal came; the state is saved.
    """
    space = space.regularized(config.train)
    with mesh.for_batches(config.train.batch_size, images.image_size):
        strategy = registry.find(config.strategy).build(space, labeller, config)
        data = split(images, labeller, config, seed) if strategy.phases else None
        state = loop.run_phases(
            strategy.phases,
            strategy.init(seeds.key_for(seed, "search")),
            data,
            label="search",
            directory=directory / "working",
            writer=lambda start: MetricsWriter(directory, start),
        )
    found = strategy.derive(state)
    history = _with_scores_of_derived(found, strategy, state, space, labeller, data, config)
    _add_costs(history, space, config)
    members = _front(history, space, config)
    row = next(r for r in history if r["architecture"] == space.encode(found))
    if config.objective == "pareto":
        row = _best(history, space, config) or row
    result = _result(row, history, images, space, config, seed)
    if row["score"] is not None:
        result |= {"front_cost": costs.column(config), "front": members}
    processes.once(lambda: _write(directory, history, strategy.probabilities(state), result))
    return result


def _result(
    row: dict[str, Any],
    history: list[dict[str, Any]],
    images: ImageSet,
    space: Space,
    config: Config,
    seed: int,
) -> dict[str, Any]:
    """Returns what `architecture.json` says of the architecture whose row of the history it is."""
    return {
        "space": space.name,
        **row,
        "strategy": config.strategy,
        "scored_by": config.score if row["score"] is not None else None,
        "data": config.data,
        "images": images.size,
        "evaluated": sum(row["score"] is not None for row in history),
        "max_macs": config.evolution.max_macs or None,
        "seed": seed,
        "graph": space.graph(space.decode(row["architecture"])),
    }


def _with_scores_of_derived(
    found: Architecture,
    strategy: Strategy,
    state: Any,
    space: Space,
    labeller: Labeller,
    data: SearchData | None,
    config: Config,
) -> list[dict[str, Any]]:
    """Returns the history of a search, in which each derived architecture has a row.

    They are the found one and, where several sizes are wanted, those that cost less.
    """
    history = strategy.history(state)
    if strategy.supernet is None or data is None:
        return history
    derived = [found]
    if config.objective == "pareto":
        derived += strategy.cheaper(state, costs.table(space, config))
    known = {row["architecture"] for row in history}
    new = {name: each for each in derived if (name := space.encode(each)) not in known}
    if new:
        score = scoring.make_scorer(space.supernet(), labeller.preprocessing, config)
        gates = [space.gates(each) for each in new.values()]
        measured = scoring.score_all(score, strategy.supernet(state), data, gates)
        for each, values in zip(new.values(), measured, strict=True):
            history.append(scoring.row(space, each, values, config))
    return history


def _add_costs(history: list[dict[str, Any]], space: Space, config: Config) -> None:
    """Writes into each row its latency, if there is a latency table, and the cost of the front."""
    latency, cost = hardware.latency(space, config), costs.function(space, config)
    for row in history:
        architecture = space.decode(row["architecture"])
        if latency is not None:
            row["latency_ms"] = space.latency(architecture, latency)
        row.setdefault(costs.column(config), cost(architecture))


def _front(history: list[dict[str, Any]], space: Space, config: Config) -> list[dict[str, Any]]:
    """Returns the rows that no other one beats in score and cost, by rising cost."""
    scored = [row for row in history if row["score"] is not None]
    rows = [row for row in scored if space.connected(space.decode(row["architecture"]))]
    names = ("score", costs.column(config))
    scores, spent = (np.array([row[name] for row in rows], float) for name in names)
    return [rows[i] for i in front.non_dominated(scores, spent)]


def _best(history: list[dict[str, Any]], space: Space, config: Config) -> dict[str, Any] | None:
    """Returns the row of the best score within the limits, of the least cost; None without one."""
    allowed = limits.make_test(space, config)
    within = [row for row in history if allowed(space.decode(row["architecture"]))]
    members = _front(within, space, config)
    return members[-1] if members else None


def _write(
    directory: Path,
    history: list[dict[str, Any]],
    probabilities: dict[str, Any] | None,
    result: dict[str, Any],
) -> None:
    write_jsonl(directory / HISTORY, history)
    if probabilities:
        write_json(directory / PROBABILITIES, probabilities)
    write_json(directory / architecture_file.FILE, result)


def check_images(count: int, image_size: tuple[int, int, int], config: Config) -> None:
    """Checks that a search can be run on a set of images.

    Args:
        count: number of images.
        image_size: `(h, w, c)` of the images.
        config: block `config.search`.

    Raises:
        UserError: no image would be left to train or to score on, the images cannot be pooled, or
            smaller images would be labelled by a teacher that has to see whole ones.
    """
    if config.pool > 1 and config.train.labels == "teacher":
        raise UserError(
            f"config.search.pool={config.pool} makes images smaller than the teacher takes; use "
            "config.search.train.labels='stored' (or 'hard')"
        )
    if any(side % config.pool for side in image_size[:2]):
        raise UserError(
            f"config.search.pool={config.pool} does not divide images of "
            f"{image_size[0]}x{image_size[1]} pixels"
        )
    if not 0 < round(count * config.held_out) < count:
        raise UserError(
            f"config.search.held_out={config.held_out:g} of {count} images leaves nothing to "
            "train or to score on"
        )


def split(images: ImageSet, labeller: Labeller, config: Config, seed: int) -> SearchData:
    """Puts images on the devices, some of them to train on, the others to score on.

    Args:
        images: images of the search.
        labeller: teacher of the run.
        config: block `config.search`.
        seed: seed of the run.

    Raises:
        UserError: no image would be left to train or to score on, or the images cannot be pooled.
    """
    check_images(images.size, images.image_size, config)
    generator = seeds.numpy_generator(seeds.key_for(seed, "held out"))
    order = generator.permutation(images.size)
    count = round(images.size * config.held_out)
    held_out, train = images.take(order[:count]), images.take(order[count:])
    logits = logits_of(labeller, np.asarray(held_out.images))
    train, held_out = (part.averaged(config.pool) for part in (train, held_out))
    return SearchData(
        trainer.data_of(train, labeller.variables, config.train),
        trainer.data_of(held_out, labeller.variables, config.train),
        mesh.put(logits, mesh.replicated()),
    )
