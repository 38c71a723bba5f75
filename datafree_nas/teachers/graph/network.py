"""Runs a graph as a Linen module."""

import inspect
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import zeros
from jaxtyping import Array, Float

from datafree_nas.interop.torch_names import from_torch_axes
from datafree_nas.teachers.graph.graph import Graph, Node, Parameter, Ref
from datafree_nas.teachers.graph.ops import find
from datafree_nas.teachers.graph.tensor import Tensor, from_channels_last

# PyTorch's names that mean something else here; those tensors and modules get a dot before theirs
_TAKEN = ("kernel", "scale", "mean", "var", "params")
BATCH_NORM = "batch_norm"  # by running statistics: a layer, so that its input can be measured


class _Tensors(nn.Module):
    """The tensors of one PyTorch module.

    Attributes:
        shapes: name and shape of each tensor, as they are stored here.
    """

    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    @nn.compact
    def __call__(self) -> dict[str, Any]:
        return {name: self.param(name, zeros, shape) for name, shape in self.shapes}


class GraphNetwork(nn.Module):
    """A network that computes what a graph says, in evaluation mode.

    Its variables have the names that they have in PyTorch, and the layout that layers here have
    (`torch_names.from_torch`). Weights are in the collection `params`, statistics of BatchNorm in
    `batch_stats`, and constants in `constants`.

    Attributes:
        graph: operations and their order.
        at_sizes: `(h, w)` of other images, and the graph of the same network for them: PyTorch
            writes sizes, and paddings that follow from them, into a graph as numbers.
    """

    graph: Graph
    at_sizes: tuple[tuple[tuple[int, int], Graph], ...] = ()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b k"]:
        if train:
            raise ValueError(
                "a graph computes what the network does in evaluation; it has no other"
            )
        graph = dict(self.at_sizes).get((x.shape[1], x.shape[2]), self.graph)
        values: dict[str, Any] = {graph.image: from_channels_last(x)}
        values |= self._tensors(graph)
        norms: dict[str, nn.BatchNorm] = {}
        names = keys(graph)
        for node in graph.nodes:
            if is_layer(node):
                results: Any = self._batch_norm(node, names, values, norms)
            else:
                results = run(node, {k: _resolved(value, values) for k, value in node.arguments})
            several = isinstance(results, tuple) and not isinstance(results, Tensor)
            outputs = results if several else (results,)
            values.update(zip(node.outputs, outputs, strict=False))
        return values[graph.logits].plain()

    def _tensors(self, graph: Graph) -> dict[str, Tensor]:
        """Returns all tensors but those of BatchNorm, by their names in the graph."""
        of_norms = set(norm_values(graph))
        modules: dict[str, list[Parameter]] = {}
        values = {}
        for parameter in graph.parameters:
            if parameter.value in of_norms:
                continue
            if parameter.kind == "buffer":
                array = self.variable("constants", free(parameter.key), _unset, parameter).value
                values[parameter.value] = _as_in_torch(array)
            else:
                modules.setdefault(parameter.key.rpartition(".")[0], []).append(parameter)
        for module, parameters in modules.items():
            shapes = tuple((leaf(p), stored_shape(p.shape)) for p in parameters)
            if module:
                arrays = _Tensors(shapes, name=free(module))()
            else:
                arrays = {name: self.param(name, zeros, shape) for name, shape in shapes}
            values |= {p.value: _as_in_torch(arrays[leaf(p)]) for p in parameters}
        return values

    def _batch_norm(
        self,
        node: Node,
        names: dict[str, str],
        values: dict[str, Any],
        norms: dict[str, nn.BatchNorm],
    ) -> Tensor:
        arguments = dict(node.arguments)
        x: Tensor = values[arguments["x"].name]
        name = names[arguments["running_mean"].name].rpartition(".")[0]
        if name not in norms:
            norms[name] = nn.BatchNorm(
                use_running_average=True,
                epsilon=arguments["eps"],
                use_scale=arguments["weight"] is not None,
                use_bias=arguments["bias"] is not None,
                name=free(name),
            )
        return from_channels_last(norms[name](x.channels_last()))


def run(node: Node, arguments: dict[str, Any]) -> Any:
    """Computes one operation.

    Args:
        node: operation, which the table has.
        arguments: tensors and plain values by PyTorch's names.
    """
    function = find(node.op)
    assert function is not None, node.op
    try:
        if not is_tensor_op(node.op):
            return function(*arguments.values())
        return function(**arguments)
    except (TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
        place = f" in {node.module}" if node.module else ""
        error.add_note(f"at {node.op}{place}")
        raise


def is_tensor_op(op: str) -> bool:
    """Returns whether an operation is one on tensors, not Python's on sizes."""
    return not op.startswith(("_operator.", "math.", "torch.", "builtins."))


def accepts(node: Node) -> bool:
    """Returns whether the table has the operation, with these arguments."""
    function = find(node.op)
    if function is None or not is_tensor_op(node.op) or is_layer(node):
        return function is not None
    try:
        inspect.signature(function).bind(**dict(node.arguments))
    except TypeError:
        return False
    return True


def is_layer(node: Node) -> bool:
    """Returns whether a node is a BatchNorm by running statistics."""
    return node.op == BATCH_NORM and any(name == "running_mean" for name, _ in node.arguments)


def norm_values(graph: Graph) -> list[str]:
    """Lists the names of all tensors that belong to BatchNorms by running statistics."""
    return [
        value.name
        for node in graph.nodes
        if is_layer(node)
        for name, value in node.arguments
        if name != "x" and isinstance(value, Ref)
    ]


def keys(graph: Graph) -> dict[str, str]:
    """Returns PyTorch's key of each tensor by its name in the graph."""
    return {parameter.value: parameter.key for parameter in graph.parameters}


def leaf(parameter: Parameter) -> str:
    """Returns the name that a weight has in its module here."""
    name = parameter.key.rpartition(".")[2]
    return "kernel" if name == "weight" and len(parameter.shape) > 1 else free(name)


def free(name: str) -> str:
    """Returns the name here of a module, or of a tensor whose name is the same as in PyTorch."""
    return f".{name}" if name in _TAKEN else name


def stored_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape here of a tensor of that shape in PyTorch."""
    return tuple(shape[axis] for axis in from_torch_axes(len(shape)))


def _as_in_torch(array: jax.Array | np.ndarray) -> Tensor:
    return Tensor(jnp.asarray(array), from_torch_axes(array.ndim))


def _unset(parameter: Parameter) -> jax.Array:
    return jnp.zeros(stored_shape(parameter.shape), parameter.dtype)


def _resolved(value: Any, values: dict[str, Any]) -> Any:
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, tuple):
        return tuple(_resolved(each, values) for each in value)
    return value
