"""A network of ProxylessNAS (Cai et al. 2019), named as in mit-han-lab/proxylessnas."""

from collections import OrderedDict

import torch
from torch import nn

# channels of the images
COLOURS = 3
CLASSES = 1000
STEM_STRIDE = 2
# blocks, by their number: (expansion, kernel, inputs, outputs, stride, whether there is a shortcut)
BLOCKS = {0: (1, 3, 32, 16, 1, False), 1: (6, 5, 16, 24, 2, False)}
# channels before the classifier
LAST = 1280


def conv_norm(
    inputs: int, features: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    """Builds a convolution with BatchNorm and, with `act`, ReLU6."""
    conv = nn.Conv2d(inputs, features, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers = OrderedDict[str, nn.Module](conv=conv, bn=nn.BatchNorm2d(features, eps=1e-3))
    if act:
        layers["act"] = nn.ReLU6()
    return nn.Sequential(layers)


class Block(nn.Module):
    """The inverted residual block (Sandler et al. 2018)."""

    def __init__(
        self,
        expansion: int,
        kernel: int,
        inputs: int,
        features: int,
        stride: int,
        shortcut: bool,
    ) -> None:
        super().__init__()
        hidden = expansion * inputs
        layers = OrderedDict[str, nn.Module]()
        if expansion > 1:
            layers["inverted_bottleneck"] = conv_norm(inputs, hidden)
        layers["depth_conv"] = conv_norm(hidden, hidden, kernel, stride, hidden)
        layers["point_linear"] = conv_norm(hidden, features, act=False)
        self.mobile_inverted_conv = nn.Sequential(layers)
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the layers and the shortcut."""
        y = self.mobile_inverted_conv(x)
        return x + y if self.shortcut else y


class Network(nn.Module):
    """From normalized images `[b c h w]` to logits `[b k]`."""

    def __init__(self) -> None:
        super().__init__()
        *_, (_, _, _, last, _, _) = BLOCKS.values()
        self.first_conv = conv_norm(COLOURS, BLOCKS[0][2], 3, STEM_STRIDE)
        self.blocks = nn.ModuleDict({str(i): Block(*shape) for i, shape in BLOCKS.items()})
        self.feature_mix_layer = conv_norm(last, LAST)
        self.classifier = nn.Sequential(OrderedDict(linear=nn.Linear(LAST, CLASSES)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Computes the logits."""
        x = self.first_conv(x)
        for block in self.blocks.values():
            x = block(x)
        return self.classifier(self.feature_mix_layer(x).mean((2, 3)))
