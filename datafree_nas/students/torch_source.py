"""`student.py`: the PyTorch source of one student, which needs nothing but PyTorch."""

import ast

from datafree_nas.spaces import torch_source
from datafree_nas.students.student import Student

_HEAD = '''"""{space} network, found without training data by datafree_nas.

    student = Student.load("student.safetensors")
    logits = student(images)  # bytes [b {height} {width} {channels}], or normalized [b c h w]

Architecture: {architecture}
"""

'''


def source(student: Student) -> str | None:
    """Returns the source of a student, or None if its space has none.

    Args:
        student: student, whose variables are not needed.
    """
    network = student.space.torch_source(student.architecture)
    if network is None:
        return None
    mean, std = student.preprocessing
    around = torch_source.fill("student", MEAN=mean, STD=std)
    height, width, channels = student.space.image_size
    head = _HEAD.format(
        space=student.space.name,
        height=height,
        width=width,
        channels=channels,
        architecture=student.space.encode(student.architecture),
    )
    imports, bodies = _imports(network, around), [_body(text) for text in (network, around)]
    return head + imports + "\n" + "\n\n".join(bodies)


def _imports(*texts: str) -> str:
    """Returns the imports of all texts, the standard library's before PyTorch's."""
    nodes = {
        ast.unparse(node)
        for text in texts
        for node in ast.parse(text).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    torch = {node for node in nodes if "torch" in node}
    order = [*sorted(nodes - torch, key=_import_order), "", *sorted(torch, key=_import_order)]
    return "\n".join(order) + "\n"


def _import_order(line: str) -> tuple[bool, str]:
    return line.startswith("from"), line


def _body(text: str) -> str:
    """Returns what follows the imports, without the class that stands for the network."""
    lines, tree = text.splitlines(keepends=True), ast.parse(text).body
    for node in reversed(tree):
        if isinstance(node, ast.ClassDef) and node.name == "Network" and len(node.body) == 1:
            assert node.end_lineno
            del lines[node.lineno - 1 : node.end_lineno + 2]
    last = max(n.end_lineno or 0 for n in tree if isinstance(n, ast.Import | ast.ImportFrom))
    return "".join(lines[last:]).strip("\n") + "\n"
