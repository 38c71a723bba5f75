"""PyTorch source code of the networks of the search spaces.

Each other file here is a template: source that needs nothing but PyTorch, with the constants of an
example. `student.py` is the class around a network, the others are the networks of a space each.
This package reads the templates and does not import them, so it does not need PyTorch.
"""

import ast
from pathlib import Path
from typing import Any


def fill(template: str, **constants: Any) -> str:
    """Returns the source of a template with other constants.

    Args:
        template: name of a file in this folder, without its ending.
        **constants: values of the constants at the top of the file, by name; all of them.
    """
    text = (Path(__file__).parent / f"{template}.py").read_text()
    lines = text.splitlines(keepends=True)
    for node in reversed(ast.parse(text).body):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            assert node.end_lineno
            changed = f"{name} = {_literal(constants.pop(name))}\n"
            lines[node.lineno - 1 : node.end_lineno] = [changed]
    assert not constants, constants
    return "".join(lines)


def _literal(value: Any) -> str:
    """Writes a constant; a long one with a line for each entry."""
    if len(text := _quoted(value)) <= 80:
        return text
    if isinstance(value, dict):
        rows = [f"{_quoted(key)}: {_quoted(entry)}" for key, entry in value.items()]
        return "{\n" + "".join(f"    {row},\n" for row in rows) + "}"
    return "(\n" + "".join(f"    {_quoted(entry)},\n" for entry in value) + ")"


def _quoted(value: Any) -> str:
    return repr(value).replace("'", '"')
