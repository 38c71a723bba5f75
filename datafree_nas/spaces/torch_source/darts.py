"""A network of DARTS (Liu et al. 2019), named as in quark0/darts, without an auxiliary head."""

import torch
from torch import nn

# channels of the images
COLOURS = 3
CLASSES = 10
# channels of each node of the first cell
CHANNELS = 36
CELLS = 20
# whether the stem has three convolutions of stride 2
IMAGENET = False
# the two edges (input, op) of each node; inputs 0 and 1 are the two cells before this one, input 2
# is its first node
NORMAL = (((0, "sep_conv_3x3"), (1, "sep_conv_3x3")),)
REDUCE = (((0, "max_pool_3x3"), (1, "skip_connect")),)


def conv_norm(inputs: int, features: int, stride: int) -> list[nn.Module]:
    """Builds a 3x3 convolution with BatchNorm."""
    return [nn.Conv2d(inputs, features, 3, stride, 1, bias=False), nn.BatchNorm2d(features)]


def separable(channels: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    """Builds ReLU, a depthwise and a 1x1 convolution, and BatchNorm."""
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    ]


class Layers(nn.Module):
    """Some layers in a row."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.op = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the layers."""
        return self.op(x)


class FactorizedReduce(nn.Module):
    """Halves the size by two 1x1 convolutions; the second one starts one pixel down and right."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(inputs, features // 2, 1, 2, bias=False)
        self.conv_2 = nn.Conv2d(inputs, features // 2, 1, 2, bias=False)
        self.bn = nn.BatchNorm2d(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies ReLU, both convolutions and BatchNorm."""
        x = x.relu()
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], 1))


def relu_conv(inputs: int, features: int) -> nn.Module:
    """Builds ReLU, 1x1 convolution and BatchNorm."""
    conv = nn.Conv2d(inputs, features, 1, bias=False)
    return Layers([nn.ReLU(), conv, nn.BatchNorm2d(features)])


def make_op(name: str, channels: int, stride: int) -> nn.Module:
    """Builds the op of an edge."""
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, 1)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
    kernel = 5 if name.endswith("5x5") else 3
    if name.startswith("dil_conv"):
        return Layers(separable(channels, kernel, stride, dilation=2))
    return Layers(separable(channels, kernel, stride) + separable(channels, kernel, 1))


class Cell(nn.Module):
    """Nodes, each of which is the sum of two edges, joined."""

    def __init__(
        self, before_last: int, last: int, features: int, reduction: bool, after_reduction: bool
    ) -> None:
        super().__init__()
        self.nodes = REDUCE if reduction else NORMAL
        preprocess = FactorizedReduce if after_reduction else relu_conv
        self.preprocess0 = preprocess(before_last, features)
        self.preprocess1 = relu_conv(last, features)
        self._ops = nn.ModuleList(
            make_op(name, features, 2 if reduction and source < 2 else 1)
            for node in self.nodes
            for source, name in node
        )

    def forward(self, before_last: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Applies the cell to the outputs of the two cells before it."""
        states = [self.preprocess0(before_last), self.preprocess1(last)]
        ops = iter(self._ops)
        for (one, _), (other, _) in self.nodes:
            states.append(next(ops)(states[one]) + next(ops)(states[other]))
        return torch.cat(states[2:], 1)


class Network(nn.Module):
    """From normalized images `[b c h w]` to logits `[b k]`."""

    def __init__(self) -> None:
        super().__init__()
        if IMAGENET:
            first = conv_norm(COLOURS, CHANNELS // 2, 2)
            self.stem0 = nn.Sequential(*first, nn.ReLU(), *conv_norm(CHANNELS // 2, CHANNELS, 2))
            self.stem1 = nn.Sequential(nn.ReLU(), *conv_norm(CHANNELS, CHANNELS, 2))
            before_last = last = CHANNELS
        else:
            self.stem = nn.Sequential(*conv_norm(COLOURS, 3 * CHANNELS, 1))
            before_last = last = 3 * CHANNELS
        cells, features, reduction = [], CHANNELS, IMAGENET
        for number in range(CELLS):
            after_reduction, reduction = reduction, number in (CELLS // 3, 2 * CELLS // 3)
            features *= 2 if reduction else 1
            cells.append(Cell(before_last, last, features, reduction, after_reduction))
            before_last, last = last, len(NORMAL) * features
        self.cells = nn.ModuleList(cells)
        self.classifier = nn.Linear(last, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Computes the logits."""
        if IMAGENET:
            before_last = self.stem0(x)
            last = self.stem1(before_last)
        else:
            before_last = last = self.stem(x)
        for cell in self.cells:
            before_last, last = last, cell(before_last, last)
        return self.classifier(last.mean((2, 3)))
