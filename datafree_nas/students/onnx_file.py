"""Converts a trained student to ONNX, by jax2onnx."""

from typing import Any

import jax
import jax.extend
import numpy as np

from datafree_nas.runtime import lowering
from datafree_nas.runtime.errors import UserError
from datafree_nas.students.export import image_batch
from datafree_nas.students.student import Student

_TOLERANCE = 1e-4  # allowed difference of a logit, as a share of the largest logit


def convert(student: Student) -> tuple[bytes, float]:
    """Converts a student, and checks that onnxruntime computes the same logits as JAX.

    Args:
        student: student whose variables are on one device.

    Returns:
        An ONNX model of `images [b h w c] -> logits [b k]`, from bytes to float32, for any b; and
        the largest difference of a logit of 8 random images, as a share of the largest logit.

    Raises:
        UserError: jax2onnx is not installed, or its model computes something else.
    """
    try:
        import jax2onnx
    except ImportError:
        raise UserError("ONNX needs jax2onnx; install it: pip install -e '.[onnx]'") from None
    batch = image_batch(student)
    with lowering.plain():
        program = jax.make_jaxpr(student.logits)(batch)
    # jax2onnx gets the traced program: when it traces by itself, it replaces functions of Flax, and
    # its max pooling has no padding
    model = jax2onnx.to_onnx(
        jax.extend.core.jaxpr_as_fun(program),
        [batch],
        input_names=["images"],
        output_names=["logits"],
    )
    _pool_over_three_axes(model.graph)
    content = model.SerializeToString()
    return content, _difference(content, student)


def _pool_over_three_axes(graph: Any) -> None:
    """Removes the axis of the images from the windows of max pooling, in place.

    jax2onnx gives windows over all four axes of a batch, which it shapes `[1 1 b h w c]`;
    onnxruntime supports at most three, here of `[1 b h w c]`.
    """
    from onnx import helper, numpy_helper

    axis = numpy_helper.from_array(np.array([1]), "axis_before_images")
    nodes = []
    for node in graph.node:
        windows = {attribute.name: attribute.ints for attribute in node.attribute}
        if node.op_type != "MaxPool" or len(windows["kernel_shape"]) != 4:
            nodes.append(node)
            continue
        # one number for each axis, but two for pads
        of_three = {k: np.reshape(v, (-1, 4))[:, 1:].flatten().tolist() for k, v in windows.items()}
        x, y = node.input[0], node.output[0]
        nodes += [
            helper.make_node("Squeeze", [x, axis.name], [f"{x}_squeezed"]),
            helper.make_node("MaxPool", [f"{x}_squeezed"], [f"{y}_squeezed"], **of_three),
            helper.make_node("Unsqueeze", [f"{y}_squeezed", axis.name], [y]),
        ]
    if len(nodes) > len(graph.node):
        graph.initializer.append(axis)
        del graph.node[:]
        graph.node.extend(nodes)


def _difference(content: bytes, student: Student) -> float:
    """Returns the largest difference of the file's logits to JAX's, as a share of the largest.

    Raises `UserError` if the difference is too large.
    """
    import onnxruntime

    shape = (8, *student.space.image_size)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    expected = np.asarray(jax.jit(student.logits)(images))
    session = onnxruntime.InferenceSession(content)
    (found,) = session.run(["logits"], {"images": images})
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    if not difference <= _TOLERANCE:
        raise UserError(
            f"onnxruntime's logits of the converted student are off by {difference:.1e} of the "
            "largest, so nothing was written; try another version of jax2onnx"
        )
    return difference
