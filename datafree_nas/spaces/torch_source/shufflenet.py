"""A ShuffleNetV2 of SPOS (Guo et al. 2020), named as in megvii-model/SinglePathOneShot."""

import torch
from torch import nn

# channels of the images
COLOURS = 3
CLASSES = 1000
# output channels of the first convolution
STEM = 16
STEM_STRIDE = 2
BLOCKS = (
    ("shuffle_5x5", 16, 64, 2),
    ("xception", 32, 64, 1),
)  # blocks: (op, inputs of each branch, outputs, stride)
# channels before the classifier
LAST = 1024


def pointwise(inputs: int, features: int) -> list[nn.Module]:
    """Builds a 1x1 convolution with BatchNorm and ReLU."""
    return [nn.Conv2d(inputs, features, 1, bias=False), nn.BatchNorm2d(features), nn.ReLU()]


def depthwise(channels: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Builds a depthwise convolution with BatchNorm."""
    conv = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


class Block(nn.Module):
    """A main branch and a shortcut, whose outputs are joined."""

    def __init__(self, op: str, inputs: int, features: int, stride: int) -> None:
        super().__init__()
        middle, outputs = features // 2, features - inputs
        if op == "xception":
            kernel = 3
            main = depthwise(inputs, kernel, stride) + pointwise(inputs, middle)
            main += depthwise(middle, kernel) + pointwise(middle, middle)
            main += depthwise(middle, kernel) + pointwise(middle, outputs)
        else:
            kernel = {"shuffle_3x3": 3, "shuffle_5x5": 5, "shuffle_7x7": 7}[op]
            main = pointwise(inputs, middle) + depthwise(middle, kernel, stride)
            main += pointwise(middle, outputs)
        self.branch_main = nn.Sequential(*main)
        self.stride = stride
        if stride == 2:
            shortcut = depthwise(inputs, kernel, stride) + pointwise(inputs, inputs)
            self.branch_proj = nn.Sequential(*shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Joins the branches; without a stride the shortcut is every other channel."""
        if self.stride == 2:
            return torch.cat([self.branch_proj(x), self.branch_main(x)], 1)
        return torch.cat([x[:, ::2], self.branch_main(x[:, 1::2])], 1)


class Network(nn.Module):
    """From normalized images `[b c h w]` to logits `[b k]`."""

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(
            nn.Conv2d(COLOURS, STEM, 3, STEM_STRIDE, 1, bias=False), nn.BatchNorm2d(STEM), nn.ReLU()
        )
        self.features = nn.Sequential(*(Block(*block) for block in BLOCKS))
        self.conv_last = nn.Sequential(*pointwise(BLOCKS[-1][2], LAST))
        self.classifier = nn.Sequential(nn.Linear(LAST, CLASSES, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Computes the logits."""
        return self.classifier(self.conv_last(self.features(self.first_conv(x))).mean((2, 3)))
