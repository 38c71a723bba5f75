"""Functions that make no teacher, each for another reason."""

import torch
from torch import nn

from tests.odd_network import OddNet

number = 3


class _Other(nn.Module):
    """A network whose output is computed by a function of its features and its logits."""

    def __init__(self, output):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.head, self.output = nn.Linear(4, 10), output

    def forward(self, x):
        x = self.norm(self.conv(x))
        return self.output(x, self.head(x.mean((2, 3))))


def branches():
    return _Other(lambda x, y: y if x.sum() > 0 else -y)


def returns_features():
    return _Other(lambda x, y: x)


def returns_two():
    return _Other(lambda x, y: (y, y + 1))


def with_one_output():
    return OddNet(1)


def returns_a_dict():
    return OddNet(10).state_dict()


def raises():
    raise RuntimeError("no weights\nin sight")


def ends():
    raise SystemExit(0)


def needs_an_argument(depth):
    return OddNet(depth)


def keeps_a_computed_tensor():
    net = OddNet(10)
    net.scale = torch.ones(1, requires_grad=True) * 2
    return net
