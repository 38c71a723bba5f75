"""Against a plain PyTorch statement of the same networks, through a real checkpoint file."""

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
import torch.nn.functional as F
from torch import nn

from datafree_nas import teachers
from datafree_nas.data import sources
from datafree_nas.data.augment import normalize
from datafree_nas.teachers import store

ROOT = Path(__file__).parents[2]


class TorchBlock(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=c_out // c_in, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if x.shape != y.shape:  # option A: every second pixel, zeros for the new channels
            side = (y.shape[1] - x.shape[1]) // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, side))
        return F.relu(x + y)


class TorchResNet(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        for stage, (c_in, c_out) in enumerate([(16, 16), (16, 32), (32, 64)], start=1):
            more = [TorchBlock(c_out, c_out) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(TorchBlock(c_in, c_out), *more))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def _batch_norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def _torch_logits(model, x):
    with torch.no_grad():
        return model.eval()(torch.from_numpy(np.array(x).transpose(0, 3, 1, 2))).numpy()


@pytest.mark.parametrize(
    ("depth", "blocks", "batch_norms"), [(20, 3, 19), (56, 9, 55), (110, 18, 109)]
)
def test_layers_and_weights(depth, blocks, batch_norms):
    teacher = teachers.create(f"cifar_resnet{depth}")
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    abstract = jax.eval_shape(teacher.model.init, jax.random.key(0), image)
    reference = TorchResNet(blocks)
    assert store.count(abstract["params"]) == sum(p.numel() for p in reference.parameters())
    statistics = jax.tree.leaves(abstract["batch_stats"])
    assert len(statistics) == 2 * batch_norms == 2 * len(_batch_norms(reference))
    tensors = {k for k in reference.state_dict() if not k.endswith("num_batches_tracked")}
    assert teacher.torch_keys.keys() == tensors


@pytest.fixture(scope="module")
def ported(tmp_path_factory):
    """A random ResNet-20 in PyTorch, and where port_torch has put it."""
    torch.manual_seed(0)
    model = TorchResNet(3)
    for norm in _batch_norms(model):
        nn.init.normal_(norm.running_mean, std=0.3)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
    directory = tmp_path_factory.mktemp("ported")
    state_dict = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state_dict, "best_prec1": 10.0}, directory / "random.th")
    command = [sys.executable, "-m", "datafree_nas.port_torch", "--arch=cifar_resnet20"]
    command += [f"--checkpoint={directory}/random.th", f"--out={directory}/teacher"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return model, directory / "teacher", done.stdout


def test_port_leaves_a_card(ported):
    _, directory, stdout = ported
    card = json.loads((directory / "teacher.json").read_text())
    assert card["arch"] == "cifar_resnet20"
    assert card["params"] == sum(p.numel() for p in TorchResNet(3).parameters())
    assert f"{card['params']:,} weights" in stdout
    assert card["macs"] == 40_551_040
    assert card["batch_norm_layers"] == 19
    assert card["image_size"] == [32, 32, 3]
    assert card["mean"] == [0.485, 0.456, 0.406]
    assert card["std"] == [0.229, 0.224, 0.225]
    assert card["source"]["file"] == "random.th"
    assert len(card["source"]["sha256"]) == 64


def test_logits_and_taps_are_those_of_pytorch(ported):
    model, directory, _ = ported
    seen = []
    for norm in _batch_norms(model):
        norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = np.random.default_rng(0).normal(size=(6, 32, 32, 3)).astype(np.float32)
    expected = _torch_logits(model, x)

    teacher, variables = teachers.load(directory)
    logits, taps = teachers.apply_with_taps(teacher.model, variables, jnp.asarray(x))
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert len(taps) == len(seen) == 19
    for tap, norm, inputs in zip(taps, _batch_norms(model), seen, strict=True):
        mean, var = inputs.mean((0, 2, 3)), inputs.var((0, 2, 3), correction=0)
        np.testing.assert_allclose(tap.mean[0], mean, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(tap.var[0], var, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(tap.running_mean, norm.running_mean)
        np.testing.assert_array_equal(tap.running_var, norm.running_var)


@pytest.mark.skipif(
    "DATAFREE_NAS_DATA" not in os.environ, reason="DATAFREE_NAS_DATA names no folder of real data"
)
@pytest.mark.parametrize(
    ("arch", "file", "right"),
    [
        ("cifar_resnet20", "cifar10_resnet20-12fca82f.th", 932),
        ("cifar_resnet56", "cifar10_resnet56-4bfd9763.th", 943),
    ],
)
def test_published_checkpoints_on_real_images(arch, file, right):
    data = Path(os.environ["DATAFREE_NAS_DATA"])
    teacher = teachers.create(arch)
    variables, _ = store.port(teacher, data / "teachers" / file)
    test = sources.load("tfds:cifar10_lite", "test", teacher.image_size, str(data / "tfds"))
    x = normalize(jnp.asarray(test.images), teacher.mean, teacher.std)
    with jax.default_matmul_precision("highest"):
        logits = jax.jit(teacher.model.apply)(variables, x)
    assert np.sum(logits.argmax(-1) == test.labels) == right

    loaded = torch.load(data / "teachers" / file, map_location="cpu", weights_only=True)
    model = TorchResNet((int(arch.removeprefix("cifar_resnet")) - 2) // 6)
    state_dict = {k.removeprefix("module."): v for k, v in loaded["state_dict"].items()}
    model.load_state_dict(state_dict)
    np.testing.assert_allclose(logits, _torch_logits(model, x), atol=1e-4)
