"""What is no architecture in any space: one line, whatever it is; no text is ever executed."""

import numpy as np
import pytest

from datafree_nas import spaces
from datafree_nas.runtime.errors import UserError
from datafree_nas.spaces import notation

SPACES = [
    spaces.create_space(name, num_classes=10, image_size=(32, 32, 3))
    for name in ("darts", "nasbench201", "nasbench_macro", "proxyless", "shufflenet")
]
JUNK = [
    *(None, 3, 2.5, True, b"0", [], {}, (), [[]], [None] * 6, {1: {2: [3]}}, [[[0]]] * 6),
    *("", " ", "'", '""', "a =", "None", "nonsense", "0", "[0, 1", "(0,)", "search", "{[0]: 1}"),
    *("x" * 1_000_000, "0" * 5000, "9" * 9999, "[" * 5000, "(" * 150 + ")" * 150, "-" * 9000 + "1"),
    *("a." * 4000 + "a", "[0," * 90, "range(0, 10**9)", "range(99)", "lambda: 0", "f'{1}'", "*a"),
    *("\0", "\x1b[31m0\x1b[0m", "\ud800", "٣٣٣٣٣٣", "0\n" * 99, "{**a}", "[0, *a]", "list()"),
    *("|||+|||+|||", "~", "~0", "|~|+|~|~|+|~|~|~|", ":;:", ";", "normal: ; reduce: ", "a~0|a~1"),
    *("Genotype(", "Genotype()", "Genotype(1, 2, 3, 4, 5)", "Genotype(normal=[[]]*4)", "int64(1)"),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_junk_is_refused_in_one_short_line(space):
    for spelling in JUNK:
        with pytest.raises(UserError) as refusal:
            space.decode(spelling)
        line = str(refusal.value)
        assert line.isprintable()
        assert len(line) < 800
        assert f"is no architecture of {space.name}: " in line
        assert line.endswith(f"(example: {space.example})")


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_the_example_and_its_parts(space):
    np.testing.assert_array_equal(space.encode(space.decode(space.example)), space.example)
    for end in range(len(space.example)):
        with pytest.raises(UserError):
            space.decode(space.example[:end])


def test_nothing_is_executed(tmp_path):
    file = tmp_path / "made"
    for call in (f"open({str(file)!r}, 'w')", f"[__import__('os').mkdir({str(file)!r})] * 6"):
        for space in SPACES:
            with pytest.raises(UserError):
                space.decode(call)
    assert not file.exists()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, (-2, 'a'), b]", [1, [-2, "a"], "b"]),
        ("array([1, 2], dtype=int32)", [1, 2]),
        ("range(2, 6)", [2, 3, 4, 5]),
        ("{'a': [1], 2: None}", {"a": [1], 2: None}),
        ("Pair(1, y=2)", {"x": 1, "y": 2}),
    ],
)
def test_literals(text, value):
    assert notation.literal(text, Pair=("x", "y")) == value
