"""Logits of the user's own network decide whether a port is right."""

import jax
import numpy as np
import pytest

from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers import reference


@pytest.fixture(scope="module")
def network(tiny_teacher):
    teacher, variables = tiny_teacher
    size = (70, *teacher.image_size)
    images = np.random.default_rng(0).integers(256, size=size, dtype=np.uint8)
    x = ((images / 255 - np.array(teacher.mean)) / np.array(teacher.std)).astype(np.float32)
    logits = jax.jit(lambda x: teacher.model.apply(variables, x, train=False))(x)
    return teacher, variables, images, x, np.asarray(logits)


@pytest.mark.parametrize("kind", ["bytes", "floats", "channels first", "bytes, channels first"])
def test_the_same_logits(kind, network, tmp_path):
    teacher, variables, images, x, y = network
    x = images if "bytes" in kind else x
    x = x.transpose(0, 3, 1, 2) if "first" in kind else x
    np.savez(tmp_path / "a.npz", x=x, y=y)
    line = reference.compare(str(tmp_path / "a.npz"), teacher, variables)
    assert "top-1 agrees on 100.0%" in line


def test_other_logits(network, tmp_path):
    teacher, variables, _, x, y = network
    wrong = y.copy()
    wrong[3, 1] += 0.002 * np.abs(y).max()
    np.savez(tmp_path / "a.npz", x=x, y=wrong)
    with pytest.raises(UserError, match=r"logits differ by 0\.002 of the largest, top-1 agrees on"):
        reference.compare(tmp_path / "a.npz", teacher, variables)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": 1}, "is no .npz with arrays x and y"),
        ({"x": "x", "y": "short"}, r"y \(69, \d+\) is not \(70, \d+\), logits of the images"),
        ({"x": "flat", "y": "y"}, r"x \(70, \d+\) is not images \(n, h, w, \d\)"),
        ({"x": "integers", "y": "y"}, "x has values of type int64"),
        ({"x": "x", "y": "nan"}, "y holds no logits, or values that are not finite"),
        ({"x": "objects", "y": "y"}, "is no .npz with arrays x and y"),
    ],
)
def test_files_that_cannot_be_used(arrays, message, network, tmp_path):
    teacher, variables, images, x, y = network
    values = {"x": x, "y": y, "short": y[1:], "flat": x.reshape(70, -1), "nan": y * np.nan}
    values |= {"integers": images.astype(np.int64), "objects": np.array([None, "a"], object)}
    np.savez(tmp_path / "a.npz", **{name: values.get(v, v) for name, v in arrays.items()})
    with pytest.raises(UserError, match=message) as raised:
        reference.compare(tmp_path / "a.npz", teacher, variables)
    assert "\n" not in str(raised.value)


def test_no_such_file(network, tmp_path):
    with pytest.raises(UserError, match=r"a\.npz does not exist"):
        reference.compare(tmp_path / "a.npz", *network[:2])
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(UserError, match=r"a\.npz is no \.npz"):
        reference.compare(tmp_path / "a.npz", *network[:2])
