"""Writes docs/configs.md from configs/common.py: `python docs/make_configs.py`.

A field's meaning is the comment beside or above its assignment; a field without one is an error.
The values that it may have are those of datafree_nas/schema.py.
"""

import ast
import io
import tokenize
from pathlib import Path
from typing import NamedTuple

from datafree_nas import schema, spaces
from datafree_nas.training import recipe

ROOT = Path(__file__).parents[1]
SOURCE, TARGET = ROOT / "configs" / "common.py", ROOT / "docs" / "configs.md"
HEAD = """# Every field of a config

Made from [configs/common.py](../configs/common.py) by `python docs/make_configs.py`; do not edit.

An experiment is a file with `get_config(arg)`, which starts from these defaults and changes what
differs. Any field can be set on the command line: `--config.synthesis.rounds=2`. The experiments of
[configs/](../configs) take options after a colon, joined by commas: `quick` is the same path in
minutes on two CPU cores, `paper` trains the rows of the paper's comparison, `data=real` searches on
real images, `seed=N` sets the seed. A value that a field may not have ends the command in one line,
before the first stage starts.
"""
TITLES = {
    "recipe": "A training block",
    "": "The run",
    "data": "Natural images: `data`",
    "teacher": "The classifier: `teacher`",
    "synthesis": "Images out of the classifier: `synthesis`",
    "search": "The search: `search`",
    "space": "The search space: `search.space`",
    "student": "The networks that are kept: `student`",
}


# functions that assign fields, and where in a config these are
_FUNCTIONS: dict[str, tuple[str, ...]] = {
    "recipe": (),
    "space": ("search", "space"),
    "get_config": (),
}
COLUMNS = "| field | default | meaning | values |\n|---|---|---|---|\n"


class Field(NamedTuple):
    """One line of a table."""

    function: str
    path: tuple[str, ...]
    default: str
    meaning: str


def fields(source: str) -> list[Field]:
    """Finds all fields that `recipe`, `space` and `get_config` assign, in order.

    Raises:
        ValueError: a field without a comment.
    """
    comments = _comments(source)
    found = []
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef) and function.name in _FUNCTIONS:
            for node in function.body:
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
                    found.append(_field(function.name, node, comments, source))
    blocks = ("ConfigDict()", "space(")
    return [field for field in found if not field.default.startswith(blocks)]


def _field(
    function: str, node: ast.Assign, comments: dict[int, tuple[bool, str]], source: str
) -> Field:
    path = (*_FUNCTIONS[function], *ast.unparse(node.targets[0]).split(".")[1:])
    default = ast.get_source_segment(source, node.value) or ""
    _, meaning = comments.get(node.lineno, (False, ""))
    above, line = [], node.lineno - 1
    while comments.get(line, (False, ""))[0]:
        above.insert(0, comments[line][1])
        line -= 1
    meaning = " ".join([*above, meaning]).strip()
    if not meaning and not default.startswith(("ConfigDict()", "space(")):
        raise ValueError(f"{SOURCE.name}, line {node.lineno}: {'.'.join(path)} has no comment")
    return Field(function, path, default, meaning)


def _comments(source: str) -> dict[int, tuple[bool, str]]:
    """Returns, by line, whether a comment has it for itself, and its text."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: (token.line.lstrip().startswith("#"), token.string.lstrip("# "))
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def page(source: str) -> str:
    """Builds the whole document."""
    parts, section = [HEAD], None
    for field in sorted(fields(source), key=_order):
        here = _section(field)
        if here != section:
            parts.append(f"\n## {TITLES[here]}\n\n{COLUMNS}")
            section = here
        default = f"[a training block](#{TITLES['recipe'].lower().replace(' ', '-')})"
        if field.default == "placeholder(object)":
            default = "that of the space" if field.function == "space" else "`None`"
        elif field.path == ("search", "space", "name"):
            default = "`'nasbench201'`"
        elif not field.default.startswith("recipe("):
            default = f"`{field.default}`"
        elif field.default != "recipe()":
            default += f" with `{field.default[len('recipe(') : -1]}`"
        name = ".".join(field.path)
        parts.append(f"| `{name}` | {default} | {field.meaning} | {_values(field)} |\n")
    return "".join(parts)


def _values(field: Field) -> str:
    """Describes the values of a field; empty for a whole block."""
    *above, name = field.path
    if field.function == "recipe":
        return recipe.FIELDS[name].words
    if above == ["search", "space"] and name != "name":
        return "; ".join(
            f"{space}: {spaces.find(space).settings[name].words}"
            for space in spaces.names()
            if name in spaces.find(space).settings
        )
    found = schema.FIELDS.get(".".join(field.path))
    return found.words if found else ""


def _section(field: Field) -> str:
    if field.function in ("recipe", "space"):
        return field.function
    return field.path[0] if len(field.path) > 1 else ""


def _order(field: Field) -> int:
    """Returns the place of a field's table: the space after all others, training blocks last."""
    return ("get_config", "space", "recipe").index(field.function)


if __name__ == "__main__":
    TARGET.write_text(page(SOURCE.read_text()))
