"""ONNX: by PyTorch's exporter; int8 by onnxruntime."""

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datafree_nas.exports.format import Format, Images, Logits
from datafree_nas.exports.network import Network, in_batches
from datafree_nas.exports.quiet import quiet

_FILE = "model.onnx"
_CALIBRATED = 64  # images in a batch of the calibration


def _write(network: Network, folder: Path) -> None:
    import torch

    from datafree_nas.exports import torch_module

    module = torch_module.module(network.logits, network.batch())
    images = torch.zeros((2, *network.image_size), dtype=torch.uint8)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (images,),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("b")},),
            verbose=False,
        )
        assert program is not None
        program.save(folder / _FILE)


def _session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def _run(folder: Path, images: Images) -> Logits:
    session = _session(folder / _FILE)
    return in_batches(lambda batch: session.run(["logits"], {"images": batch})[0], images)


def _quantize(folder: Path, images: Images) -> None:
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        """Gives the images to onnxruntime, a batch at a time."""

        def __init__(self) -> None:
            self._batches: Iterator[Images] = iter(
                images[start : start + _CALIBRATED] for start in range(0, len(images), _CALIBRATED)
            )

        def get_next(self) -> dict[str, Images] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"images": batch}

    with tempfile.TemporaryDirectory(dir=folder) as beside, quiet():
        quantized = Path(beside) / _FILE
        quantization.quantize_static(
            folder / _FILE,
            quantized,
            Reader(),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        quantized.replace(folder / _FILE)


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
