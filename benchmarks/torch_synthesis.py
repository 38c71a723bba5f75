"""Our synthesis loop in plain PyTorch, as benchmarks.synthesis times it.

This module is not a command. It is eager, one iteration a call, and reads BatchNorm inputs by
forward hooks, as the Data-Free-NAS release does. The maths is ours (its norms are not squared, but
the flip is a real coin), which tests/benchmarks checks term by term. `tuned` has the changes that
one would make first, `compiled` the one to try next.
"""

import math
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datafree_nas.runtime.config import Config
from datafree_nas.teachers import Teacher


def window(pixels: Tensor, offset: Sequence[int], flip: bool, margin: int) -> Tensor:
    """Cuts out the part of the canvas `[b c H W]` at that corner, `margin` smaller.

    The part is mirrored if `flip` is true.
    """
    height, width = (side - margin for side in pixels.shape[2:])
    y, x = offset
    cut = pixels[:, :, y : y + height, x : x + width]
    return cut.flip(-1) if flip else cut


def plain_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Computes mean and biased variance by channel of `[b c h w]`, in the usual way."""
    return x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)


def tuned_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the same faster: on a GPU in one kernel, on a CPU in two passes.

    On a CPU, PyTorch's `var` is 8 times slower.
    """
    if x.is_cuda:
        var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        return mean, var
    mean = x.mean((0, 2, 3))
    return mean, (x - mean[:, None, None]).square().mean((0, 2, 3))


class Loop:
    """A batch of images while they are optimized.

    Args:
        model: network with `BatchNorm2d` layers, in evaluation mode; belongs to the loop from here
            on.
        teacher: description with mean and standard deviation of the images.
        config: block `config.synthesis` of an experiment.
        pixels: first canvas `[b c H W]`, normalized.
        labels: target class indices, `[b]`.
        iterations: number of iterations of the learning rate's schedule.
        tuned: whether to leave out the gradients of parameters, which the release computes and
            nobody uses, and to use cheaper statistics, channels-last and a fused Adam on a GPU, and
            layers in `config.dtype`.
        compiled: whether torch.compile compiles the forward pass and the loss, with their gradient;
            if it cannot compile all of it, it raises an error.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: Teacher,
        config: Config,
        pixels: Tensor,
        labels: Tensor,
        iterations: int,
        *,
        tuned: bool,
        compiled: bool = False,
    ):
        on_gpu = tuned and pixels.is_cuda
        self._layout = torch.channels_last if on_gpu else torch.contiguous_format
        model.to(pixels.device, memory_format=self._layout)  # type: ignore[call-overload]
        self._model = model.requires_grad_(not tuned)
        self.pixels = pixels.clone(memory_format=self._layout).requires_grad_()
        betas = tuple(config.betas)
        self._optimizer = torch.optim.Adam([self.pixels], betas=betas, fused=on_gpu or None)
        low_precision = tuned and config.dtype == "bfloat16"
        self._autocast = torch.autocast(pixels.device.type, torch.bfloat16, low_precision)
        self._config, self._labels = config, labels
        self._iterations, self._done = iterations, 0
        self._random = random.Random(0)
        mean, std = (pixels.new_tensor(v).view(-1, 1, 1) for v in (teacher.mean, teacher.std))
        self._low, self._high = -mean / std, (1 - mean) / std
        self._statistics = tuned_statistics if tuned else plain_statistics
        self._distances: list[Tensor] = []
        self._compiled, self._run = compiled, self._loss
        if compiled:  # whole or with an error, for these shapes alone, replayed as a CUDA graph
            torch.compiler.reset()  # what was compiled for another loop
            self._run = torch.compile(
                self._loss, fullgraph=True, dynamic=False, mode="reduce-overhead"
            )
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_forward_hook(self._tap)

    def _tap(self, layer: Any, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        mean, var = self._statistics(inputs[0].float())
        norm = torch.linalg.vector_norm
        self._distances.append(norm(mean - layer.running_mean) + norm(var - layer.running_var))

    def step(self) -> dict[str, Tensor]:
        """Runs one iteration; returns the loss terms, unweighted, by the names of their weights."""
        margin, coin = self._config.margin, self._random
        offset = coin.randint(0, margin), coin.randint(0, margin)
        view = window(self.pixels, offset, self._config.flip and coin.random() < 0.5, margin)
        self._optimizer.zero_grad()
        self._model.zero_grad()
        if self._compiled:
            view = view.contiguous(memory_format=self._layout)  # one program for all offsets
        with self._autocast:
            loss, terms = self._run(view)
        loss.backward()
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self._optimizer.step()
        with torch.no_grad():
            self.pixels.clamp_(self._low, self._high)
        self._done += 1
        return terms

    def _loss(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the weighted sum of the terms, and the terms."""
        terms = self._terms(x)
        return torch.stack([self._config[name] * t for name, t in terms.items()]).sum(), terms

    def _terms(self, x: Tensor) -> dict[str, Tensor]:
        logits = self._model(x)
        first, *others = self._distances
        self._distances.clear()
        norm = torch.linalg.vector_norm
        return {
            "cross_entropy": F.cross_entropy(logits, self._labels),
            "batch_norm": self._config["first_batch_norm"] * first + sum(others),
            "tv_l2": norm(x[:, :, :, 1:] - x[:, :, :, :-1])
            + norm(x[:, :, 1:] - x[:, :, :-1])
            + norm(x[:, :, 1:, 1:] - x[:, :, :-1, :-1])
            + norm(x[:, :, 1:, :-1] - x[:, :, :-1, 1:]),
            "l2": norm(x.flatten(1), dim=1).mean(),
        }

    def _learning_rate(self) -> float:
        """Returns the rate of this iteration: linear warm-up, then half a cosine."""
        i, warmup = self._done, self._config.warmup
        if i < warmup:
            return self._config.learning_rate * (i + 1) / warmup
        wave = math.cos(math.pi * (i - warmup) / (self._iterations - warmup))
        return self._config.learning_rate * 0.5 * (1 + wave)
