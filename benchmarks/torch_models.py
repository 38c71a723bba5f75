"""The teachers that benchmarks.synthesis times, in plain PyTorch.

This module is not a command. Parameters have the names that our key tables read, so that
`teachers.port` can convert the weights to our models.
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datafree_nas.teachers.architectures import cifar_resnet


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
        """Maps `[b c h w]` to `[b features h/stride w/stride]`."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.padding:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *[self.padding] * 2))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    """ResNet of depth 6 n + 2 (He et al. 2016, section 4.2).

    Args:
        blocks: number n of residual blocks per stage.
        num_classes: width of the head.
    """

    def __init__(self, blocks: int, num_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(BasicBlock, blocks, 16, 16, 1)
        self.layer2 = _stage(BasicBlock, blocks, 16, 32, 2)
        self.layer3 = _stage(BasicBlock, blocks, 32, 64, 2)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps normalized images `[b c h w]` to logits `[b k]`."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1; the shortcut is a 1x1 convolution if sizes differ."""

    def __init__(self, inputs: int, features: int, stride: int):
        super().__init__()
        inner = features // 4
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, features, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(features)
        self.downsample = nn.Sequential()
        if inputs != features:
            self.downsample.append(nn.Conv2d(inputs, features, 1, stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(features))

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[b c h w]` to `[b features h/stride w/stride]`."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.downsample(x) + self.bn3(self.conv3(y)))


class ResNet50(nn.Module):
    """ResNet-50 for ImageNet (He et al. 2016, table 1), with stride 2 in the 3x3 convolutions."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(Bottleneck, 3, 64, 256, 1)
        self.layer2 = _stage(Bottleneck, 4, 256, 512, 2)
        self.layer3 = _stage(Bottleneck, 6, 512, 1024, 2)
        self.layer4 = _stage(Bottleneck, 3, 1024, 2048, 2)
        self.fc = nn.Linear(2048, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps normalized images `[b c h w]` to logits `[b k]`."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def _stage(
    block: Callable[[int, int, int], nn.Module],
    blocks: int,
    inputs: int,
    features: int,
    stride: int,
) -> nn.Sequential:
    first = block(inputs, features, stride)
    return nn.Sequential(first, *(block(features, features, 1) for _ in range(blocks - 1)))


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's paddings, which are uneven where stride 2 needs it."""

    def __init__(self, inputs: int, features: int, kernel: int, stride: int = 1, groups: int = 1):
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, features, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[b c h w]` to `[b features h/stride w/stride]`, rounded up."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride > 1:
            rows, columns = (kernel - 1 - (n - 1) % stride for n in x.shape[2:])
            left, top = columns // 2, rows // 2
            x = F.pad(x, (left, columns - left, top, rows - top))
        return super().forward(x)


class MBConv(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1 convolution; a shortcut if shapes allow."""

    def __init__(self, inputs: int, features: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        self.expands, self.shortens = expansion > 1, stride == 1 and inputs == features
        if self.expands:
            self._expand_conv = SameConv2d(inputs, inner, 1)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner)
        self._bn1 = _norm(inner)
        self._project_conv = SameConv2d(inner, features, 1)
        self._bn2 = _norm(features)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[b c h w]` to `[b features h/stride w/stride]`, rounded up."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.shortens else y


class EfficientNetLite0(nn.Module):
    """EfficientNet (Tan & Le 2019, table 1) without squeeze-and-excitation, and with ReLU6."""

    def __init__(self, num_classes: int):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv2d(3, 32, 3, 2), _norm(32)
        self._blocks = nn.Sequential(*_lite_blocks(32))
        self._conv_head, self._bn1 = SameConv2d(320, 1280, 1), _norm(1280)
        self._fc = nn.Linear(1280, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps normalized images `[b c h w]` to logits `[b k]`."""
        x = self._blocks(F.relu6(self._bn0(self._conv_stem(x))))
        x = F.relu6(self._bn1(self._conv_head(x)))
        return self._fc(x.mean((2, 3)))


def _lite_blocks(inputs: int) -> Iterable[MBConv]:
    for blocks, features, kernel, stride, expansion in (
        (1, 16, 3, 1, 1),
        (2, 24, 3, 2, 6),
        (2, 40, 5, 2, 6),
        (3, 80, 3, 2, 6),
        (3, 112, 5, 1, 6),
        (4, 192, 5, 2, 6),
        (1, 320, 3, 1, 6),
    ):
        for block in range(blocks):
            yield MBConv(inputs, features, kernel, 1 if block else stride, expansion)
            inputs = features


def _norm(features: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(features, eps=1e-3)


ARCHITECTURES: dict[str, Callable[[int], nn.Module]] = {
    **{
        name: partial(CifarResNet, n)
        for name, (n, projects) in cifar_resnet.ARCHITECTURES.items()
        if not projects
    },
    "resnet50": ResNet50,
    "efficientnet_lite0": EfficientNetLite0,
}


def random(arch: str, num_classes: int) -> nn.Module:
    """Builds a network in evaluation mode with random weights and with the statistics of noise.

    Thus every layer's output depends on its input, as in a trained network. With the statistics of
    a fresh network, values would shrink to nothing from layer to layer.
    """
    torch.manual_seed(0)
    model = ARCHITECTURES[arch](num_classes)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(16, 3, 64, 64))
    return model.eval()
