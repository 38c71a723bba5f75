"""The PyTorch implementations that teachers are held against; those no package has, written out."""

import re
from functools import partial

import efficientnet_lite_pytorch
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import torch_libraries

torchvision = torch_libraries.torchvision()
models = torchvision.models


class OptionABlock(nn.Module):
    """Of akamaster/pytorch_resnet_cifar10."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=c_out // c_in, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if x.shape != y.shape:  # option A: every second pixel, zeros for the new channels
            side = (y.shape[1] - x.shape[1]) // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, side))
        return F.relu(x + y)


class OptionBBlock(OptionABlock):
    """With option B of the same repository: a convolution where sizes change."""

    def __init__(self, c_in, c_out):
        super().__init__(c_in, c_out)
        self.shortcut = nn.Sequential()
        if c_in != c_out:
            conv = nn.Conv2d(c_in, c_out, 1, stride=2, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(c_out))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class CifarResNet(nn.Module):
    def __init__(self, depth, num_classes=10, block=OptionABlock):
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        for stage, (c_in, c_out) in enumerate([(16, 16), (16, 32), (32, 64)], start=1):
            more = [block(c_out, c_out) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(block(c_in, c_out), *more))
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class PreActivationBlock(nn.Module):
    """Of xternalz/WideResNet-pytorch: the shortcut is a convolution if the width changes."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        if c_in != c_out:
            self.convShortcut = nn.Conv2d(c_in, c_out, 1, stride, bias=False)

    def forward(self, x):
        active = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return y + (self.convShortcut(active) if hasattr(self, "convShortcut") else x)


class WideResNet(nn.Module):
    def __init__(self, depth, widen, num_classes):
        super().__init__()
        widths = [16, 16 * widen, 32 * widen, 64 * widen]
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        for stage in (1, 2, 3):
            c_out = widths[stage]
            more = [PreActivationBlock(c_out, c_out, 1) for _ in range((depth - 4) // 6 - 1)]
            first = PreActivationBlock(widths[stage - 1], c_out, 1 if stage == 1 else 2)
            block = nn.Module()
            block.layer = nn.Sequential(first, *more)
            self.add_module(f"block{stage}", block)
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], num_classes)

    def forward(self, x):
        x = self.conv1(x)
        for block in (self.block1, self.block2, self.block3):
            x = block.layer(x)
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


def _stride_first(arch, num_classes):
    """The paper's bottleneck (v1): stride 2 in its first convolution."""
    model = models.get_model(arch, num_classes=num_classes)
    for stage in (model.layer2, model.layer3, model.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    return model


class WideStem(nn.Module):
    """torchvision's ResNet with the stem and the keys of kuangliu/pytorch-cifar."""

    def __init__(self, arch, num_classes):
        super().__init__()
        self.inner = models.get_model(arch, num_classes=num_classes)
        self.inner.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.inner.maxpool = nn.Identity()

    def forward(self, x):
        return self.inner(x)

    def state_dict(self):
        return {
            re.sub(r"^fc\.", "linear.", key).replace("downsample", "shortcut"): value
            for key, value in self.inner.state_dict().items()
        }

    def load_state_dict(self, state_dict):
        self.inner.load_state_dict(
            {
                re.sub(r"^linear\.", "fc.", key).replace("shortcut", "downsample"): value
                for key, value in state_dict.items()
            }
        )


def _lite(variant, size, num_classes):
    """With its paddings computed for that image size."""
    return efficientnet_lite_pytorch.EfficientNet.from_name(
        f"efficientnet-lite{variant}", image_size=size, num_classes=num_classes
    )


def _timm(name, num_classes):
    import timm  # after torchvision, which it imports

    return timm.create_model(name, num_classes=num_classes)


def _pooled(name, num_classes):
    """With torchvision's keys, and with its pooling kept."""
    model = models.get_model(name.removeprefix("wide_stem_"), num_classes=num_classes)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    return model


TORCHVISION = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("wide_resnet50_2", "resnext50_32x4d", "mobilenet_v2", "densenet121"),
    *("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
)


def build(name, size, num_classes):
    """A PyTorch model with random weights, for images of `size` (height, width).

    Args:
        name: an architecture of ours, or `timm:` and one of timm's.
    """
    if name in TORCHVISION:
        return models.get_model(name, num_classes=num_classes)
    if name.startswith("timm:"):
        return _timm(name.removeprefix("timm:"), num_classes)
    for pattern, builder in (
        (r"timm_(efficientnet_lite\d|vgg\d+_bn)", _timm),
        (r"(mobilenetv2_\d+d?|resnet\d+d)", _timm),
        (r"cifar_resnet(\d+)_b", lambda depth, n: CifarResNet(int(depth), n, OptionBBlock)),
        (r"(wide_stem_resnet\d+)_pool", _pooled),
        (r"(resnet\d+)_v1", _stride_first),
        (r"wide_stem_(resnet\d+)", WideStem),
        (r"efficientnet_lite(\d)", lambda variant, n: _lite(variant, size, n)),
        (r"cifar_resnet(\d+)", lambda depth, n: CifarResNet(int(depth), n)),
        (r"wrn(\d+)_(\d)", lambda depth, widen, n: WideResNet(int(depth), int(widen), n)),
    ):
        if found := re.fullmatch(pattern, name):
            return partial(builder, *found.groups())(num_classes)
    raise KeyError(name)


def batch_norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def randomize(model):
    """Gives BatchNorm random weights and statistics, which a fresh model has not."""
    torch.manual_seed(0)
    for norm in batch_norms(model):
        nn.init.normal_(norm.running_mean, std=0.3)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
    return model.eval()


def logits(model, x):
    """Of images `[b h w c]`, as NumPy array."""
    with torch.no_grad():
        return model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()


def logits_and_taps(model, x):
    """Of images `[b h w c]`: logits, and (mean, biased variance) at every BatchNorm as called."""
    seen = []

    def tap(_, inputs):
        statistics = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
        seen.append([value.numpy() for value in reversed(statistics)])

    hooks = [norm.register_forward_pre_hook(tap) for norm in batch_norms(model)]
    found = logits(model, x)
    for hook in hooks:
        hook.remove()
    return found, seen
