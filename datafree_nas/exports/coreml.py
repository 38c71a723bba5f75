"""Core ML: by coremltools. The files take one image at a time and run on Apple's systems only."""

import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from datafree_nas.exports.format import Format, Images, Logits
from datafree_nas.exports.network import Network, in_batches
from datafree_nas.exports.quiet import quiet
from datafree_nas.runtime.errors import UserError

_FILE = "model.mlpackage"
_INSTALL = "pip install -e '.[coreml]'"
# passes of coremltools that compute new weights; left out, so that weights can be compared, and as
# BatchNorm is folded already
_FOLDING = ("common::fuse_conv_", "common::divide_to_multiply")


def _write(network: Network, folder: Path) -> None:
    import torch

    from datafree_nas.exports import torch_module

    batch = network.batch(1)
    module = torch_module.module(network.logits, batch)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools as ct

        passes = ct.PassPipeline.DEFAULT
        passes.remove_passes({name for name in passes.passes if name.startswith(_FOLDING)})
        model = ct.convert(
            torch.jit.trace(module, torch.zeros(batch.shape, dtype=torch.uint8)),
            inputs=[ct.TensorType(name="images", shape=batch.shape, dtype=np.int32)],
            outputs=[ct.TensorType(name="logits")],
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,
            pass_pipeline=passes,
            skip_model_load=True,
        )
        model.save(str(folder / _FILE))
    inspect(folder, network, (buffer.numpy() for buffer in module.buffers()))


def inspect(folder: Path, network: Network, weights: Iterable[np.ndarray]) -> None:
    """Checks what can be checked of a Core ML file without running it.

    Args:
        folder: folder of the file.
        network: network that was exported.
        weights: arrays that the file must hold, in any order; their shapes do not matter.

    Raises:
        UserError: the file has another input or output, or lacks weights.
    """
    with quiet():
        import coremltools as ct
        from coremltools.optimize.coreml import get_weights_metadata

        model = ct.models.MLModel(str(folder / _FILE), skip_model_load=True)
        constants = get_weights_metadata(model, weight_threshold=0).values()
    described = model.get_spec().description
    kinds = ct.proto.FeatureTypes_pb2.ArrayFeatureType
    arrays = [
        (each.name, tuple(each.type.multiArrayType.shape), each.type.multiArrayType.dataType)
        for each in (*described.input, *described.output)
    ]
    if arrays != [
        ("images", network.batch(1).shape, kinds.INT32),
        ("logits", (1, network.num_classes), kinds.FLOAT32),
    ]:
        raise _differs("input or output")
    present = {_content(constant.val) for constant in constants}
    if not all(_content(weight) in present for weight in weights):
        raise _differs("weights")


def _content(array: np.ndarray) -> bytes:
    """Returns the values of an array; Core ML stores indices in fewer bits than PyTorch."""
    return np.asarray(array, np.float32).tobytes()


def _differs(what: str) -> UserError:
    return UserError(
        f"the Core ML file has other {what} than the network, so nothing was written; try another "
        f"version of the converter ({_INSTALL}), or another --format"
    )


def _run(folder: Path, images: Images) -> Logits:
    with quiet():
        import coremltools as ct

        # GPUs and the neural engine may round otherwise
        units = ct.ComputeUnit.CPU_ONLY
        model = ct.models.MLModel(str(folder / _FILE), compute_units=units)
    return in_batches(
        lambda batch: model.predict({"images": batch.astype(np.int32)})["logits"], images, batch=1
    )


_USAGE = """\
import coremltools as ct
import numpy as np

model = ct.models.MLModel("model.mlpackage", compute_units=ct.ComputeUnit.CPU_ONLY)


def compute(images):
    # it takes one image at a time, as int32: Core ML has no arrays of bytes
    inputs = images.astype(np.int32)
    return np.concatenate([model.predict({"images": image[None]})["logits"] for image in inputs])


check = np.load("check.npz")  # the logits of JAX for a few images
expected = check["logits"]
difference = np.abs(compute(check["images"]) - expected).max() / np.abs(expected).max()
if not difference <= check["tolerance"]:
    sys.exit(f"error: the logits differ from JAX's by {difference:.1e} of the largest; do not use "
             "this file")
logits = compute(images)
"""
FORMAT = Format(
    name="coreml",
    requires=["torch", "coremltools"],
    install=_INSTALL,
    runtime="pip install coremltools",
    batch="1",
    write=_write,
    run=_run,
    usage=_USAGE,
    input_type="int32",
    not_run="" if sys.platform == "darwin" else "Core ML needs macOS",
    carries_check=True,
)
