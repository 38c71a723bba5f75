"""A student's weights in the PyTorch network that NAS-Bench-201's release builds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from datafree_nas import spaces
from datafree_nas.interop import torch_file
from datafree_nas.interop.torch_names import state_dict

CELLS, CHANNELS, CLASSES = 2, 4, 7


class ReluConvBn(nn.Module):
    def __init__(self, c_in, c_out, kernel, stride=1):
        super().__init__()
        conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.op = nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(c_out))

    def forward(self, x):
        return self.op(x)


class Zero(nn.Module):
    def forward(self, x):
        return 0 * x


OPS = {
    "none": lambda _: Zero(),
    "skip_connect": lambda _: nn.Identity(),
    "nor_conv_1x1": lambda c: ReluConvBn(c, c, 1),
    "nor_conv_3x3": lambda c: ReluConvBn(c, c, 3),
    "avg_pool_3x3": lambda _: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
}


class Cell(nn.Module):
    def __init__(self, ops, channels):
        super().__init__()
        self.layers = nn.ModuleList(OPS[op](channels) for op in ops)

    def forward(self, x):
        a = self.layers[0](x)
        b = self.layers[1](x) + self.layers[2](a)
        return self.layers[3](x) + self.layers[4](a) + self.layers[5](b)


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv_a, self.conv_b = ReluConvBn(c, 2 * c, 3, 2), ReluConvBn(2 * c, 2 * c, 3)
        self.downsample = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(c, 2 * c, 1, bias=False))

    def forward(self, x):
        return self.downsample(x) + self.conv_b(self.conv_a(x))


class TinyNetwork(nn.Module):
    def __init__(self, ops):
        super().__init__()
        c = CHANNELS
        self.stem = nn.Sequential(nn.Conv2d(3, c, 3, padding=1, bias=False), nn.BatchNorm2d(c))
        self.cells = nn.ModuleList()
        for stage in range(3):
            if stage:
                self.cells.append(Residual(c * 2 ** (stage - 1)))
            self.cells.extend(Cell(ops, c * 2**stage) for _ in range(CELLS))
        self.lastact = nn.Sequential(nn.BatchNorm2d(4 * c), nn.ReLU())
        self.classifier = nn.Linear(4 * c, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        for cell in self.cells:
            x = cell(x)
        return self.classifier(self.lastact(x).mean((2, 3)))


@pytest.mark.parametrize("architecture", [(3, 3, 4, 1, 2, 0), (2, 2, 2, 2, 2, 2)])
def test_a_student_in_pytorch(architecture, random_variables, tmp_path):
    space = spaces.create_space("nasbench201", num_classes=CLASSES, channels=CHANNELS, cells=CELLS)
    network = space.network(np.array(architecture, np.int32))
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    variables = random_variables(network, jnp.asarray(x))

    path = tmp_path / "student.safetensors"
    torch_file.write(path, state_dict(variables, space.torch_name), {"space": space.name})
    import safetensors.torch

    model = TinyNetwork([space.ops[op] for op in architecture]).eval()
    model.load_state_dict(safetensors.torch.load_file(path))
    with torch.no_grad():
        expected = model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    found = jax.jit(network.apply)(variables, x)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
