"""The CIFAR ResNets, and the published checkpoints of theirs on real images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from datafree_nas import teachers
from datafree_nas.data import sources
from datafree_nas.data.augment import normalize
from datafree_nas.teachers import port, store
from tests.teachers import originals
from tests.tiers import full

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("depth", "blocks", "batch_norms"), [(20, 3, 19), (56, 9, 55), (110, 18, 109)]
)
def test_layers_and_weights(depth, blocks, batch_norms):
    teacher = teachers.create_teacher(f"cifar_resnet{depth}")
    abstract = port.shapes(teacher)
    assert (depth - 2) // 6 == teacher.model.blocks == blocks
    reference = originals.build(teacher.arch, (32, 32), 10)
    assert store.count(abstract["params"]) == sum(p.numel() for p in reference.parameters())
    assert len(jax.tree.leaves(abstract["batch_stats"])) == 2 * batch_norms


@pytest.fixture(scope="module")
def ported(tmp_path_factory):
    """A random ResNet-20 in PyTorch, and where port_torch has put it."""
    model = originals.randomize(originals.build("cifar_resnet20", (32, 32), 10))
    directory = tmp_path_factory.mktemp("ported")
    state_dict = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state_dict, "best_prec1": 10.0}, directory / "random.th")
    command = [sys.executable, "-m", "datafree_nas.port_torch", "--arch=cifar_resnet20"]
    command += [f"--checkpoint={directory}/random.th", f"--out={directory}/teacher"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return model, directory / "teacher", done.stdout


def test_port_leaves_a_card(ported):
    model, directory, stdout = ported
    card = json.loads((directory / "teacher.json").read_text())
    assert card["arch"] == "cifar_resnet20"
    assert card["params"] == sum(p.numel() for p in model.parameters())
    assert f"{card['params']:,} weights" in stdout
    assert card["macs"] == 40_551_040
    assert card["batch_norm_layers"] == 19
    assert card["image_size"] == [32, 32, 3]
    assert card["mean"] == [0.485, 0.456, 0.406]
    assert card["std"] == [0.229, 0.224, 0.225]
    assert card["source"]["file"] == "random.th"
    assert len(card["source"]["sha256"]) == 64


@pytest.mark.skipif(
    "DATAFREE_NAS_DATA" not in os.environ, reason="DATAFREE_NAS_DATA names no folder of real data"
)
@pytest.mark.parametrize(
    ("arch", "file", "right"),
    [
        *full(
            ("cifar_resnet20", "cifar10_resnet20-12fca82f.th", 932),
            ("cifar_resnet56", "cifar10_resnet56-4bfd9763.th", 943),
        ),
    ],
)
def test_published_checkpoints_on_real_images(arch, file, right):
    data = Path(os.environ["DATAFREE_NAS_DATA"])
    teacher, variables, _ = port.port("auto", data / "teachers" / file)
    assert teacher.arch == arch
    request = sources.Request("tfds:cifar10_lite", teacher.image_size, data_dir=str(data / "tfds"))
    test = sources.load(request, "test")
    x = normalize(jnp.asarray(test.images), teacher.mean, teacher.std)
    with jax.default_matmul_precision("highest"):
        logits = jax.jit(teacher.model.apply)(variables, x)
    assert np.sum(logits.argmax(-1) == test.labels) == right

    loaded = torch.load(data / "teachers" / file, map_location="cpu", weights_only=True)
    model = originals.build(arch, (32, 32), 10).eval()
    model.load_state_dict(
        {key.removeprefix("module."): value for key, value in loaded["state_dict"].items()}
    )
    np.testing.assert_allclose(logits, originals.logits(model, np.asarray(x)), atol=1e-4)
