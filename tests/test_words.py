"""Docstrings say what a function does, and what each argument is, in sentences that stand alone."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "datafree_nas").rglob("*.py"))
# words that end like a verb in the third person and are none
NO_VERBS = {"Args", "Costs", "Does", "Has", "Images", "Is", "Its", "Names", "Plus", "Rows", "This"}
# words with which a noun phrase does not begin
NO_NOUNS = {
    *("and", "as", "at", "behind", "beside", "by", "for", "from", "how", "if", "in", "it", "its"),
    *("likewise", "many", "of", "on", "see", "so", "that", "theirs", "them", "there", "these"),
    *("they", "this", "those", "to", "what", "where", "which", "with"),
}
SHORTEST = 2  # words of an entry
_SECTION = re.compile(r"^(Args|Attributes):\n((?:\n|    .*\n?)+)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\S.*?): (.*(?:\n     +.*)*)", re.MULTILINE)


def _documented(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Functions and classes with their docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
            yield node, text


def _is_property(node: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Name and description of everything below `Args` and `Attributes`."""
    for section in _SECTION.finditer(text + "\n"):
        for entry in _ENTRY.finditer(section[2]):
            yield entry[1], " ".join(entry[2].split())


def problems(source: str) -> list[str]:
    """Finds docstrings of another shape.

    Args:
        source: text of a Python file.

    Returns:
        One line for each, with its line in the file.
    """
    found = []
    for node, text in _documented(ast.parse(source)):
        first = text.split()[0].rstrip(",:")
        where = f"{node.lineno} {node.name}"
        is_verb = re.fullmatch(r"[A-Z][a-z-]+s", first) and first not in NO_VERBS
        if isinstance(node, ast.FunctionDef) and not _is_property(node) and not is_verb:
            found.append(f"{where}: the first line begins with {first!r}, which is no verb")
        if re.search(r"^    \w+: see ", text, re.MULTILINE):
            found.append(f"{where}: an error is explained elsewhere")
        for name, entry in _entries(text):
            words = entry.split()
            if words[0].lower().strip(",;:") in NO_NOUNS:
                found.append(f"{where}: {name} begins with {words[0]!r}, which is no noun phrase")
            if len(words) < SHORTEST:
                found.append(f"{where}: {name} is {entry!r}, which says too little")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_docstrings_stand_alone(file):
    assert problems(file.read_text()) == []


def test_other_shapes_are_found():
    source = '''
def f(a, b, c):
    """The sum.

    Args:
        a: of the two numbers.
        b: a number that is added,
            of any size.
        c: any.
    """
'''
    assert [problem.split(": ", 1)[1] for problem in problems(source)] == [
        "the first line begins with 'The', which is no verb",
        "a begins with 'of', which is no noun phrase",
        "c is 'any.', which says too little",
    ]
