"""The search stage: data in, one architecture and everything scored out."""

from pathlib import Path
from typing import Any

import numpy as np

from datafree_nas.data.images import ImageSet
from datafree_nas.runtime import loop, mesh, processes, seeds
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError, did_you_mean
from datafree_nas.runtime.files import write_json, write_jsonl
from datafree_nas.runtime.metrics import MetricsWriter
from datafree_nas.search import architecture_file, darts, given, hardware, proxyless, scoring, spos
from datafree_nas.search.strategy import SearchData, Strategy
from datafree_nas.spaces.space import Space
from datafree_nas.training import trainer
from datafree_nas.training.fit import logits_of
from datafree_nas.training.trainer import LogitsFn, Preprocessing

STRATEGIES = {
    "darts": darts.make,
    "given": given.make,
    "proxyless": proxyless.make,
    "random": spos.make,
    "spos": spos.make,
}


def run(
    directory: Path,
    space: Space,
    teacher: tuple[LogitsFn, Any],
    preprocess: Preprocessing,
    images: ImageSet,
    config: Config,
    seed: int,
) -> dict[str, Any]:
    """Searches, and writes `history.jsonl` and, last, `architecture.json`.

    Args:
        directory: of the stage; `working` in it keeps the state between processes, until the
            caller removes it.
        space: to search.
        teacher: labelling function and its variables.
        preprocess: of bytes.
        images: to search on; a share `config.held_out` is kept apart for scoring.
        config: `config.search`.
        seed: the run's.

    Returns:
        What `architecture.json` says.

    Raises:
        UserError: the config does not fit.
        Interrupted: a signal came; the state is saved.
    """
    space, latency = space.regularized(config.train), hardware.latency(space, config)
    with mesh.for_batches(config.train.batch_size, images.image_size):
        strategy = create(space, teacher[0], preprocess, config)
        data = split(images, teacher, preprocess, config, seed) if strategy.phases else None
        state = loop.run(
            strategy.phases,
            strategy.init(seeds.key_for(seed, "search")),
            data,
            label="search",
            directory=directory / "working",
            writer=lambda start: MetricsWriter(directory, start),
        )
    history, found = strategy.history(state), strategy.derive(state)
    if data and all(row["architecture"] != space.encode(found) for row in history):
        score = scoring.make_scorer(space.supernet(), preprocess, config)
        values = scoring.score_all(score, state.train, data, [space.gates(found)])[0]
        history.append(scoring.row(space, found, values, config))
    if latency is not None:
        for row in history:
            row["latency_ms"] = space.latency(space.decode(row["architecture"]), latency)
    row = next(r for r in history if r["architecture"] == space.encode(found))
    result = {
        "space": space.name,
        **row,
        "strategy": config.strategy,
        "scored_by": config.score if row["score"] is not None else None,
        "data": config.data,
        "images": images.size,
        "evaluated": sum(row["score"] is not None for row in history),
        "max_macs": config.evolution.max_macs or None,
        "seed": seed,
        "graph": space.graph(found),
    }
    processes.once(lambda: _write(directory, history, strategy.probabilities(state), result))
    return result


def _write(
    directory: Path,
    history: list[dict[str, Any]],
    probabilities: dict[str, Any] | None,
    result: dict[str, Any],
) -> None:
    write_jsonl(directory / "history.jsonl", history)
    if probabilities:
        write_json(directory / "probabilities.json", probabilities)
    write_json(directory / architecture_file.FILE, result)


def create(
    space: Space, teacher_fn: LogitsFn, preprocess: Preprocessing, config: Config
) -> Strategy:
    """Builds the strategy that `config.strategy` names; the arguments are those of `run`.

    Raises:
        UserError: an unknown name.
    """
    if config.strategy not in STRATEGIES:
        hint = did_you_mean(config.strategy, STRATEGIES)
        raise UserError(f"config.search.strategy={config.strategy!r} is unknown{hint}")
    return STRATEGIES[config.strategy](space, teacher_fn, preprocess, config)


def check(count: int, image_size: tuple[int, int, int], config: Config) -> None:
    """Checks that a search can be run on a set of images.

    Args:
        count: number of images.
        image_size: `(h, w, c)` of the images.
        config: `config.search`.

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


def split(
    images: ImageSet,
    teacher: tuple[LogitsFn, Any],
    preprocess: Preprocessing,
    config: Config,
    seed: int,
) -> SearchData:
    """Puts images on the devices, some of them to train on, the others to score on.

    Args:
        images: of the search.
        teacher: labelling function and its variables.
        preprocess: of bytes.
        config: `config.search`.
        seed: the run's.

    Raises:
        UserError: one of the two would be empty; or smaller images would be labelled by a teacher
            who has to see whole ones.
    """
    check(images.size, images.image_size, config)
    generator = seeds.numpy_generator(seeds.key_for(seed, "held out"))
    order = generator.permutation(images.size)
    count = round(images.size * config.held_out)
    held_out, train = images.take(order[:count]), images.take(order[count:])
    logits = logits_of(*teacher, np.asarray(held_out.images), preprocess)
    train, held_out = (part.averaged(config.pool) for part in (train, held_out))
    return SearchData(
        trainer.data_of(train, teacher[1], config.train),
        trainer.data_of(held_out, teacher[1], config.train),
        mesh.put(logits, mesh.replicated()),
    )
