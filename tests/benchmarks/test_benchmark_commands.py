"""The benchmarks as commands: what they write, and how they refuse."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import gap
from datafree_nas import spaces, teachers
from datafree_nas.data.images import ImageSet
from datafree_nas.spaces import latency
from datafree_nas.synthesis import store
from datafree_nas.teachers import store as teacher_store
from tests import forks

ROOT = Path(__file__).parents[2]


def run(*command, **environment):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", **environment}
    return subprocess.run(
        [str(part) for part in command], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def benchmark(name, *arguments):
    return run(sys.executable, "-m", f"benchmarks.{name}", *arguments)


def fails(name, *arguments):
    return forks.run(f"benchmarks.{name}", *arguments)


def refuses(process, *texts):
    assert process.returncode == 2, process.stderr
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: ")
    for text in texts:
        assert text in line


@pytest.mark.full
def test_synthesis_writes_a_row_for_each_loop(tmp_path):
    small = ("--arch=cifar_resnet8", "--batch=2", "--iterations=1", "--repeats=1")
    done = benchmark("synthesis", *small, f"--json={tmp_path / 'file.json'}")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "file.json").read_text())
    names = [row["name"] for row in written["rows"]]
    assert names == ["cifar_resnet8 vs plain", "cifar_resnet8 vs tuned"]
    for row in written["rows"]:
        assert row["ratio"] == pytest.approx(row["ours"] / row["other"])
        assert row["batch"] == 2
        assert row["dtype"] == "float32"
        assert row["of_floor"] == pytest.approx(
            row["ours"] / min(row["flop_floor"], row["byte_floor"])
        )
    assert "--batch=2" in written["command"]


@pytest.mark.full
def test_synthesis_at_another_size_and_type(tmp_path):
    small = ("--batch=2", "--iterations=1", "--repeats=1", "--image_size=21", "--dtype=bfloat16")
    arguments = ("--arch=cifar_resnet8", *small, f"--json={tmp_path / 'file.json'}")
    done = benchmark("synthesis", *arguments)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "file.json").read_text())["rows"]
    assert [row["name"] for row in rows] == [
        "cifar_resnet8 vs plain, bfloat16",
        "cifar_resnet8 vs tuned, bfloat16",
    ]
    assert all((row["image_size"], row["dtype"]) == (21, "bfloat16") for row in rows)


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--arch=cifar_resnet21"], ["cifar_resnet21", "cifar_resnet20"]),
        (["--arch=cifar_resnet20,resnet18"], ["resnet18 has no PyTorch side", "resnet50"]),
        (["--batch=0"], ["batch"]),
        (["--image_size=-1"], ["image_size"]),
        (["--dtype=float16"], ["dtype", "bfloat16"]),
        (["--json=/proc/nowhere/file.json"], ["/proc/nowhere"]),
    ],
)
def test_synthesis_refuses(arguments, texts):
    refuses(fails("synthesis", *arguments), *texts)


@pytest.mark.full
def test_search_speed_writes_a_row_for_each_experiment(tmp_path):
    file = tmp_path / "file.json"
    small = ("--experiments=digits_spos", "--batch=2", "--iterations=1", "--repeats=1")
    command = (sys.executable, "-m", "benchmarks.search_speed", *small, f"--json={file}")
    done = run(*command, JAX_DISABLE_MOST_OPTIMIZATIONS="1")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(file.read_text())["rows"]
    assert row["name"] == "digits_spos"
    assert row["ratio"] == pytest.approx(row["ours"] / row["other"])
    assert row["ours_first_seconds"] > 1 / row["ours"], "it compiles"
    assert row["ours_scored_per_second"] > 0
    assert (row["batch"], row["cells"], row["dtype"]) == (2, 1, "float32")


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--experiments=digits_darts"], ["'digits_darts'", "digits_spos"]),
        (["--experiments="], ["--experiments", "nasbench201_darts"]),
        (["--cells=0"], ["cells"]),
        (["--repeats=many"], ["repeats"]),
        (["--json=tests"], ["--json=tests is a directory"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_search_speed_refuses(arguments, texts):
    refuses(fails("search_speed", *arguments), *texts)


@pytest.fixture(scope="module")
def quality_inputs(tmp_path_factory):
    """A data set of two rounds, its teacher, and classifiers of larger and of colour images."""
    root = tmp_path_factory.mktemp("quality")
    layout = store.Layout(root / "synthetic", 2)
    for size, name in (((8, 8, 1), "teacher"), ((12, 12, 1), "larger"), ((8, 8, 3), "colour")):
        statistics = {"mean": (0.5,) * size[2], "std": (0.5,) * size[2]}
        teacher = teachers.create_teacher("cifar_resnet8", image_size=size, **statistics)
        variables = teacher.model.init(jax.random.key(0), jnp.zeros((1, *size)))
        teacher_store.save(root / name, teacher, variables, {"trained_on": "nothing"})
        if name == "teacher":
            for number in (0, 1):
                images = np.full((4, 8, 8, 1), 100 * number, np.uint8)
                logits = np.zeros((4, teacher.num_classes), np.float32)
                rounds = np.full(4, number, np.int32)
                one = ImageSet(images, np.zeros(4, np.int32), logits, rounds)
                store.write_shard(layout.shard(number), one, 0, teacher)
            store.write_metadata(layout, teacher, [4, 4])
    return root


@pytest.mark.full
def test_quality_looks_at_every_round_through_both(quality_inputs, tmp_path):
    teacher, file = quality_inputs / "teacher", tmp_path / "file.json"
    arguments = [f"--dataset={quality_inputs / 'synthetic'}", f"--teacher={teacher}"]
    done = benchmark(
        "quality", *arguments, f"--verifier={quality_inputs / 'larger'}", f"--json={file}"
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())["rows"]
    names = [row["name"] for row in rows]
    parts = ("round 0", "round 1", "all rounds")
    assert names == [f"{part}, {who}" for who in ("teacher", "verifier") for part in parts]
    assert [row["images"] for row in rows] == 2 * [4, 4, 8]
    assert [row["pixel_diversity"] > 0.1 for row in rows] == 2 * [False, False, True]
    assert rows[0]["batch_norm"] != rows[1]["batch_norm"]


@pytest.mark.full
def test_quality_refuses(quality_inputs, tmp_path):
    dataset, teacher = f"--dataset={quality_inputs / 'synthetic'}", quality_inputs / "teacher"
    refuses(fails("quality", dataset, f"--teacher={quality_inputs / 'colour'}"), "(8, 8, 3)")
    refuses(fails("quality", f"--dataset={tmp_path}", f"--teacher={teacher}"), "no finished")
    few = fails("quality", dataset, f"--teacher={teacher}", "--real=digits")
    refuses(few, "--real wants more than 5 real images")


def test_density_and_coverage():
    points = np.random.default_rng(0).normal(size=(200, 3))
    near = gap.measure(points, points)
    assert near["density"] == pytest.approx(1), "a point is in its own ball, and in four others"
    assert near["coverage"] == 1
    assert gap.measure(points, points + 100) == {"density": 0, "coverage": 0}
    half = gap.measure(points, points[:100])
    assert 0.5 < half["coverage"] < 1, "what is near one of them is covered, too"


@pytest.mark.full
def test_a_student_of_synthetic_images_alone(quality_inputs, tmp_path):
    arguments = ["--config=tests/tiny.py", "--arch=cifar_resnet8", f"--out={tmp_path}"]
    arguments += [f"--teacher={quality_inputs / 'teacher'}", "--config.student.train.steps=2"]
    done = benchmark("student", *arguments, f"--dataset={quality_inputs / 'synthetic'}")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert (row["images"], row["of"]) == (8, 500)
    assert 0 <= row["test_accuracy"] <= 1
    assert not (tmp_path / "working").exists()
    refuses(fails("student", *arguments, "--config.data.source="), "set config.data.source")


@pytest.mark.full
def test_a_student_that_a_search_has_found(quality_inputs, tmp_path):
    cell = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_1x1~2|"
    found = tmp_path / "architecture.json"
    found.write_text(json.dumps({"architecture": cell}))
    arguments = ["--config=tests/tiny.py", f"--found={found}", f"--out={tmp_path / 'out'}"]
    arguments += [f"--teacher={quality_inputs / 'teacher'}", "--config.student.train.steps=2"]
    arguments += [f"--dataset={quality_inputs / 'synthetic'}"]
    done = benchmark("student", *arguments)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "out" / "result.json").read_text())["rows"]
    assert row["name"] == cell
    found.write_text(json.dumps({"architecture": "012"}))
    refuses(fails("student", *arguments), str(found), "choose the config that it is of")


@pytest.mark.full
def test_latency_measures_the_space_of_a_config(tmp_path):
    file = tmp_path / "new" / "table.json"
    arguments = ["--config=tests/tiny.py", f"--out={file}", "--checks=2", "--repeats=3"]
    done = benchmark("latency", *arguments, "--config.search.space.channels=6")
    assert done.returncode == 0, done.stderr
    assert "Kendall's tau" in done.stdout
    space = spaces.create_space("nasbench201", image_size=(8, 8, 1), channels=6, cells=1)
    cost, written = latency.load(file, space), json.loads(file.read_text())
    assert np.all(np.ptp(cost.table, axis=0) == 0), "an op takes as long on any edge of a cell"
    assert cost.table[0, space.ops.index("nor_conv_3x3")] > 0
    assert {"date", "commit", "device", "command"} < written.keys()
    assert (written["batch"], written["dtype"], len(written["checks"])) == (1, "float32", 2)
    assert (written["runtime"], written["threads"]) == ("jax", None)
    for row in written["checks"]:
        found = space.decode(row["architecture"])
        assert row["predicted"] == pytest.approx(space.latency(found, cost))
        assert row["measured"] > 0
        assert row["macs"] == space.macs(found)


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--out=x.json", "--config.search.space.name=nasbench"], ["'nasbench' must be"]),
        (["--out=x.json", "--config.teacher.arch=auto"], ["auto needs config.teacher.checkpoint"]),
        (["--out=x.json", "--dtype=int8"], ["--dtype=int8 needs --runtime=onnxruntime or"]),
        (["--out=x.json", "--dtype=int4"], ["dtype", "int4"]),
        (["--out=x.json", "--threads=1"], ["--threads needs --runtime=onnxruntime or"]),
        (["--out=x.json", "--threads=-1", "--runtime=litert"], ["threads", "-1"]),
        (["--out=x.json", "--runtime=tvm"], ["runtime", "tvm"]),
        (
            ["--out=x.json", "--runtime=onnxruntime", "--dtype=bfloat16"],
            ["--dtype=bfloat16 needs --runtime=jax; onnxruntime has float32 and int8"],
        ),
        (["--out="], ["--out names no file"]),
        (["--out=tests"], ["--out=tests is a directory"]),
        ([], ["--out"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_latency_refuses(arguments, texts):
    refuses(fails("latency", *arguments), *texts)


def test_on_gpu_says_that_there_is_no_gpu(tmp_path):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = run("bash", "benchmarks/on_gpu.sh", "speed", PATH=path, OUT=tmp_path)
    refuses(process, "JAX sees no GPU")


@pytest.mark.parametrize(
    ("part", "text"), [("sped", "there is no part sped"), ("found", "set DATAFREE_NAS_DATA")]
)
def test_on_gpu_refuses(part, text, tmp_path):
    refuses(run("bash", "benchmarks/on_gpu.sh", part, OUT=tmp_path, DATAFREE_NAS_DATA=""), text)


def test_on_gpu_lists_missing_packages(tmp_path):
    """With a Python that sees nothing but its standard library."""
    bare = tmp_path / "python3"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    process = run("bash", "benchmarks/on_gpu.sh", "speed", PATH=path, PYTHONPATH="", OUT=tmp_path)
    refuses(process, "pip install absl-py flax jax[cuda13]", "jaxtyping", "torch")
