"""Compares a teacher that is a graph with the same teacher written by hand, in one run.

    python -m benchmarks.graph_teachers --arch=cifar_resnet20 --checkpoint=FILE.th --json=FILE

Both get the weights of the checkpoint: one by the key table of its architecture, the other by
`teachers.from_torch` from the PyTorch module in torch_models.py. `logits` is the largest difference
on random images, relative to the largest logit. The step of synthesis is timed as in
benchmarks.synthesis, in turns; `ratio` above 1 says that the graph is faster. `flops` and `bytes`
are those of the graph's step divided by those of the hand-written one, as XLA counts them.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import jax
import numpy as np
from absl import app, flags

from benchmarks import results, with_torch
from benchmarks.json_flag import JSON
from benchmarks.synthesis_side import ours, synthesis_config
from benchmarks.synthesis_side import port as port_module
from benchmarks.turns import take_turns
from datafree_nas import teachers
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.memory import keep_memory
from datafree_nas.teachers import port
from datafree_nas.teachers.graph import sources

_ARCH = flags.DEFINE_string("arch", "cifar_resnet20", "of torch_models.py")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "its weights in PyTorch; none: random ones")
_BATCH = flags.DEFINE_integer("batch", 64, "images", lower_bound=1)
_ITERATIONS = flags.DEFINE_integer("iterations", 10, "of a side's turn", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "turns of each side", lower_bound=1)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 0, "side; 0: the teacher's own", lower_bound=0)


def _run() -> None:
    keep_memory()
    path = results.destination(JSON.value)
    with_torch.check()
    from benchmarks import torch_models

    arch, side = _ARCH.value, _IMAGE_SIZE.value
    if arch not in torch_models.ARCHITECTURES:
        known = ", ".join(torch_models.ARCHITECTURES)
        raise UserError(f"--arch: {arch} has no PyTorch side here; these have: {known}")
    hand = teachers.create_teacher(arch, image_size=(side, side, 3) if side else None)
    module = torch_models.random(arch, hand.num_classes)
    if _CHECKPOINT.value:
        sources.load_weights(module, _CHECKPOINT.value)
        of_hand = port.port(arch, _CHECKPOINT.value)[1]
    else:
        of_hand = port_module(hand, module)
    settings = {name: getattr(hand, name) for name in ("image_size", "mean", "std")}
    graph, of_graph = teachers.from_torch(module, **settings)

    images = np.random.default_rng(0).normal(size=(16, *hand.image_size)).astype(np.float32)
    wanted = np.asarray(jax.jit(hand.model.apply)(of_hand, images))
    found = np.asarray(jax.jit(graph.model.apply)(of_graph, images))

    config = synthesis_config(hand.image_size[0])
    hand_side, hand_work = ours(hand, of_hand, config, _BATCH.value)
    graph_side, graph_work = ours(graph, of_graph, config, _BATCH.value)
    sides = {"hand": hand_side, "graph": graph_side}
    first, seconds = take_turns(sides, _ITERATIONS.value, _REPEATS.value)
    row = {
        "name": arch,
        "logits": float(np.abs(found - wanted).max() / np.abs(wanted).max()),
        "ms_by_hand": 1e3 * seconds["hand"] / _ITERATIONS.value,
        "ms_graph": 1e3 * seconds["graph"] / _ITERATIONS.value,
        "ratio": seconds["hand"] / seconds["graph"],
        "flops": graph_work.flops / hand_work.flops,
        "bytes": graph_work.bytes / hand_work.bytes,
        "first_by_hand": first["hand"],
        "first_graph": first["graph"],
    }
    results.report([row], {"batch": _BATCH.value, "image_size": hand.image_size[0]}, path)


def main(_argv: list[str]) -> None:
    """Compares what the flags name."""
    exit_cleanly(_run)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
