"""The CIFAR ResNets (He et al. 2016, section 4.2) in plain PyTorch, with option-A shortcuts.

No command of its own. Its parameters have the names that our key table reads, so its weights can
be moved to our model with `teachers.port`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the shortcut takes every second pixel and pads channels with zeros."""

    def __init__(self, inputs: int, features: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, features, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.stride, self.padding = stride, (features - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        """`[b c h w]` to `[b features h/stride w/stride]`."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.padding:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *[self.padding] * 2))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    """ResNet of depth 6 n + 2.

    Args:
        blocks: n, residual blocks per stage.
        num_classes: width of the head.
    """

    def __init__(self, blocks: int, num_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(blocks, 16, 16, 1)
        self.layer2 = _stage(blocks, 16, 32, 2)
        self.layer3 = _stage(blocks, 32, 64, 2)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """`[b c h w]`, normalized, to logits `[b k]`."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def _stage(blocks: int, inputs: int, features: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, features, stride)
    return nn.Sequential(first, *(BasicBlock(features, features, 1) for _ in range(blocks - 1)))


def random(blocks: int, num_classes: int) -> CifarResNet:
    """A network with random weights and, unlike a fresh one, random BatchNorm statistics."""
    torch.manual_seed(0)
    model = CifarResNet(blocks, num_classes).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model
