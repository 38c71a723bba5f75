"""The comparison with model-compression-toolkit: its refusals, and what it computes by itself."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks import children, mct_side, timed_synthesis, torch_models
from datafree_nas import teachers
from datafree_nas.runtime.errors import UserError
from tests import forks

NEEDED = ["--mct_python=/nowhere/python", "--teachers=a.th", "--verifiers=b.th", "--real=digits"]


def refuses(*arguments):
    """Returns the one line that the command ends with."""
    done = forks.run("benchmarks.mct", *NEEDED, *arguments)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_an_interpreter_that_is_missing(tmp_path):
    line = refuses(f"--out={tmp_path}/new")
    assert line.startswith("error: --mct_python=/nowhere/python does not run (No such file")
    assert "DIR/bin/pip install torch==" in line
    assert "model-compression-toolkit==" in line


def test_an_interpreter_without_mct(tmp_path):
    """With a Python that sees nothing but its standard library."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    line = refuses(f"--out={tmp_path}/new", f"--mct_python={bare}")
    command = f"{bare} -m pip install {' '.join(mct_side.PINS)}"
    assert line == f"error: --mct_python={bare} lacks packages; install them: {command}"


def test_a_program_that_is_no_python():
    with pytest.raises(UserError, match=r"does not run \(it is no Python\)"):
        mct_side.check("/bin/false")


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("--out=tests", "--out=tests is there already; name a new directory"),
        ("--images=250", "--images=250 is not two or more batches of 100 (--batch)"),
        ("--shares=1,2", "--shares: '2' is not a number above 0 and at most 1"),
        ("--shares=half", "--shares: 'half' is not a number above 0 and at most 1"),
        ("--shares=", "--shares: '' is not a number above 0 and at most 1"),
        ("--verifiers=b.th,c.th", "--verifiers has 2 files and --teachers 1; name one for each"),
        ("--images=100", "--images=100 is not two or more batches of 100 (--batch)"),
    ],
)
def test_flags_that_are_refused(argument, text, tmp_path):
    assert text in refuses(f"--out={tmp_path}/new", argument)


def test_images_are_the_same_as_bytes_again():
    teacher = teachers.create_teacher("cifar_resnet20")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    x = mct_side.normalized(images, teacher)
    assert (x.shape, x.dtype) == ((3, 3, 32, 32), np.float32)
    wanted = (images[1, 5, 7, 2] / 255 - teacher.mean[2]) / teacher.std[2]
    assert x[1, 2, 5, 7] == pytest.approx(wanted, abs=1e-5)
    np.testing.assert_array_equal(mct_side.as_bytes(x, teacher), images)
    assert mct_side.as_bytes(np.full((1, 3, 1, 1), 9.0), teacher).max() == 255


@pytest.mark.full
def test_a_network_is_loaded_where_its_class_is_not(tmp_path):
    model = torch_models.random("cifar_resnet8", 10)
    x = torch.randn(2, 3, 32, 32)
    mct_side.save_network(model, tmp_path / "network.pt")
    torch.save(x, tmp_path / "x.pt")
    program = (
        "import sys, torch\n"
        "sys.modules['benchmarks'] = sys.modules['datafree_nas'] = None\n"
        "network = torch.load('network.pt', weights_only=False)\n"
        "torch.save(network(torch.load('x.pt')), 'logits.pt')\n"
    )
    command = [sys.executable, "-I", "-c", program]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert torch.equal(torch.load(tmp_path / "logits.pt"), model(x))


def test_a_share_of_the_iterations():
    block = timed_synthesis.recipe()
    assert timed_synthesis.shortened(block, 1.0) == {
        "synthesis.resolutions": block.resolutions,
        "synthesis.warmup": block.warmup,
    }
    quarter = timed_synthesis.shortened(block, 0.25)["synthesis.resolutions"]
    assert quarter == tuple((pool, n // 4) for pool, n in block.resolutions)
    tiny = timed_synthesis.shortened(block, 1e-6)["synthesis.resolutions"]
    assert [n for _, n in tiny] == [1, 1]


def test_the_first_batch_only_starts_the_clock():
    assert timed_synthesis.rate([50.0, 60.0], 100) == 600
    assert timed_synthesis.rate([50.0, 60.0, 80.0], 100) == 400


def test_a_step_that_fails_ends_in_a_line(tmp_path):
    log = tmp_path / "step.log"
    command = [sys.executable, "-c", "import os; print(os.environ['A']); raise SystemExit(3)"]
    with pytest.raises(UserError, match=r"step\.log: hello$"):
        children.run(command, log, {"A": "hello"})
    assert log.read_text().splitlines()[1:] == ["hello"]
    assert 0 < children.run([sys.executable, "-c", ""], log) < 60
