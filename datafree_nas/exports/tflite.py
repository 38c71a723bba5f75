"""TFLite: by litert-torch; int8 by ai-edge-quantizer. The files take one image at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from datafree_nas.exports.format import Format, Images, Logits
from datafree_nas.exports.network import Network, in_batches
from datafree_nas.exports.quiet import quiet
from datafree_nas.runtime.files import write_bytes

_FILE = "model.tflite"


def _write(network: Network, folder: Path) -> None:
    import torch

    from datafree_nas.exports import torch_module

    module = torch_module.module(network.logits, network.batch(1))
    images = torch.zeros((1, *network.image_size), dtype=torch.uint8)
    with quiet(), _same_precision():
        import litert_torch

        litert_torch.convert(module, (images,)).export(str(folder / _FILE))


@contextmanager
def _same_precision() -> Iterator[None]:
    """Restores JAX's default precision, which litert-torch changes when it is imported."""
    before = jax.config.read("jax_enable_x64")
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def _interpreter(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(path))


def _run(folder: Path, images: Images) -> Logits:
    with quiet():
        runner = _interpreter(folder / _FILE).get_signature_runner()
        (name,) = runner.get_input_details()

        def one(image: Images) -> Logits:
            (logits,) = runner(**{name: image}).values()
            return logits

        return in_batches(one, images, batch=1)


def _quantize(folder: Path, images: Images) -> None:
    with quiet():
        from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe

        path = folder / _FILE
        ((signature, described),) = _interpreter(path).get_signature_list().items()
        (name,) = described["inputs"]
        samples = [{name: image[None]} for image in images]
        quantized = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
        quantized.update_quantization_recipe(  # logits stay float32
            regex=".*",
            operation_name=qtyping.TFLOperationName.OUTPUT,
            algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
        )
        found = quantized.quantize(quantized.calibrate({signature: samples}))
        write_bytes(path, bytes(found.quantized_model))


_USAGE = """\
import numpy as np
from ai_edge_litert.interpreter import Interpreter

model = Interpreter("model.tflite").get_signature_runner()
(name,) = model.get_input_details()  # it takes one image at a time
outputs = [next(iter(model(**{name: image[None]}).values())) for image in images]
logits = np.concatenate(outputs)
"""
FORMAT = Format(
    name="tflite",
    requires=["torch", "litert_torch", "ai_edge_litert", "ai_edge_quantizer"],
    install="pip install -e '.[tflite]'",
    runtime="pip install ai-edge-litert",
    batch="1",
    write=_write,
    run=_run,
    usage=_USAGE,
    quantize=_quantize,
)
