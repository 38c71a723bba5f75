"""A network of NAS-Bench-Macro (Su et al. 2021), named as in xiusu/NAS-Bench-Macro."""

import torch
from torch import nn

# channels of the images
COLOURS = 3
CLASSES = 10
LAYERS = (
    (0, 0, 32, 64, 2),
    (6, 5, 64, 64, 1),
)  # layers: (expansion, kernel, inputs, outputs, stride); an expansion of 0 is no block
# channels before the classifier
LAST = 1280


class Downsample(nn.Module):
    """A 1x1 convolution with stride and BatchNorm."""

    def __init__(self, inputs: int, features: int, stride: int) -> None:
        super().__init__()
        conv = nn.Conv2d(inputs, features, 1, stride, bias=False)
        self.downsample = nn.Sequential(conv, nn.BatchNorm2d(features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the layers."""
        return self.downsample(x)


class Block(nn.Module):
    """The inverted residual block (Sandler et al. 2018)."""

    def __init__(
        self, expansion: int, kernel: int, inputs: int, features: int, stride: int
    ) -> None:
        super().__init__()
        hidden = expansion * inputs
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, features, 1, bias=False),
            nn.BatchNorm2d(features),
        )
        self.has_shortcut = stride == 1 and inputs == features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the layers; adds the input where it has the same shape."""
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


def make_layer(expansion: int, kernel: int, inputs: int, features: int, stride: int) -> nn.Module:
    """Builds a layer."""
    if expansion:
        return Block(expansion, kernel, inputs, features, stride)
    if stride == 1 and inputs == features:
        return nn.Identity()
    return Downsample(inputs, features, stride)


class Network(nn.Module):
    """From normalized images `[b c h w]` to logits `[b k]`."""

    def __init__(self) -> None:
        super().__init__()
        first, last = LAYERS[0][2], LAYERS[-1][3]
        self.stem = nn.Sequential(
            nn.Conv2d(COLOURS, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU()
        )
        self.features = nn.Sequential(*(make_layer(*layer) for layer in LAYERS))
        self.out = nn.Sequential(
            nn.Conv2d(last, LAST, 1, bias=False), nn.BatchNorm2d(LAST), nn.ReLU()
        )
        self.classifier = nn.Linear(LAST, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Computes the logits."""
        return self.classifier(self.out(self.features(self.stem(x))).mean((2, 3)))
