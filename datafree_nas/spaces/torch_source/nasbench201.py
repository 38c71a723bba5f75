"""A network of NAS-Bench-201 (Dong & Yang 2020), named as in D-X-Y/AutoDL-Projects."""

import torch
from torch import nn

# channels of the images
COLOURS = 3
CLASSES = 10
# channels of the first stage; each later stage has twice as many
CHANNELS = 16
# number of cells in each stage
CELLS = 5
# edges of a cell, by their number: (from node, to node, op)
EDGES = {0: (0, 1, "nor_conv_3x3"), 5: (1, 3, "skip_connect")}


class ReluConvNorm(nn.Module):
    """ReLU, convolution and BatchNorm."""

    def __init__(self, inputs: int, features: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        conv = nn.Conv2d(inputs, features, kernel, stride, kernel // 2, bias=False)
        self.op = nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the layers."""
        return self.op(x)


def make_op(name: str, channels: int) -> nn.Module:
    """Builds the op of an edge."""
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    if name == "skip_connect":
        return nn.Identity()
    return ReluConvNorm(channels, channels, {"nor_conv_1x1": 1, "nor_conv_3x3": 3}[name])


class Cell(nn.Module):
    """Four nodes, each of which is the sum of the edges into it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(
            {str(edge): make_op(name, channels) for edge, (_, _, name) in EDGES.items()}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Computes the last node."""
        nodes = [x] + [torch.zeros_like(x)] * 3
        for edge, (source, target, _) in EDGES.items():
            nodes[target] = nodes[target] + self.layers[str(edge)](nodes[source])
        return nodes[-1]


class ResidualBlock(nn.Module):
    """The block between stages: half the image size, twice the channels."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.conv_a = ReluConvNorm(inputs, features, 3, 2)
        self.conv_b = ReluConvNorm(features, features, 3)
        self.downsample = nn.Sequential(
            nn.AvgPool2d(2, 2), nn.Conv2d(inputs, features, 1, bias=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds the shortcut to the two convolutions."""
        return self.downsample(x) + self.conv_b(self.conv_a(x))


class Network(nn.Module):
    """From normalized images `[b c h w]` to logits `[b k]`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(COLOURS, CHANNELS, 3, padding=1, bias=False), nn.BatchNorm2d(CHANNELS)
        )
        cells: list[nn.Module] = []
        width = CHANNELS
        for stage in range(3):
            if stage:
                cells.append(ResidualBlock(width, 2 * width))
                width *= 2
            cells += [Cell(width) for _ in range(CELLS)]
        self.cells = nn.Sequential(*cells)
        self.lastact = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Computes the logits."""
        x = self.lastact(self.cells(self.stem(x)))
        return self.classifier(x.mean((2, 3)))
