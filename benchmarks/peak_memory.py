r"""Compares the peak memory of networks, as `Space.peak_memory` predicts it, with LiteRT's.

    python -m benchmarks.peak_memory --space=nasbench201,darts --networks=10

It needs `pip install -e '.[tflite]'`. Random networks of each space at its default size get random
weights, and litert-torch converts their PyTorch source: float32, one image. The columns count
elements:

- `predicted`: `Space.peak_memory`.
- `live`: the same sum over the ops of the converted file, with their real order and sizes. Where it
  differs from `predicted`, the space lists its ops wrongly.
- `arena`: extent of the memory that LiteRT gives to the activations, with its reference kernels,
  which need nothing else. Its planner places tensors one after another, the largest first, and
  leaves gaps, so it can be above `live`.
- `optimized`: the same with the faster built-in kernels (without XNNPACK), some of which take
  memory of their own beside the activations, such as the unfolded image of a convolution.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import contextlib
import importlib.util
import io
import runpy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import results
from benchmarks.json_flag import JSON
from datafree_nas import spaces
from datafree_nas.runtime import seeds
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.flags import parse
from datafree_nas.spaces import memory
from datafree_nas.spaces.memory import Step
from datafree_nas.spaces.space import Architecture, Space

SPACES = ("nasbench201", "nasbench_macro", "proxyless", "shufflenet", "darts")

_SPACE = flags.DEFINE_list("space", list(SPACES), "search spaces")
_COUNT = flags.DEFINE_integer("networks", 2, "random networks of each space", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "seed of the networks")


def check() -> None:
    """Checks that LiteRT and its converter are installed, before anything is converted.

    Raises:
        UserError: they are not.
    """
    if importlib.util.find_spec("litert_torch") is None:
        raise UserError("this measures LiteRT; install it: pip install -e '.[tflite]'")


def measure(space: Space, architecture: Architecture) -> dict[str, Any]:
    """Predicts and measures the memory of one network.

    Args:
        space: search space.
        architecture: architecture of the network.

    Returns:
        Elements `predicted`, `live`, `arena` and `optimized`, see this module; and the `ratio` of
        the first to the third.
    """
    from ai_edge_litert.interpreter import OpResolverType

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.tflite"
        convert(space, architecture, file)
        steps, arena = run(file, OpResolverType.BUILTIN_REF)
        _, optimized = run(file, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    predicted = space.peak_memory(architecture)
    return {
        "predicted": predicted,
        "live": memory.peak(steps),
        "arena": arena,
        "ratio": predicted / arena,
        "optimized": optimized,
    }


def convert(space: Space, architecture: Architecture, file: Path) -> None:
    """Converts a network with random weights and random statistics of BatchNorm."""
    import litert_torch
    import torch

    source = space.torch_source(architecture)
    if source is None:
        raise UserError(f"{space.name} has no PyTorch source, which the converter reads")
    file.with_suffix(".py").write_text(source)
    torch.manual_seed(0)
    network = runpy.run_path(str(file.with_suffix(".py")))["Network"]().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (*module.parameters(), module.running_mean, module.running_var):
                assert tensor is not None
                torch.nn.init.uniform_(tensor, 0.5, 1.5)
    height, width, channels = space.image_size
    with contextlib.redirect_stdout(io.StringIO()):  # its progress, line by line
        litert_torch.convert(network, (torch.zeros(1, channels, height, width),)).export(str(file))


def run(file: Path, kernels: Any) -> tuple[list[Step], int]:
    """Runs a converted network once.

    Args:
        file: converted network.
        kernels: a value of LiteRT's `OpResolverType`.

    Returns:
        Its ops as steps of `memory.profile`, and the extent of its activations in memory, in
        elements.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(
        model_path=str(file), experimental_op_resolver_type=kernels, num_threads=1
    )
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    interpreter.set_tensor(image["index"], np.zeros(image["shape"], image["dtype"]))
    interpreter.invoke()
    ops = interpreter._get_ops_details()  # in the order in which they run
    computed = [image["index"], *(int(output) for op in ops for output in op["outputs"])]
    number = {tensor: i for i, tensor in enumerate(computed)}
    views = [interpreter.tensor(tensor)() for tensor in computed]
    begins = [view.__array_interface__["data"][0] for view in views]
    steps = [Step((), views[0].size)]
    for i, op in enumerate(ops, start=1):
        inputs = tuple(number[tensor] for tensor in map(int, op["inputs"]) if tensor in number)
        in_place = any(begins[source] == begins[i] for source in inputs)
        steps.append(Step(inputs, views[i].size, in_place))
    end = max(begin + view.nbytes for begin, view in zip(begins, views, strict=True))
    return steps, (end - min(begins)) // views[0].itemsize


def _run_all() -> None:
    path = results.destination(JSON.value)
    chosen = {name: spaces.create_space(name) for name in _SPACE.value}
    check()
    rows = []
    for name, space in chosen.items():
        generator = seeds.numpy_generator(seeds.key_for(_SEED.value, name))
        for number in range(1, _COUNT.value + 1):
            drawn = np.asarray(generator.integers(np.asarray(space.choices)), np.int32)
            rows.append({"name": f"{name} {number}", **measure(space, drawn)})
            print(rows[-1], flush=True)  # a conversion takes up to minutes
    results.report(rows, {"seed": _SEED.value}, path)


def main(_argv: list[str]) -> None:
    """Measures random networks of the chosen spaces."""
    exit_cleanly(_run_all)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
