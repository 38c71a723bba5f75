"""Classifiers of PyTorch's libraries, with random weights and statistics.

This module is not a command.
"""

import sys
from types import ModuleType
from typing import Any

NAMES = ("timm", "torchvision", "transformers")
_SMALL = 64  # side of images where a network takes any
_CLASSES = 10


_declared: list[Any] = []  # keeps declarations of operations alive


def torchvision() -> ModuleType:
    """Imports torchvision, also one that was built for another PyTorch.

    Its operations on boxes are then missing, which no classifier needs; timm imports it, too.
    """
    import torch

    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        _declared.append(library)
        for name in ("nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"):
            library.define(f"{name}(Tensor a) -> Tensor")
            library.define(f"_{name}_backward(Tensor a) -> Tensor")
        for name in ("qnms", "qroi_align", "deform_conv2d", "_deform_conv2d_backward"):
            library.define(f"{name}(Tensor a) -> Tensor")
        import torchvision
    return torchvision


def with_batch_norm(library: str) -> list[str]:
    """Lists the models of a library that contain BatchNorm2d, the smallest first.

    Each is built once, without memory for its weights if the model allows that.
    """
    import torch

    found = {}
    for name in _names(library):
        try:
            with torch.device("meta"):
                module = _module(library, name)
        except NotImplementedError:  # torchvision's RegNets compute their widths with tensors
            module = _module(library, name)
        if any(isinstance(each, torch.nn.BatchNorm2d) for each in module.modules()):
            found[name] = count(module)
    return sorted(found, key=lambda name: found[name])


def build(library: str, name: str) -> tuple[Any, tuple[int, int, int]]:
    """Builds a model with random weights and statistics.

    Returns:
        The model in evaluation mode, and `(h, w, c)` of the images that it is compared on: small,
        unless it takes one size only.
    """
    import torch

    torch.manual_seed(0)
    module = _module(library, name).eval()
    _randomize(module)
    return module, _image_size(library, module)


def count(module: Any) -> int:
    """Counts the weights of a model."""
    return sum(parameter.numel() for parameter in module.parameters())


def _names(library: str) -> list[str]:
    torchvision()
    if library == "timm":
        import timm

        return timm.list_models()
    if library == "torchvision":
        models = torchvision().models
        return models.list_models(module=models)
    return ["resnet", "regnet", "mobilenet_v2", "efficientnet"]


def _module(library: str, name: str) -> Any:
    models = torchvision().models
    if library == "timm":
        import timm

        return timm.create_model(name, pretrained=False, num_classes=_CLASSES)
    if library == "torchvision":
        more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return models.get_model(name, weights=None, num_classes=_CLASSES, **more)
    import transformers

    prefix = {"resnet": "ResNet", "regnet": "RegNet", "mobilenet_v2": "MobileNetV2"}
    start = prefix.get(name, "EfficientNet")
    config = getattr(transformers, f"{start}Config")(num_labels=_CLASSES)
    return getattr(transformers, f"{start}ForImageClassification")(config)


def _randomize(module: Any) -> None:
    """Gives every BatchNorm statistics and weights as training would, different in each channel."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for each in module.modules():
        if isinstance(each, torch.nn.modules.batchnorm._BatchNorm):
            assert each.running_mean is not None
            assert each.running_var is not None
            shape = each.running_mean.shape
            each.running_mean.copy_(0.1 * torch.randn(shape, generator=generator))
            each.running_var.copy_(0.5 + torch.rand(shape, generator=generator))
            if each.weight is not None:
                each.weight.data.copy_(0.5 + torch.rand(shape, generator=generator))
                each.bias.data.copy_(0.1 * torch.randn(shape, generator=generator))


def _image_size(library: str, module: Any) -> tuple[int, int, int]:
    """Returns the size of images to compare on: small ones, if the model takes them."""
    import torch

    sizes = [_SMALL, 96, 128, 224, 299]
    published = getattr(module, "pretrained_cfg", {}).get("input_size")
    if published:
        sizes = [side for side in sizes if side < published[1]] + [published[1]]
    for side in sizes:
        try:
            with torch.no_grad():
                module(torch.zeros(2, 3, side, side))
        except Exception:  # whatever a model says of a size that it does not take
            continue
        return side, side, 3
    raise ValueError(f"takes images of none of the sizes {sizes}")
