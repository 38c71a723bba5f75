"""Compares a PyTorch classifier with the teacher that it becomes, see torch_coverage.py.

This module is not a command.
"""

import copy
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import torch_libraries
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers.graph import trace
from datafree_nas.teachers.graph.network import GraphNetwork
from datafree_nas.teachers.taps import Tap, apply_with_taps

# largest relative differences with which a model passes
LIMITS = {"logits": 1e-4, "taps": 1e-4, "gradients": 1e-3}


def compare(module: Any, image_size: tuple[int, int, int]) -> dict[str, Any]:
    """Ports a module and compares it with itself.

    Args:
        module: PyTorch module in evaluation mode.
        image_size: `(h, w, c)` of its images.

    Returns:
        Largest relative differences of `logits`, `taps` and `gradients`, number of `layers` of
        BatchNorm and of `nodes`, and the seconds that it took to `port` it and to `compile` it with
        its gradient. If a difference is beyond its limit in float32, all three are of float64,
        those of float32 are kept under `logits_float32` and so on, and `torch_float32` is the
        difference of PyTorch's own logits in float32 from those in float64.
    """
    start = time.perf_counter()
    converted, variables = trace.trace(module, image_size)
    ported = time.perf_counter()
    network = GraphNetwork(converted.graph)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, *image_size)).astype(np.float32)
    mix = rng.normal(size=(2, converted.num_classes)).astype(np.float32)
    step = _step(network, mix, variables, x)
    compiled = time.perf_counter()
    wanted = _in_torch(module, x, mix)
    found = _differences(step(variables, x), wanted)
    if not passes(found):
        exact = _in_torch(copy.deepcopy(module).double(), x.astype(np.float64), mix)
        rounded = {f"{name}_float32": value for name, value in found.items()}
        found = _in_float64(network, variables, x, mix, exact) | rounded
        found["torch_float32"] = _difference(wanted.logits, exact.logits)
    return {
        **found,
        "layers": len(wanted.taps),
        "nodes": len(converted.graph.nodes),
        "port_seconds": round(ported - start, 2),
        "compile_seconds": round(compiled - ported, 2),
    }


def _step(network: GraphNetwork, mix: np.ndarray, variables: Any, x: np.ndarray) -> Any:
    """Compiles `(variables, images) -> logits, statistics and gradient`, for their types.

    It runs once, so XLA does not optimize it, except in float64: convolutions there would take up
    to a hundred times longer.
    """

    def loss(x: jax.Array, variables: Any) -> Any:
        logits, taps = apply_with_taps(network, variables, x)
        return jnp.sum(mix * logits), (logits, taps)

    def step(variables: Any, x: jax.Array) -> Any:
        (_, (logits, taps)), gradient = jax.value_and_grad(loss, has_aux=True)(x, variables)
        return logits, taps, gradient

    level = 0 if x.dtype == np.float32 else 3
    options: dict[str, Any] = {"xla_backend_optimization_level": level}
    return jax.jit(step).lower(variables, x).compile(compiler_options=options)


def _differences(found: Any, wanted: "Wanted") -> dict[str, float]:
    logits, taps, gradient = found
    return {
        "logits": _difference(logits, wanted.logits),
        "taps": max(_of_tap(tap, *pair) for tap, pair in zip(taps, wanted.taps, strict=True)),
        "gradients": _difference(gradient, wanted.gradient),
    }


def _in_float64(
    network: GraphNetwork, variables: Any, x: np.ndarray, mix: np.ndarray, wanted: "Wanted"
) -> dict[str, float]:
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda leaf: leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf, variables
        )
        images = x.astype(np.float64)
        step = _step(network, mix.astype(np.float64), wide, images)
        return _differences(step(wide, images), wanted)


class Wanted(NamedTuple):
    """What PyTorch computes.

    Attributes:
        logits: logits `[b k]`.
        taps: mean and variance at the input of each BatchNorm, in the order of the calls.
        gradient: gradient of the images `[b h w c]`.
    """

    logits: np.ndarray
    taps: list[tuple[np.ndarray, np.ndarray]]
    gradient: np.ndarray


def _in_torch(module: Any, x: np.ndarray, mix: np.ndarray) -> Wanted:
    import torch

    taps = []

    def hook(_module: Any, args: Any) -> None:
        images = args[0].detach().transpose(0, 1).flatten(1)
        taps.append((images.mean(1).numpy(), images.var(1, unbiased=False).numpy()))

    handles = [
        each.register_forward_pre_hook(hook)
        for each in module.modules()
        if isinstance(each, torch.nn.modules.batchnorm._BatchNorm)
    ]
    images = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
    answer = module(images)
    logits = answer.logits if hasattr(answer, "logits") else answer
    (logits * torch.from_numpy(mix).to(logits.dtype)).sum().backward()
    for handle in handles:
        handle.remove()
    assert images.grad is not None
    return Wanted(logits.detach().numpy(), taps, images.grad.numpy().transpose(0, 2, 3, 1))


def _difference(ours: Any, theirs: np.ndarray) -> float:
    """Returns the largest difference, relative to the largest value of theirs."""
    return _relative(ours, theirs, theirs)


def _of_tap(tap: Tap, mean: np.ndarray, var: np.ndarray) -> float:
    return max(_difference(tap.mean[0], mean), _relative(tap.var[0], var, var + np.square(mean)))


def _relative(ours: Any, theirs: np.ndarray, scale: np.ndarray) -> float:
    return float(np.abs(np.asarray(ours) - theirs).max() / max(np.abs(scale).max(), 1e-30))


def passes(row: dict[str, Any]) -> bool:
    """Returns whether a model was ported and is as exact as it has to be."""
    return all(row.get(name, np.inf) <= limit for name, limit in LIMITS.items())


def row(library: str, name: str) -> dict[str, Any]:
    """Compares a model of a library.

    Args:
        library: name of the library.
        name: name of the model in it.

    Returns:
        Name, image size and weights, and what `compare` returns or the `error`.
    """
    found: dict[str, Any] = {"name": name}
    try:
        module, image_size = torch_libraries.build(library, name)
        found |= {"image_size": list(image_size), "params": torch_libraries.count(module)}
        found |= compare(module, image_size)
    except UserError as error:
        found["error"] = str(error)
    except Exception as error:  # a fault of ours: also a result
        found["error"] = f"FAULT {type(error).__name__}: {error} {getattr(error, '__notes__', '')}"
    return found
