"""The supernet of NAS-Bench-201 and its training in plain PyTorch, for benchmarks.search_speed.

This module is not a command. It is eager, one step a call; a path is chosen in Python, and only its
ops are run. The maths is ours, which tests/benchmarks checks step by step. `module_name` translates
the names of our modules to those here, so that weights can be moved.
"""

import re
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import search_step
from datafree_nas.data.images import ImageSet
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.runtime.config import Config
from datafree_nas.spaces.nasbench201 import EDGES, NODES, OPS, NasBench201

# index of an op for every edge, or weights `[edges ops]`
Gates = Sequence[int] | Tensor


class Zero(nn.Module):
    """The op `none`."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns zeros in the shape of the input."""
        return torch.zeros_like(x)


class Convolution(nn.Module):
    """ReLU, convolution with bias, BatchNorm without affine parameters."""

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[b c h w]` to the same shape."""
        return self.bn(self.conv(F.relu(x)))


class Cell(nn.Module):
    """Four nodes; every edge between two of them has all candidate ops."""

    def __init__(self, channels: int):
        super().__init__()
        self.edges = nn.ModuleList(_candidates(channels) for _ in EDGES)

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Maps `[b c h w]` to the same shape."""
        nodes = {0: x}
        for (source, target), edge, gate in zip(EDGES, self.edges, gates, strict=True):
            y = _mixed(edge, nodes[source], gate)
            nodes[target] = nodes[target] + y if target in nodes else y
        return nodes[NODES - 1]


def _candidates(channels: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "none": Zero(),
            "skip_connect": nn.Identity(),
            "nor_conv_1x1": Convolution(channels, 1),
            "nor_conv_3x3": Convolution(channels, 3),
            "avg_pool_3x3": nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        }
    )


def _mixed(edge: nn.Module, x: Tensor, gate: int | Tensor) -> Tensor:
    """Applies the op of that index, or sums all ops with these weights."""
    candidates = list(edge.children())
    if isinstance(gate, int):
        return candidates[gate](x)
    return reduce(add, (w * op(x) for w, op in zip(gate, candidates, strict=True)))


class Reduction(nn.Module):
    """The residual block between stages: half the size, twice the channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 2 * channels, 3, 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(2 * channels)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * channels)
        self.shortcut = nn.Conv2d(channels, 2 * channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[b c h w]` to `[b 2c h/2 w/2]`."""
        y = self.bn1(self.conv1(F.relu(x)))
        y = self.bn2(self.conv2(F.relu(y)))
        return y + self.shortcut(F.avg_pool2d(x, 2))


class Supernet(nn.Module):
    """All networks of a space in one.

    Args:
        space: space with the channels, cells, classes, and channels of an image.
    """

    def __init__(self, space: NasBench201):
        super().__init__()
        widths = [space.channels * 2**stage for stage in range(3)]
        self.stem_conv = nn.Conv2d(space.image_size[2], widths[0], 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(widths[0])
        self.stages = nn.ModuleList(
            nn.ModuleList(Cell(width) for _ in range(space.cells)) for width in widths
        )
        self.reductions = nn.ModuleList(Reduction(width) for width in widths[:-1])
        self.last_bn = nn.BatchNorm2d(widths[-1])
        self.head = nn.Linear(widths[-1], space.num_classes)

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Maps normalized images `[b c h w]` to logits `[b k]`."""
        x = self.stem_bn(self.stem_conv(x))
        for stage, cells in enumerate(self.stages):
            if stage:
                x = self.reductions[stage - 1](x)
            for cell in cells:  # type: ignore[attr-defined]  # it is a ModuleList
                x = cell(x, gates)
        return self.head(F.relu(self.last_bn(x)).mean((2, 3)))


def module_name(module: str) -> str:
    """Returns the name in `Supernet` of a module of our supernet, a path joined by dots."""
    module = re.sub(r"^stage(\d)_cell(\d+)_edge(\d)", r"stages.\1.\2.edges.\3", module)
    module = re.sub(r"^reduce(\d)", lambda found: f"reductions.{int(found[1]) - 1}", module)
    return module.removesuffix(".norm")


class Data(NamedTuple):
    """Data that training reads.

    Attributes:
        images: images as bytes, `[n c h w]`.
        logits: the teacher's logits, `[n k]`.
    """

    images: Tensor
    logits: Tensor


