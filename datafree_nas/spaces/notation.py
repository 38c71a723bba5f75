"""Reading of architectures as people write them: text from papers, logs and other programs.

Text is parsed, never evaluated. Text that cannot be read raises `ValueError` with the reason;
`Space.decode` adds the text itself and an example of how the space writes an architecture.
"""

import ast
import re
import reprlib
import warnings
from collections.abc import Sequence
from typing import Any

from datafree_nas.runtime.errors import did_you_mean

LONGEST = 10_000  # characters; published genotypes have about 500
_LARGEST = 100  # largest number in a `range`, exclusive
_WRAPPERS = {
    "array",
    "int32",
    "int64",
    "list",
    "tensor",
    "tuple",
}  # NumPy and PyTorch print them
_DIGITS = re.compile(
    r"[0-9]+|[0-9](\s+[0-9])+|[0-9](-[0-9])+|\[\s*[0-9](\s+[0-9])+\s*\]"  # the last form is NumPy's
)

_cut = reprlib.Repr()
_cut.maxstring = _cut.maxother = 80


def shown(value: Any) -> str:
    """Returns a value as Python writes it, cut to a length that fits in a message."""
    return _cut.repr(value)


def bare(spelling: Any) -> Any:
    """Removes white space, quotation marks and `name =` around a text; returns lists unchanged.

    Args:
        spelling: architecture as text, or as a list, tuple or dictionary.

    Raises:
        ValueError: the value is neither text nor a list, or the text is empty or too long.
    """
    if not isinstance(spelling, str):
        if not isinstance(spelling, list | tuple | dict):
            raise ValueError(f"it is {_a(spelling)}, not text or a list")
        return spelling
    if len(spelling) > LONGEST:
        raise ValueError(f"the text has {len(spelling)} characters")
    text = re.sub(r"^[A-Za-z_]\w*\s*=(?!=)", "", spelling.strip()).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    if not text:
        raise ValueError("the text is empty")
    return text


def _a(value: Any) -> str:
    """Describes a value by its type."""
    return "None" if value is None else f"a value of type {type(value).__name__}"


def literal(text: str, **records: Sequence[str]) -> Any:
    """Parses a Python expression that consists of literals, and returns its value.

    Args:
        text: expression of numbers, strings, names (read as strings), lists, tuples,
            dictionaries, `range(a, b)`, arrays as NumPy and PyTorch print them, and records.
        **records: field names of each record, by the name of the record. With
            `Genotype=("normal", ...)`, `Genotype(normal=...)` is read as a dictionary.

    Raises:
        ValueError: the text has other parts, or is no expression.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes in strings
            tree = ast.parse(text, mode="eval")
        return _value(tree.body, records)
    except (SyntaxError, MemoryError, RecursionError):
        raise ValueError(
            "it cannot be read; a bracket or a quotation mark may be missing"
        ) from None


def _value(node: ast.expr, records: dict[str, Sequence[str]]) -> Any:
    """Returns the value of an expression; `records` is as in `literal`."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return node.id
        case ast.UnaryOp(ast.USub(), ast.Constant(int() as number)):
            return -number
        case ast.List() | ast.Tuple():
            return [_value(element, records) for element in node.elts]
        case ast.Dict() if all(isinstance(key, ast.Constant) for key in node.keys):
            values = [_value(value, records) for value in node.values]
            return {key.value: value for key, value in zip(node.keys, values, strict=True)}  # type: ignore[union-attr]
        case ast.Call(ast.Name(name) | ast.Attribute(attr=name)):
            return _call(name, node, records)
    raise ValueError("it has parts that are neither lists nor numbers nor names")


def _call(name: str, node: ast.Call, records: dict[str, Sequence[str]]) -> Any:
    """Returns the value of `name(...)`, where `name` is a record, a wrapper or `range`."""
    values = [_value(argument, records) for argument in node.args]
    if name in records and len(values) <= len(records[name]):
        named = {str(k.arg): _value(k.value, records) for k in node.keywords}
        return dict(zip(records[name], values, strict=False)) | named
    if name in _WRAPPERS and len(values) == 1:
        return values[0]
    small = all(type(value) is int and 0 <= value < _LARGEST for value in values)
    if name == "range" and len(values) == 2 and small:
        return list(range(*values))
    raise ValueError(f"{shown(name)} with these arguments is not understood here")


def listed(spelling: Any) -> Sequence[Any]:
    """Returns the elements of a list, of a list written as text, or of a text of digits.

    Args:
        spelling: list, or a text that `bare` returned, such as `[4, 3]`, `(4, 3)`, `43`, `4 3`,
            `[4 3]` or `4-3`.

    Raises:
        ValueError: `spelling` is no list.
    """
    if isinstance(spelling, str):
        if _DIGITS.fullmatch(spelling):
            return [int(digit) for digit in re.findall("[0-9]", spelling)]
        spelling = literal(spelling)
    if not isinstance(spelling, list | tuple):
        raise ValueError("it is no list of ops")
    return spelling


def option(op: Any, ops: Sequence[str], where: str = "") -> int:
    """Returns the index of an op in `ops`.

    Args:
        op: name or index of the op.
        ops: names of all ops that are possible.
        where: place of the op, for the error message; empty for none.

    Raises:
        ValueError: there is no such op.
    """
    place = f" at {where}" if where else ""
    if isinstance(op, str):
        if op not in ops:
            raise ValueError(f"there is no op {shown(op)}{place}{did_you_mean(op, ops)}")
        return ops.index(op)
    if type(op) is not int:
        raise ValueError(f"{shown(op)}{place} is neither the name of an op nor its number")
    if not 0 <= op < len(ops):
        numbered = ", ".join(f"{i} {name}" for i, name in enumerate(ops))
        raise ValueError(f"there is no op {shown(op)}{place}; known: {numbered}")
    return op


def edge(end: Any, ops: Sequence[str]) -> tuple[int, int]:
    """Reads the input that an op is applied to, and the index of the op in `ops`.

    Args:
        end: op and its input, as `("skip_connect", 0)` or `"skip_connect~0"`.
        ops: names of all ops that are possible.

    Raises:
        ValueError: `end` is no such pair, or there is no such op.
    """
    if isinstance(end, str) and (found := re.fullmatch("([^~]*)~([0-9]{1,3})", end)):
        end = found[1], int(found[2])
    pair = isinstance(end, list | tuple) and len(end) == 2
    if not pair or not isinstance(end[0], str) or type(end[1]) is not int:
        raise ValueError(f"{shown(end)} does not name an op and the input that it is applied to")
    return end[1], option(end[0], ops)
