"""A network that no library has, for grey images of 28x28: what a user's own classifier may be."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

IMAGE_SIZE, MEAN, STD = (28, 28, 1), (0.1307,), (0.3081,)
FLAGS = ("--image_size=28,28,1", "--mean=0.1307", "--std=0.3081")


class Activation(nn.Module):
    def forward(self, x):
        return x * torch.tanh(F.softplus(x)) + 0.1 * torch.sin(x)


class Gate(nn.Module):
    """Squeeze and excite, by linear layers."""

    def __init__(self, channels):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 4)
        self.excite = nn.Linear(channels // 4, channels)

    def forward(self, x):
        factor = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return x * factor[:, :, None, None]


class Branch(nn.Module):
    def __init__(self, c_in, c_out, kernel):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(c_out)
        self.activation = Activation()

    def forward(self, x):
        return self.activation(self.norm(self.conv(x)))


class OddNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.left, self.right = Branch(1, 8, 3), Branch(1, 8, 5)
        self.middle, self.gate = Branch(16, 24, 3), Gate(24)
        self.down = nn.Conv2d(24, 32, 3, stride=2, padding=1, groups=8)
        self.norm = nn.BatchNorm2d(32)
        self.skip = nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(24, 32, 1, bias=False), nn.BatchNorm2d(32)
        )
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(64, num_classes))

    def forward(self, x):
        coarse = F.avg_pool2d(x, 2).repeat_interleave(2, -1).repeat_interleave(2, -2)
        x = self.gate(self.middle(torch.cat([self.left(x), self.right(coarse)], 1)))
        x = F.leaky_relu(self.norm(self.down(x)) + self.skip(x), 0.1)
        pooled = F.adaptive_avg_pool2d(x, 1).flatten(1), torch.amax(x, (2, 3))
        return self.head(torch.cat(pooled, -1))


def make_net(num_classes=10):
    """Builds the network as its user's code would."""
    return OddNet(num_classes)


def trained(num_classes=10):
    """Builds it with other statistics in each channel, as training leaves them."""
    torch.manual_seed(0)
    module = make_net(num_classes).eval()
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.running_mean.normal_(0, 0.1)
            each.running_var.uniform_(0.5, 1.5)
            each.weight.data.uniform_(0.5, 1.5)
            each.bias.data.normal_(0, 0.1)
    return module


def export(module, file, images=2, free=True, core=False):
    """Writes a file of `torch.export.save`, for any number of images or for one number."""
    sizes = ({0: torch.export.Dim.DYNAMIC},) if free else None
    program = torch.export.export(module, (torch.zeros(images, 1, 28, 28),), dynamic_shapes=sizes)
    torch.export.save(program.run_decompositions() if core else program, file)


def write_logits(module, file, image_size=IMAGE_SIZE):
    """Writes images and the module's logits, as `--check_logits` reads them."""
    x = np.random.default_rng(0).normal(size=(3, *image_size)).astype(np.float32)
    with torch.no_grad():
        y = module.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    np.savez(file, x=x, y=y.numpy())