class Sampler:
    """Draws random images of a set, augmented and normalized, with their logits.

    Args:
        data: images and logits, on the device.
        preprocess: mean and standard deviation of each channel.
        recipe: a training block of the config that only crops and mirrors images.
    """

    def __init__(self, data: Data, preprocess: Preprocessing, recipe: Config):
        self._data, self._recipe = data, recipe
        device = data.images.device
        self._mean, self._std = (torch.tensor(v, device=device).view(-1, 1, 1) for v in preprocess)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Draws a batch: images `[b c h w]` and logits `[b k]`."""
        images, logits = self._data
        shape = (self._recipe.batch_size,)
        index = torch.randint(len(images), shape, device=images.device)
        x = crop(images[index], self._recipe.crop_padding)
        if self._recipe.flip:
            coins = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
            x = torch.where(coins, x.flip(-1), x)
        return (x / 255 - self._mean) / self._std, logits[index]


def crop(images: Tensor, padding: int) -> Tensor:
    """Pads `[b c h w]` with black and cuts a window of the old size, for each image its own."""
    count, channels, height, width = images.shape
    at = torch.arange(max(images.shape), device=images.device)
    y, x = torch.randint(2 * padding + 1, (2, count, 1, 1, 1), device=images.device)
    padded = F.pad(images, [padding] * 4)
    rows, columns = y + at[:height, None], x + at[:width]
    return padded[at[:count, None, None, None], at[:channels, None, None], rows, columns]


def distillation(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Computes what `trainer.distillation` computes: a scaled KL divergence, as a batch mean."""
    targets = F.softmax(teacher_logits / temperature, -1)
    divergence = F.kl_div(F.log_softmax(logits / temperature, -1), targets, reduction="batchmean")
    norm = torch.linalg.vector_norm(targets - 1 / targets.shape[-1], dim=-1).mean()
    return temperature * (1 - 1 / targets.shape[-1]) ** 0.5 / norm.clamp(min=1e-3) * divergence


class Weights:
    """Trains a supernet's weights by SGD; those that a path does not use stay as they are.

    (Where an op sees nothing but zeros, our training counts it as unused; here its weights decay.)

    Args:
        model: supernet in train mode.
        sample: function that draws the batches.
        recipe: a training block of the config: a cosine without warm-up, decay of everything.
    """

    def __init__(self, model: Supernet, sample: Sampler, recipe: Config):
        self._model, self._sample, self._recipe = model, sample, recipe
        self._optimizer = torch.optim.SGD(
            model.parameters(),
            recipe.learning_rate,
            recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self._optimizer, recipe.steps, recipe.final_learning_rate
        )

    def step(self, gates: Gates) -> Tensor:
        """Takes one step on one path, or on a mixture; returns the loss."""
        x, soft = self._sample()
        loss = distillation(self._model(x, gates), soft, self._recipe.temperature)
        self._optimizer.zero_grad()
        loss.backward()
        if self._recipe.clip:
            nn.utils.clip_grad_norm_(self._model.parameters(), self._recipe.clip)
        self._optimizer.step()
        self._schedule.step()
        return loss.detach()


class Alphas:
    """Trains the architecture parameters by Adam: first-order DARTS.

    Args:
        model: supernet in train mode.
        sample: function that draws the batches, of the held-out images.
        config: block `config.search` of an experiment.

    Attributes:
        values: architecture parameters, `[edges ops]`.
    """

    def __init__(self, model: Supernet, sample: Sampler, config: Config):
        self._model, self._sample, self._temperature = model, sample, config.train.temperature
        device = next(model.parameters()).device
        self.values = (1e-3 * torch.randn(len(EDGES), len(OPS), device=device)).requires_grad_()
        alphas = config.alphas
        self._optimizer = torch.optim.Adam(
            [self.values],
            alphas.learning_rate,
            tuple(alphas.betas),
            weight_decay=alphas.weight_decay,
        )

    def step(self) -> Tensor:
        """Takes one step; returns the new mixture, for a step of the weights."""
        x, soft = self._sample()
        logits = self._model(x, F.softmax(self.values, -1))
        self._optimizer.zero_grad()
        distillation(logits, soft, self._temperature).backward(inputs=[self.values])
        self._optimizer.step()
        return F.softmax(self.values.detach(), -1)


class Search:
    """A search before its first step, by SPOS or by DARTS of first order.

    Args:
        config: block `config.search` of an experiment.
        space: space to search in.
        images: images with logits; one half is held out, for the alphas.
        paths: paths of SPOS's steps, one after another.
        device: PyTorch's name of the device.
    """

    def __init__(
        self,
        config: Config,
        space: NasBench201,
        images: ImageSet,
        paths: Sequence[Gates],
        device: str,
    ):
        def sampler(part: ImageSet) -> Sampler:
            pixels = torch.tensor(part.images, device=device).permute(0, 3, 1, 2).contiguous()
            data = Data(pixels, torch.tensor(part.logits, device=device))
            return Sampler(data, search_step.preprocessing(space), config.train)

        train, held_out = map(sampler, search_step.halves(images))
        self._device = device
        model = Supernet(space).to(device)
        self._weights = Weights(model, train, config.train)
        darts = config.strategy == "darts"
        self._gates = Alphas(model, held_out, config).step if darts else iter(paths).__next__

    def advance(self, n: int) -> None:
        """Runs `n` steps, and waits until they are done."""
        for _ in range(n):
            self._weights.step(self._gates())
        if self._device == "cuda":
            torch.cuda.synchronize()
