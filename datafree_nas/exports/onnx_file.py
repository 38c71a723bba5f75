"""ONNX: by PyTorch's exporter; int8 by onnxruntime."""

import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np

from datafree_nas.exports.format import Format, Images, Logits
from datafree_nas.exports.network import Network, in_batches
from datafree_nas.exports.quiet import quiet
from datafree_nas.exports.session import Session

_FILE = "model.onnx"
_CALIBRATED = 64  # images in a batch of the calibration


def convert(
    function: Callable[[jax.Array], jax.Array], images: jax.ShapeDtypeStruct, file: Path
) -> None:
    """Writes a JAX function as an ONNX model.

    Args:
        function: function with its weights inside.
        images: shape and type of its argument; the first axis may be symbolic.
        file: file to write.

    Raises:
        UserError: the function has a primitive that cannot be exported.
    """
    import torch

    from datafree_nas.exports import torch_module

    module = torch_module.module(function, images)
    fixed = isinstance(images.shape[0], int)
    count = images.shape[0] if fixed else 2  # of 1, the exporter would make a constant
    example = torch.from_numpy(np.zeros((count, *images.shape[1:]), images.dtype))
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=None if fixed else ({0: torch.export.Dim("b")},),
            verbose=False,
        )
        assert program is not None
        program.save(file)


def load(file: Path, threads: int = 0) -> Session:
    """Loads an ONNX model for the CPU.

    Args:
        file: file with the model.
        threads: number of threads of an op; 0: as many as onnxruntime chooses.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (given,), (found,) = session.get_inputs(), session.get_outputs()
    binding = session.io_binding()
    binding.bind_output(found.name)
    return Session(
        np.dtype(given.type.removeprefix("tensor(").removesuffix(")").replace("float", "float32")),
        put=partial(binding.bind_cpu_input, given.name),
        run=partial(session.run_with_iobinding, binding),
        get=lambda: binding.copy_outputs_to_cpu()[0],
    )


def quantize(file: Path, batches: Sequence[np.ndarray]) -> None:
    """Quantizes weights and activations of an ONNX model to 8 bits.

    Args:
        file: file with the model, which is replaced.
        batches: inputs of the model to calibrate on.
    """
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        """Gives the batches to onnxruntime."""

        def __init__(self) -> None:
            self._batches = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"images": batch}

    with tempfile.TemporaryDirectory(dir=file.parent) as beside, quiet():
        quantized = Path(beside) / file.name
        quantization.quantize_static(
            file,
            quantized,
            Reader(),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        quantized.replace(file)


def _write(network: Network, folder: Path) -> None:
    convert(network.logits, network.batch(), folder / _FILE)


def _run(folder: Path, images: Images) -> Logits:
    return in_batches(load(folder / _FILE), images)


def _quantize(folder: Path, images: Images) -> None:
    starts = range(0, len(images), _CALIBRATED)
    quantize(folder / _FILE, [images[start : start + _CALIBRATED] for start in starts])


_USAGE = """\
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(logits,) = session.run(["logits"], {"images": images})
"""
FORMAT = Format(
    name="onnx",
    requires=["torch", "onnx", "onnxscript", "onnxruntime"],
    install="pip install -e '.[onnx]'",
    runtime="pip install onnxruntime",
    batch="b",
    write=_write,
    run=_run,
    usage=_USAGE,
    quantize=_quantize,
)
