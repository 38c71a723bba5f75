"""TFLite: by litert-torch; int8 by ai-edge-quantizer. The files take one image at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import jax
import numpy as np

from datafree_nas.exports.format import Format, Images, Logits
from datafree_nas.exports.network import Network, in_batches
from datafree_nas.exports.quiet import quiet
from datafree_nas.exports.session import Session
from datafree_nas.runtime.files import write_bytes

_FILE = "model.tflite"


def convert(
    function: Callable[[jax.Array], jax.Array], images: jax.ShapeDtypeStruct, file: Path
) -> None:
    """Writes a JAX function as a TFLite model.

    Args:
        function: function with its weights inside.
        images: shape and type of its argument.
        file: file to write.

    Raises:
        UserError: the function has a primitive that cannot be exported.
    """
    import torch

    from datafree_nas.exports import torch_module

    module = torch_module.module(function, images)
    example = torch.from_numpy(np.zeros(images.shape, images.dtype))
    with quiet(), _same_precision():
        import litert_torch

        litert_torch.convert(module, (example,)).export(str(file))


@contextmanager
def _same_precision() -> Iterator[None]:
    """Restores JAX's default precision, which litert-torch changes when it is imported."""
    before = jax.config.read("jax_enable_x64")
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def load(file: Path, threads: int | None = None) -> Session:
    """Loads a TFLite model for the CPU.

    Args:
        file: file with the model.
        threads: number of threads; None: as many as LiteRT chooses.
    """
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(str(file), num_threads=threads)
        interpreter.allocate_tensors()
    (given,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()
    return Session(
        np.dtype(given["dtype"]),
        put=partial(interpreter.set_tensor, given["index"]),
        run=interpreter.invoke,
        get=partial(interpreter.get_tensor, found["index"]),
    )


def quantize(file: Path, batches: Sequence[np.ndarray]) -> None:
    """Quantizes weights and activations of a TFLite model to int8.

    Args:
        file: file with the model, which is replaced.
        batches: inputs of the model to calibrate on.
    """
    with quiet():
        from ai_edge_litert.interpreter import Interpreter
        from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe

        ((signature, described),) = Interpreter(str(file)).get_signature_list().items()
        (name,) = described["inputs"]
        quantized = quantizer.Quantizer(str(file), recipe.static_wi8_ai8())
        quantized.update_quantization_recipe(  # logits stay float32
            regex=".*",
            operation_name=qtyping.TFLOperationName.OUTPUT,
            algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
        )
        samples = {signature: [{name: batch} for batch in batches]}
        found = quantized.quantize(quantized.calibrate(samples))
        write_bytes(file, bytes(found.quantized_model))


def _write(network: Network, folder: Path) -> None:
    convert(network.logits, network.batch(1), folder / _FILE)


def _run(folder: Path, images: Images) -> Logits:
    return in_batches(load(folder / _FILE), images, batch=1)


def _quantize(folder: Path, images: Images) -> None:
    quantize(folder / _FILE, [image[None] for image in images])


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
