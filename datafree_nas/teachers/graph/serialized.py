"""Reads the parts of the JSON of `torch.export`: arguments, outputs, sizes, names of modules."""

from collections.abc import Iterator
from typing import Any

from datafree_nas.interop.exported import SCALAR_TYPES
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers.graph.graph import Ref

_PLACES = ("layout", "device", "pin_memory", "memory_format", "non_blocking")
_PLACE_KINDS = ("as_device", "as_layout", "as_memory_format")
_SYMBOLS = ("as_sym_int", "as_sym_float", "as_sym_bool")


class UnsupportedError(UserError):
    """A graph that might be converted after PyTorch has decomposed it."""


def arguments(node: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of an operation by name, as a graph has them.

    The first tensor, which PyTorch calls `self` or `input`, is `x`. What only says where or how a
    tensor is stored is left out.
    """
    found = {}
    for given in node["inputs"]:
        name, ((kind, content),) = given["name"], given["arg"].items()
        if name not in _PLACES and kind not in _PLACE_KINDS:
            found["x" if name in ("self", "input", "x") else name] = _value(kind, content)
    return found


def _value(kind: str, content: Any) -> Any:
    if kind == "as_none":
        return None
    if kind == "as_tensor":
        return Ref(content["name"])
    if kind == "as_tensors":
        return tuple(Ref(each["name"]) for each in content)
    if kind == "as_optional_tensors":
        return tuple(_value(*entry) for each in content for entry in each.items())
    if kind in _SYMBOLS:
        ((inner, value),) = content.items()
        return Ref(value) if inner == "as_name" else _plain(value)
    if kind.removesuffix("s") in _SYMBOLS:
        return tuple(_value(kind.removesuffix("s"), each) for each in content)
    if kind == "as_scalar_type":
        return SCALAR_TYPES.get(content, str(content))
    if kind == "as_float":
        return float(content)  # JSON has no infinity: it is a text there
    if kind in ("as_int", "as_bool", "as_string"):
        return _plain(content)
    if kind in ("as_ints", "as_floats", "as_bools", "as_strings"):
        return tuple(_plain(each) for each in content)
    if kind in ("as_graph", "as_operator"):
        raise UnsupportedError("the network branches or loops on values (torch.cond and its like)")
    raise UserError(f"the network has an argument of a kind that is not known here: {kind}")


def _plain(value: Any) -> Any:
    if value is not None and not isinstance(value, bool | int | float | str):
        raise TypeError(f"{type(value).__name__} is no number or text")
    return value


def outputs(node: dict[str, Any]) -> Iterator[str]:
    """Yields the names of the values that an operation returns; empty for what has no name."""
    for output in node["outputs"]:
        ((kind, content),) = output.items()
        if kind == "as_tensor":
            yield content["name"]
        elif kind == "as_tensors":
            yield from (each["name"] for each in content)
        elif kind in _SYMBOLS:
            yield content["as_name"]
        else:
            yield ""


def module_name(node: dict[str, Any]) -> str:
    """Returns the name of the module that called an operation; empty for the network itself."""
    stack = node.get("metadata", {}).get("nn_module_stack", "")
    *_, last = stack.split(";")
    parts = last.split(",")
    return parts[1] if len(parts) == 3 and not parts[1].startswith("_empty") else ""


def sizes(tensor: dict[str, Any]) -> list[int]:
    """Returns the shape of a tensor; free sizes are those that it was exported with."""
    found = [_size(side) for side in tensor["sizes"]]
    if any(type(side) is not int or side < 0 for side in found):
        raise TypeError("a shape in it is no shape")
    return found


def _size(side: dict[str, Any]) -> Any:
    return side["as_int"] if "as_int" in side else side["as_expr"]["hint"]["as_int"]


def is_fixed(tensor: dict[str, Any], dim: int) -> bool:
    """Returns whether a size of a tensor is always the same."""
    return "as_int" in tensor["sizes"][dim]
