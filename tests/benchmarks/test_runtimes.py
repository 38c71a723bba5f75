"""Latency in the runtimes that networks are shipped with: what is run there, and the table."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import latency_model, runtimes
from datafree_nas import spaces
from datafree_nas.exports import formats, onnx_file
from datafree_nas.runtime.errors import UserError
from datafree_nas.spaces import candidates, latency
from tests.tiers import full

NB201 = spaces.create_space("nasbench201", image_size=(8, 8, 3), channels=4, cells=1)
SHUFFLENET = {"channels": (8, 16, 32), "repeats": (2,)}


def _op(name):
    """Returns a program of the first of the ops of that name."""
    index = NB201.ops.index(name)
    found = next(each for each in candidates.collect(NB201) if each.op == index)
    return latency_model._program(found.module, found.shape, 1, "float32")


@pytest.mark.parametrize("channels_first", [True, False])
def test_an_op_gets_the_order_of_axes_of_the_runtime(channels_first):
    program = _op("nor_conv_3x3")
    *weights, x = program.numbers()
    function, given = runtimes._exported(program, channels_first)
    order = (0, 3, 1, 2) if channels_first else (0, 1, 2, 3)
    assert given.shape == np.transpose(x, order).shape
    expected = np.transpose(program.function(*weights, x), order)
    np.testing.assert_allclose(function(np.transpose(x, order)), expected, rtol=1e-6)


def test_a_network_gets_bytes():
    network = NB201.network(NB201.decode(NB201.example))
    program = latency_model._program(network, NB201.image_size, 2, "float32", whole=True)
    function, given = runtimes._exported(program, channels_first=True)
    assert (given.shape, given.dtype) == ((2, 8, 8, 3), np.uint8)
    assert jax.eval_shape(function, given).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "computes"), [("none", False), ("skip_connect", False), ("avg_pool_3x3", True)]
)
def test_ops_that_compute_nothing_are_known(name, computes):
    assert runtimes._computes(_op(name)) is computes


def test_a_missing_package_is_named_with_its_extra():
    lacking = formats.FORMATS["tflite"]._replace(requires=["nox"])
    with pytest.raises(UserError, match=r"^--runtime=litert needs nox, .* '\.\[tflite\]'$"):
        formats.check_installed(lacking, "--runtime=litert")


@pytest.mark.full
def test_without_onnxruntime_nothing_is_measured(tmp_path):
    command = [sys.executable, "-m", "tests.without", "onnxruntime", "benchmarks.latency"]
    command += [f"--out={tmp_path / 'table.json'}", "--runtime=onnxruntime"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: --runtime=onnxruntime needs onnxruntime, which this Python")
    assert "'.[onnx]'" in line


@pytest.mark.full
@pytest.mark.parametrize("name", ["nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"])
def test_onnxruntime_computes_an_op_as_jax_does(name, tmp_path):
    program = _op(name)
    function, given = runtimes._exported(program, channels_first=True)
    onnx_file.convert(function, given, tmp_path / "op.onnx")
    x = np.random.default_rng(0).normal(size=given.shape).astype(np.float32)
    found = onnx_file.load(tmp_path / "op.onnx", threads=1)(x)
    np.testing.assert_allclose(found, function(jnp.asarray(x)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("runtime", "dtype"),
    [*full(("onnxruntime", "int8")), pytest.param("litert", "int8", marks=pytest.mark.tflite)],
)
def test_a_table_of_a_runtime(runtime, dtype, tmp_path):
    file = tmp_path / "table.json"
    command = [sys.executable, "-m", "benchmarks.latency", "--config=tests/tiny.py"]
    command += [f"--out={file}", "--checks=2", "--repeats=2", "--threads=1"]
    command += [f"--runtime={runtime}", f"--dtype={dtype}", "--config.search.space.name=shufflenet"]
    command += [f"--config.search.space.{name}={value}" for name, value in SHUFFLENET.items()]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "Kendall's tau" in done.stdout
    assert "convert: 21/21 programs" in done.stderr
    assert "measure: 2/2 rounds" in done.stderr
    written = json.loads(file.read_text())
    assert [written[n] for n in ("runtime", "threads", "dtype")] == [runtime, 1, dtype]
    space = spaces.create_space("shufflenet", num_classes=10, image_size=(8, 8, 1), **SHUFFLENET)
    cost = latency.load(file, space)
    assert np.all(np.isfinite(cost.table) & (cost.table >= 0))
    assert np.any(cost.table > 0)
    for row in written["checks"]:
        assert row["measured"] > 0
        found = space.decode(row["architecture"])
        assert row["predicted"] == pytest.approx(space.latency(found, cost))
