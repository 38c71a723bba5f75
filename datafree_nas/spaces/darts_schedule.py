"""The ops of a network of the DARTS space, in the order in which they run."""

from collections.abc import Sequence

from datafree_nas.spaces.darts_network import SEPARABLE, STEM, CellPlan, cell_plans
from datafree_nas.spaces.memory import Step
from datafree_nas.spaces.schedule import Recorder, Shape, Tensor

Nodes = Sequence[Sequence[tuple[int, str]]]  # the edges `(input, op)` into each node of a cell


def schedule(
    image_size: Shape,
    num_classes: int,
    channels: int,
    cells: int,
    imagenet: bool,
    kinds: Sequence[Nodes],
) -> list[Step]:
    """Lists the ops of a network, without an auxiliary head.

    Args:
        image_size: shape `(h, w, c)` of the image.
        num_classes: width of the head.
        channels: channels of the first cell.
        cells: number of cells.
        imagenet: whether the network has the stem for ImageNet.
        kinds: nodes of the normal cell, and of the reduction cell.
    """
    recorder = Recorder(image_size)
    before_last, last = _stem(recorder, channels, imagenet)
    for plan in cell_plans(channels, cells, imagenet):
        before_last, last = last, _cell(recorder, before_last, last, plan, kinds[plan.reduction])
    return recorder.head(last, num_classes)


def _stem(recorder: Recorder, channels: int, imagenet: bool) -> tuple[Tensor, Tensor]:
    """Records the stem, and returns the two inputs of the first cell."""
    if not imagenet:
        x = recorder.conv(recorder.image, STEM * channels, 3)
        return x, x
    x = recorder.conv(recorder.image, channels // 2, 3, 2)
    first = recorder.conv(recorder.relu(x), channels, 3, 2)
    return first, recorder.conv(recorder.relu(first), channels, 3, 2)


def _cell(
    recorder: Recorder, before_last: Tensor, last: Tensor, plan: CellPlan, nodes: Nodes
) -> Tensor:
    """Records the ops of one cell."""
    preprocess = _reduce if plan.after_reduction else _relu_conv
    states = [
        preprocess(recorder, before_last, plan.features),
        _relu_conv(recorder, last, plan.features),
    ]
    for edges in nodes:
        arriving = []
        for source, op in edges:
            stride = 2 if plan.reduction and source < 2 else 1
            arriving.append(_edge(recorder, states[source], op, stride))
        states.append(recorder.add(*arriving))
    return recorder.concatenate(*states[2:])


def _edge(recorder: Recorder, x: Tensor, op: str, stride: int) -> Tensor:
    """Records the op of one edge."""
    features = x.shape[2]
    if op in SEPARABLE:
        kernel, dilation, repetitions = SEPARABLE[op]
        for i in range(repetitions):
            x = recorder.conv(recorder.relu(x), features, kernel, 1 if i else stride, dilation)
            x = recorder.conv(x, features)
        return x
    if op == "max_pool_3x3":
        return recorder.max_pool(x, stride)
    if op == "avg_pool_3x3":
        return recorder.average_pool(x, stride)
    return x if stride == 1 else _reduce(recorder, x, features)


def _relu_conv(recorder: Recorder, x: Tensor, features: int) -> Tensor:
    """Records ReLU and a 1x1 convolution."""
    return recorder.conv(recorder.relu(x), features)


def _reduce(recorder: Recorder, x: Tensor, features: int) -> Tensor:
    """Records two 1x1 convolutions of stride 2; rows, then columns are cut off for the second."""
    x = recorder.relu(x)
    one = recorder.conv(x, features // 2, 1, 2)
    height, width, channels = x.shape
    cut = recorder.take(x, "rows", (height - 1, width, channels))
    cut = recorder.take(cut, "columns", (height - 1, width - 1, channels))
    return recorder.norm(recorder.concatenate(one, recorder.conv(cut, features // 2, 1, 2)))
