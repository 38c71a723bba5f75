"""Finds the PyTorch module that a user names: of a library, a function, a Hugging Face folder."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datafree_nas.interop import torch_file
from datafree_nas.runtime.errors import UserError, did_you_mean
from datafree_nas.runtime.files import as_path, read_json
from datafree_nas.teachers import beside
from datafree_nas.teachers.graph.trace import import_torch, quiet, said
from datafree_nas.teachers.port import few, prefixes


class Source(NamedTuple):
    """A network and what its source says of its images.

    Attributes:
        module: PyTorch module, with its weights.
        name: name of the network in files and messages.
        image_size: `(h, w, c)`; None if the source does not say.
        mean: mean of each channel, of pixels in [0, 1]; None if the source does not say.
        std: standard deviation of each channel; None if the source does not say.
        class_names: names of the classes; None if the source does not say.
    """

    module: Any
    name: str
    image_size: tuple[int, int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: Sequence[str] | None = None


def load(
    model: str,
    checkpoint: str = "",
    num_classes: int = 0,
    prefix: str = "",
    ignore: Sequence[str] = (),
) -> Source:
    """Builds the network that `--model` names and loads its weights.

    Args:
        model: `timm:NAME`, `torchvision:NAME`, `transformers:DIR`, or `package.module:function`
            for a function that returns an `nn.Module`.
        checkpoint: file of the weights, as `torch_file.read` takes it; empty: the network that the
            function returns has them already, or the folder does.
        num_classes: number of classes; 0 for the usual one.
        prefix: part of the file's names before the network's keys; empty to find it.
        ignore: patterns of names of tensors that are no part of the network, see `beside.sort`.

    Raises:
        UserError: nothing has that name, its library is not installed, or the weights do not fit.
    """
    kind, name = _split(model)
    import_torch()
    if kind in ("timm", "torchvision") and not checkpoint:
        raise UserError(f"--model={model} needs --checkpoint=FILE, the weights that you trained")
    if kind in _BUILDERS:
        source = _BUILDERS[kind](name, num_classes)
    else:
        source = _function(kind, name, num_classes)
    if checkpoint:
        load_weights(source.module, checkpoint, prefix, ignore)
    return source


def of_library(model: str) -> bool:
    """Returns whether a name is of a library, which may say the settings of the images.

    Raises:
        UserError: it is no name as `load` takes it.
    """
    return _split(model)[0] in _BUILDERS


def _split(model: str) -> tuple[str, str]:
    kind, _, name = model.partition(":")
    if not kind or not name:
        raise UserError(
            f"--model={model} is no file, and none of timm:NAME, torchvision:NAME, "
            "transformers:DIR and package.module:function"
        )
    return kind, name


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise UserError(f"{name} is not installed: pip install {name}") from None
        raise UserError(f"{name} cannot be imported: {said(error)}") from None
    except Exception as error:  # e.g. torchvision, if it was built for another PyTorch
        raise UserError(
            f"{name} cannot be imported: {said(error)}; does it fit the PyTorch that is installed?"
        ) from None


def _near(name: str, names: Sequence[str], listing: str) -> str:
    """Returns the end of a line about an unknown name of a library that has hundreds."""
    end = did_you_mean(name, names)
    return end if "did you mean" in end else f"; {listing} lists them"


def _timm(name: str, num_classes: int) -> Source:
    timm = _library("timm")
    if not timm.is_model(name):
        end = _near(name, timm.list_models(), "timm.list_models()")
        raise UserError(f"timm has no model {name!r}{end}")
    more = {"num_classes": num_classes} if num_classes else {}
    try:
        module = timm.create_model(name, pretrained=False, **more)
    except (RuntimeError, TypeError, ValueError) as error:  # e.g. no such weights: NAME.TAG
        raise UserError(f"timm cannot build {name}: {said(error)}") from None
    settings = module.pretrained_cfg
    channels, height, width = settings["input_size"]
    return Source(
        module, name, (height, width, channels), tuple(settings["mean"]), tuple(settings["std"])
    )


def _torchvision(name: str, num_classes: int) -> Source:
    models = _library("torchvision").models
    if name not in (names := models.list_models(module=models)):
        end = _near(name, names, "torchvision.models.list_models()")
        raise UserError(f"torchvision has no classifier {name!r}{end}")
    more: dict[str, Any] = {"num_classes": num_classes} if num_classes else {}
    if name in ("googlenet", "inception_v3"):
        more["init_weights"] = False  # which takes a minute, for weights that are replaced
    module = models.get_model(name, weights=None, **more)
    settings = models.get_model_weights(name).DEFAULT.transforms()
    side = settings.crop_size[0]
    return Source(module, name, (side, side, 3), tuple(settings.mean), tuple(settings.std))


def _transformers(name: str, num_classes: int) -> Source:
    transformers = _library("transformers")
    place = as_path(name)
    if not (place / "config.json").is_file():
        raise UserError(f"{place} is no folder of a saved Hugging Face model: no config.json in it")
    try:
        with quiet():
            module, info = transformers.AutoModelForImageClassification.from_pretrained(
                place, local_files_only=True, output_loading_info=True
            )
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        raise UserError(f"transformers cannot load {place}: {said(error)}") from None
    missing = sorted(k for k in info["missing_keys"] if not k.endswith(beside.COUNTER))
    if missing:  # which the library sets to random numbers
        raise UserError(
            f"{place} lacks {len(missing)} weights of the classifier: {few(missing)}; save the "
            "network that was trained, by its save_pretrained"
        )
    labels = module.config.id2label
    names = [str(labels[index]) for index in sorted(labels)]
    known = None if names == [f"LABEL_{index}" for index in range(len(names))] else names
    return Source(module, place.resolve().name, *_preprocessor(place, module.config), known)


def _preprocessor(place: Path, config: Any) -> tuple[Any, Any, Any]:
    """Returns image size, mean and std as the folder's preprocessor says them."""
    file = place / "preprocessor_config.json"
    settings: Mapping[str, Any] = read_json(file) if file.is_file() else {}
    size = settings.get("crop_size") or settings.get("size")
    if isinstance(size, dict):
        size = [size.get("height") or size.get("shortest_edge")] * 2
        size = None if size[0] is None else size
    elif isinstance(size, int):
        size = [size] * 2
    channels = getattr(config, "num_channels", 3)
    if settings.get("do_normalize") is False:
        settings = {**settings, "image_mean": [0.0] * channels, "image_std": [1.0] * channels}
    mean, std = (
        tuple(settings[key]) if key in settings else None for key in ("image_mean", "image_std")
    )
    return (size[0], size[1], channels) if size else None, mean, std


