"""A trained student as ONNX, by jax2onnx."""

from typing import Any

import jax
import jax.extend
import numpy as np

from datafree_nas.runtime import lowering
from datafree_nas.runtime.errors import UserError
from datafree_nas.students.export import image_batch
from datafree_nas.students.student import Student

_TOLERANCE = 1e-4  # of the largest logit


def convert(student: Student) -> tuple[bytes, float]:
    """Converts a student, and sees that onnxruntime computes with the file what JAX does.

    Args:
        student: its variables are on one device.

    Returns:
        An ONNX model of `images [b h w c] -> logits [b k]`, bytes to float32, for any b, and the
        largest difference of a logit of 8 random images, in parts of the largest logit.

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
    # the traced program, as jax2onnx replaces functions of Flax while it traces: its max pooling
    # has no padding
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
    """Takes the images out of the windows of max pooling, in place.

    jax2onnx has windows over all four axes of a batch, which it gives as `[1 1 b h w c]`;
    onnxruntime takes three, here of `[1 b h w c]`.
    """
    from onnx import helper, numpy_helper

    axis = numpy_helper.from_array(np.array([1]), "axis_before_images")
    nodes = []
    for node in graph.node:
        windows = {attribute.name: attribute.ints for attribute in node.attribute}
        if node.op_type != "MaxPool" or len(windows["kernel_shape"]) != 4:
            nodes.append(node)
            continue
        # one number an axis, of the pads two
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
    """Of the file's logits and JAX's, in parts of the largest; `UserError` if that is much."""
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
