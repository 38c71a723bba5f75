"""Programs in the runtimes that networks are shipped with, as `datafree_nas.export` writes them."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.programs import Call, Program
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.exports import onnx_file, tflite
from datafree_nas.exports.format import Format
from datafree_nas.exports.session import Session

_CALIBRATION = 4  # batches of random numbers, since only the time counts


class Runtime(NamedTuple):
    """A runtime, with the functions of its module in `datafree_nas.exports`.

    Attributes:
        format: format of its files, which names the packages that are needed.
        convert: function `(function, input, file)` that writes a file.
        quantize: function `(file, inputs)` that makes it int8, calibrated on inputs.
        load: function `(file, threads)` that loads it.
        channels_first: whether the tensors inside of its files have channels before pixels.
    """

    format: Format
    convert: Callable[..., None]
    quantize: Callable[..., None]
    load: Callable[[Path, int], Session]
    channels_first: bool


def _of(module: Any, channels_first: bool) -> Runtime:
    return Runtime(module.FORMAT, module.convert, module.quantize, module.load, channels_first)


RUNTIMES = {
    "onnxruntime": _of(onnx_file, channels_first=True),
    "litert": _of(tflite, channels_first=False),
}


def with_runtime(program: Program, runtime: Runtime, int8: bool, threads: int) -> Call:
    """Converts a program for a runtime, and returns a call of it that has already been run once.

    A network gets images as bytes, as an exported one does. An op gets the tensor that it has
    inside of a network, in the order of axes that the runtime uses there. An op that computes
    nothing, as an identity, is not in an exported network; its call is an empty one.

    Args:
        program: program in float32.
        runtime: runtime that runs it.
        int8: whether weights and activations are quantized.
        threads: number of threads of a call.
    """
    function, given = _exported(program, runtime.channels_first)
    if not _computes(program):
        function, given, int8 = lambda x: x, jax.ShapeDtypeStruct((1,), np.float32), False
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model"
        runtime.convert(function, given, file)
        if int8:
            inputs = [_random(generator, given) for _ in range(_CALIBRATION)]
            runtime.quantize(file, inputs)
        session = runtime.load(file, threads)
    session.put(_random(generator, jax.ShapeDtypeStruct(given.shape, session.dtype)))
    session.run()
    return session.run


def _exported(
    program: Program, channels_first: bool
) -> tuple[Callable[[jax.Array], jax.Array], jax.ShapeDtypeStruct]:
    """Returns a function of the input alone, with the input's shape and type."""
    *weights, _ = program.numbers()
    given = program.arguments[-1]
    if program.whole:
        preprocessing = Preprocessing(*[(0.5,) * given.shape[-1]] * 2)
        return (
            lambda images: program.function(*weights, preprocessing(images)),
            jax.ShapeDtypeStruct(given.shape, np.uint8),
        )
    if not channels_first or len(given.shape) != 4:
        return lambda x: program.function(*weights, x), given
    batch, height, width, channels = given.shape
    return (
        lambda x: program.function(*weights, x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        jax.ShapeDtypeStruct((batch, channels, height, width), given.dtype),
    )


def _computes(program: Program) -> bool:
    """Tells whether anything is computed from the input."""
    weights, given = program.arguments[:-1], program.arguments[-1]
    closed = jax.make_jaxpr(lambda x, *w: program.function(*w, x))(given, *weights)
    live, used = jax.interpreters.partial_eval.dce_jaxpr(closed.jaxpr, [True])
    return used[0] and any(live.invars[0] in equation.invars for equation in live.eqns)


def _random(generator: np.random.Generator, given: jax.ShapeDtypeStruct) -> np.ndarray:
    if np.issubdtype(given.dtype, np.integer):
        return generator.integers(0, 128, given.shape).astype(given.dtype)
    return generator.normal(size=given.shape).astype(given.dtype)