_BUILDERS: dict[str, Callable[[str, int], Source]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
}


def _function(package: str, name: str, num_classes: int) -> Source:
    torch = import_torch()
    sys.path.insert(0, "")  # as `python -m` and notebooks have it
    try:
        function = _attribute(package, name)
        more = {"num_classes": num_classes} if num_classes else {}
        if more and not _takes(function, "num_classes"):
            raise UserError(f"{package}:{name} takes no num_classes; leave --num_classes out")
        module = function(**more)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        raise UserError(f"{package}:{name} raised {said(error)}") from None
    finally:
        sys.path.remove("")
    if not isinstance(module, torch.nn.Module):
        raise UserError(
            f"{package}:{name} returned an object of type {type(module).__name__}; it has to "
            "return an nn.Module"
        )
    return Source(module, name)


def _attribute(package: str, name: str) -> Callable[..., Any]:
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{package}.".startswith(f"{error.name}."):
            raise UserError(f"{package} cannot be imported: {said(error)}") from None
        raise UserError(
            f"there is no module {error.name}; --model=package.module:function is looked for in "
            "the current folder, in PYTHONPATH and among what is installed"
        ) from None
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        raise UserError(f"{package} cannot be imported: {said(error)}") from None
    function = getattr(module, name, None)
    if function is None:
        known = [each for each in vars(module) if callable(getattr(module, each))]
        end = did_you_mean(name, known)
        raise UserError(f"{package} has no function {name}{end if 'did you mean' in end else ''}")
    if isinstance(function, import_torch().nn.Module) or not callable(function):
        raise UserError(
            f"{package}:{name} is of type {type(function).__name__}, no function; name a function "
            "that returns an nn.Module"
        )
    return function


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def load_weights(module: Any, file: str, prefix: str = "", ignore: Sequence[str] = ()) -> None:
    """Loads a state dict from a file, wherever the file has it.

    Raises:
        UserError: tensors are missing, have other shapes, or are left over and may be part of the
            network.
    """
    torch = import_torch()
    tensors = torch_file.read(file)
    wanted = {
        key: tuple(value.shape)
        for key, value in module.state_dict().items()
        if not key.endswith(beside.COUNTER)
    }
    found = prefixes(wanted, tensors).most_common(1)
    start = f"{prefix.rstrip('.')}." if prefix else found[0][0] if found else ""
    given = {key: tensors[start + key] for key in wanted if start + key in tensors}
    groups = {tensor.group for tensor in given.values()}
    rest = [
        name
        for name in tensors
        if name.removeprefix(start) not in wanted
        and not name.endswith(beside.COUNTER)
        and tensors[name].group in groups
    ]
    problems = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unexpected": beside.sort(rest, tensors, ignore, 0).unexpected,
        "of other shapes": [
            f"{key} {tensor.shape} instead of {wanted[key]}"
            for key, tensor in given.items()
            if tensor.shape != wanted[key]
        ],
    }
    listed = [f"{len(keys)} {what}: {few(keys)}" for what, keys in problems.items() if keys]
    if listed:
        raise UserError(
            f"{file} does not fit the network: {'; '.join(listed)}{_classes(wanted, given)}"
        )
    values = {key: torch.from_numpy(_array(key, tensor)) for key, tensor in given.items()}
    module.load_state_dict(values, strict=False)


def _array(key: str, tensor: torch_file.Tensor) -> np.ndarray:
    value = np.array(torch_file.load(key, tensor))
    if not np.isfinite(value).all():
        raise UserError(f"{key} has values that are not finite; no network computes with them")
    return value


def _classes(wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, torch_file.Tensor]) -> str:
    """Returns advice which flag to say, if the tensors differ in their number of classes alone."""
    others = {key: tensor.shape for key, tensor in given.items() if tensor.shape != wanted[key]}
    widths = {shape[0] for key, shape in others.items() if shape[1:] == wanted[key][1:]}
    return f"; the checkpoint has --num_classes={widths.pop()}" if len(widths) == 1 else ""
