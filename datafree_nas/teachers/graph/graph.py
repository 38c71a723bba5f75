"""A network as data: its operations in order, by PyTorch's names, with their arguments.

A graph holds no code and no weights. Its file is JSON: a reference to a value is
`{"value": name}`, a number that JSON lacks is `{"float": "inf"}`, and everything else is plain.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from datafree_nas.runtime.errors import UserError

# what data raises that is not as it is written here or by PyTorch
MALFORMED = (
    *(LookupError, TypeError, ValueError, AttributeError),
    *(ArithmeticError, RecursionError),
)


def described(error: Exception) -> str:
    """Returns an error in a line, since the data may say anything."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


class Ref(NamedTuple):
    """Reference to a value: the image, a parameter, or the output of a node.

    Attributes:
        name: name of the value, unique in its graph.
    """

    name: str


class Parameter(NamedTuple):
    """A tensor that belongs to the network.

    Attributes:
        value: name of the value that it is in the graph.
        key: name in PyTorch's state dict, e.g. `layer1.0.conv1.weight`.
        shape: shape in PyTorch.
        kind: `weight`, `buffer` (a constant that is no statistic of BatchNorm, also one of whole
            numbers) or `statistic` (mean or variance of BatchNorm).
        dtype: `float32`, `int32` or `bool`.
    """

    value: str
    key: str
    shape: tuple[int, ...]
    kind: str
    dtype: str = "float32"


class Node(NamedTuple):
    """One operation.

    Attributes:
        op: PyTorch's name of the operation without `aten.`, e.g. `conv2d`, as in `ops.TABLE`.
        arguments: name and value of each argument, where it differs from PyTorch's default; a value
            is a `Ref`, a number, a text, None, or a tuple of values.
        outputs: names of the values that it returns.
        module: name of the PyTorch module that called it; empty for the network itself.
    """

    op: str
    arguments: tuple[tuple[str, Any], ...]
    outputs: tuple[str, ...]
    module: str

    def refs(self) -> Iterator[str]:
        """Yields the names of the values that the node reads."""
        for _, value in self.arguments:
            yield from refs(value)


def refs(value: Any) -> Iterator[str]:
    """Yields the names of the values that an argument refers to."""
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, tuple):
        for each in value:
            yield from refs(each)


@dataclass(frozen=True)
class Graph:
    """A network without its weights.

    Attributes:
        image: name of the value that holds the normalized images, `[b c h w]`.
        logits: name of the value that holds the logits, `[b k]`.
        parameters: tensors of the network.
        nodes: operations, each after those whose outputs it reads.
    """

    image: str
    logits: str
    parameters: tuple[Parameter, ...]
    nodes: tuple[Node, ...]

    @cached_property
    def _hash(self) -> int:
        return hash((self.image, self.logits, self.parameters, self.nodes))

    def __hash__(self) -> int:
        return self._hash  # a graph has thousands of parts, and `jit` asks at every call

    def __repr__(self) -> str:
        return f"Graph({len(self.nodes)} nodes, {len(self.parameters)} tensors)"


def to_json(graph: Graph) -> dict[str, Any]:
    """Returns the graph as plain data for JSON."""
    return {
        "image": graph.image,
        "logits": graph.logits,
        "parameters": [parameter._asdict() for parameter in graph.parameters],
        "nodes": [
            {
                "op": node.op,
                "arguments": {name: _plain(value) for name, value in node.arguments},
                "outputs": list(node.outputs),
                "module": node.module,
            }
            for node in graph.nodes
        ],
    }


def from_json(data: Any) -> Graph:
    """Reverses `to_json`.

    Raises:
        UserError: the data is no graph.
    """
    try:
        graph = Graph(
            _text(data["image"]),
            _text(data["logits"]),
            tuple(_parameter(**parameter) for parameter in data["parameters"]),
            tuple(_node(**node) for node in data["nodes"]),
        )
        _check_order(graph)
    except MALFORMED as error:
        raise UserError(f"is no graph of a network ({described(error)})") from None
    return graph


def _check_order(graph: Graph) -> None:
    known = {graph.image, *(parameter.value for parameter in graph.parameters)}
    for node in graph.nodes:
        for name in node.refs():
            if name not in known:
                raise ValueError(f"{node.op} reads {name!r} before it is there")
        known.update(node.outputs)
    if graph.logits not in known:
        raise ValueError(f"the logits, {graph.logits!r}, are computed nowhere")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _parameter(value: Any, key: Any, shape: Any, kind: Any, dtype: Any) -> Parameter:
    if kind not in ("weight", "buffer", "statistic"):
        raise ValueError(f"{kind!r} is no kind of tensor")
    if dtype not in ("float32", "int32", "bool"):
        raise ValueError(f"{dtype!r} is no type of a tensor")
    if any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(f"{shape} is no shape")
    return Parameter(_text(value), _text(key), tuple(shape), kind, dtype)


def _node(op: Any, arguments: Any, outputs: Any, module: Any) -> Node:
    given = tuple((_text(name), _value(value)) for name, value in arguments.items())
    return Node(_text(op), given, tuple(_text(name) for name in outputs), _text(module))


def _plain(value: Any) -> Any:
    if isinstance(value, Ref):
        return {"value": value.name}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _value(data: Any) -> Any:
    if isinstance(data, list):
        return tuple(_value(each) for each in data)
    if isinstance(data, dict):
        (kind, content), *more = data.items()
        if more or kind not in ("value", "float"):
            raise ValueError(f"{json.dumps(data)[:80]} is no value")
        return Ref(_text(content)) if kind == "value" else float(content)
    return data
